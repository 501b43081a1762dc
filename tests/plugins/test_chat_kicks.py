"""Kicking from a room: out at once on every node, kept out whichever way it is tried, let back in when it is over."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from hub.errors import ReplyError
from hub.testing import HubClient, InProcessHub
from tests.services.redis import RedisServer

WITHIN = 1.0
DENIED = {"code": 2000, "reason": "permission denied"}
Nodes = tuple[InProcessHub, InProcessHub]


@pytest.fixture
async def nodes(redis_server: RedisServer, tmp_path: Path) -> AsyncIterator[Nodes]:
    config = {
        "broker": {"url": redis_server.url},
        "database": {"url": f"sqlite:///{tmp_path}/hub.db"},
        "plugins": {"chat": {"settings": {"moderators": ["moderator"]}}},
    }
    async with InProcessHub(config) as one, InProcessHub(config) as two:
        async with asyncio.timeout(12):
            while len(one.hub.cluster.nodes()) < 2 or len(two.hub.cluster.nodes()) < 2:
                await asyncio.sleep(0.02)
        yield one, two


async def enter(hub: InProcessHub, user: str, **claims: Any) -> HubClient:
    client = await hub.connect(user, **claims)
    for topic in ("chat:lobby", "chat-typing:lobby", "chat:other"):
        await client.subscribe(topic)
    return client


async def kick(hub: InProcessHub, **given: Any) -> None:
    answer = await hub.http.post("/api/chat/rooms/lobby/kicks", json=given, headers=hub.api_key)
    assert answer.status_code == 204, answer.text


async def refusal(attempt: Awaitable[Any]) -> int:
    with pytest.raises(ReplyError) as caught:
        await attempt
    return caught.value.code


async def kept_out(hub: InProcessHub, client: HubClient) -> None:
    """Whatever a kicked user tries in the room is refused, and another room is open."""
    for attempt in (
        client.subscribe("chat:lobby"),
        client.subscribe("chat:lobby", recover=True, offset=1, epoch="any"),
        client.subscribe("chat-typing:lobby"),
        client.publish("chat:lobby", "let me in"),
        client.history("chat:lobby"),
        client.presence("chat:lobby"),
        client.rpc("chat.send", {"room": "lobby", "text": "let me in"}),
        client.rpc("chat.history", {"room": "lobby"}),
        client.subscribe("chat:lobby", token=hub.token("eve", channel="chat:lobby")),
    ):
        assert await refusal(attempt) == 103
    path, eve = "/api/chat/rooms/lobby/messages", hub.bearer("eve")
    assert (await hub.http.get(path, headers=eve)).status_code == 403
    assert (await hub.http.post(path, json={"text": "x"}, headers=eve)).status_code == 403
    assert (await hub.http.post("/api/topics/chat:lobby", content="x", headers=eve)).status_code == 403
    await client.publish("chat:other", "I am still here")


@pytest.mark.timeout(60)
async def test_who_is_kicked_is_out_within_a_second_on_every_node_and_stays_out(nodes: Nodes) -> None:
    one, two = nodes
    eves = [await enter(node, "eve") for node in nodes]
    bob = await enter(two, "bob")
    began = time.monotonic()
    await kick(one, user="eve")
    for eve in eves:
        for topic in ("chat:lobby", "chat-typing:lobby"):
            assert await eve.expect_push(topic, "unsubscribe") == DENIED
    assert time.monotonic() - began < WITHIN
    for node, eve in zip(nodes, eves, strict=True):
        await kept_out(node, eve)
        again = await node.connect("eve")
        await kept_out(node, again)
    await bob.publish("chat:lobby", "peace")
    assert (await bob.expect_publication("chat:lobby"))["text"] == "peace"
    for eve in eves:
        assert set(eve.session.subscriptions) == {"chat:other"}
    assert "eve" not in {info["user"] for info in (await bob.presence("chat:lobby")).values()}


@pytest.mark.timeout(60)
async def test_a_kick_ends_when_its_time_is_over_or_it_is_pardoned(nodes: Nodes) -> None:
    one, two = nodes
    eve = await enter(two, "eve")
    await kick(one, user="eve", seconds=60)
    assert await eve.expect_push("chat:lobby", "unsubscribe") == DENIED
    for node in nodes:
        node.clock.advance(40)
    assert await refusal(eve.subscribe("chat:lobby")) == 103
    for node in nodes:
        node.clock.advance(30)
    eve = await two.connect("eve")
    await eve.subscribe("chat:lobby")
    await kick(one, user="eve")
    assert await eve.expect_push("chat:lobby", "unsubscribe") == DENIED
    path = "/api/chat/rooms/lobby/kicks/eve"
    for pardoned in (True, False):
        answer = await one.http.delete(path, headers=one.api_key)
        assert answer.json() == {"pardoned": pardoned}
    began = time.monotonic()
    while list(two.hub.node.revocations):
        assert time.monotonic() - began < WITHIN
        await asyncio.sleep(0.01)
    await eve.subscribe("chat:lobby")


async def test_whatever_a_user_is_called_they_can_be_pardoned() -> None:
    async with InProcessHub({"plugins": {"chat": {}}}) as hub:
        for user in ("google-oauth2/12", "a b@c.d", "50%", "Zoë?x=1#y", "a//b/"):
            eve = await hub.connect(user)
            await kick(hub, user=user)
            assert await refusal(eve.subscribe("chat:lobby")) == 103
            path = f"/api/chat/rooms/lobby/kicks/{quote(user, safe='')}"
            answer = await hub.http.delete(path, headers=hub.api_key)
            assert answer.json() == {"pardoned": True}, user
            await eve.subscribe("chat:lobby")


async def test_a_kick_that_is_over_is_not_pardoned() -> None:
    async with InProcessHub({"plugins": {"chat": {}}}) as hub:
        await kick(hub, user="eve", seconds=60)
        hub.clock.advance(61)
        answer = await hub.http.delete("/api/chat/rooms/lobby/kicks/eve", headers=hub.api_key)
        assert answer.json() == {"pardoned": False}


@pytest.mark.timeout(60)
async def test_while_the_broker_is_away_a_kick_holds_here_in_the_whole_room(
    nodes: Nodes, redis_server: RedisServer
) -> None:
    one, _ = nodes
    eves = [await enter(node, "eve") for node in nodes]
    redis_server.kill()
    async with asyncio.timeout(10):
        while one.hub.node.router.bridge.broker.connected:
            await asyncio.sleep(0.01)
    kicks = "/api/chat/rooms/lobby/kicks"
    answer = await one.http.post(kicks, json={"user": "eve"}, headers=one.api_key)
    assert answer.json()["error"]["code"] == 300
    for topic in ("chat:lobby", "chat-typing:lobby"):
        assert await eves[0].expect_push(topic, "unsubscribe") == DENIED
    redis_server.start()
    async with asyncio.timeout(20):
        while {"chat:lobby", "chat-typing:lobby"} & set(eves[1].session.subscriptions):
            await asyncio.sleep(0.02)


@pytest.mark.timeout(60)
async def test_moderators_kick_by_rpc_and_nobody_else_does(nodes: Nodes) -> None:
    one, two = nodes
    eve = await enter(two, "eve")
    bob = await one.connect("bob")
    asked = {"room": "lobby", "user": "eve"}
    for method in ("chat.kick", "chat.pardon"):
        assert await refusal(bob.rpc(method, asked)) == 103
    kicks = "/api/chat/rooms/lobby/kicks"
    assert (await one.http.post(kicks, json={"user": "eve"}, headers=one.bearer("bob"))).status_code == 403
    assert (await one.http.post(kicks, json={"user": "eve"})).status_code == 401
    assert "chat:lobby" in eve.session.subscriptions
    mod = await one.connect("mod", role="moderator")
    for wrong in ({"room": "lobby"}, {**asked, "user": ""}, {**asked, "seconds": 0}, {**asked, "more": 1}):
        assert await refusal(mod.rpc("chat.kick", wrong)) == 107
    assert await refusal(mod.rpc("chat.kick", {**asked, "room": "no such name!"})) == 1_400
    assert await mod.rpc("chat.kick", asked) == {}
    assert await eve.expect_push("chat:lobby", "unsubscribe") == DENIED
    assert await mod.rpc("chat.pardon", asked) == {"pardoned": True}
