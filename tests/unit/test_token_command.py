"""`hub token` and `hub check` where there are several keys, or an issuer that publishes them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hub.auth.tokens import sign
from hub.cli import run
from tests.services.issuer import JWKS, Answer, Issuer, IssuerKey
from tests.unit.auth.forging import pair

SECRET = "a-secret-for-tests-of-commands-0123456789abcdef"
OTHER = "another-secret-for-tests-of-commands-9876543210"
OF_ISSUER = IssuerKey("k1")
Configure = Callable[..., None]


@pytest.fixture
def configure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Configure:
    monkeypatch.chdir(tmp_path)
    for name in ("HUB_CONFIG", "HUB_URL", "HUB_API_KEY", "HUB_TOKEN", "HUB_JWT_SECRET", "HUB_DEBUG"):
        monkeypatch.delenv(name, raising=False)

    def write(**jwt: Any) -> None:
        auth = {"jwt": jwt}
        (tmp_path / "hub.yaml").write_text(json.dumps({"version": 1, "auth": auth, "topics": {"a": {}}}))

    return write


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with Issuer() as running:
        running.publish(OF_ISSUER)
        yield running


def created(capsys: pytest.CaptureFixture[str], *more: str) -> str:
    """A token that the command makes and takes back."""
    assert run(["token", "create", "--sub", "ann", *more]) == 0, capsys.readouterr().err
    token = capsys.readouterr().out.strip()
    assert run(["token", "check", token]) == 0
    return token


def test_a_token_is_made_with_the_key_that_is_named_and_names_it(
    configure: Configure, capsys: pytest.CaptureFixture[str]
) -> None:
    configure(secret=SECRET, keys={"next": {"secret": OTHER, "algorithms": ["HS512"]}})
    created(capsys, "--kid", "next")
    said = capsys.readouterr()
    assert "alg       HS512\nkid       next\n" in said.out
    created(capsys)
    assert "kid" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("jwt", "line", "told"),
    [
        ({"secret": SECRET, "keys": {"next": {"secret": OTHER}}}, ["--kid", "nxt"], "Did you mean `next`?"),
        ({"secret": SECRET}, ["--kid", "next"], "auth.jwt.keys has no key of this name"),
        ({"keys": {"next": {"secret": OTHER}}}, [], "--kid"),
        (
            {"secret": SECRET, "keys": {"a": {"public_key": pair(OF_ISSUER.inside).public}}},
            ["--kid", "a"],
            "private key",
        ),
        ({"jwks_url": "https://login.example/keys"}, [], "private key"),
        (
            {"secret": SECRET, "keys": {"a": {"secret": OTHER, "until": "2020-01-01T00:00:00Z"}}},
            ["--kid", "a"],
            "its key has ended",
        ),
        ({"secret": SECRET}, ["--claims", '{"exp": 1}'], "`exp` has passed"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_what_cannot_be_signed_is_told_with_the_reason(
    jwt: dict[str, Any], line: list[str], told: str, configure: Configure, capsys: pytest.CaptureFixture[str]
) -> None:
    configure(**jwt)
    assert run(["token", "create", "--sub", "ann", *line]) == 2
    said = capsys.readouterr()
    assert told in said.err
    assert said.out == ""


@pytest.mark.parametrize("claim", ["sub", "email", "realm.user", "https://example.com/user"])
def test_the_user_stands_where_the_hub_looks_for_it(
    claim: str, configure: Configure, capsys: pytest.CaptureFixture[str]
) -> None:
    configure(secret=SECRET, claims={"user": claim})
    created(capsys)
    assert f"{claim:9} ann" in capsys.readouterr().out
    created(capsys, "--claims", '{"channel": "a"}')


def test_a_token_of_a_published_key_is_checked_with_it(
    configure: Configure, issuer: Issuer, capsys: pytest.CaptureFixture[str]
) -> None:
    configure(jwks_url=issuer.url + JWKS)
    assert run(["token", "check", OF_ISSUER.token(time.time() + 60)]) == 0
    assert "kid       k1" in capsys.readouterr().out
    assert run(["token", "check", IssuerKey("k1").token(time.time() + 60)]) == 1
    assert "signature" in capsys.readouterr().err
    assert run(["token", "check", IssuerKey("k2").token(time.time() + 60)]) == 1
    assert "its key is not among those published" in capsys.readouterr().err


def test_an_issuer_that_cannot_be_asked_is_told_and_not_taken_for_a_bad_token(
    configure: Configure, issuer: Issuer, capsys: pytest.CaptureFixture[str]
) -> None:
    issuer.answers[JWKS] = Answer(status=500)
    configure(jwks_url=issuer.url + JWKS)
    assert run(["token", "check", OF_ISSUER.token(time.time() + 60)]) == 1
    assert "cannot be verified at the moment" in capsys.readouterr().err


def test_nothing_that_a_stranger_wrote_into_a_token_steers_the_terminal(
    configure: Configure, capsys: pytest.CaptureFixture[str]
) -> None:
    configure(secret=SECRET)
    odd = {"\naccepted": 1, "bell\x07": "\x07\n", "sub": "ann", "exp": 1}
    assert run(["token", "check", sign(odd, OTHER, kid="\x07")]) == 1
    said = capsys.readouterr()
    assert "\naccepted" not in said.out
    assert "\x07" not in said.out + said.err
    assert "?accepted 1\n" in said.out


def test_a_session_that_does_not_end_is_told_as_that(
    configure: Configure, capsys: pytest.CaptureFixture[str]
) -> None:
    configure(secret=SECRET)
    created(capsys, "--claims", '{"expire_at": 0}')
    assert "expire_at 0   (the session does not end)\n" in capsys.readouterr().out


def test_check_warns_of_keys_that_have_ended(
    configure: Configure, capsys: pytest.CaptureFixture[str]
) -> None:
    past, ahead = "2020-01-01T00:00:00Z", "2036-01-01T00:00:00Z"
    configure(
        secret=SECRET,
        previous={"secret": OTHER, "until": past},
        keys={"old": {"secret": OTHER, "until": past}, "new": {"secret": OTHER, "until": ahead}},
    )
    assert run(["check"]) == 0
    told = "".join(capsys.readouterr())
    assert "auth.jwt.previous.until" in told
    assert "auth.jwt.keys.old.until" in told
    assert "auth.jwt.keys.new" not in told


def test_check_warns_of_an_issuer_whose_tokens_may_be_meant_for_others(
    configure: Configure, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, jwt in (
        ("discovery", {"discovery": True, "issuer": "https://login.example"}),
        ("jwks_url", {"jwks_url": "https://login.example/keys"}),
    ):
        configure(**jwt)
        assert run(["check"]) == 0
        told = "".join(capsys.readouterr())
        assert f"auth.jwt.{name}: tokens that this issuer made for other applications" in told
        configure(**jwt, audience="hub")
        assert run(["check"]) == 0
        assert "other applications" not in "".join(capsys.readouterr())


def test_what_goes_wrong_with_keys_is_told_with_its_line_and_how_to_mend_it(
    configure: Configure, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    configure()
    text = f"""version: 1
auth:
  jwt:
    secret: {SECRET}
    previous: {{secret: {OTHER}}}
    jwks_url: http://keys.example/
    keys:
      a: {{secret: {OTHER}, algorithms: [HS256, ES256]}}
"""
    (tmp_path / "hub.yaml").write_text(text)
    assert run(["check"]) != 0
    told = "".join(capsys.readouterr())
    for line, code, remedy in [
        (5, "E104", "until"),
        (6, "E112", "https://"),
        (8, "E114", "algorithms of one family"),
    ]:
        assert f"hub.yaml:{line}:" in told
        assert code in told
        assert remedy in told
    assert OTHER not in told
    assert SECRET not in told


def test_a_token_that_lives_longer_than_allowed_is_neither_made_nor_accepted(
    tmp_path: Path, configure: Configure, capsys: pytest.CaptureFixture[str]
) -> None:
    configure(secret=SECRET)
    assert run(["token", "create", "--sub", "ann", "--ttl", "2h"]) == 0
    token = capsys.readouterr().out.strip()
    config = json.loads((tmp_path / "hub.yaml").read_text())
    (tmp_path / "hub.yaml").write_text(json.dumps({**config, "limits": {"token_life": "1h"}}))
    assert run(["token", "create", "--sub", "ann", "--ttl", "2h"]) == 2
    assert "limits.token_life" in capsys.readouterr().err
    assert run(["token", "check", token]) == 1
    assert "limits.token_life" in capsys.readouterr().err
    created(capsys, "--ttl", "1h")
