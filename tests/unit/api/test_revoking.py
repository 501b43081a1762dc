"""The methods revoke, unrevoke and revocations of the server API: who may call them, what they take and tell."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from hub.api.methods import METHODS
from hub.settings.reserved import API_METHODS
from hub.testing import InProcessHub

KEYS: dict[str, dict[str, Any]] = {
    "all": {"key": "a-key-that-may-do-all-of-it", "allow": "*"},
    "room": {"key": "a-key-for-one-kind-of-topic", "allow": ["revoke:room:{x}", "unrevoke:room:{x}"]},
    "none": {"key": "a-key-that-may-do-nothing-here", "allow": ["publish"]},
}
TOPICS = {"room:{x}": {"allow": {"subscribe": "authenticated"}}}


@pytest.fixture
async def hub() -> AsyncIterator[InProcessHub]:
    async with InProcessHub({"auth": {"api_keys": KEYS}, "topics": TOPICS}) as hub:
        yield hub


async def asked(hub: InProcessHub, method: str, *, by: str = "all", **request: Any) -> Any:
    key = KEYS[by]["key"]
    answer = (await hub.http.post(f"/api/{method}", json=request, headers={"X-API-Key": key})).json()
    return answer["error"]["code"] if "error" in answer else answer["result"]


def test_every_method_is_a_scope_that_a_key_may_have() -> None:
    assert set(METHODS) == set(API_METHODS)


async def test_what_is_revoked_is_listed_the_latest_first_until_it_is_lifted(hub: InProcessHub) -> None:
    now = hub.clock.time()
    leeway = hub.blueprint.settings.auth.jwt.leeway
    for request in (
        {"token_id": "t1", "expire_at": now + 60},
        {"user": "ann"},
        {"user": "ann", "issued_before": now - 5},
        {"issued_before": now - 5},
        {"user": "ann", "channel": "room:1", "expire_at": now + 60},
    ):
        hub.clock.advance(1)
        assert await asked(hub, "revoke", **request) == {}
    listed = await asked(hub, "revocations")
    times = [each.pop("revoked_at") for each in listed["revocations"]]
    assert times == sorted(times, reverse=True)
    assert int(now) < times[-1] < times[0] <= hub.clock.time()
    assert listed == {
        "revocations": [
            {"user": "ann", "channel": "room:1", "expire_at": now + 60},
            {"issued_before": now - 5},
            {"user": "ann", "issued_before": now - 5},
            {"user": "ann"},
            {"token_id": "t1", "expire_at": now + 60 + leeway},
        ],
        "total": 5,
    }
    anns = await asked(hub, "revocations", user="ann", limit=1)
    assert ([each["channel"] for each in anns["revocations"]], anns["total"]) == (["room:1"], 3)
    assert await asked(hub, "unrevoke", user="ann", issued_before=0) == {"lifted": True}
    assert await asked(hub, "unrevoke", user="ann", channel="room:1") == {"lifted": True}
    assert await asked(hub, "unrevoke", user="ann", channel="room:1") == {"lifted": False}
    assert await asked(hub, "unrevoke", token_id="t2") == {"lifted": False}
    assert (await asked(hub, "revocations"))["total"] == 3
    hub.clock.advance(60 + leeway)
    assert (await asked(hub, "revocations"))["total"] == 2


async def test_plain_words_are_taken_too_and_unknown_ones_refused_since_without_them_more_is_meant(
    hub: InProcessHub,
) -> None:
    now = hub.clock.time()
    assert await asked(hub, "revoke", user="ann", topic="room:1", until=now + 60) == {}
    (entry,) = hub.hub.node.revocations
    assert (entry.kind, entry.topic, entry.until) == ("topic", "room:1", now + 60)
    assert await asked(hub, "unrevoke", user="ann", topic="room:1", channel="room:1") == {"lifted": True}
    assert await asked(hub, "revoke", user="ann", topic="room:1", channel="room:2") == 107
    for method in ("revoke", "unrevoke", "revocations"):
        answer = await hub.http.post(
            f"/api/{method}", json={"user": "ann", "room": "x"}, headers={"X-API-Key": KEYS["all"]["key"]}
        )
        assert (answer.status_code, "room" in answer.text) == (400, True)
    assert list(hub.hub.node.revocations) == []


async def test_who_was_revoked_stands_in_the_log(hub: InProcessHub, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "hub.revoking")
    for order in ({"user": "ann", "topic": "room:1"}, {"issued_before": 5}, {"token_id": "t1"}):
        await asked(hub, "revoke", **order)
    await asked(hub, "unrevoke", user="ann", topic="room:1")
    assert caplog.messages == [
        "revoked: topic room:1 for ann",
        "revoked: older tokens of everybody",
        "revoked: token id t1",
        "no longer revoked: topic room:1 for ann",
    ]


async def test_in_a_batch_they_are_methods_like_others(hub: InProcessHub) -> None:
    commands = [{"revoke": {"user": "ann"}}, {"unrevoke": {"user": "ann"}}, {"revocations": {}}]
    answer = await hub.http.post(
        "/api/batch", json={"commands": commands}, headers={"X-API-Key": KEYS["all"]["key"]}
    )
    replies = answer.json()["replies"]
    assert [next(iter(reply.values())) for reply in replies] == [
        {},
        {"lifted": True},
        {"revocations": [], "total": 0},
    ]


async def test_a_key_revokes_within_its_scopes(hub: InProcessHub) -> None:
    for method in ("revoke", "unrevoke"):
        assert await asked(hub, method, by="none", user="ann") == 103
        assert await asked(hub, method, by="room", user="ann") == 103
        assert await asked(hub, method, by="room", user="ann", channel="hall:1") == 103
        assert isinstance(await asked(hub, method, by="room", user="ann", channel="room:1"), dict)
    for key in ("none", "room"):
        assert await asked(hub, "revocations", by=key) == 103


@pytest.mark.parametrize(
    "request_",
    [
        {},
        {"user": ""},
        {"user": "ann", "token_id": "t1"},
        {"channel": "room:1"},
        {"user": "ann", "expire_at": 1},
        {"issued_before": 9e15},
        {"issued_before": -1},
        {"user": "x" * 2_000},
        {"token_id": "a\u0000b"},
    ],
    ids=str,
)
async def test_what_makes_no_sense_is_error_107(hub: InProcessHub, request_: dict[str, Any]) -> None:
    assert await asked(hub, "revoke", **request_) == 107
    assert len(hub.hub.node.revocations) == 0


@pytest.mark.parametrize("limit", [0, -1, 1_001])
async def test_a_list_has_its_bounds(hub: InProcessHub, limit: int) -> None:
    assert await asked(hub, "revocations", limit=limit) == 107


async def test_where_errors_are_told_by_the_status_they_are(hub: InProcessHub) -> None:
    headers = {"X-Centrifugo-Error-Mode": "transport"}
    for by, request, status in (
        ("all", {}, 400),
        ("none", {"user": "ann"}, 403),
        ("all", {"user": "a"}, 200),
    ):
        answer = await hub.http.post(
            "/api/revoke", json=request, headers={**headers, "X-API-Key": KEYS[by]["key"]}
        )
        assert answer.status_code == status
