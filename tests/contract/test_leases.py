"""What every store of leases promises."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

import asyncpg
import nats
import pytest
from redis.asyncio import Redis

from hub.errors import BrokerError, HubError
from hub.leases.base import Grant, LeaseStore
from hub.leases.factory import make_lease_store
from hub.leases.memory import MemoryLeases, Shelf
from tests.services.nats import NatsServer
from tests.services.postgres import PostgresServer
from tests.services.redis import RedisServer

TERMS = {"memory": 1.0, "redis": 0.5, "nats": 1.0, "postgresql": 0.5}
"""NATS counts in whole seconds."""
LATE = 8.0
"""Seconds by which NATS may be late to notice that a message's time is over."""
REAL = ["redis", "nats", "postgresql"]


def real_store(url: str, owner: str, term: float | None = None) -> LeaseStore:
    term = TERMS.get(url.partition(":")[0], 1.0) if term is None else term
    return make_lease_store([url], prefix="test", owner=owner, term=term, clock=time.monotonic)


@dataclass
class Cluster:
    """Several nodes on one store, and how to let its time pass, in terms."""

    make: Callable[[str], LeaseStore]
    sleep: Callable[[float], Awaitable[None]]
    term: float
    nodes: list[LeaseStore] = field(default_factory=list)

    async def join(self, owner: str) -> LeaseStore:
        store = self.make(owner)
        await store.open()
        self.nodes.append(store)
        return store

    async def passes(self, terms: float) -> None:
        await self.sleep(terms * self.term)

    async def opened(self) -> None:
        """Returns once the store grants: a new one waits for a term."""
        store = await self.join("opener")
        await granted(store, "first")

    async def close(self) -> None:
        for node in self.nodes:
            await node.close()


@pytest.fixture(params=["memory", *REAL])
async def cluster(request: pytest.FixtureRequest) -> AsyncIterator[Cluster]:
    if request.param == "memory":
        now, shelf = [100.0], Shelf()

        async def jump(seconds: float) -> None:
            now[0] += seconds

        found = Cluster(lambda owner: MemoryLeases(owner, 1.0, lambda: now[0], shelf), jump, 1.0)
    else:
        url = url_of(request, request.param)
        found = Cluster(lambda owner: real_store(url, owner), asyncio.sleep, TERMS[request.param])
    await found.opened()
    yield found
    await found.close()


def url_of(request: pytest.FixtureRequest, broker: str) -> str:
    url: str = request.getfixturevalue(f"{fixture_of(broker)}_url")
    return url


def fixture_of(broker: str) -> str:
    return "postgres" if broker == "postgresql" else broker


async def granted(store: LeaseStore, name: str, within: float = 1.0 + LATE) -> Grant:
    """Asks until the lease is granted."""
    async with asyncio.timeout(within):
        while not (grants := await store.acquire([name])):
            await asyncio.sleep(0.02)
    return grants[0]


async def test_one_of_many_who_ask_at_once_gets_a_lease(cluster: Cluster) -> None:
    nodes = [await cluster.join(f"node-{number}") for number in range(12)]
    for node in nodes:
        await node.acquire(
            ["warm"]
        )  # so that connections are there, and all that follows comes at one moment
    for turn in range(8):
        names = [f"work-{turn}-{number}" for number in range(20)]
        answers = await asyncio.gather(*(node.acquire(names) for node in nodes))
        assert sorted(grant.name for grants in answers for grant in grants) == sorted(names)
    again = await asyncio.gather(*(node.acquire(names[:5]) for node in nodes))
    for before, after in zip(answers, again, strict=True):
        assert {grant.name for grant in after} == {grant.name for grant in before} & set(names[:5])


async def test_lease_of_a_dead_holder_is_had_after_its_term_and_not_before(cluster: Cluster) -> None:
    dead, heir = await cluster.join("dead"), await cluster.join("heir")
    (grant,) = await dead.acquire(["work"])
    await cluster.passes(0.7)
    assert await heir.acquire(["work"]) == []
    await cluster.passes(0.4)
    found = await granted(heir, "work", LATE)
    assert found.number > grant.number
    assert await dead.renew([grant]) == []
    await dead.release([grant])
    assert await heir.renew([found]) == [found]
    assert await dead.acquire(["work"]) == []


async def test_released_lease_is_free_at_once(cluster: Cluster) -> None:
    one, two = await cluster.join("one"), await cluster.join("two")
    number = 0
    for _ in range(5):
        for node, other in ((one, two), (two, one)):
            (grant,) = await node.acquire(["work"])
            assert await other.acquire(["work"]) == []
            assert grant.number > number
            number = grant.number
            await node.release([grant])
            assert await node.renew([grant]) == []
    await one.release([Grant("work", number), Grant("never", 1)])


async def test_renewed_lease_outlives_its_term(cluster: Cluster) -> None:
    one, two = await cluster.join("one"), await cluster.join("two")
    grants = await one.acquire(["a", "b", "c"])
    for _ in range(6):
        await cluster.passes(0.5)
        assert sorted(await one.renew(grants), key=lambda each: each.name) == grants
        assert await two.acquire(["a", "b", "c"]) == []
    await cluster.passes(1.1)
    await granted(two, "b", LATE)


async def test_renewal_tells_which_leases_are_gone(cluster: Cluster) -> None:
    one, two = await cluster.join("one"), await cluster.join("two")
    grants = await one.acquire(["a", "b"])
    (theirs,) = await two.acquire(["c"])
    kept, gone = grants
    await one.release([gone])
    strange = Grant("c", theirs.number)
    assert await one.renew([kept, gone, strange, Grant("d", 7)]) == [kept]
    await one.release([strange])
    assert await two.renew([theirs]) == [theirs]


async def test_who_asks_again_for_what_it_has_ends_its_former_grant(cluster: Cluster) -> None:
    one, two = await cluster.join("one"), await cluster.join("two")
    (former,) = await one.acquire(["work"])
    (latter,) = await one.acquire(["work"])
    assert latter.number > former.number
    assert await one.renew([former, latter]) == [latter]
    await one.release([former])
    assert await two.acquire(["work"]) == []


async def test_lease_may_be_taken_for_a_time_of_its_own(cluster: Cluster) -> None:
    one, two = await cluster.join("one"), await cluster.join("two")
    await one.acquire(["long"], seconds=4 * cluster.term)
    await one.acquire(["short"])
    await cluster.passes(1.2)
    await granted(two, "short", LATE)
    assert await two.acquire(["long"]) == []


async def test_odd_names_are_kept_apart(cluster: Cluster) -> None:
    names = ["a", "A", "a}", "}", "{a}", "%7D", "a b", "é", "日本", "a.b", "*", ">", "x" * 200]
    one, two = await cluster.join("one"), await cluster.join("two")
    grants = await one.acquire(names)
    assert {grant.name for grant in grants} == set(names)
    await one.release([grants[3]])
    assert [grant.name for grant in await two.acquire(names)] == [grants[3].name]


async def test_nothing_asked_nothing_done(cluster: Cluster) -> None:
    one = await cluster.join("one")
    assert await one.acquire([]) == []
    assert await one.renew([]) == []
    await one.release([])


async def empty(url: str) -> None:
    """What an operator does by mistake."""
    if url.startswith("redis"):
        async with Redis.from_url(url) as client:
            await client.flushall()
    elif url.startswith("nats"):
        connection = await nats.connect(url)
        await connection.jetstream().purge_stream("test-leases")
        await connection.close()
    else:
        database = await asyncpg.connect(url)
        await database.execute("TRUNCATE test_leases")
        await database.close()


@pytest.mark.parametrize("broker", REAL)
async def test_emptied_store_tells_the_holder_before_another_gets_its_lease(
    broker: str, request: pytest.FixtureRequest
) -> None:
    url = url_of(request, broker)
    one, two = real_store(url, "one"), real_store(url, "two")
    began = time.monotonic()
    await one.open()
    await two.open()
    grant = await granted(one, "work")
    waited = time.monotonic() - began
    assert waited > one.term * 0.9, "a new store does not know whether it is an emptied one"
    began = time.monotonic()
    await empty(url)
    assert await two.acquire(["work"]) == []
    assert await one.renew([grant]) == []
    found = await granted(two, "work")
    assert time.monotonic() - began > one.term * 0.9
    assert found.number > grant.number
    await one.close()
    await two.close()


async def test_redis_that_was_started_anew_gives_nothing_for_a_term_but_knows_what_it_kept(
    redis_server: RedisServer,
) -> None:
    one, two = (real_store(redis_server.url, owner) for owner in ("one", "two"))
    await one.open()
    await two.open()
    grant, free = await granted(one, "work"), await granted(one, "free")
    await one.release([free])
    began = time.monotonic()
    redis_server.restart(keep_data=True)
    for store in (one, two):
        await outcome(store)  # the connections that were lost are noticed
    assert await one.renew([grant]) == [grant]
    assert await two.acquire(["work", "free"]) == []
    found = await granted(two, "free")
    assert time.monotonic() - began > one.term * 0.8
    assert found.number > free.number
    await one.close()
    await two.close()


@pytest.mark.parametrize("broker", ["nats", "postgresql"])
async def test_server_that_crashed_and_kept_its_data_knows_its_leases(
    broker: str, request: pytest.FixtureRequest
) -> None:
    server: NatsServer | PostgresServer = request.getfixturevalue(f"{fixture_of(broker)}_server")
    url = url_of(request, broker)
    one, two = (real_store(url, owner, term=5.0) for owner in ("one", "two"))
    await one.open()
    await two.open()
    grant = await granted(one, "work", within=8)
    server.kill()
    server.start()
    async with asyncio.timeout(15):
        while await outcome(two) != "answered" or await outcome(one) != "answered":
            await asyncio.sleep(0.05)
    assert await two.acquire(["work"]) == []
    assert await one.renew([grant]) == [grant]
    assert await two.acquire(["work"]) == []
    await one.close()
    await two.close()


@pytest.mark.parametrize("broker", REAL)
async def test_lost_store_is_a_broker_error_within_seconds_and_mends_itself(
    broker: str, request: pytest.FixtureRequest
) -> None:
    server: RedisServer | NatsServer | PostgresServer
    server = request.getfixturevalue(f"{fixture_of(broker)}_server")
    store = real_store(url_of(request, broker), "one", term=30.0 if broker == "nats" else 1.0)
    await store.open()
    if broker != "nats":
        await granted(store, "work")
    server.kill()
    began = time.monotonic()
    for call in (store.acquire(["work"]), store.renew([Grant("work", 1)]), store.release([Grant("work", 1)])):
        with pytest.raises(BrokerError):
            await call
    assert time.monotonic() - began < 10
    server.start()
    async with asyncio.timeout(15):
        while await outcome(store) != "answered":
            await asyncio.sleep(0.05)
    await store.close()


async def outcome(store: LeaseStore) -> str:
    try:
        await store.acquire(["other"])
    except BrokerError:
        return "refused"
    return "answered"


async def test_frozen_store_is_a_broker_error_within_seconds(
    redis_server: RedisServer, nats_server: NatsServer, postgres_server: PostgresServer, postgres_url: str
) -> None:
    stores = [real_store(url, "one") for url in (redis_server.url, nats_server.url, postgres_url)]
    for store in stores:
        await store.open()
        await granted(store, "work")
    redis_server.freeze()
    nats_server.freeze()
    try:
        with postgres_server.frozen():
            began = time.monotonic()
            assert await asyncio.gather(*map(outcome, stores)) == ["refused"] * 3
            assert time.monotonic() - began < 10
    finally:
        redis_server.thaw()
        nats_server.thaw()
    for store in stores:
        await store.close()


@pytest.mark.parametrize(
    "url", ["nats://x/path", "nats://x?replicas=2", "kafka://x", "redis://x?nonsense=1", "postgres://h:0/x"]
)
def test_url_that_cannot_be_used_is_refused(url: str) -> None:
    with pytest.raises(HubError):
        real_store(url, "one")
