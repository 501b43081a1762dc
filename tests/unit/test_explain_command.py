"""`hub explain`: who may do what by a configuration alone, with the place of the rule that says so."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from hub.auth.tokens import sign
from hub.cli import run

SECRET = "a-secret-for-tests-of-commands-0123456789abcdef"
CONFIG = f"""version: 1
auth: {{jwt: {{secret: "{SECRET}", require_exp: false}}}}
topics:
  "chat:{{room}}":
    allow:
      subscribe: [token, "role:moderator"]
      publish: "role:moderator"
    history: {{size: 10}}
  "own:{{user}}": {{allow: {{subscribe: "user:{{user}}"}}}}
  "ops:{{x}}":
    allow: {{subscribe: handler}}
    handlers: {{subscribe: "gates:keep"}}
  "$secret:{{x}}": {{allow: {{subscribe: anyone}}}}
  "guarded:{{x}}":
    allow: {{subscribe: authenticated}}
    history: {{size: 10}}
    handlers: {{subscribe: "gates:keep"}}
rpc:
  open: "gates:call"
  report: {{run: "gates:call", allow: ["role:boss"]}}
plugins:
  greeter: {{use: ./greeter}}
"""
GATES = """
async def keep(ctx):
    raise SystemExit("handlers are not called")


async def call(ctx, data):
    raise SystemExit("methods are not called")
"""
MANIFEST = """name: greeter
api: 1
topics:
  "greet:{who}":
    allow: {subscribe: authenticated}
"""


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("HUB_CONFIG", "HUB_TOKEN", "HUB_JWT_SECRET", "HUB_DEBUG"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "hub.yaml").write_text(CONFIG)
    (tmp_path / "gates.py").write_text(GATES)
    (tmp_path / "greeter").mkdir()
    (tmp_path / "greeter/plugin.yaml").write_text(MANIFEST)


def token(**claims: Any) -> str:
    return sign({"sub": "ann", **claims}, SECRET)


def explained(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    status = run(["explain", *arguments])
    captured = capsys.readouterr()
    return status, captured.out + captured.err


def test_what_is_allowed_ends_with_0_and_names_the_rule_and_its_place(
    capsys: pytest.CaptureFixture[str],
) -> None:
    bearer = token(topics={"chat:{room}": ["sub"], "own:{sub}": ["sub"]})
    status, said = explained(capsys, "--token", bearer, "subscribe", "chat:ops")
    assert status == 0
    assert said.splitlines() == [
        "May ann subscribe to chat:ops?",
        "client   yes token: the token is good",
        "pattern  chat:{room} at hub.yaml:4:3, {room} is ops",
        "rules    allow.subscribe at hub.yaml:6:7",
        "         yes token: `chat:{room}` in the token's `topics` covers it",
        "         no  role:moderator: the claims give no role",
        "grants   topics of the token",
        "         yes chat:{room}: it matches and grants subscribe",
        "         no  own:{sub}: it does not match the topic",
        "verdict  allowed: the rule `token` admits: `chat:{room}` in the token's `topics` covers it",
    ]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (
            ["--user", "bob", "publish", "chat:ops"],
            ["hub.yaml:7:7", "no  role:moderator: the claims give no role", "(error 103)"],
        ),
        (["--user", "bob", "--claims", '{"role": "cook"}', "publish", "chat:ops"], ["the claims give cook"]),
        (
            ["--user", "bob", "history", "chat:ops"],
            ["allow.subscribe at hub.yaml:6:7", "none of the rules for subscribe"],
        ),
        (["--user", "bob", "subscribe", "own:ann"], ["{user} is ann, and the user is bob", "hub.yaml:9:"]),
        (["--user", "bob", "presence", "chat:ops#bob"], ["none of the rules"]),
        (
            ["--user", "bob", "subscribe", "chat:ops#ann"],
            ["no  #: the topic is for the users named behind its #"],
        ),
        (
            ["--user", "bob", "subscribe", "$secret:1"],
            ["no  $: a topic that begins with $ takes a subscription token"],
        ),
        (["--user", "bob", "subscribe", "nowhere"], ["no pattern matches the topic"]),
        (["--user", "bob", "presence", "own:bob"], ["presence is off", "(error 108)"]),
        (["--user", "bob", "rpc", "report"], ["rpc.allow at hub.yaml:", "no  role:boss", "(error 108)"]),
        (["--user", "bob", "rpc", "nothing"], ["there is no such method", "(error 108)"]),
        (
            ["--anonymous", "subscribe", "chat:ops"],
            ["clients without a token are not let in (auth.anonymous)", "(close 3501)"],
        ),
        (["--token", "nonsense", "subscribe", "chat:ops"], ["the token is refused", "(close 3500)"]),
        (["--token", token(exp=1), "subscribe", "chat:ops"], ["the token has expired", "(error 109)"]),
        (
            ["--token", token(topics=["chat:{sub}"]), "subscribe", "chat:bob"],
            ["its {sub} takes bob, and the user is ann"],
        ),
        (
            ["--user", "ann", "--subscription-token", token(channel="x"), "subscribe", "$secret:1"],
            ["another topic", "(close 3500)"],
        ),
    ],
    ids=lambda value: " ".join(part[:20] for part in value) if isinstance(value, list) else "",
)
def test_what_is_refused_ends_with_1_and_says_what_speaks_against_it(
    arguments: list[str], told: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    status, said = explained(capsys, *arguments)
    assert status == 1, said
    for part in told:
        assert part in said
    assert said.splitlines()[-1].startswith(("verdict  refused", "verdict  not "))


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (
            ["--user", "bob", "--claims", '{"roles": ["moderator"]}', "publish", "chat:ops"],
            "yes role:moderator",
        ),
        (
            ["--user", "bob", "subscribe", "greet:ann"],
            "greet:{who} of plugin greeter at greeter/plugin.yaml:4:",
        ),
        (["--user", "bob", "rpc", "open"], "the method has no rules"),
        (
            ["--user", "ann", "--subscription-token", token(channel="$secret:1"), "subscribe", "$secret:1"],
            "goes before all rules",
        ),
        (["--user", "ann", "subscribe", "ops:1"], "handler  gates:keep: not called"),
        (["--user", "ann", "history", "guarded:1"], "it is ann; gates:keep is asked about subscribe alone"),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else "",
)
def test_what_is_allowed_says_by_what(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status, said = explained(capsys, *arguments)
    assert status == 0, said
    assert told in said


@pytest.mark.parametrize(
    "arguments",
    [
        ["subscribe", "chat:ops"],
        ["--user", "ann", "--anonymous", "subscribe", "chat:ops"],
        ["--token", "", "subscribe", "chat:ops"],
        ["--user", "ann", "eat", "chat:ops"],
        ["--user", "ann", "--claims", "[]", "subscribe", "chat:ops"],
        ["--user", "ann", "subscribe"],
        ["--user", "ann", "subscribe", "a\u202eb"],
        ["--user", "ann", "subscribe", ""],
    ],
    ids=str,
)
def test_what_cannot_be_answered_ends_with_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    status, said = explained(capsys, *arguments)
    assert status == 2, said
    assert said


def test_a_configuration_that_is_wrong_ends_with_3_as_everywhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "hub.yaml").write_text("version: 1\ntopcs: {}\n")
    status, said = explained(capsys, "--user", "ann", "subscribe", "chat:ops")
    assert status == 3
    assert "E101" in said


def test_json_is_for_machines_and_has_the_same_statuses(capsys: pytest.CaptureFixture[str]) -> None:
    status = run(["explain", "--json", "--user", "bob", "publish", "chat:ops"])
    found = json.loads(capsys.readouterr().out)
    assert status == 1
    assert (found["allowed"], found["error"], found["action"], found["user"]) == (
        False,
        103,
        "publish",
        "bob",
    )
    assert found["rules"] == [{"what": "role:moderator", "admits": False, "why": "the claims give no role"}]
    assert (found["pattern"], found["origin"], found["rules_origin"]) == (
        "chat:{room}",
        "hub.yaml:4:3",
        "hub.yaml:7:7",
    )
    status = run(
        ["explain", "--json", "--user", "b", "--claims", '{"role": "moderator"}', "publish", "chat:ops"]
    )
    assert status == 0
    assert json.loads(capsys.readouterr().out)["allowed"] is True


def test_a_token_may_come_by_standard_input_and_is_not_printed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    bearer = token(role="moderator")
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{bearer}\n"))
    for extra in ([], ["--json"]):
        monkeypatch.setattr("sys.stdin", io.StringIO(f"{bearer}\n"))
        status, said = explained(capsys, "--token", "-", *extra, "publish", "chat:ops")
        assert status == 0
        assert not any(part in said for part in bearer.split("."))


def test_names_of_strangers_do_not_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    claims = json.dumps({"roles": ["\u001b[2J"], "topics": ["a\u009b31m"]})
    _, said = explained(capsys, "--user", "\u001b]0;x\u0007", "--claims", claims, "publish", "chat:ops")
    assert "\u001b" not in said
    assert "\u009b" not in said
