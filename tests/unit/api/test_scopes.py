"""What each scope of an API key opens: every scope against every method, as a table; and when a key ends."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Final

import httpx2
import pytest

from hub.api.methods import METHODS
from hub.auth.api_keys import hashed
from hub.settings.reserved import SCOPES
from hub.testing import InProcessHub

OPEN: Final[dict[str, Any]] = {"history": {"size": 10, "ttl": "1h"}, "presence": True}
CHAT, NEWS = {"channel": "chat:a"}, {"channel": "news:a"}
ON_A_TOPIC: Final[dict[str, tuple[dict[str, Any], dict[str, Any]]]] = {
    "publish": ({**CHAT, "data": 1}, {**NEWS, "data": 1}),
    "broadcast": ({"channels": ["chat:a"], "data": 1}, {"channels": ["news:a"], "data": 1}),
    "subscribe": ({**CHAT, "user": "ann"}, {**NEWS, "user": "ann"}),
    "unsubscribe": ({**CHAT, "user": "ann"}, {**NEWS, "user": "ann"}),
    "presence": (CHAT, NEWS),
    "presence_stats": (CHAT, NEWS),
    "history": (CHAT, NEWS),
    "history_remove": (CHAT, NEWS),
    "revoke": ({**CHAT, "user": "eve"}, {**NEWS, "user": "eve"}),
    "unrevoke": ({**CHAT, "user": "eve"}, {**NEWS, "user": "eve"}),
}
"""Requests of the methods that have a topic, on one within the patterns of keys and on one outside."""
ON_NONE: Final[dict[str, dict[str, Any]]] = {
    "disconnect": {"user": "ann"},
    "refresh": {"user": "ann"},
    "channels": {},
    "explain": {"action": "subscribe", "topic": "chat:a", "user": "ann"},
    "revocations": {},
    "info": {},
}
ALSO: Final = {"broadcast": {"publish"}}
"""Scopes besides its own that open a method."""


def key_of(name: str) -> str:
    return f"the-key-whose-name-is-{name}"


def keys() -> dict[str, dict[str, Any]]:
    found = {scope: [scope] for scope in (*SCOPES, "*")}
    found |= {f"{scope}-chat": [f"{scope}:chat:*"] for scope in (*SCOPES, "*")}
    found |= {"none": []}
    return {name: {"key": key_of(name), "allow": allow} for name, allow in found.items()}


@pytest.fixture
async def hub() -> AsyncIterator[InProcessHub]:
    config = {"auth": {"api_keys": keys()}, "topics": {"chat:{x}": OPEN, "news:{x}": OPEN}}
    async with InProcessHub(config) as running:
        yield running


async def answer(hub: InProcessHub, path: str, body: Any, key: str) -> httpx2.Response:
    return await hub.http.post(f"/api/{path}", json=body, headers={"X-API-Key": key_of(key)})


async def opens(hub: InProcessHub, method: str, body: Any, key: str) -> bool:
    told = (await answer(hub, method, body, key)).json()
    told = told.get("result", {}).get("responses", [told])[0]
    if "error" in told:
        assert told["error"]["code"] == 103, told
        assert key_of(key) not in told["error"]["message"]
    return "error" not in told


def test_the_table_has_every_method() -> None:
    assert {*ON_A_TOPIC, *ON_NONE, "batch"} == set(METHODS)
    assert {*METHODS, "ticket"} == set(SCOPES)


@pytest.mark.parametrize("scope", [*SCOPES, "*", "none"])
async def test_a_scope_opens_its_own_method_and_no_other(hub: InProcessHub, scope: str) -> None:
    requests = {**{method: body for method, (body, _) in ON_A_TOPIC.items()}, **ON_NONE}
    found = {method for method, body in requests.items() if await opens(hub, method, body, scope)}
    expected = set(requests) if scope == "*" else {scope} & set(requests)
    assert found == expected | {method for method, others in ALSO.items() if scope in others}


@pytest.mark.parametrize("scope", [*SCOPES, "*"])
async def test_a_scope_with_a_pattern_opens_its_method_on_its_topics_alone(
    hub: InProcessHub, scope: str
) -> None:
    for method, (inside, outside) in ON_A_TOPIC.items():
        meant = scope in {method, "*", *ALSO.get(method, ())}
        assert await opens(hub, method, inside, f"{scope}-chat") is meant, method
        assert not await opens(hub, method, outside, f"{scope}-chat"), method
    for method, body in ON_NONE.items():
        assert not await opens(hub, method, body, f"{scope}-chat"), method


@pytest.mark.parametrize("scope", [*SCOPES, "none", "*"])
async def test_a_batch_opens_nothing_that_its_commands_would_not(hub: InProcessHub, scope: str) -> None:
    commands = [{method: inside} for method, (inside, _) in ON_A_TOPIC.items() if method != "broadcast"]
    commands += [{method: body} for method, body in ON_NONE.items()]
    within = {*ON_A_TOPIC, *ON_NONE} - {"broadcast"}
    replies = (await answer(hub, "batch", {"commands": commands}, scope)).json()["replies"]
    found = {name for reply in replies for name in reply} - {"error"}
    assert len(replies) == len(commands)
    assert found == (within if scope == "*" else {scope} & within)


@pytest.mark.parametrize("scope", [*SCOPES, "*", "none"])
async def test_the_ways_beside_the_methods_ask_for_the_same_scopes(hub: InProcessHub, scope: str) -> None:
    headers = {"X-API-Key": key_of(scope)}
    statuses = {
        "publish": (await hub.http.post("/api/topics/chat:a", content="1", headers=headers)).status_code,
        "history": (await hub.http.get("/api/topics/chat:a", headers=headers)).status_code,
        "ticket": (await answer(hub, "ticket", {"user": "ann"}, scope)).status_code,
    }
    assert statuses == {way: 200 if scope in {way, "*"} else 403 for way in statuses}


@pytest.mark.parametrize("configured", [key_of("x"), hashed(key_of("x"))], ids=["in clear", "as its hash"])
async def test_a_key_opens_all_ways_until_it_ends_and_none_from_then_on(configured: str) -> None:
    config: dict[str, Any] = {
        "auth": {"api_keys": {"x": {"key": configured, "until": "2100-01-01T00:00:00Z"}}},
        "topics": {"chat:{x}": OPEN},
    }
    async with InProcessHub(config) as hub:
        asked = {"info": {}, "ticket": {"user": "ann"}, "topics/chat:a": 1}
        for path, body in asked.items():
            assert (await answer(hub, path, body, "x")).status_code == 200, path
        hub.clock.advance(4_102_444_800 - hub.clock.time())
        for path, body in asked.items():
            assert (await answer(hub, path, body, "x")).status_code == 401, path


async def test_a_hash_that_became_known_is_no_key() -> None:
    config = {"auth": {"api_keys": {"x": {"key": hashed(key_of("x"))}}}}
    async with InProcessHub(config) as hub:
        for known in (hashed(key_of("x")), hashed(key_of("x")).removeprefix("sha256:"), "sha256:"):
            found = await hub.http.post("/api/info", json={}, headers={"X-API-Key": known})
            assert found.status_code == 401
        assert (await answer(hub, "info", {}, "x")).status_code == 200
