"""Presence on a real PostgreSQL that many nodes change at once, that is killed and frozen, whose tables are dropped."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

import asyncpg
import pytest

from hub.errors import BrokerError, HubError
from hub.model import ClientInfo, PresenceStats
from hub.presence.base import Entry, Lease
from hub.presence.postgres.store import PostgresPresence
from tests.services.postgres import PostgresServer

TOPIC = "chat:lobby"
ANN = ClientInfo("ann", "c-1", b'{"name": "Ann"}', None)
BOB = ClientInfo("bob", "c-2", None, b"\xff")
ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "renew": (),
    "add": (TOPIC, BOB),
    "sweep": (10,),
    "get": (TOPIC,),
    "stats": (TOPIC,),
    "restore": ({TOPIC: [BOB]},),
}
SHORT = 0.5
LONG = 30.0


@asynccontextmanager
async def nodes(url: str, *leases: float) -> AsyncIterator[list[PostgresPresence]]:
    """A node's store for each lease."""
    async with AsyncExitStack() as stack:
        found = []
        for number, lease in enumerate(leases):
            store = PostgresPresence(url, prefix="test", node=f"n{number}", lease=lease)
            stack.push_async_callback(store.stop)
            await store.start()
            found.append(store)
        yield found


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        connection.terminate()


def crowd(count: int, first: int = 0) -> list[ClientInfo]:
    """Clients of which each three are one user's."""
    return [ClientInfo(f"u{number // 3}", f"c{number}") for number in range(first, first + count)]


def ids(entries: Iterable[Entry]) -> list[str]:
    return sorted(info.client for _, info in entries)


async def drift(connection: Any) -> list[Any]:
    """Topics and users whose counts are not those of the entries."""
    topics = """
      SELECT * FROM (SELECT topic, count(*) AS clients, count(DISTINCT member) AS users
                     FROM test_presence_entry GROUP BY topic) AS e
      FULL JOIN test_presence_topic AS t USING (topic)
      WHERE (e.clients, e.users) IS DISTINCT FROM (t.clients, t.users)
    """
    members = """
      SELECT * FROM (SELECT topic, member, count(*) AS clients FROM test_presence_entry GROUP BY topic, member) AS e
      FULL JOIN test_presence_member AS m USING (topic, member) WHERE e.clients IS DISTINCT FROM m.clients
    """
    return [*await connection.fetch(topics), *await connection.fetch(members)]


async def act(store: PostgresPresence, chance: random.Random, swept: list[Entry]) -> None:
    """Something that a node may do, on few topics with few clients."""
    topic, client = f"t:{chance.randrange(4)}", f"c{chance.randrange(60)}"
    info = ClientInfo(f"u{chance.randrange(12)}", client, b"%d" % chance.randrange(3))
    match chance.randrange(12):
        case 0:
            await store.renew()
        case 1:
            swept += await store.sweep(chance.randrange(1, 30))
        case 2:
            await store.restore({topic: [info, *crowd(20)], "t:0": crowd(9, 30)})
        case 3 | 4 | 5 | 6:
            await store.remove(topic, client, info.user)
        case _:
            await store.add(topic, info)


@pytest.mark.timeout(60)
async def test_counts_never_differ_from_entries_whatever_nodes_do_at_once(postgres_url: str) -> None:
    """Nodes that live, two that are thought dead again and again, clients that several claim, users that change."""
    chance, swept = random.Random(5), list[Entry]()
    async with nodes(postgres_url, LONG, LONG, 0.01, 0.05) as stores, connected(postgres_url) as connection:
        await stores[0].renew()

        async def live(store: PostgresPresence) -> None:
            for _ in range(150):
                await act(store, chance, swept)

        living = [asyncio.create_task(live(store)) for store in stores for _ in range(5)]
        looks = 0
        while not all(each.done() for each in living):
            assert await drift(connection) == []
            looks += 1
            await asyncio.sleep(0.02)
        await asyncio.gather(*living)
        assert looks > 3
        assert swept, "nobody was let go: the test shows less than it says"
        assert await connection.fetchval("SELECT count(*) FROM test_presence_entry")
        assert await drift(connection) == []
        for topic in ("t:0", "t:1", "t:2", "t:3"):
            everyone = await stores[0].get(topic)
            users = len({info.user for info in everyone.values()})
            assert await stores[1].stats(topic) == PresenceStats(len(everyone), users)
            await asyncio.gather(*(stores[0].remove(topic, client, "") for client in everyone))
        assert await drift(connection) == []
        assert await connection.fetchval("SELECT count(*) FROM test_presence_topic") == 0
        assert await connection.fetchval("SELECT count(*) FROM test_presence_member") == 0


async def test_nodes_that_change_the_same_topics_in_any_order_never_wait_in_a_circle(
    postgres_url: str,
) -> None:
    topics = [f"t:{number}" for number in range(20)]
    async with nodes(postgres_url, LONG, LONG, LONG) as stores:

        async def live(number: int) -> None:
            infos = [ClientInfo(f"u{each}", f"{number}-{each}") for each in range(30)]
            for turn in range(8):
                order = random.Random(number * 100 + turn).sample(topics, len(topics))
                await asyncio.gather(*(stores[number].add(topic, info) for topic in order for info in infos))
                order.reverse()
                await asyncio.gather(
                    *(
                        stores[number].remove(topic, info.client, info.user)
                        for topic in order
                        for info in infos[turn:]
                    )
                )

        await asyncio.gather(*(live(number) for number in range(3)))
    async with connected(postgres_url) as connection:
        others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        async with asyncio.timeout(10):
            while await connection.fetchval(others) > 1:  # a connection adds what it counted when it ends
                await asyncio.sleep(0.05)
        assert await drift(connection) == []
        counted = "SELECT deadlocks, xact_commit FROM pg_stat_database WHERE datname = current_database()"
        deadlocks, commits = await connection.fetchrow(counted)
        assert commits > 30
        assert deadlocks == 0


async def test_server_that_crashed_has_lost_the_lease_and_gets_all_clients_again(
    postgres_server: PostgresServer, postgres_url: str
) -> None:
    async with nodes(postgres_url, LONG, LONG) as (here, there):
        assert await here.renew() is Lease.LOST, "the first renewal"
        assert await there.renew() is Lease.LOST
        await here.restore({TOPIC: crowd(2500)})
        await there.add(TOPIC, ANN)
        assert await here.renew() is Lease.KEPT
        postgres_server.kill()
        began = time.monotonic()
        for call in (here.renew, here.add, here.sweep, here.get, here.stats, here.restore):
            with pytest.raises(BrokerError):
                await call(*ARGUMENTS[call.__name__])
        assert time.monotonic() - began < 8
        postgres_server.start()
        await there.add(TOPIC, BOB)  # before its node knows
        assert await here.stats(TOPIC) == PresenceStats(1, 1)
        assert await here.renew() is Lease.LOST
        assert await there.renew() is Lease.LOST
        assert ids(await there.restore({TOPIC: [ANN, BOB]})) == ["c-1"]
        assert len(await here.restore({TOPIC: crowd(2500)})) == 2500
        assert await here.renew() is await there.renew() is Lease.KEPT
        assert await there.stats(TOPIC) == PresenceStats(2502, 836)
        assert len(await there.get(TOPIC)) == 2502
        assert await here.sweep(100) == []
        async with connected(postgres_url) as connection:
            assert await drift(connection) == []


async def test_node_that_comes_back_late_learns_it_and_enters_who_had_gone(postgres_url: str) -> None:
    async with nodes(postgres_url, SHORT, LONG) as (late, other):
        await late.renew()
        await other.renew()
        await late.restore({TOPIC: crowd(30), "chat:2": [ANN]})
        assert await other.sweep(100) == []
        await asyncio.sleep(SHORT * 1.2)
        assert await late.renew() is Lease.KEPT, "nobody took notice"
        await asyncio.sleep(SHORT * 1.2)
        swept = await other.sweep(12)
        assert len(swept) == 12
        assert (await other.stats(TOPIC)).clients + (await other.stats("chat:2")).clients == 19
        assert await late.renew() is Lease.TAKEN
        assert await other.sweep(100) == [], "what is left awaits its node"
        assert ids(await late.restore({TOPIC: crowd(30), "chat:2": [ANN]})) == ids(swept)
        assert await late.renew() is Lease.KEPT
        assert await other.stats(TOPIC) == PresenceStats(30, 10)
        assert await other.get("chat:2") == {"c-1": ANN}
        assert await other.sweep(100) == [], "its former lease is nobody's"


async def test_each_client_of_a_dead_node_is_returned_to_one_sweeper(postgres_url: str) -> None:
    async with nodes(postgres_url, SHORT, LONG, LONG, LONG) as (dead, *others):
        await dead.renew()
        await dead.restore({TOPIC: crowd(3000)})
        await others[0].add(TOPIC, ANN)
        await asyncio.sleep(SHORT * 1.2)
        seen: Counter[str] = Counter()
        async with asyncio.timeout(20):
            while await others[0].stats(TOPIC) != PresenceStats(1, 1):
                for found in await asyncio.gather(*(each.sweep(700) for each in others)):
                    assert len(found) <= 700
                    seen.update(info.client for _, info in found)
        assert seen == Counter(info.client for info in crowd(3000))
        assert await others[1].get(TOPIC) == {"c-1": ANN}


async def test_swept_client_is_told_as_it_was(postgres_url: str) -> None:
    async with nodes(postgres_url, SHORT, LONG) as (dead, other):
        await dead.add(TOPIC, ANN)  # it dies before its first renewal
        await dead.add("日", BOB)
        await asyncio.sleep(SHORT * 1.2)
        assert sorted(await other.sweep(10), key=lambda entry: entry[1].client) == [
            (TOPIC, ANN),
            ("日", BOB),
        ]


async def test_node_that_stops_leaves_its_clients_to_the_next_sweep(postgres_url: str) -> None:
    async with nodes(postgres_url, LONG, LONG) as (leaving, other):
        await leaving.renew()
        await leaving.add(TOPIC, ANN)
        assert await other.sweep(10) == []
        await leaving.stop()
        assert await other.sweep(10) == [(TOPIC, ANN)]
        assert await other.stats(TOPIC) == PresenceStats(0, 0)


async def test_clients_entered_under_a_taken_lease_stay_until_their_node_has_renewed(
    postgres_url: str,
) -> None:
    async with nodes(postgres_url, SHORT, LONG) as (late, other):
        await late.renew()
        await late.add(TOPIC, ANN)
        await asyncio.sleep(SHORT * 1.2)
        assert len(await other.sweep(10)) == 1
        await late.add(TOPIC, BOB)
        assert await other.sweep(10) == []
        assert await late.renew() is Lease.TAKEN
        assert ids(await late.restore({TOPIC: [ANN, BOB]})) == ["c-1"]
        await late.remove(TOPIC, "c-2", "bob")
        assert await other.get(TOPIC) == {"c-1": ANN}


async def test_counts_are_read_without_clients_or_users(postgres_url: str) -> None:
    """With those tables locked away the answer still comes: its cost cannot depend on them."""
    async with nodes(postgres_url, LONG) as (store,), connected(postgres_url) as connection:
        await store.restore({TOPIC: crowd(30)})
        async with connection.transaction():
            await connection.execute("LOCK test_presence_entry, test_presence_member, test_presence_owner")
            assert await store.stats(TOPIC) == PresenceStats(30, 10)
            assert await store.stats("chat:other") == PresenceStats(0, 0)


async def test_lease_of_any_number_of_clients_is_renewed_without_them(postgres_url: str) -> None:
    async with nodes(postgres_url, LONG) as (store,), connected(postgres_url) as connection:
        await store.renew()
        await store.restore({TOPIC: crowd(30)})
        async with connection.transaction():
            await connection.execute("LOCK test_presence_entry, test_presence_member, test_presence_topic")
            assert await store.renew() is Lease.KEPT


async def test_client_that_leaves_during_a_restore_stays_away_and_waits_for_none_of_it(
    postgres_url: str,
) -> None:
    everyone = crowd(6000)
    async with nodes(postgres_url, LONG) as (store,):
        restoring = asyncio.create_task(store.restore({TOPIC: everyone}))
        await asyncio.sleep(0)
        await asyncio.gather(
            *(store.remove(TOPIC, info.client, info.user) for info in everyone[::2]),
            store.add("chat:2", ANN),
        )
        assert not restoring.done()
        gone = await restoring
        assert len(gone) <= 3500
        assert {info.client for info in everyone[1::2]} <= {info.client for _, info in gone}
        assert await store.get(TOPIC) == {info.client: info for info in everyone[1::2]}
        assert await store.stats(TOPIC) == PresenceStats(3000, 2000)


async def test_who_had_gone_is_told_by_the_restore_that_succeeds(postgres_url: str) -> None:
    everyone = crowd(4000)
    async with nodes(postgres_url, LONG) as (store,), connected(postgres_url) as connection:
        restoring = asyncio.create_task(store.restore({TOPIC: everyone}))
        async with asyncio.timeout(10):
            while (await store.stats(TOPIC)).clients < 1000:
                await asyncio.sleep(0)
        cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%presence_change%'"
        await connection.execute(f"{cut} AND pid <> pg_backend_pid() AND datname = current_database()")
        with pytest.raises(BrokerError):
            await restoring
        there = set(await store.get(TOPIC))
        assert 1000 <= len(there) < 4000
        told = ids(await store.restore({TOPIC: everyone}))
        assert len(told) == len(set(told))
        assert len(told) >= 3000, "all but those of a batch whose answer was lost, at most"
        assert await store.restore({TOPIC: everyone}) == []
        assert await store.stats(TOPIC) == PresenceStats(4000, 1334)


@pytest.mark.timeout(60)
async def test_change_that_a_hanging_server_makes_late_undoes_no_later_one(
    postgres_server: PostgresServer, postgres_url: str
) -> None:
    async with nodes(postgres_url, LONG) as (store,), connected(postgres_url) as connection:
        await store.renew()
        await store.add(TOPIC, BOB)
        began = time.monotonic()
        with postgres_server.frozen():
            waiting = [asyncio.create_task(store.add(TOPIC, ANN)) for _ in range(3)]
            with pytest.raises(BrokerError):
                await store.stats(TOPIC)
            for each in waiting:
                with pytest.raises(BrokerError):
                    await each
            assert time.monotonic() - began < 8
        await store.remove(TOPIC, "c-1", "ann")
        await asyncio.sleep(0.5)
        assert await store.get(TOPIC) == {"c-2": BOB}
        # The same for certain: a change of an earlier turn.
        change = "SELECT * FROM test_presence_change($1, 'n0', 30, 1, $2, $3, $4, $5, $5)"
        await connection.fetch(change, store._owner, [b"chat:lobby"], [b"c-1"], [b"ann"], [None])
        assert await store.get(TOPIC) == {"c-2": BOB}


async def test_nodes_start_at_once_beside_the_table_of_an_earlier_release(postgres_url: str) -> None:
    async with connected(postgres_url) as connection:
        await connection.execute("""
          CREATE UNLOGGED TABLE test_presence (
            topic bytea NOT NULL, client bytea NOT NULL, member bytea NOT NULL, info bytea NOT NULL,
            until timestamptz NOT NULL, PRIMARY KEY (topic, client));
          INSERT INTO test_presence VALUES ('chat:lobby', 'old', 'old', '[null,null]', now() + interval '1 hour')
        """)
    async with nodes(postgres_url, *[LONG] * 5) as stores:
        assert await asyncio.gather(*(each.renew() for each in stores)) == [Lease.LOST] * 5
        await asyncio.gather(
            *(each.add(TOPIC, ClientInfo("u", f"c{number}")) for number, each in enumerate(stores))
        )
        assert await stores[0].stats(TOPIC) == PresenceStats(5, 1)


async def test_dropped_tables_are_made_anew(postgres_url: str) -> None:
    async with nodes(postgres_url, LONG) as (store,), connected(postgres_url) as connection:
        await store.renew()
        await store.add(TOPIC, ANN)
        await connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
        for _ in range(6):
            with suppress(BrokerError):
                await store.stats(TOPIC)
            with suppress(BrokerError):
                await store.remove(TOPIC, "c-9", "x")
        assert await store.stats(TOPIC) == PresenceStats(0, 0)
        assert await store.renew() is Lease.LOST
        assert ids(await store.restore({TOPIC: [ANN]})) == ["c-1"]
        assert await store.get(TOPIC) == {"c-1": ANN}


async def test_tables_of_another_release_are_refused(postgres_url: str) -> None:
    async with nodes(postgres_url, LONG) as (store,), connected(postgres_url) as connection:
        await store.add(TOPIC, ANN)
        await connection.execute("INSERT INTO test_presence_schema VALUES (9)")
        async with nodes(postgres_url, LONG) as (other,):
            with pytest.raises(BrokerError, match="version 9, this hub knows 1"):
                await other.stats(TOPIC)


async def test_leases_that_ended_are_forgotten_after_a_while(postgres_url: str) -> None:
    async with nodes(postgres_url, SHORT, LONG) as (late, other), connected(postgres_url) as connection:
        await late.renew()
        await late.add(TOPIC, ANN)
        await asyncio.sleep(SHORT * 1.2)
        assert ids(await other.sweep(10)) == ["c-1"]
        age = "UPDATE test_presence_owner SET until = until - $1 * interval '1 hour' WHERE until < now()"
        await connection.execute(age, 23)
        assert await other.sweep(10) == []
        assert (
            await connection.fetchval("SELECT count(*) FROM test_presence_owner WHERE state = 'swept'") == 1
        )
        await connection.execute(age, 2)
        assert await other.sweep(10) == []
        await other.add(TOPIC, BOB)
        await late.stop()
        await connection.execute(age, 2)
        assert await other.sweep(10) == []
        assert await connection.fetchval("SELECT count(*) FROM test_presence_owner WHERE until < now()") <= 1
        assert await late_again(postgres_url) is Lease.LOST


async def late_again(url: str) -> Lease:
    async with nodes(url, SHORT) as (late,):
        return await late.renew()


@pytest.mark.parametrize("prefix", ["", "a b", 'a"b', "x" * 41])
def test_prefix_that_cannot_be_part_of_a_name_is_refused(prefix: str) -> None:
    with pytest.raises(HubError, match="prefix"):
        PostgresPresence("postgresql://localhost/x", prefix=prefix, node="n", lease=1)
