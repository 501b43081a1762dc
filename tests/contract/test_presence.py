"""What every presence store promises."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass

import asyncpg
import pytest

from hub.errors import BrokerError, HubError
from hub.model import ClientInfo, PresenceStats
from hub.presence.base import Presence
from hub.presence.factory import make_presence
from tests.services.nats import NatsServer
from tests.services.postgres import PostgresServer
from tests.services.redis import RedisServer

TTL = 0.6
TOPIC = "chat:lobby"
ANN = ClientInfo("ann", "c-1", b'{"name": "Ann"}', None)
ANN_TOO = ClientInfo("ann", "c-2", None, b"[1,\n2]")
BOB = ClientInfo("bob", "c-3", b"\xff\x00", b"")
NOBODY = ClientInfo("", "c-4")


@dataclass
class Store:
    """A store, and how to let its time pass."""

    presence: Presence
    passes: Callable[[float], Awaitable[None]]


@pytest.fixture(params=["memory", "redis", "nats", "postgresql"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    now = [100.0]

    async def jump(seconds: float) -> None:
        now[0] += seconds

    if request.param == "memory":
        found = Store(
            make_presence("memory://", prefix="test", node="n", lease=TTL, clock=lambda: now[0]), jump
        )
    else:
        server = "postgres" if request.param == "postgresql" else request.param
        url = request.getfixturevalue(f"{server}_url")
        found = Store(make_presence(url, prefix="test", node="n", lease=TTL), asyncio.sleep)
    await found.presence.start()
    yield found
    await found.presence.stop()


async def test_added_clients_are_there_as_they_were_given(store: Store) -> None:
    for info in (ANN, ANN_TOO, BOB, NOBODY):
        await store.presence.add(TOPIC, info)
    assert await store.presence.get(TOPIC) == {info.client: info for info in (ANN, ANN_TOO, BOB, NOBODY)}
    assert await store.presence.stats(TOPIC) == PresenceStats(clients=4, users=3)
    assert await store.presence.get("chat:other") == {}
    assert await store.presence.stats("chat:other") == PresenceStats(0, 0)


async def test_user_counts_once_until_the_last_client_has_left(store: Store) -> None:
    await store.presence.add(TOPIC, ANN)
    await store.presence.add(TOPIC, ANN_TOO)
    await store.presence.add(TOPIC, ANN_TOO)
    assert await store.presence.stats(TOPIC) == PresenceStats(2, 1)
    await store.presence.remove(TOPIC, "c-1", "ann")
    await store.presence.remove(TOPIC, "c-1", "ann")
    assert await store.presence.stats(TOPIC) == PresenceStats(1, 1)
    await store.presence.remove(TOPIC, "c-2", "ann")
    assert await store.presence.stats(TOPIC) == PresenceStats(0, 0)
    assert await store.presence.get(TOPIC) == {}
    await store.presence.remove("never:seen", "c-9", "x")


async def test_adding_again_takes_the_new_info(store: Store) -> None:
    await store.presence.add(TOPIC, ANN)
    renamed = ClientInfo("eve", "c-1", b"1", b"2")
    await store.presence.add(TOPIC, renamed)
    assert await store.presence.get(TOPIC) == {"c-1": renamed}
    assert await store.presence.stats(TOPIC) == PresenceStats(1, 1)
    await store.presence.remove(TOPIC, "c-1", "eve")
    assert await store.presence.stats(TOPIC) == PresenceStats(0, 0)


async def test_entry_ends_with_its_lease(store: Store) -> None:
    await store.presence.add(TOPIC, ANN)
    await store.passes(TTL / 2)
    await store.presence.add(TOPIC, BOB)
    await store.passes(TTL * 0.6)
    assert await store.presence.stats(TOPIC) == PresenceStats(1, 1)
    assert set(await store.presence.get(TOPIC)) == {"c-3"}
    await store.passes(TTL)
    assert await store.presence.get(TOPIC) == {}
    assert await store.presence.stats(TOPIC) == PresenceStats(0, 0)


async def test_kept_entries_outlive_their_first_lease(store: Store) -> None:
    await store.presence.add(TOPIC, ANN)
    await store.presence.add("chat:2", BOB)
    await store.presence.add("chat:2", ANN_TOO)
    for _ in range(4):
        await store.passes(TTL / 2)
        await store.presence.keep({TOPIC: [ANN], "chat:2": [BOB]})
    assert await store.presence.get(TOPIC) == {"c-1": ANN}
    assert await store.presence.get("chat:2") == {"c-3": BOB}
    assert await store.presence.stats("chat:2") == PresenceStats(1, 1)
    await store.presence.keep({})


async def test_keeping_enters_again_what_the_store_had_lost(store: Store) -> None:
    await store.presence.add(TOPIC, ANN)
    await store.passes(TTL * 1.5)
    await store.presence.keep({TOPIC: [ANN, BOB]})
    assert await store.presence.get(TOPIC) == {"c-1": ANN, "c-3": BOB}


async def test_client_that_leaves_during_a_renewal_stays_away(store: Store) -> None:
    crowd = [ClientInfo(f"u{number % 50}", f"c{number}") for number in range(1000)]
    await store.presence.keep({TOPIC: crowd})
    renewal = asyncio.create_task(store.presence.keep({TOPIC: crowd}))
    await asyncio.sleep(0)
    await asyncio.gather(*(store.presence.remove(TOPIC, info.client, info.user) for info in crowd[:900]))
    await renewal
    assert len(await store.presence.get(TOPIC)) == 100
    assert await store.presence.stats(TOPIC) == PresenceStats(100, 50)


async def test_odd_names_are_kept_apart(store: Store) -> None:
    topics = ["a", "A", "a}", "}", "{a}", "%7D", "a b", "é", "日本", "x" * 255]
    users = ["u", "1:u", "", ":", "日", "u\x00"]
    for topic in topics:
        for user in users:
            await store.presence.add(topic, ClientInfo(user, f"{topic}/{user}"))
    for topic in topics:
        assert {info.user for info in (await store.presence.get(topic)).values()} == set(users)
        assert await store.presence.stats(topic) == PresenceStats(len(users), len(users))


async def test_two_nodes_see_each_others_clients(redis_url: str) -> None:
    here, there = (make_presence(redis_url, prefix="test", node="n", lease=30) for _ in range(2))
    await here.add(TOPIC, ANN)
    await there.add(TOPIC, BOB)
    assert await here.get(TOPIC) == await there.get(TOPIC) == {"c-1": ANN, "c-3": BOB}
    await there.remove(TOPIC, "c-1", "ann")
    assert await here.stats(TOPIC) == PresenceStats(1, 1)
    await here.stop()
    assert await there.stats(TOPIC) == PresenceStats(1, 1)
    await there.stop()


async def test_lost_redis_is_a_broker_error_within_seconds_and_mends_itself(
    redis_server: RedisServer,
) -> None:
    presence = make_presence(redis_server.url, prefix="test", node="n", lease=30)
    await presence.add(TOPIC, ANN)
    redis_server.kill()
    began = time.monotonic()
    with pytest.raises(BrokerError):
        await presence.add(TOPIC, BOB)
    with pytest.raises(BrokerError):
        await presence.get(TOPIC)
    assert time.monotonic() - began < 3
    redis_server.restart()
    assert await presence.get(TOPIC) == {}
    await presence.keep({TOPIC: [ANN]})
    assert await presence.get(TOPIC) == {"c-1": ANN}
    redis_server.freeze()
    with pytest.raises(BrokerError):
        await presence.stats(TOPIC)
    assert time.monotonic() - began < 12
    redis_server.thaw()
    assert await presence.get(TOPIC) == {"c-1": ANN}
    await presence.stop()


async def test_two_nodes_on_postgresql_see_each_others_clients(postgres_url: str) -> None:
    here, there = (make_presence(postgres_url, prefix="test", node="n", lease=30) for _ in range(2))
    await asyncio.gather(here.add(TOPIC, ANN), there.add(TOPIC, BOB))
    assert await here.get(TOPIC) == await there.get(TOPIC) == {"c-1": ANN, "c-3": BOB}
    await there.remove(TOPIC, "c-1", "ann")
    assert await here.stats(TOPIC) == PresenceStats(1, 1)
    await here.stop()
    assert await there.stats(TOPIC) == PresenceStats(1, 1)
    await there.stop()


async def test_lost_postgresql_is_a_broker_error_within_seconds_and_mends_itself(
    postgres_server: PostgresServer, postgres_url: str
) -> None:
    presence = make_presence(postgres_url, prefix="test", node="n", lease=30)
    await presence.add(TOPIC, ANN)
    postgres_server.kill()
    began = time.monotonic()
    with pytest.raises(BrokerError):
        await presence.add(TOPIC, BOB)
    with pytest.raises(BrokerError):
        await presence.get(TOPIC)
    assert time.monotonic() - began < 3
    postgres_server.start()
    assert await presence.get(TOPIC) == {}
    await presence.keep({TOPIC: [ANN]})
    assert await presence.get(TOPIC) == {"c-1": ANN}
    began = time.monotonic()
    with postgres_server.frozen():
        with pytest.raises(BrokerError):
            await presence.stats(TOPIC)
        assert time.monotonic() - began < 5
    assert await presence.get(TOPIC) == {"c-1": ANN}
    await presence.stop()


async def test_expired_leases_leave_the_table(postgres_url: str) -> None:
    presence = make_presence(postgres_url, prefix="test", node="n", lease=0.2)
    await presence.start()
    await presence.keep({TOPIC: [ClientInfo("u", f"c{number}") for number in range(100)]})
    connection = await asyncpg.connect(postgres_url)
    assert await connection.fetchval("SELECT count(*) FROM test_presence") == 100
    async with asyncio.timeout(5):
        while await connection.fetchval("SELECT count(*) FROM test_presence"):
            await asyncio.sleep(0.05)
    await connection.close()
    await presence.stop()


@pytest.mark.parametrize(
    "url", ["nats://x/path", "nats://x?replicas=2", "kafka://x", "redis://x?nonsense=1", "redis://x:port"]
)
def test_url_that_cannot_be_used_is_refused(url: str) -> None:
    with pytest.raises(HubError):
        make_presence(url, prefix="test", node="n", lease=1)


async def test_two_nodes_on_nats_see_each_others_clients(nats_url: str) -> None:
    here, there = (make_presence(nats_url, prefix="test", node="n", lease=30) for _ in range(2))
    await asyncio.gather(here.add(TOPIC, ANN), there.add(TOPIC, BOB))
    assert await here.get(TOPIC) == await there.get(TOPIC) == {"c-1": ANN, "c-3": BOB}
    await there.remove(TOPIC, "c-1", "ann")
    assert await here.stats(TOPIC) == PresenceStats(1, 1)
    await here.stop()
    assert await there.stats(TOPIC) == PresenceStats(1, 1)
    await there.stop()


async def test_crowd_on_nats_is_counted_without_being_read(nats_url: str) -> None:
    here, there = (make_presence(nats_url, prefix="test", node="n", lease=30) for _ in range(2))
    crowd = [ClientInfo(f"u{number % 1500}", f"c{number}") for number in range(3000)]
    await asyncio.gather(here.keep({TOPIC: crowd[:2000]}), there.keep({TOPIC: crowd[2000:]}))
    assert await there.stats(TOPIC) == PresenceStats(3000, 1500)
    assert len(await here.get(TOPIC)) == 3000
    await asyncio.gather(*(here.remove(TOPIC, info.client, info.user) for info in crowd[:500]))
    async with asyncio.timeout(5):
        while await there.stats(TOPIC) != PresenceStats(2500, 1000 + 500):
            await there.keep({TOPIC: crowd[2000:]})
            await asyncio.sleep(0.1)
    await asyncio.gather(here.stop(), there.stop())


async def test_lost_nats_is_a_broker_error_within_seconds_and_mends_itself(nats_server: NatsServer) -> None:
    presence = make_presence(nats_server.url, prefix="test", node="n", lease=30)
    await presence.add(TOPIC, ANN)
    nats_server.kill()
    began = time.monotonic()
    with pytest.raises(BrokerError):
        await presence.add(TOPIC, BOB)
    with pytest.raises(BrokerError):
        await presence.get(TOPIC)
    assert time.monotonic() - began < 3
    nats_server.restart(keep_data=True)
    assert await presence.get(TOPIC) == {}
    await presence.keep({TOPIC: [ANN]})
    assert await presence.get(TOPIC) == {"c-1": ANN}
    began = time.monotonic()
    nats_server.freeze()
    with pytest.raises(BrokerError):
        await presence.stats(TOPIC)
    assert time.monotonic() - began < 5
    nats_server.thaw()
    async with asyncio.timeout(8):
        while await _or_none(presence) != {"c-1": ANN}:
            await asyncio.sleep(0.1)
    await presence.stop()


async def _or_none(presence: Presence) -> Mapping[str, ClientInfo] | None:
    try:
        return await presence.get(TOPIC)
    except BrokerError:
        return None
