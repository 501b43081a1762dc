"""Leases when their store dies for good and another server takes over, which may lack what was granted last."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from functools import partial
from pathlib import Path

import asyncpg
import pytest
from redis.crc import key_slot

from hub.errors import BrokerError
from hub.leases.base import Grant, LeaseStore
from hub.leases.factory import make_lease_store
from tests.integration.test_postgres_failover import pair
from tests.services.postgres import PASSWORD, USER, PostgresServer
from tests.services.redis_cluster import RedisCluster
from tests.services.redis_sentinel import RedisNode, RedisSentinels, program_or_skip, until

__all__ = ["pair"]
pytestmark = pytest.mark.timeout(90)
TERM = 4.0


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as found:
        yield found


async def nodes(stack: AsyncExitStack, url: str, count: int = 2) -> list[LeaseStore]:
    stores = []
    for number in range(count):
        store = make_lease_store(
            [url], prefix="test", owner=f"node-{number}", term=TERM, clock=time.monotonic
        )
        await store.open()
        stack.push_async_callback(store.close)
        stores.append(store)
    return stores


async def granted(store: LeaseStore, *names: str, within: float = 25) -> list[Grant]:
    """Asks until all are granted, whatever the store says meanwhile."""
    found: dict[str, Grant] = {}
    async with asyncio.timeout(within):
        while len(found) < len(names):
            with suppress(BrokerError):
                found |= {grant.name: grant for grant in await store.acquire(names)}
            await asyncio.sleep(0.05)
    return [found[name] for name in names]


async def answers(store: LeaseStore, within: float = 25) -> float:
    """Waits until a call succeeds; when the first one that did was sent."""
    async with asyncio.timeout(within):
        while True:
            asked = time.monotonic()
            try:
                await store.acquire(["something"])
            except BrokerError:
                await asyncio.sleep(0.05)
            else:
                return asked


async def given_nothing_for_a_term(heir: LeaseStore, grant: Grant) -> None:
    """After the failover: no sooner than a term may another node have the lease, whatever the new server knows."""
    began = await answers(heir)
    (found,) = await granted(heir, grant.name)
    assert time.monotonic() - began > TERM * 0.9
    assert found.number > grant.number


async def test_redis_that_took_over_grants_nothing_for_a_term(
    stack: AsyncExitStack, redis_sentinels: RedisSentinels
) -> None:
    one, two = await nodes(stack, redis_sentinels.url)
    (grant,) = await granted(one, "work")
    primary = redis_sentinels.primary
    # What was granted last had not reached the replica: it must not matter.
    await asyncio.to_thread(primary.ask, "DEL", "test:l:{leases}:work")
    await asyncio.to_thread(primary.ask, "WAIT", 1, 1000)
    primary.process.kill()
    await given_nothing_for_a_term(two, grant)


async def test_redis_that_was_a_replica_for_a_moment_grants_nothing_for_a_term(
    stack: AsyncExitStack, tmp_path: Path
) -> None:
    program = program_or_skip()
    primary = RedisNode(program, tmp_path / "primary")
    stack.callback(primary.process.kill)
    replica = RedisNode(program, tmp_path / "replica", replica_of=primary.port)
    stack.callback(replica.process.kill)
    await asyncio.to_thread(until, partial(follows, replica))
    one, two = await nodes(stack, f"redis://127.0.0.1:{primary.port}")
    (grant,) = await granted(one, "work")
    # What was granted last had not reached the replica, and nobody asks while that one is the primary.
    await asyncio.to_thread(primary.ask, "DEL", "test:l:{leases}:work")
    await asyncio.to_thread(primary.ask, "WAIT", 1, 1000)
    for old, new in ((primary, replica), (replica, primary)):
        await asyncio.to_thread(new.ask, "REPLICAOF", "NO", "ONE")
        await asyncio.to_thread(old.ask, "REPLICAOF", "127.0.0.1", new.port)
        await asyncio.to_thread(until, partial(follows, old))
    await given_nothing_for_a_term(two, grant)


def follows(node: RedisNode) -> bool:
    """Whether it is a replica that has all data of its primary."""
    return (node.ask("ROLE") or [b""])[0:4:3] == [b"slave", b"connected"]


async def test_redis_that_took_over_lets_a_holder_renew_what_it_knows(
    stack: AsyncExitStack, redis_sentinels: RedisSentinels
) -> None:
    one, two = await nodes(stack, redis_sentinels.url)
    await granted(one, "work")
    (grant,) = await one.acquire(["work"], seconds=60)
    await asyncio.to_thread(redis_sentinels.primary.ask, "WAIT", 1, 1000)
    redis_sentinels.primary.process.kill()
    await answers(two)
    async with asyncio.timeout(10):
        while True:
            try:
                assert await one.renew([grant]) == [grant]
                break
            except BrokerError:
                await asyncio.sleep(0.05)
    assert await two.acquire(["work"]) == []


async def test_leases_of_any_name_are_kept_in_one_place_of_a_redis_cluster(
    stack: AsyncExitStack, redis_cluster: RedisCluster
) -> None:
    one, two = await nodes(stack, redis_cluster.url)
    names = [f"work-{number}" for number in range(300)]
    grants = await granted(one, *names)
    assert await two.acquire(names) == []
    assert len(await one.renew(grants)) == 300
    primary = redis_cluster.primary("test:l:{leases}")
    replica = redis_cluster.replica(primary)
    await asyncio.to_thread(redis_cluster.promote, replica)
    await given_nothing_for_a_term(two, grants[0])


async def test_lease_whose_slot_of_a_redis_cluster_moves_stays_with_its_holder(
    stack: AsyncExitStack, redis_cluster: RedisCluster
) -> None:
    one, two = await nodes(stack, redis_cluster.url)
    await granted(one, "work")
    (grant,) = await one.acquire(["work"], seconds=60)
    key = "test:l:{leases}"
    target = redis_cluster.others(redis_cluster.primary(key))[0]
    await asyncio.to_thread(redis_cluster.migrate, key_slot(key.encode()), target)
    began = await answers(one)
    assert await one.renew([grant]) == [grant]
    assert await two.acquire(["work"]) == []
    await granted(two, "other")
    assert time.monotonic() - began > TERM * 0.9


async def test_postgresql_that_took_over_grants_nothing_for_a_term(
    stack: AsyncExitStack, pair: tuple[PostgresServer, PostgresServer]
) -> None:
    primary, replica = pair
    hosts = f"127.0.0.1:{replica.port},127.0.0.1:{primary.port}"
    one, two = await nodes(stack, f"postgresql://{USER}:{PASSWORD}@{hosts}/postgres")
    (grant,) = await granted(one, "work")
    writer = await asyncpg.connect(primary.url)
    await writer.execute("DELETE FROM test_leases WHERE name = 'work'::bytea")
    standby = await asyncpg.connect(replica.url)
    async with asyncio.timeout(10):
        while not await standby.fetchval("SELECT to_regclass('test_leases') IS NOT NULL"):
            await asyncio.sleep(0.05)
        while await standby.fetchval("SELECT count(*) FROM test_leases") != 1:
            await asyncio.sleep(0.05)
    await writer.close()
    primary.kill()
    await standby.execute("SELECT pg_promote()")
    await standby.close()
    await given_nothing_for_a_term(two, grant)
