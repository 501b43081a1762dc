from __future__ import annotations

import hmac
from hashlib import sha256
from typing import Any

import pytest
from starlette.datastructures import Headers

from hub.auth.api_keys import ApiKey, ApiKeys, hashed, presented_key
from hub.errors import TopicError, UnusableKey

KEYS = ApiKeys({"old": ("k-old", ["publish"]), "new": ("k-new", ["*"]), "ünï": ("schlüssel", [])})


@pytest.mark.parametrize(("presented", "name"), [("k-old", "old"), ("k-new", "new"), ("schlüssel", "ünï")])
def test_each_of_several_keys_is_found(presented: str, name: str) -> None:
    found = KEYS.find(presented)
    assert isinstance(found, ApiKey)
    assert found.name == name


@pytest.mark.parametrize(
    "presented", [None, "", "k", "k-ol", "k-old ", "K-OLD", "k-old\x00", "\ud800", "k-old" * 10_000]
)
def test_what_is_no_key_is_not_found(presented: str | None) -> None:
    assert KEYS.find(presented) is None
    assert ApiKeys({}).find(presented) is None


def test_every_key_is_compared_in_constant_time_whichever_is_right(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[bytes, bytes]] = []

    def watching(known: bytes, digest: bytes) -> bool:
        compared.append((known, digest))
        return known == digest

    monkeypatch.setattr(hmac, "compare_digest", watching)
    for presented in ("k-old", "schlüssel", "wrong"):
        compared.clear()
        KEYS.find(presented)
        assert len(compared) == 3
        assert {len(side) for pair in compared for side in pair} == {32}


def test_the_keys_themselves_are_not_kept() -> None:
    assert "k-old" not in repr(vars(KEYS))


def test_an_empty_or_doubled_key_is_refused() -> None:
    with pytest.raises(UnusableKey, match="'backend' is empty"):
        ApiKeys({"backend": ("", ["*"])})
    with pytest.raises(UnusableKey, match="'a' and 'b' are the same key"):
        ApiKeys({"a": ("k", ["*"]), "b": ("k", ["publish"])})


def test_a_key_is_found_by_its_hash_and_a_hash_opens_nothing() -> None:
    stored = hashed("k-old")
    assert stored == "sha256:" + sha256(b"k-old").hexdigest()
    for configured in (stored, "sha256:" + stored.removeprefix("sha256:").upper()):
        keys = ApiKeys({"old": (configured, ["*"])})
        found = keys.find("k-old")
        assert found is not None
        assert found.name == "old"
        assert keys.find(stored) is keys.find(configured) is None


@pytest.mark.parametrize("wrong", ["sha256:", "sha256:abc", "sha256:" + "g" * 64, "sha256:" + "a" * 65])
def test_what_begins_as_a_hash_and_is_none_is_refused_without_being_repeated(wrong: str) -> None:
    with pytest.raises(UnusableKey, match="64 hexadecimal digits") as caught:
        ApiKeys({"a": (wrong, ["*"])})
    assert wrong.removeprefix("sha256:") == "" or wrong not in str(caught.value)


@pytest.mark.parametrize("wrong", ["k-old ", "\tk-old", "k-old\n"])
def test_a_key_that_no_header_can_bring_is_refused_without_being_repeated(wrong: str) -> None:
    with pytest.raises(UnusableKey, match="no header brings that") as caught:
        ApiKeys({"a": (wrong, ["*"])})
    assert wrong.strip() not in str(caught.value)


def test_a_hash_in_capitals_is_not_taken_for_a_key() -> None:
    with pytest.raises(UnusableKey, match="in small letters"):
        ApiKeys({"a": (hashed("k-old").replace("sha256", "SHA256"), ["*"])})


def test_a_key_and_its_hash_are_the_same_key() -> None:
    with pytest.raises(UnusableKey, match="'a' and 'b' are the same key"):
        ApiKeys({"a": ("k", ["*"]), "b": (hashed("k"), ["publish"])})


def test_a_key_is_good_until_its_end() -> None:
    now = 99.9
    keys = ApiKeys({"a": ("k", ["*"]), "b": ("l", ["*"])}, {"a": 100.0, "b": None}, lambda: now)
    assert keys.find("k") is not None
    now = 100.0
    assert keys.find("k") is None
    assert keys.find("l") is not None


def test_a_scope_whose_pattern_is_none_is_refused() -> None:
    with pytest.raises(TopicError):
        ApiKeys({"a": ("k", ["publish:news:{"])})


@pytest.mark.parametrize(
    ("scope", "method", "topic", "expected"),
    [
        ("*", "publish", "news:a", True),
        ("*", "info", None, True),
        ("*:*", "info", None, True),
        ("*:", "info", None, True),
        ("publish", "publish", "news:a", True),
        ("publish", "publish", None, True),
        ("publish:*", "publish", "news:a", True),
        ("publish:*", "publish", None, True),
        ("publish", "history", "news:a", False),
        ("publish", "publish_all", "news:a", False),
        ("publish:news:{section}", "publish", "news:a", True),
        ("publish:news:{section}", "publish", "news:a:b", False),
        ("publish:news:{section}", "publish", "chat:a", False),
        ("publish:news:{section}", "history", "news:a", False),
        ("publish:news:{section}", "publish", None, False),
        ("publish:news:*", "publish", "news:a:b", True),
        ("*:news:{x}", "presence", "news:a", True),
        ("*:news:{x}", "presence", "chat:a", False),
        ("*:news:{x}", "info", None, False),
        ("", "publish", "news:a", False),
    ],
)
def test_a_scope_admits_its_methods_on_its_topics(
    scope: str, method: str, topic: str | None, expected: bool
) -> None:
    key = ApiKeys({"a": ("k", [scope])}).find("k")
    assert key is not None
    assert key.may(method, topic) is expected


def test_several_scopes_add_up_and_none_admits_nothing() -> None:
    key = ApiKeys({"a": ("k", ["history", "publish:news:{x}"])}).find("k")
    assert key is not None
    assert key.may("history", "chat:a")
    assert key.may("publish", "news:a")
    assert not key.may("publish", "chat:a")
    assert not ApiKey("none", ()).may("publish", "news:a")


@pytest.mark.parametrize(
    ("headers", "query", "expected"),
    [
        ({}, {}, None),
        ({"X-API-Key": "k1"}, {}, "k1"),
        ({"X-API-Key": " k1 "}, {}, "k1"),
        ({"Authorization": "apikey k2"}, {}, "k2"),
        ({"Authorization": "ApiKey  k2 "}, {}, "k2"),
        ({}, {"api_key": "k3"}, "k3"),
        ({"X-API-Key": "k1", "Authorization": "apikey k2"}, {"api_key": "k3"}, "k1"),
        ({"Authorization": "apikey k2"}, {"api_key": "k3"}, "k2"),
        ({"X-API-Key": " ", "Authorization": "Bearer t"}, {"api_key": "k3"}, "k3"),
        ({"Authorization": "apikey"}, {}, None),
        ({"Authorization": "Bearer t"}, {}, None),
        ({"Authorization": "apikeyk2"}, {}, None),
        ({}, {"api_key": ""}, None),
    ],
)
def test_a_key_comes_from_its_header_else_authorization_else_the_query(
    headers: dict[str, str], query: dict[str, str], expected: Any
) -> None:
    assert presented_key(Headers(headers), query) == expected
    assert presented_key({name.lower(): value for name, value in headers.items()}, query) == expected
