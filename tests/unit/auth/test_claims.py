from __future__ import annotations

import base64
from typing import Any

import pytest

from hub.auth import claims as read
from hub.auth.claims import ACTIONS
from hub.errors import InvalidToken

READ, WRITE = frozenset({"subscribe"}), frozenset({"publish"})


def encoded(text: bytes) -> str:
    return base64.b64encode(text).decode()


@pytest.mark.parametrize(
    ("claims", "expected"),
    [
        ({}, None),
        ({"info": None}, None),
        ({"info": None, "b64info": None}, None),
        ({"info": {}}, b"{}"),
        ({"info": 0}, b"0"),
        ({"info": False}, b"false"),
        ({"info": "a\nb\u2028"}, '"a\\nb\u2028"'.encode()),
        ({"info": 2**64 - 1}, str(2**64 - 1).encode()),
        ({"info": 1, "b64info": ""}, b"1"),
        ({"info": 1, "b64info": encoded(b"null")}, None),
        ({"info": 1, "b64info": encoded(b'{\n "a": [1,\r\n2]}')}, b'{"a":[1,2]}'),
    ],
)
def test_a_payload_is_json_on_one_line_and_base64_goes_first(
    claims: dict[str, Any], expected: bytes | None
) -> None:
    assert read.payload(claims, "info") == expected


@pytest.mark.parametrize(
    "value",
    [
        7,
        [],
        {},
        False,
        "%%%",
        "eyJ9",
        "e30",
        "ä",
        encoded(b"x"),
        encoded(b'{"a":1}}'),
        encoded(b"\xff"),
    ],
)
def test_base64_that_holds_no_json_is_refused(value: Any) -> None:
    with pytest.raises(InvalidToken, match="b64data"):
        read.payload({"b64data": value}, "data")


def test_base64_does_not_hide_depth() -> None:
    with pytest.raises(InvalidToken, match="64 levels"):
        read.payload({"b64info": encoded(b"[" * 100 + b"]" * 100)}, "info")


@pytest.mark.parametrize(
    ("topics", "granted"),
    [
        (None, {}),
        ([], {}),
        ({}, {}),
        (["a", "b:*"], {"a": ACTIONS, "b:*": ACTIONS}),
        ({"a": []}, {"a": frozenset()}),
        ({"a": ["sub"], "b": ["publish", "pub"]}, {"a": READ, "b": WRITE}),
        ({"{sub}": ["subscribe", "presence", "history"]}, {"{sub}": ACTIONS - WRITE}),
    ],
)
def test_capabilities_are_a_list_of_patterns_or_a_map_to_actions(
    topics: Any, granted: dict[str, Any]
) -> None:
    assert read.granted_topics({"topics": topics}) == granted


@pytest.mark.parametrize(
    ("topics", "reason"),
    [
        ("a", "list of patterns"),
        (7, "list of patterns"),
        (["a", 7], "list of patterns"),
        ({"a": "sub"}, "list of actions"),
        ({"a": None}, "list of actions"),
        ({"a": {"sub": True}}, "list of actions"),
        ({"a": ["write"]}, "an action"),
        ({"a": ["SUB"]}, "an action"),
        ({"a": [["sub"]]}, "an action"),
        ({"a": [None]}, "an action"),
        ([""], "no valid pattern"),
        (["a{"], "no valid pattern"),
        (["{x}{y}"], "no valid pattern"),
        ({"{sub}{sub}": []}, "no valid pattern"),
        ([f"a:{number}" for number in range(101)], "holds 101 patterns"),
        ({f"a:{number}": ["sub"] for number in range(101)}, "holds 101 patterns"),
    ],
)
def test_capabilities_that_cannot_be_read_are_refused(topics: Any, reason: str) -> None:
    with pytest.raises(InvalidToken, match=reason):
        read.granted_topics({"topics": topics})


@pytest.mark.parametrize(
    ("claims", "expected"),
    [
        ({}, {}),
        ({"subs": None, "channels": None}, {}),
        ({"channels": ["a", "$b", "#c"]}, {"a": {}, "$b": {}, "#c": {}}),
        ({"subs": {}, "channels": ["a"]}, {}),
        ({"subs": {"a": None, "b": {}, "c": {"unknown": 1, "info": None}}}, {"a": {}, "b": {}, "c": {}}),
        (
            {
                "subs": {
                    "a": {
                        "b64info": encoded(b"[1]"),
                        "data": {"x": 1},
                        "override": {"presence": {"value": True}},
                    }
                }
            },
            {"a": {"info": [1], "data": {"x": 1}, "override": {"presence": True}}},
        ),
    ],
)
def test_server_side_subscriptions_come_from_subs_else_from_channels(
    claims: dict[str, Any], expected: dict[str, Any]
) -> None:
    assert read.server_subscriptions(claims) == expected


@pytest.mark.parametrize(
    "claims",
    [
        {"channels": "a"},
        {"channels": {"a": {}}},
        {"channels": [7]},
        {"channels": [""]},
        {"channels": ["a\x00"]},
        {"channels": ["x" * 256]},
        {"subs": ["a"]},
        {"subs": "a"},
        {"subs": {"": {}}},
        {"subs": {"a": []}},
        {"subs": {"a": {"b64data": "%"}}},
        {"subs": {"a": {"override": []}}},
        {"subs": {"a": {"override": {"presence": True}}}},
        {"subs": {"a": {"override": {"presence": {}}}}},
        {"subs": {"a": {"override": {"presence": {"value": 1}}}}},
    ],
)
def test_server_side_subscriptions_that_cannot_be_read_are_refused(claims: dict[str, Any]) -> None:
    with pytest.raises(InvalidToken):
        read.server_subscriptions(claims)
