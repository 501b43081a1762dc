"""The broker on a real PostgreSQL that is killed, frozen, shared by nodes and written to by applications."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import asyncpg
import pytest

from hub.broker.base import Outgoing
from hub.broker.factory import make_broker
from hub.broker.postgres import reader, relay
from hub.broker.postgres.broker import PostgresBroker
from hub.errors import BrokerError, TopicError
from hub.model import HistoryOptions, HistoryQuery, Position, Publication
from tests.contract.bridged import ALL, KEPT, TOPIC, Hub, eventually, position, running
from tests.services.postgres import PostgresServer

PLAIN = "plain:topic"


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        connection.terminate()


@asynccontextmanager
async def nodes(url: str, count: int) -> AsyncIterator[list[Hub]]:
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(running(make_broker(url, prefix="test"))) for _ in range(count)
        ]


def broker_of(hub: Hub) -> PostgresBroker:
    assert isinstance(hub.broker, PostgresBroker)
    return hub.broker


async def published(hub: Hub, raw: bytes, *, within: float = 15) -> Position:
    """Publishes as a backend does: again and again, with one idempotency key, until the broker takes it."""
    async with asyncio.timeout(within):
        while True:
            try:
                return position(await hub.publish(raw, key=raw.decode()))
            except BrokerError:
                await asyncio.sleep(0.05)


@pytest.mark.usefixtures("patient")
async def test_nodes_that_start_at_once_make_one_schema_and_see_one_order(postgres_url: str) -> None:
    hubs = [Hub(make_broker(postgres_url, prefix="test")) for _ in range(4)]
    await asyncio.gather(*(hub.bridge.start() for hub in hubs))
    for hub in hubs:
        assert hub.broker.connected
        await hub.bridge.subscribe(TOPIC)
    results = await asyncio.gather(*(hubs[number % 4].publish(b"%d" % number) for number in range(200)))
    assert sorted(position(result).offset for result in results) == list(range(1, 201))
    by_offset = {position(result).offset: b"%d" % number for number, result in enumerate(results)}
    for hub in hubs:
        await eventually(lambda hub=hub: len(hub.recorder.publications(TOPIC)) == 200)  # type: ignore[misc]
        assert hub.recorder.offsets(TOPIC) == list(range(1, 201))
        assert hub.recorder.raws(TOPIC) == [by_offset[offset] for offset in range(1, 201)]
        assert hub.recorder.gaps(TOPIC) == []
    await asyncio.gather(*(hub.bridge.stop() for hub in hubs))


@pytest.mark.usefixtures("patient")
async def test_batches_over_the_same_topics_in_any_order_never_fail(postgres_url: str) -> None:
    async with nodes(postgres_url, 2) as hubs:
        topics = [f"t:{number}" for number in range(30)]
        for round_ in range(10):
            orders = (topics, topics[::-1])
            await asyncio.gather(
                *(
                    hub.publish(b"1", topic, key=f"{round_} {at}")
                    for at, hub in enumerate(hubs)
                    for topic in orders[at]
                )
            )
        for topic in topics:
            assert (await hubs[0].bridge.position(topic)).offset == 20


async def test_prefixes_and_databases_keep_hubs_apart(postgres_url: str) -> None:
    async with AsyncExitStack() as stack:
        one, other = [
            await stack.enter_async_context(running(make_broker(postgres_url, prefix=prefix)))
            for prefix in ("test", "Test.2-x")
        ]
        for hub in (one, other):
            await hub.bridge.subscribe(TOPIC)
        await one.publish(b"1")
        await other.publish(b"other")
        await eventually(lambda: bool(one.recorder.seen[TOPIC]) and bool(other.recorder.seen[TOPIC]))
        assert (one.recorder.raws(TOPIC), other.recorder.raws(TOPIC)) == ([b"1"], [b"other"])


async def test_control_messages_reach_every_node(postgres_url: str) -> None:
    async with nodes(postgres_url, 2) as hubs:
        got: list[list[bytes]] = [[], []]
        for hub, into in zip(hubs, got, strict=True):
            hub.bridge.on_control = into.append
        await hubs[0].bridge.control(b"now")
        await eventually(lambda: got == [[b"now"], [b"now"]])


async def test_other_node_hears_at_once_not_with_its_next_look(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "POLL_SECONDS", 60)
    async with nodes(postgres_url, 2) as (here, there):
        await there.bridge.subscribe(TOPIC)
        for number in range(20):
            began = time.monotonic()
            await here.publish(b"%d" % number)
            await eventually(lambda number=number: len(there.recorder.seen[TOPIC]) == number + 1)  # type: ignore[misc]
            assert time.monotonic() - began < 10


async def test_missed_ring_costs_a_second_and_no_publication(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with nodes(postgres_url, 2) as (here, there):
        await there.bridge.subscribe(TOPIC)
        monkeypatch.setattr(broker_of(there)._reader, "_heard", lambda _: None)
        broker_of(there)._reader._is_own = lambda _: True
        began = time.monotonic()
        await asyncio.gather(*(here.publish(b"%d" % number) for number in range(50)))
        await eventually(lambda: there.recorder.offsets(TOPIC) == list(range(1, 51)))
        assert time.monotonic() - began < 10


async def test_killed_postgresql_fails_fast_and_keeps_history_and_epoch(
    postgres_server: PostgresServer, postgres_url: str
) -> None:
    async with running(make_broker(postgres_url, prefix="test")) as hub:
        await hub.bridge.subscribe(TOPIC)
        await hub.bridge.subscribe(PLAIN)
        before = position(await hub.publish(b"before"))
        await eventually(lambda: hub.bridge.ready)
        postgres_server.kill()
        await eventually(lambda: not hub.bridge.ready)
        for _ in range(3):
            began = time.monotonic()
            with pytest.raises(BrokerError) as refused:
                await hub.publish(b"between")
            assert not refused.value.unknown
            with pytest.raises(BrokerError):
                await hub.bridge.history(TOPIC, ALL)
            assert time.monotonic() - began < 3
        began = time.monotonic()
        await hub.bridge.subscribe("made:meanwhile")
        assert time.monotonic() - began < 2.5
        postgres_server.start()
        after = await published(hub, b"after")
        assert after == Position(2, before.epoch)
        topics = (TOPIC, PLAIN, "made:meanwhile")
        await eventually(lambda: all(hub.recorder.gaps(topic) for topic in topics))
        for topic in topics:
            await hub.publish(b"later", topic, history=None)
            await eventually(lambda topic=topic: hub.recorder.after_gap(topic)[-1:] == [b"later"])  # type: ignore[misc]
            assert len(hub.recorder.gaps(topic)) == 1
        assert await hub.raws() == [b"before", b"after"]
        await eventually(lambda: hub.bridge.ready)
        assert hub.broker.reconnects == 1
        assert hub.bridge.rebuilds == 0


async def test_acknowledged_publications_survive_a_crash(
    postgres_server: PostgresServer, postgres_url: str
) -> None:
    """Whatever the server's own setting: the tests' server would acknowledge commits before they are written."""
    async with running(make_broker(postgres_url, prefix="test")) as hub:
        acknowledged: list[bytes] = []

        async def publish() -> None:
            for number in range(10_000):
                raw = b"%d" % number
                await hub.publish(raw, history=HistoryOptions(20_000, 60))
                acknowledged.append(raw)

        publisher = asyncio.create_task(publish())
        await eventually(lambda: len(acknowledged) > 100)
        postgres_server.kill()
        with pytest.raises(BrokerError):
            await publisher
        await eventually(lambda: not hub.bridge.ready)
        postgres_server.start()
        await eventually(lambda: hub.bridge.ready)
        kept = await hub.raws()
        assert kept[: len(acknowledged)] == acknowledged
        assert len(kept) <= len(acknowledged) + 1


async def test_lost_connection_alone_loses_nothing_and_tells_no_gap(postgres_url: str) -> None:
    async with nodes(postgres_url, 2) as (here, there), connected(postgres_url) as admin:
        await there.bridge.subscribe(TOPIC)
        await there.bridge.subscribe(PLAIN)
        sent = 0
        for number in range(1, 6):
            await admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name = 'topichub' AND query LIKE '%fresh AS%'"
            )
            for _ in range(20):
                sent += 1
                await here.publish(b"%d" % sent)
                await here.publish(b"%d" % sent, PLAIN, history=None)
            await eventually(lambda number=number: there.broker.reconnects >= number)  # type: ignore[misc]
        expected = [b"%d" % number for number in range(1, sent + 1)]
        await eventually(lambda: there.recorder.raws(PLAIN) == expected)
        await eventually(lambda: there.recorder.raws(TOPIC) == expected)
        assert there.recorder.gaps(TOPIC) == there.recorder.gaps(PLAIN) == []


async def test_node_that_was_away_for_too_long_tells_a_gap(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "STALE_SECONDS", 0.3)
    monkeypatch.setattr(reader, "POLL_SECONDS", 0.1)
    async with nodes(postgres_url, 1) as (hub,), connected(postgres_url) as admin:
        await hub.bridge.subscribe(TOPIC)
        async with admin.transaction():
            await admin.execute("LOCK TABLE test_broker_publication IN ACCESS EXCLUSIVE MODE")
            await asyncio.sleep(0.6)
        await eventually(lambda: bool(hub.recorder.gaps(TOPIC)))
        await eventually(lambda: hub.broker.connected)
        await published(hub, b"later")
        await eventually(lambda: hub.recorder.after_gap(TOPIC) == [b"later"])


async def test_frozen_postgresql_answers_unknown_in_time_and_flow_resumes(
    postgres_server: PostgresServer, postgres_url: str
) -> None:
    async with running(make_broker(postgres_url, prefix="test")) as hub:
        await hub.bridge.subscribe(TOPIC)
        await hub.bridge.subscribe(PLAIN)
        await hub.publish(b"before")
        # What is published behind the ring of the one before would not be sent, and that is no doubt.
        await eventually(lambda: hub.broker._lane._task is None)
        with postgres_server.frozen():
            began = time.monotonic()
            with pytest.raises(BrokerError) as first:
                await hub.publish(b"during", key="during")
            assert first.value.unknown
            assert time.monotonic() - began < 8
            with pytest.raises(BrokerError) as second:
                await hub.publish(b"not sent")
            assert not second.value.unknown
            await eventually(lambda: not hub.broker.connected)
            assert time.monotonic() - began < 12
            assert not hub.bridge.ready
            await asyncio.sleep(max(0.0, 6 - (time.monotonic() - began)))
        await published(hub, b"during")
        await published(hub, b"after")
        await eventually(lambda: hub.recorder.raws(TOPIC) == [b"before", b"during", b"after"])
        assert await hub.raws() == [b"before", b"during", b"after"]
        assert hub.recorder.gaps(TOPIC) == hub.recorder.gaps(PLAIN) == []


async def test_hub_starts_without_postgresql_and_joins_it_later(
    postgres_server: PostgresServer, postgres_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    postgres_server.kill()
    began = time.monotonic()
    async with running(make_broker(postgres_url, prefix="test")) as hub:
        assert time.monotonic() - began < 8
        assert not hub.bridge.ready
        await hub.bridge.subscribe(TOPIC)
        postgres_server.start()
        await eventually(lambda: hub.bridge.ready)
        await published(hub, b"1")
        await eventually(lambda: hub.recorder.after_gap(TOPIC) == [b"1"])
    assert "no connection to PostgreSQL" in caplog.text
    assert "correct-horse" not in caplog.text


async def test_dropped_tables_are_made_anew_under_a_new_epoch(postgres_url: str) -> None:
    async with running(make_broker(postgres_url, prefix="test")) as hub, connected(postgres_url) as admin:
        await hub.bridge.subscribe(TOPIC)
        before = position(await hub.publish(b"1"))
        await admin.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
        after = await published(hub, b"2")
        assert after.offset == 1
        assert after.epoch != before.epoch
        await eventually(lambda: bool(hub.recorder.gaps(TOPIC)))


async def test_failover_that_may_reuse_offsets_begins_a_new_epoch(postgres_url: str) -> None:
    async with running(make_broker(postgres_url, prefix="test")) as hub:
        first = position(await hub.publish(b"1"))
        broker_of(hub)._archive._schema.run = "00000009:1"
        kept = await hub.bridge.history(TOPIC, ALL)
        assert kept.position.offset == 1
        assert kept.position.epoch != first.epoch
        assert [each.position for each in kept.publications] == [kept.position]
        assert position(await hub.publish(b"2")) == Position(2, kept.position.epoch)
        assert (await hub.bridge.history(TOPIC, HistoryQuery(limit=-1, since=first))).publications == []


async def test_transaction_that_commits_late_loses_nothing_and_delays_nobody(postgres_url: str) -> None:
    """Its rows have lower numbers than those that were read before it: "above the last number" would lose them."""
    async with running(make_broker(postgres_url, prefix="test")) as hub, connected(postgres_url) as slow:
        await hub.bridge.subscribe("late:kept")
        await hub.bridge.subscribe("late:plain")
        await hub.bridge.subscribe(TOPIC)
        transaction = slow.transaction()
        await transaction.start()
        await publish_by_sql(slow, broker_of(hub), {"late:kept": 10, "late:plain": None})
        for number in range(1, 31):
            await hub.publish(b"%d" % number)
        await eventually(lambda: hub.recorder.offsets(TOPIC) == list(range(1, 31)))
        assert not hub.recorder.seen["late:kept"]
        await transaction.commit()
        await eventually(lambda: hub.recorder.raws("late:kept") == [b"late"])
        await eventually(lambda: hub.recorder.raws("late:plain") == [b"late"])
        await hub.publish(b"31")
        await eventually(lambda: hub.recorder.offsets(TOPIC) == list(range(1, 32)))
        assert hub.recorder.raws("late:kept") == [b"late"]


async def publish_by_sql(connection: Any, broker: PostgresBroker, sizes: dict[str, int | None]) -> None:
    """Publishes `late` as a node does, but inside the transaction of this connection."""
    count = len(sizes)
    await connection.execute(
        "SELECT offsets FROM test_broker_publish($1, 'freshepoch', 60, $2, $3, $4, $5, $5, $6, $5, $7, $8, NULL)",
        broker._lane._schema.run,
        [topic.encode() for topic in sizes],
        [b"1{}\nlate"] * count,
        list(sizes.values()),
        [60.0] * count,
        [None] * count,
        ["0"] * count,
        [b""] * count,
    )


async def test_transactions_that_commit_in_any_order_deliver_each_row_once(postgres_url: str) -> None:
    async with running(make_broker(postgres_url, prefix="test")) as hub:
        topics = [f"t:{number}" for number in range(40)]
        for topic in topics:
            await hub.bridge.subscribe(topic)

        async def transact(number: int) -> None:
            async with connected(postgres_url) as connection:
                for topic in topics[number::8]:
                    async with connection.transaction():
                        await publish_by_sql(connection, broker_of(hub), {topic: 5, f"{topic}x": None})
                        await asyncio.sleep(0.03 * (number % 4))
                    await hub.publish(b"between")

        await asyncio.gather(*(transact(number) for number in range(8)))
        await eventually(lambda: all(hub.recorder.seen[topic] for topic in topics))
        await asyncio.sleep(1.2)
        assert all(hub.recorder.raws(topic) == [b"late"] for topic in topics)


@pytest.mark.usefixtures("patient")
async def test_publications_by_the_thousand_come_page_by_page_in_order(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with nodes(postgres_url, 2) as (here, there), connected(postgres_url) as admin:
        await there.bridge.subscribe(TOPIC)
        await admin.execute("BEGIN; LOCK TABLE test_broker_passing IN ACCESS EXCLUSIVE MODE")
        unlocking = asyncio.create_task(asyncio.sleep(1.5))
        kept = HistoryOptions(10_000, 60)
        locked = asyncio.gather(
            *(here.publish(b"%d" % number + b" " * 4000, history=kept) for number in range(5000)),
            return_exceptions=True,
        )
        await unlocking
        await admin.execute("ROLLBACK")
        await locked
        top = (await here.bridge.position(TOPIC)).offset
        assert top >= 4000
        await eventually(lambda: there.recorder.offsets(TOPIC)[-1:] == [top], within=15)
        assert there.recorder.offsets(TOPIC) == list(range(1, top + 1))


async def test_application_publishes_inside_its_own_transaction(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "IDLE_SECONDS", 60)  # the nodes are rung
    async with nodes(postgres_url, 2) as hubs, connected(postgres_url) as app:
        for hub in hubs:
            hub.broker.history_of = lambda topic: HistoryOptions(2, 60) if topic == TOPIC else None
            await hub.bridge.subscribe(TOPIC)
            await hub.bridge.subscribe(PLAIN)
        async with app.transaction():
            for number in range(3):
                await app.execute("SELECT test_publish($1, $2)", TOPIC, json.dumps({"n": number}))
            await app.execute("SELECT test_publish($1, '[1]', '{\"k\": \"v\"}')", PLAIN)
            await asyncio.sleep(0.2)
            assert not hubs[0].recorder.seen
        began = time.monotonic()
        expected = [b'{"n": %d}' % number for number in range(3)]
        for hub in hubs:
            await eventually(lambda hub=hub: hub.recorder.raws(TOPIC) == expected)  # type: ignore[misc]
            await eventually(lambda hub=hub: hub.recorder.raws(PLAIN) == [b"[1]"])  # type: ignore[misc]
            assert hub.recorder.offsets(TOPIC) == [1, 2, 3]
            assert hub.recorder.publications(PLAIN)[0].tags == {"k": "v"}
            assert hub.recorder.publications(PLAIN)[0].time > 1_700_000_000_000
        assert time.monotonic() - began < 10
        assert await hubs[1].raws() == expected[1:]
        assert await app.fetchval("SELECT count(*) FROM test_broker_outbox") == 0


async def test_transaction_that_is_rolled_back_publishes_nothing(postgres_url: str) -> None:
    async with nodes(postgres_url, 1) as (hub,), connected(postgres_url) as app:
        await hub.bridge.subscribe(TOPIC)
        transaction = app.transaction()
        await transaction.start()
        await app.execute("SELECT test_publish($1, '1')", TOPIC)
        await transaction.rollback()
        await app.execute("SELECT test_publish($1, '2')", TOPIC)
        await eventually(lambda: hub.recorder.raws(TOPIC) == [b"2"])


async def test_open_transaction_of_an_application_delays_no_other_publication(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "IDLE_SECONDS", 60)  # the node is rung
    async with (
        nodes(postgres_url, 1) as (hub,),
        connected(postgres_url) as slow,
        connected(postgres_url) as app,
    ):
        hub.broker.history_of = lambda _: KEPT
        await hub.bridge.subscribe(TOPIC)
        async with slow.transaction():
            await slow.execute("SELECT test_publish($1, '\"slow\"')", TOPIC)
            for number in range(10):
                began = time.monotonic()
                await app.execute("SELECT test_publish($1, '\"quick\"')", TOPIC)
                await hub.publish(b'"node"')
                await eventually(lambda number=number: len(hub.recorder.seen[TOPIC]) == 2 * number + 2)  # type: ignore[misc]
                assert time.monotonic() - began < 10
        await eventually(lambda: hub.recorder.raws(TOPIC)[-1:] == [b'"slow"'])
        assert hub.recorder.offsets(TOPIC) == list(range(1, 22))


@pytest.mark.usefixtures("patient")
async def test_many_applications_at_once_are_each_carried_once(postgres_url: str) -> None:
    async with nodes(postgres_url, 3) as hubs:
        for hub in hubs:
            hub.broker.history_of = lambda _: KEPT
            await hub.bridge.subscribe(TOPIC)

        async def apply(number: int) -> None:
            async with connected(postgres_url) as app:
                for at in range(20):
                    await app.execute("SELECT test_publish($1, $2)", TOPIC, f'"{number}.{at}"')

        began = time.monotonic()
        await asyncio.gather(*(apply(number) for number in range(10)))
        for hub in hubs:
            await eventually(lambda hub=hub: len(hub.recorder.seen[TOPIC]) == 200)  # type: ignore[misc]
            assert hub.recorder.offsets(TOPIC) == list(range(1, 201))
            for number in range(10):
                own = [raw for raw in hub.recorder.raws(TOPIC) if raw.startswith(b'"%d.' % number)]
                assert own == [b'"%d.%d"' % (number, at) for at in range(20)]
        assert time.monotonic() - began < 20


async def test_application_keys_and_versions_count_like_any_other(postgres_url: str) -> None:
    async with nodes(postgres_url, 1) as (hub,), connected(postgres_url) as app:
        hub.broker.history_of = lambda _: KEPT
        await hub.bridge.subscribe(TOPIC)
        await hub.publish(b'"node"', key="k")
        await app.execute("SELECT test_publish($1, '1', idempotency_key => 'k')", TOPIC)
        for version in (2, 1, 3):
            await app.execute("SELECT test_publish($1, $2, version => $3)", TOPIC, str(version), version)
        await eventually(lambda: hub.recorder.raws(TOPIC)[-1:] == [b"3"])
        assert hub.recorder.raws(TOPIC) == [b'"node"', b"2", b"3"]


async def test_application_publishing_on_an_unknown_topic_is_told_in_the_log(
    postgres_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    def history_of(topic: str) -> HistoryOptions | None:
        if topic != TOPIC:
            raise TopicError("no pattern matches it")
        return KEPT

    async with nodes(postgres_url, 1) as (hub,), connected(postgres_url) as app:
        hub.broker.history_of = history_of
        await hub.bridge.subscribe(TOPIC)
        await app.execute("SELECT test_publish('who:knows', '1')")
        await app.execute("SELECT test_publish($1, '2')", TOPIC)
        await eventually(lambda: hub.recorder.raws(TOPIC) == [b"2"])
        assert "'who:knows', which is dropped: no pattern matches it" in caplog.text


@pytest.mark.parametrize(
    "call",
    [
        "test_publish('', '1')",
        "test_publish(NULL, '1')",
        "test_publish(repeat('x', 256), '1')",
        "test_publish('t', NULL)",
        "test_publish('t', to_jsonb(repeat('x', 1000001)))",
        "test_publish('t', '1', '[]')",
        "test_publish('t', '1', '{\"a\": 1}')",
        "test_publish('t', 'no json')",
    ],
)
async def test_application_learns_at_once_what_cannot_be_published(postgres_url: str, call: str) -> None:
    async with nodes(postgres_url, 1), connected(postgres_url) as app:
        with pytest.raises(asyncpg.DataError):
            await app.execute(f"SELECT {call}")


async def test_only_those_who_were_granted_it_may_publish_with_sql(postgres_url: str) -> None:
    async with nodes(postgres_url, 1) as (hub,), connected(postgres_url) as admin:
        await hub.bridge.subscribe(TOPIC)
        await admin.execute("DROP ROLE IF EXISTS hub_test_app; CREATE ROLE hub_test_app")
        try:
            await admin.execute("SET ROLE hub_test_app")
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await admin.execute("SELECT test_publish($1, '1')", TOPIC)
            await admin.execute("RESET ROLE")
            await admin.execute("GRANT EXECUTE ON FUNCTION test_publish TO hub_test_app")
            await admin.execute("SET ROLE hub_test_app; SET search_path = pg_temp")
            await admin.execute("SELECT public.test_publish($1, '2')", TOPIC)
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await admin.execute("SELECT * FROM public.test_broker_outbox")
            await eventually(lambda: hub.recorder.raws(TOPIC) == [b"2"])
        finally:
            await admin.execute("RESET ROLE; RESET search_path")
            await admin.execute("DROP OWNED BY hub_test_app; DROP ROLE hub_test_app")


@pytest.mark.usefixtures("patient")
async def test_publishes_of_one_tick_share_few_transactions_and_rings(postgres_url: str) -> None:
    async with nodes(postgres_url, 1) as (hub,), connected(postgres_url) as listener:
        rings: list[str] = []
        await listener.add_listener("test_broker", lambda *ring: rings.append(ring[3]))
        await hub.publish(b"0")
        await asyncio.sleep(0.1)
        rings.clear()
        pool = broker_of(hub)._pools[0]
        (link,) = pool._idle
        commands = 0
        fetch = link.fetch

        async def counted(statement: str, *arguments: Any) -> list[Any]:
            nonlocal commands
            commands += 1
            return await fetch(statement, *arguments)

        link.fetch = counted  # type: ignore[method-assign]
        before = await listener.fetchval("SELECT count(DISTINCT xid::text) FROM test_broker_publication")
        await asyncio.gather(*(hub.publish(b"%d" % number) for number in range(1000)))
        after = await listener.fetchval("SELECT count(DISTINCT xid::text) FROM test_broker_publication")
        await asyncio.sleep(0.2)
        assert 1 <= after - before <= 4
        assert 1 <= len(rings) <= 4
        assert commands <= 8


async def test_payload_far_beyond_a_notification_passes_with_and_without_history(postgres_url: str) -> None:
    async with nodes(postgres_url, 2) as (here, there):
        await there.bridge.subscribe(TOPIC)
        raws = [b'"%s"' % (bytes([65 + number]) * 20_000) for number in range(20)]
        for number, raw in enumerate(raws):
            await here.publish(raw, history=KEPT if number % 2 else None)
        await eventually(lambda: there.recorder.raws(TOPIC) == raws)


@pytest.mark.usefixtures("patient")
async def test_burst_beyond_a_short_history_is_delivered_whole(postgres_url: str) -> None:
    async with nodes(postgres_url, 2) as (here, there):
        await there.bridge.subscribe(TOPIC)
        last_only = HistoryOptions(size=1, ttl=0.001)
        await asyncio.gather(*(here.publish(b"%d" % number, history=last_only) for number in range(700)))
        await eventually(lambda: there.recorder.offsets(TOPIC) == list(range(1, 701)))


@pytest.mark.usefixtures("patient")
async def test_trimming_deletes_what_nobody_can_read_and_nothing_else(postgres_url: str) -> None:
    async with nodes(postgres_url, 1) as (hub,), connected(postgres_url) as admin:

        async def rows(table: str) -> int:
            return len(await admin.fetch(f"TABLE test_broker_{table}"))

        async def trim() -> None:
            while await broker_of(hub)._trimmer.trim(carry=0.0, budget=100):
                pass

        await asyncio.gather(*(hub.publish(b"%d" % n, history=HistoryOptions(50, 60)) for n in range(300)))
        brief = HistoryOptions(1000, 0.3, meta_ttl=60)
        await asyncio.gather(*(hub.publish(b"%d" % n, "t:brief", history=brief) for n in range(250)))
        gone = HistoryOptions(1000, 0.3, meta_ttl=0.3)
        await asyncio.gather(*(hub.publish(b"%d" % n, "t:gone", history=gone) for n in range(250)))
        await asyncio.gather(*(hub.publish(b"%d" % n, PLAIN, history=None) for n in range(250)))
        keyed = [
            Outgoing(Publication("t:keyed", b"1"), KEPT, str(n), idempotency_ttl=0.3) for n in range(250)
        ]
        await asyncio.gather(*(hub.bridge.publish(each) for each in keyed))
        assert not await broker_of(hub)._trimmer.trim()
        assert await rows("publication") == 300 + 250 + 250 + 250
        await admin.execute("UPDATE test_broker_topic SET due = now() WHERE due IS NOT NULL")
        await asyncio.sleep(0.4)
        await trim()
        assert await rows("passing") < 10  # the probe's may have come since
        assert await rows("result") == 0
        assert await rows("stale") == 0
        assert await rows("publication") == 50 + 250
        assert await hub.raws() == [b"%d" % n for n in range(250, 300)]
        assert (await hub.bridge.position(TOPIC)).offset == 300
        assert (await hub.bridge.position("t:brief")).offset == 250
        assert await hub.raws("t:brief") == []
        assert (await hub.bridge.position("t:gone")).offset == 0
        await hub.bridge.remove_history(TOPIC)
        await trim()
        assert await rows("publication") == 250
        assert (await hub.publish(b"x")).position == Position(301, (await hub.bridge.position(TOPIC)).epoch)
        assert await hub.raws() == [b"x"]


@pytest.mark.usefixtures("patient")
async def test_only_one_node_trims_at_a_time(postgres_url: str) -> None:
    async with nodes(postgres_url, 3) as hubs:
        await asyncio.gather(*(hubs[0].publish(b"%d" % n, PLAIN, history=None) for n in range(400)))
        await asyncio.gather(
            *(broker_of(hub)._trimmer.trim(carry=0.0, budget=50) for hub in hubs for _ in range(10))
        )
        await hubs[0].publish(b"x")
        assert all(hub.broker.connected for hub in hubs)


async def test_publish_given_up_before_it_was_sent_is_not_sent(postgres_url: str) -> None:
    async with nodes(postgres_url, 1) as (hub,):
        await hub.publish(b"1")
        for _ in range(10):
            given_up, kept = (asyncio.create_task(hub.publish(raw)) for raw in (b"given up", b"kept"))
            await asyncio.sleep(0)
            given_up.cancel()
            await kept
            assert given_up.cancelled()
        assert await hub.raws() == [b"1", *[b"kept"] * 10]


async def test_locked_topic_is_refused_in_time_and_the_next_batch_passes(postgres_url: str) -> None:
    async with nodes(postgres_url, 1) as (hub,), connected(postgres_url) as admin:
        await hub.publish(b"1")
        async with admin.transaction():
            await admin.execute("SELECT * FROM test_broker_topic FOR UPDATE")
            began = time.monotonic()
            with pytest.raises(BrokerError) as refused:
                await hub.publish(b"2")
            assert not refused.value.unknown
            assert time.monotonic() - began < 8
        await hub.publish(b"3")
        assert await hub.raws() == [b"1", b"3"]


@pytest.mark.usefixtures("patient")
async def test_thousands_of_topics_are_subscribed_and_read_within_seconds(postgres_url: str) -> None:
    async with nodes(postgres_url, 1) as (hub,):
        topics = [f"many:{number}" for number in range(2000)]
        began = time.monotonic()
        await asyncio.gather(*(hub.bridge.subscribe(topic) for topic in topics))
        await asyncio.gather(*(hub.publish(topic.encode(), topic) for topic in topics))
        await eventually(
            lambda: all(hub.recorder.raws(topic) == [topic.encode()] for topic in topics), within=20
        )
        assert time.monotonic() - began < 25


async def test_idempotency_key_of_any_length_is_remembered(postgres_url: str) -> None:
    async with nodes(postgres_url, 1) as (hub,):
        for key in ("x" * 10_000, "x" * 10_001, "é" * 3000):
            first = await hub.publish(b"1", key=key)
            assert (await hub.publish(b"1", key=key)).position == first.position
        assert len(await hub.raws()) == 3


async def test_foreign_row_is_a_gap_and_harms_nothing(postgres_url: str) -> None:
    async with nodes(postgres_url, 1) as (hub,), connected(postgres_url) as admin:
        await hub.bridge.subscribe(PLAIN)
        for junk in (b"", b"junk", b"2{}\n1", b"1{\n1", b"1[]\n1", b"1{\xff\n1"):
            await admin.execute(
                "INSERT INTO test_broker_passing (seq, topic, body)"
                " VALUES (nextval('test_broker_seq'), $1, $2)",
                PLAIN.encode(),
                junk,
            )
        await hub.publish(b"1", PLAIN, history=None)
        await eventually(lambda: hub.recorder.after_gap(PLAIN) == [b"1"])


async def test_wrong_password_is_never_told(postgres_url: str, caplog: pytest.LogCaptureFixture) -> None:
    url = postgres_url.replace("correct-horse", "wr0ng-secret")
    async with running(make_broker(url, prefix="test")) as hub:
        assert not hub.bridge.ready
        with pytest.raises(BrokerError) as refused:
            await hub.publish(b"1")
        assert "wr0ng-secret" not in f"{refused.value}{caplog.text}"
        assert "no connection to PostgreSQL" in caplog.text


async def test_idempotent_retry_after_an_unknown_outcome_is_stored_once(
    postgres_server: PostgresServer, postgres_url: str
) -> None:
    async with running(make_broker(postgres_url, prefix="test")) as hub:
        await hub.publish(b"0")
        await asyncio.sleep(0.2)  # until nothing is under way
        with postgres_server.frozen():
            outgoing = [Outgoing(Publication(TOPIC, b"%d" % n), KEPT, idempotency_key=f"{n}") for n in (1, 2)]
            outcomes = await asyncio.gather(
                *(hub.bridge.publish(each) for each in outgoing), return_exceptions=True
            )
            assert [isinstance(each, BrokerError) and each.unknown for each in outcomes] == [True, True]
        for number in (1, 2):
            await published(hub, b"%d" % number)
        assert await hub.raws() == [b"0", b"1", b"2"]
