"""What clients see of a broker whose memory is full: Redis at its `maxmemory`, where nothing is evicted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
import redis.asyncio

from hub.testing import LiveHub
from tests.integration.test_broker_away import (
    ANYONE,
    TOPICS,
    Client,
    api,
    connected,
    kept,
    publish,
    ready,
    waits,
)
from tests.services.redis import RedisServer

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def hub(redis_server: RedisServer) -> Iterator[LiveHub]:
    seen = TOPICS["seen:{x}"] | {"allow": ANYONE | {"presence": "anyone"}}
    with LiveHub({"broker": {"url": redis_server.url}, "topics": TOPICS | {"seen:{x}": seen}}) as hub:
        yield hub


@asynccontextmanager
async def full(server: RedisServer) -> AsyncIterator[None]:
    async with redis.asyncio.from_url(server.url) as client:
        await client.config_set("maxmemory", "1")
        try:
            yield
        finally:
            await client.config_set("maxmemory", "0")


async def present(client: Client, topic: str) -> int:
    answer = await client.ask("presence", channel=topic)
    return len(answer["presence"].get("presence", {}))


async def until_present(client: Client, topic: str, count: int) -> None:
    async with asyncio.timeout(15):
        while await present(client, topic) != count:
            await asyncio.sleep(0.05)


async def test_publishes_and_entries_are_refused_for_a_while_and_all_else_goes_on(
    hub: LiveHub, redis_server: RedisServer
) -> None:
    async with api(hub) as backend, connected(hub) as client:
        for topic in ("fast:a", "seen:a", "waits:a"):
            await publish(backend, topic, 1)
            await client.ask("subscribe", channel=topic)
        async with connected(hub) as leaving, full(redis_server):
            error = (await leaving.ask("subscribe", channel="seen:a"))["error"]
            assert (error["code"], error["temporary"]) == (100, True), "it cannot be entered in presence"
            assert (await leaving.ask("subscribe", channel="fast:a"))["subscribe"]["positioned"]
            answer = await publish(backend, "fast:a", 2)
            assert (answer.status_code, answer.json()["error"]["code"]) == (503, 100)
            error = (await leaving.ask("publish", channel="fast:a", data=2))["error"]
            assert (error["code"], error["temporary"]) == (100, True)
            sending = asyncio.create_task(publish(backend, "waits:a", 2))
            await waits(hub)
            assert await present(client, "seen:a") == 1
            assert await kept(backend, "fast:a") == [1]
            await ready(backend)
        assert (await sending).json()["offset"] == 2
        assert (await publish(backend, "fast:a", 3)).json()["offset"] == 2
        pushes = [await client.push() for _ in range(2)]
        assert {push["channel"]: push["pub"]["data"] for push in pushes} == {"waits:a": 2, "fast:a": 3}


async def test_who_leaves_meanwhile_is_gone_at_once_and_nobody_else_is(
    hub: LiveHub, redis_server: RedisServer
) -> None:
    async with connected(hub) as client:
        await client.ask("subscribe", channel="seen:a")
        async with connected(hub) as leaving:
            await leaving.ask("subscribe", channel="seen:a")
            await until_present(client, "seen:a", 2)
            async with full(redis_server):
                await leaving.socket.close()
                await until_present(client, "seen:a", 1)
                await asyncio.sleep(12)  # for longer than a lease lasts, which cannot be renewed now
                assert await present(client, "seen:a") == 1
        await asyncio.sleep(2)
        assert await present(client, "seen:a") == 1
        assert client.pushes == []
