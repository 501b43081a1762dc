"""Presence on a Redis Cluster and behind Sentinels: topics in many slots, primaries that change."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from redis.crc import key_slot

from hub.model import PresenceStats
from hub.presence.base import Lease
from tests.contract.presences import (
    ANN,
    BOB,
    LEASE,
    TOPIC,
    Nodes,
    all_swept,
    as_entries,
    counts,
    crowd,
    in_order,
    persistently,
)
from tests.services.redis_cluster import RedisCluster
from tests.services.redis_sentinel import RedisSentinels

pytestmark = pytest.mark.timeout(90)


@pytest.fixture(params=["cluster", "sentinel"])
async def nodes(request: pytest.FixtureRequest) -> AsyncIterator[Nodes]:
    found = Nodes(request.getfixturevalue(f"redis_{request.param}_url"))
    yield found
    await found.stop()


async def test_topics_in_all_slots_are_entered_counted_and_swept(nodes: Nodes) -> None:
    silent, other = await nodes.node("silent", lease=LEASE), await nodes.node("other")
    clients = {f"t:{number}": crowd(4, users=2) for number in range(60)} | {TOPIC: crowd(500, name="s")}
    await silent.restore(clients)
    await silent.remove("t:7", "c-0", "c-u0")
    await silent.add("t:new", BOB)
    await other.add(TOPIC, ANN)
    await counts(other, "t:5", PresenceStats(4, 2))
    await counts(silent, "t:7", PresenceStats(3, 2))
    await counts(silent, TOPIC, PresenceStats(501, 501))
    gone = {**clients, "t:7": clients["t:7"][1:], "t:new": [BOB]}
    assert in_order(await all_swept(other, 100)) == in_order(as_entries(gone))
    assert await other.get(TOPIC) == {"c-1": ANN}
    assert await silent.renew() is Lease.TAKEN
    assert in_order(await silent.restore(gone)) == in_order(as_entries(gone))


async def test_presence_outlives_the_loss_of_a_primary_of_the_cluster(redis_cluster: RedisCluster) -> None:
    nodes = Nodes(redis_cluster.url)
    node, other = await nodes.node("a"), await nodes.node("b")
    clients = {f"t:{number}": crowd(3) for number in range(40)}
    await node.restore(clients)
    redis_cluster.primary("test:ph:{leases}").kill()
    assert await _renewed(nodes, 0) in (Lease.KEPT, Lease.LOST)
    await persistently(lambda: node.restore(clients))
    for topic, infos in clients.items():
        found = await persistently(lambda topic=topic: other.get(topic))  # type: ignore[misc]
        assert found == {info.client: info for info in infos}
    await nodes.stop()


async def test_presence_moves_along_with_its_slots(redis_cluster: RedisCluster) -> None:
    nodes = Nodes(redis_cluster.url)
    node, other = await nodes.node("a"), await nodes.node("b")
    await node.restore({TOPIC: crowd(30, name="s")})
    for key in _keys(redis_cluster, "test:ph:*", "test:pc:*"):
        source = redis_cluster.primary(key)
        target = redis_cluster.others(source)[0]
        await asyncio.to_thread(redis_cluster.migrate, key_slot(key.encode()), target)
        assert redis_cluster.primary(key) is target
        await persistently(lambda: node.add(TOPIC, ANN))
        assert await persistently(node.renew) is Lease.KEPT
        await counts(other, TOPIC, PresenceStats(31, 31))
        await persistently(lambda: node.remove(TOPIC, ANN.client, ANN.user))
        await counts(other, TOPIC, PresenceStats(30, 30))
    assert await other.sweep(100) == []
    await nodes.stop()


async def test_presence_outlives_a_promotion_by_sentinels(redis_sentinels: RedisSentinels) -> None:
    nodes = Nodes(redis_sentinels.url)
    node, other = await nodes.node("a"), await nodes.node("b")
    clients = {TOPIC: crowd(300), "t:2": [ANN, BOB]}
    await node.restore(clients)
    primary = redis_sentinels.primary
    primary.process.kill()
    await asyncio.to_thread(redis_sentinels.until_promoted, primary)
    assert await _renewed(nodes, 0) in (Lease.KEPT, Lease.LOST)
    await persistently(lambda: node.restore(clients))
    assert await persistently(lambda: other.get(TOPIC)) == {info.client: info for info in clients[TOPIC]}
    await counts(other, "t:2", PresenceStats(2, 2))
    await nodes.stop()


def _keys(cluster: RedisCluster, *patterns: str) -> list[str]:
    """The names of keys, of each pattern one."""
    return [
        next(str(key) for node in cluster.others() for key in node.do("KEYS", pattern))
        for pattern in patterns
    ]


async def _renewed(nodes: Nodes, number: int) -> Lease:
    """What a node is told once its lease can be renewed again."""
    async with asyncio.timeout(40):
        while True:
            try:
                return await persistently(nodes.started[number].renew)
            except AssertionError:
                continue
