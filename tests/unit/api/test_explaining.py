"""`POST /api/explain`: whom it answers, what it takes, and what it never says."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from hub.testing import InProcessHub

CONFIG: dict[str, Any] = {
    "auth": {
        "anonymous": False,
        "jwt": {"claims": {"user": "account.id", "roles": "account.groups"}},
        "api_keys": {
            "asks": {"key": "key-of-who-may-explain", "allow": ["explain"]},
            "asks-narrowly": {"key": "key-with-a-pattern-of-topics", "allow": ["explain:chat:*"]},
            "publishes": {"key": "key-of-who-may-publish", "allow": ["publish", "history", "presence"]},
        },
    },
    "topics": {"chat:{room}": {"allow": {"subscribe": "role:editor", "publish": "authenticated"}}},
}
QUESTION = {"action": "subscribe", "topic": "chat:ops", "user": "ann"}


@pytest.fixture
async def hub() -> AsyncIterator[InProcessHub]:
    async with InProcessHub(CONFIG) as running:
        yield running


async def asked(hub: InProcessHub, key: str = "key-of-who-may-explain", **question: Any) -> dict[str, Any]:
    answer = await hub.http.post("/api/explain", headers={"X-API-Key": key}, json=question)
    assert answer.status_code == 200
    found: dict[str, Any] = answer.json()
    return found


async def test_only_a_key_with_its_scope_is_answered(hub: InProcessHub) -> None:
    assert (await asked(hub, **QUESTION))["result"]["allowed"] is False
    for key in ("key-of-who-may-publish", "key-with-a-pattern-of-topics"):
        refusal = await asked(hub, key, **QUESTION)
        assert refusal["error"]["code"] == 103
        assert "result" not in refusal
    for headers in ({}, {"X-API-Key": "wrong"}, hub.bearer("ann", account={"id": "ann"})):
        answer = await hub.http.post("/api/explain", headers=headers, json=QUESTION)
        assert (answer.status_code, answer.content) == (401, b"")


@pytest.mark.parametrize(
    ("question", "told"),
    [
        ({}, "what is done is one of subscribe, publish, presence, history, rpc"),
        ({**QUESTION, "action": "eat"}, "what is done is one of"),
        ({**QUESTION, "topic": ""}, "topic"),
        ({**QUESTION, "topic": "a\u0007"}, "U+0007"),
    ],
    ids=str,
)
async def test_what_cannot_be_answered_is_107_and_says_why(
    hub: InProcessHub, question: dict[str, Any], told: str
) -> None:
    error = (await asked(hub, **question))["error"]
    assert error["code"] == 107
    assert told in error["message"]


@pytest.mark.parametrize("wrong", [{"claims": []}, {"user": 7}, {"token": ["x"]}, {"topic": {}}], ids=str)
async def test_fields_of_another_type_are_a_bad_request(hub: InProcessHub, wrong: dict[str, Any]) -> None:
    headers = {"X-API-Key": "key-of-who-may-explain"}
    answer = await hub.http.post("/api/explain", headers=headers, json={**QUESTION, **wrong})
    assert answer.status_code == 400


async def test_user_and_roles_stand_where_tokens_have_them(hub: InProcessHub) -> None:
    bearer = hub.token("", sub=None, account={"id": "ann", "groups": ["editor"]})
    ways: list[dict[str, Any]] = [
        {"token": bearer},
        {"claims": {"account": {"id": "ann", "groups": "editor"}}},
    ]
    for who in ways:
        found = (await asked(hub, **{**QUESTION, "user": "", **who}))["result"]
        assert (found["allowed"], found["user"], found["error"]) == (True, "ann", 0)
    found = (await asked(hub, **QUESTION, claims={"roles": ["editor"]}))["result"]
    assert (found["allowed"], found["error"]) == (False, 103)


@pytest.mark.parametrize(
    ("who", "error"),
    [
        ({}, 3501),
        ({"claims": {"x": 1}}, 3500),
        ({"user": "a\u0000b"}, 3500),
        ({"user": "ann", "claims": {"topics": ["{x}{y}"]}}, 3500),
        ({"token": "nonsense"}, 3500),
        ({"user": "ann"}, 103),
    ],
    ids=str,
)
async def test_who_would_not_be_let_in_is_told_so(hub: InProcessHub, who: dict[str, Any], error: int) -> None:
    found = (await asked(hub, action="subscribe", topic="chat:ops", **who))["result"]
    assert (found["allowed"], found["error"]) == (False, error)
    assert found["verdict"]


async def test_no_part_of_a_token_is_repeated_or_logged(
    hub: InProcessHub, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    bearer = hub.token("", sub=None, account={"id": "ann"}, secret_claim="hush-hush")
    bad = bearer[:-5] + "AAAAA"
    for token in (bearer, bad):
        found = await asked(hub, **{**QUESTION, "user": ""}, token=token, subscription_token=token)
        said = str(found) + caplog.text
        assert "hush-hush" not in said
        assert not any(part in said for part in token.split("."))
