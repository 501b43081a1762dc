"""Presence on Redis in its forms: what it does when Redis is lost, and what lies there."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
import redis.asyncio

from hub.errors import BrokerError
from hub.model import PresenceStats
from hub.presence.amends import Amends
from hub.presence.base import Lease
from hub.presence.factory import make_presence
from tests.contract.presences import (
    ANN,
    ANN_TOO,
    BOB,
    LEASE,
    TOPIC,
    Nodes,
    all_swept,
    as_entries,
    crowd,
    in_order,
)
from tests.services.redis import RedisServer


@pytest.fixture
async def nodes(redis_url: str) -> AsyncIterator[Nodes]:
    found = Nodes(redis_url)
    yield found
    await found.stop()


async def _keys(nodes: Nodes) -> set[bytes]:
    async with redis.asyncio.Redis.from_url(nodes.url) as client:
        return set(await client.keys())


async def test_lost_redis_is_a_broker_error_within_seconds_and_mends_itself(
    redis_server: RedisServer,
) -> None:
    presence = make_presence(redis_server.url, prefix="test", node="n", lease=30)
    await presence.start()
    assert await presence.renew() is Lease.LOST
    await presence.add(TOPIC, ANN)
    redis_server.kill()
    began = time.monotonic()
    with pytest.raises(BrokerError):
        await presence.add(TOPIC, BOB)
    with pytest.raises(BrokerError):
        await presence.get(TOPIC)
    with pytest.raises(BrokerError):
        await presence.renew()
    assert time.monotonic() - began < 6
    redis_server.restart()
    assert await presence.get(TOPIC) == {}
    assert await presence.renew() is Lease.LOST
    assert await presence.restore({TOPIC: [ANN]}) == [(TOPIC, ANN)]
    assert await presence.get(TOPIC) == {"c-1": ANN}
    redis_server.freeze()
    began = time.monotonic()
    for call in (presence.stats(TOPIC), presence.add(TOPIC, BOB), presence.renew()):
        with pytest.raises(BrokerError):
            await call
    with pytest.raises(BrokerError):
        await presence.restore({TOPIC: crowd(20_000)})
    assert time.monotonic() - began < 20
    redis_server.thaw()
    assert await presence.renew() is Lease.KEPT
    assert ANN in (await presence.get(TOPIC)).values()
    await presence.stop()


async def test_calls_that_come_while_redis_hangs_all_end_within_seconds(redis_server: RedisServer) -> None:
    presence = make_presence(redis_server.url, prefix="test", node="n", lease=30)
    await presence.start()
    await presence.add(TOPIC, ANN)
    redis_server.freeze()
    began = time.monotonic()
    adds = []
    for info in crowd(10):
        adds.append(asyncio.create_task(presence.add(TOPIC, info)))
        await asyncio.sleep(0.1)
    for outcome in await asyncio.gather(*adds, return_exceptions=True):
        assert isinstance(outcome, BrokerError)
    assert time.monotonic() - began < 8
    redis_server.thaw()
    await presence.stop()


async def test_client_whose_removal_failed_is_removed_when_redis_takes_it(nodes: Nodes) -> None:
    node = Amends(await nodes.node("a"))
    await node.restore({TOPIC: [ANN, BOB]})
    async with redis.asyncio.Redis.from_url(nodes.url) as client:
        await client.execute_command("ACL", "SETUSER", "default", "-eval", "-evalsha")
        with pytest.raises(BrokerError):
            await node.remove(TOPIC, "c-3", "bob")
        with pytest.raises(BrokerError):
            await node.settle()
        await client.execute_command("ACL", "SETUSER", "default", "+eval", "+evalsha")
    assert len(await node.get(TOPIC)) == 2
    await node.settle()
    assert await node.get(TOPIC) == {"c-1": ANN}


async def test_restoring_that_failed_half_way_is_told_of_by_the_next(nodes: Nodes) -> None:
    node, other = await nodes.node("a", lease=LEASE), await nodes.node("b")
    clients = {TOPIC: crowd(5), "t:2": [ANN]}
    await node.restore(clients)
    assert len(await all_swept(other)) == 6
    assert await node.renew() is Lease.TAKEN
    async with redis.asyncio.Redis.from_url(nodes.url) as client:
        await client.set("test:pc:{t:2}", "no hash")
        with pytest.raises(BrokerError):
            await node.restore(clients)
        await client.delete("test:pc:{t:2}")
    assert in_order(await node.restore(clients)) == in_order(as_entries(clients))


async def test_nothing_is_left_but_the_leases_when_all_have_gone(nodes: Nodes) -> None:
    one, two = await nodes.node("one", lease=LEASE), await nodes.node("two")
    await one.restore({TOPIC: [ANN, ANN_TOO], "t:2": [ANN]})
    await two.add(TOPIC, BOB)
    before = await _keys(nodes)
    assert len(before) == 2 * 3 + 2
    await two.remove(TOPIC, "c-3", "bob")
    assert len(await all_swept(two)) == 3
    assert await two.sweep(10) == []
    assert await _keys(nodes) == {b"test:ph:{leases}", b"test:pt:{leases}"}


async def test_scripts_that_redis_forgot_are_sent_again(nodes: Nodes) -> None:
    node = await nodes.node("a")
    await node.add(TOPIC, ANN)
    async with redis.asyncio.Redis.from_url(nodes.url) as client:
        await client.script_flush()
    await node.add(TOPIC, BOB)
    assert await node.stats(TOPIC) == PresenceStats(2, 2)


async def test_node_that_restores_begins_a_new_lease_and_what_it_left_out_is_swept(nodes: Nodes) -> None:
    node, other = await nodes.node("a", lease=0.6), await nodes.node("b")
    await node.restore({TOPIC: [ANN, BOB]})
    for _ in range(3):
        assert await node.renew() is Lease.KEPT
        await asyncio.sleep(0.25)
    # As after a failover that brought back a client which had left: the node does not name it.
    assert await node.restore({TOPIC: [ANN]}) == []
    swept = []
    for _ in range(8):
        assert await node.renew() is Lease.KEPT
        swept += await other.sweep(10)
        await asyncio.sleep(0.2)
    assert swept == [(TOPIC, BOB)]
    assert await other.get(TOPIC) == {"c-1": ANN}
