"""The broker on a real Redis that is killed, frozen, emptied, shared by nodes and secured."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import redis
import redis.asyncio

from hub.broker.base import Outgoing
from hub.broker.factory import make_broker
from hub.errors import BrokerError, HubError
from hub.model import HistoryOptions, HistoryQuery, Position, Publication
from tests.contract.bridged import ALL, KEPT, TOPIC, Hub, eventually, position, running
from tests.services.missing import find_program, unavailable
from tests.services.redis import REMEDY, RedisServer

PLAIN = "plain:topic"


@pytest.fixture
def second_server(tmp_path: Path) -> Iterator[RedisServer]:
    program = find_program("redis-server", "valkey-server")
    if program is None:
        unavailable("redis-server", REMEDY)
    server = RedisServer(program, tmp_path)
    server.start()
    yield server
    server.kill()


async def published(hub: Hub, raw: bytes, *, within: float = 15) -> Position:
    """Publishes as a backend does: again and again, with one idempotency key, until the broker takes it."""
    async with asyncio.timeout(within):
        while True:
            try:
                return position(await hub.publish(raw, key=raw.decode()))
            except BrokerError:
                await asyncio.sleep(0.05)


async def test_two_nodes_see_the_offsets_that_redis_gives(redis_url: str) -> None:
    async with AsyncExitStack() as stack:
        hubs = [
            await stack.enter_async_context(running(make_broker(redis_url, prefix="test"))) for _ in range(3)
        ]
        for hub in hubs:
            await hub.bridge.subscribe(TOPIC)
        results = await asyncio.gather(*(hubs[number % 3].publish(b"%d" % number) for number in range(150)))
        assert sorted(position(result).offset for result in results) == list(range(1, 151))
        for hub in hubs:
            await eventually(lambda hub=hub: len(hub.recorder.publications(TOPIC)) == 150)  # type: ignore[misc]
            assert hub.recorder.offsets(TOPIC) == list(range(1, 151))
            assert hub.recorder.seen == hubs[0].recorder.seen
        assert await hubs[0].raws() == await hubs[1].raws()


async def test_control_messages_reach_every_node(redis_url: str) -> None:
    async with AsyncExitStack() as stack:
        hubs = [
            await stack.enter_async_context(running(make_broker(redis_url, prefix="test"))) for _ in range(2)
        ]
        got: list[list[bytes]] = [[], []]
        for hub, into in zip(hubs, got, strict=True):
            hub.bridge.on_control = into.append
        await hubs[0].bridge.control(b"now")
        await eventually(lambda: got == [[b"now"], [b"now"]])


ACCOUNT = "on >secret ~test:* &test:* +@all -@admin -@dangerous +info +role"


async def test_account_of_the_reference_page_is_enough(redis_server: RedisServer) -> None:
    page = (Path(__file__).parents[2] / "docs/reference/broker-redis.md").read_text()
    assert f"ACL SETUSER hub {ACCOUNT.replace('test:', 'hub:')}`" in page
    with redis.Redis.from_url(redis_server.url) as client:
        client.execute_command("ACL", "SETUSER", "hub", *ACCOUNT.split())
        client.execute_command("ACL", "LOG", "RESET")
        try:
            async with running(
                make_broker(redis_server.url.replace("//", "//hub:secret@"), prefix="test")
            ) as hub:
                await hub.bridge.subscribe(TOPIC)
                first = position(await hub.publish(b"1", key="k", version=1))
                await hub.publish(b"2", history=None)
                await eventually(lambda: hub.recorder.raws(TOPIC) == [b"1", b"2"])
                assert await hub.raws() == [b"1"]
                await hub.bridge.remove_history(TOPIC)
                assert client.execute_command("ACL", "LOG") == []
                run = client.hget(f"test:m:{{{TOPIC}}}", "r")
                assert run == f"{client.info()['run_id']}:{client.info()['master_replid']}".encode()
                assert first.offset == 1
        finally:
            client.execute_command("ACL", "DELUSER", "hub")


async def test_prefixes_and_databases_keep_hubs_apart(redis_url: str) -> None:
    base = redis_url.rstrip("/").removesuffix("/0")
    async with AsyncExitStack() as stack:
        one = await stack.enter_async_context(running(make_broker(f"{base}/0", prefix="test")))
        others = [
            await stack.enter_async_context(running(make_broker(f"{base}/0", prefix="test2"))),
            await stack.enter_async_context(running(make_broker(f"{base}/7", prefix="test"))),
        ]
        for hub in (one, *others):
            await hub.bridge.subscribe(TOPIC)
        await one.publish(b"1")
        for hub in others:
            assert position(await hub.publish(b"other")).offset == 1
            await eventually(lambda hub=hub: hub.recorder.raws(TOPIC) == [b"other"])  # type: ignore[misc]
        assert one.recorder.raws(TOPIC) == [b"1"]


async def test_killed_redis_fails_fast_and_comes_back_with_a_gap(redis_server: RedisServer) -> None:
    async with running(make_broker(redis_server.url, prefix="test")) as hub:
        await hub.bridge.subscribe(TOPIC)
        await hub.bridge.subscribe(PLAIN)
        before = position(await hub.publish(b"before"))
        await eventually(lambda: hub.bridge.ready)
        redis_server.kill()
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
        redis_server.restart()
        after = await published(hub, b"after")
        assert after.offset == 1
        assert after.epoch != before.epoch
        await eventually(lambda: bool(hub.recorder.gaps(TOPIC)) and bool(hub.recorder.gaps(PLAIN)))
        await eventually(lambda: bool(hub.recorder.gaps("made:meanwhile")))
        for topic in (TOPIC, PLAIN, "made:meanwhile"):
            await hub.publish(b"later", topic, history=None)
            await eventually(lambda topic=topic: hub.recorder.after_gap(topic)[-1:] == [b"later"])  # type: ignore[misc]
            assert len(hub.recorder.gaps(topic)) == 1
        await eventually(lambda: hub.bridge.ready)
        assert hub.broker.reconnects == 1
        assert hub.bridge.rebuilds == 0


async def test_history_read_upon_a_gap_closes_it(redis_server: RedisServer) -> None:
    """A gap told too early would leave those lost that came after the reading and before the subscription."""
    async with running(make_broker(redis_server.url, prefix="test")) as hub:
        tops: dict[int, asyncio.Task[Position]] = {}

        def read(topic: str) -> None:
            tops[len(hub.recorder.seen[topic])] = asyncio.create_task(hub.bridge.position(topic))

        async def publish() -> None:
            while len(tops) < 5:
                await hub.publish(b"1")

        hub.recorder.on_gap = read
        await hub.bridge.subscribe(TOPIC)
        publisher = asyncio.create_task(publish())
        for number in range(1, 6):
            with redis.Redis.from_url(redis_server.url) as client:
                client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
            await eventually(lambda number=number: len(tops) == number)  # type: ignore[misc]
        await publisher
        last = position(await hub.publish(b"last"))
        await eventually(lambda: hub.recorder.offsets(TOPIC)[-1:] == [last.offset])
        known = missed = 0
        for at, each in enumerate(hub.recorder.seen[TOPIC]):
            if at in tops:
                top = (await tops[at]).offset
                missed += top > known
                known = top
            if isinstance(each, Publication):
                assert each.offset <= known + 1
                known = max(known, each.offset)
        assert known == last.offset
        assert missed, "no publication fell into a gap, so the test proves nothing"


async def test_restarted_redis_that_kept_its_data_keeps_history_under_a_new_epoch(
    redis_server: RedisServer,
) -> None:
    """It may have lost the latest publications and would give their offsets out again."""
    async with running(make_broker(redis_server.url, prefix="test")) as hub:
        await hub.bridge.subscribe(TOPIC)
        first = position(await hub.publish(b"1"))
        with redis.Redis.from_url(redis_server.url) as client:
            client.save()
        await hub.publish(b"lost")
        redis_server.restart(keep_data=True)
        second = await published(hub, b"2")
        assert second.offset >= 2
        assert second.epoch != first.epoch
        page = await hub.bridge.history(TOPIC, ALL)
        assert page.position == second
        assert [each.offset for each in page.publications] == list(range(1, second.offset + 1))
        assert {each.epoch for each in page.publications} == {second.epoch}
        assert (await hub.bridge.history(TOPIC, HistoryQuery(limit=-1, since=first))).publications == []
        assert await hub.bridge.position(TOPIC) == second
        await eventually(lambda: bool(hub.recorder.gaps(TOPIC)))


async def test_frozen_redis_answers_unknown_in_time_and_flow_resumes(redis_server: RedisServer) -> None:
    async with running(make_broker(redis_server.url, prefix="test")) as hub:
        await hub.bridge.subscribe(TOPIC)
        await hub.publish(b"before")
        redis_server.freeze()
        began = time.monotonic()
        with pytest.raises(BrokerError) as first:
            await hub.publish(b"during", key="during")
        assert first.value.unknown
        with pytest.raises(BrokerError) as second:
            await hub.publish(b"not sent")
        assert not second.value.unknown
        await eventually(lambda: not hub.broker.connected)
        assert time.monotonic() - began < 12
        assert not hub.bridge.ready
        await asyncio.sleep(max(0.0, 6 - (time.monotonic() - began)))
        redis_server.thaw()
        await published(hub, b"during")
        await published(hub, b"after")
        await eventually(lambda: hub.recorder.raws(TOPIC)[-1:] == [b"after"])
        assert await hub.raws() == [b"before", b"during", b"after"]
        seen = [each if isinstance(each, str) else each.offset for each in hub.recorder.seen[TOPIC]]
        assert seen == [1, 2, 3] or any(isinstance(each, str) for each in seen)


async def test_subscribe_at_a_frozen_redis_returns_and_is_in_force_afterwards(
    redis_server: RedisServer,
) -> None:
    async with running(make_broker(redis_server.url, prefix="test")) as hub:
        redis_server.freeze()
        began = time.monotonic()
        await hub.bridge.subscribe(TOPIC)
        assert time.monotonic() - began < 8
        redis_server.thaw()
        await eventually(lambda: bool(hub.recorder.gaps(TOPIC)))
        await published(hub, b"after")
        await eventually(lambda: hub.recorder.after_gap(TOPIC) == [b"after"])


async def test_hub_starts_without_redis_and_joins_it_later(redis_server: RedisServer) -> None:
    redis_server.kill()
    began = time.monotonic()
    async with running(make_broker(redis_server.url, prefix="test")) as hub:
        assert time.monotonic() - began < 8
        assert not hub.bridge.ready
        await hub.bridge.subscribe(TOPIC)
        redis_server.restart()
        await eventually(lambda: hub.bridge.ready)
        await published(hub, b"1")
        await eventually(lambda: hub.recorder.after_gap(TOPIC) == [b"1"])


async def test_emptied_redis_begins_a_new_epoch(redis_url: str) -> None:
    async with running(make_broker(redis_url, prefix="test")) as hub:
        await hub.bridge.subscribe(TOPIC)
        before = position(await hub.publish(b"1"))
        with redis.Redis.from_url(redis_url) as client:
            client.flushdb()
        after = position(await hub.publish(b"2"))
        assert after.offset == 1
        assert after.epoch != before.epoch
        await eventually(lambda: len(hub.recorder.publications(TOPIC)) == 2)
        assert [each.position for each in hub.recorder.publications(TOPIC)] == [before, after]


async def test_lost_meta_takes_the_history_along(redis_url: str) -> None:
    async with running(make_broker(redis_url, prefix="test")) as hub:
        await hub.publish(b"1")
        with redis.Redis.from_url(redis_url) as client:
            client.delete(f"test:m:{{{TOPIC}}}")
        assert (await hub.bridge.position(TOPIC)).offset == 0
        assert await hub.raws() == []


async def test_forgotten_scripts_are_sent_again(redis_url: str) -> None:
    async with running(make_broker(redis_url, prefix="test")) as hub:
        await hub.publish(b"1")
        with redis.Redis.from_url(redis_url) as client:
            client.script_flush()
        results = await asyncio.gather(*(hub.publish(b"%d" % number) for number in range(2, 30)))
        assert [position(result).offset for result in results] == list(range(2, 30))


async def test_publishes_of_one_tick_share_few_round_trips(redis_url: str) -> None:
    async with running(make_broker(redis_url, prefix="test")) as hub:
        await hub.publish(b"0")
        lane = hub.broker._servers[0]._publishing._lanes._lane  # type: ignore[attr-defined]
        sends = 0
        send = lane._send

        async def counted(*args: object, **kwargs: object) -> object:
            nonlocal sends
            sends += 1
            return await send(*args, **kwargs)

        lane._send = counted
        await asyncio.gather(*(hub.publish(b"%d" % number) for number in range(400)))
        assert sends <= 6


async def test_cancelled_publisher_leaves_the_others_their_own_answers(redis_url: str) -> None:
    async with running(make_broker(redis_url, prefix="test")) as hub:
        for _ in range(20):
            tasks = [asyncio.create_task(hub.publish(b"%d" % number, f"t:{number}")) for number in range(20)]
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            for task in tasks[::3]:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for number in range(20):
            offset = (await hub.bridge.position(f"t:{number}")).offset
            assert position(await hub.publish(b"x", f"t:{number}")).offset == offset + 1


async def test_publish_given_up_before_it_was_sent_is_not_sent(redis_url: str) -> None:
    async with running(make_broker(redis_url, prefix="test")) as hub:
        await hub.publish(b"1")
        for _ in range(10):
            given_up, kept = (asyncio.create_task(hub.publish(raw)) for raw in (b"given up", b"kept"))
            await asyncio.sleep(0)
            given_up.cancel()
            await kept
            assert given_up.cancelled()
        assert await hub.raws() == [b"1", *[b"kept"] * 10]


async def test_thousands_of_topics_are_subscribed_again_within_seconds(redis_server: RedisServer) -> None:
    async with running(make_broker(redis_server.url, prefix="test")) as hub:
        topics = [f"many:{number}" for number in range(2000)]
        await asyncio.gather(*(hub.bridge.subscribe(topic) for topic in topics))
        redis_server.restart()
        began = time.monotonic()
        await eventually(lambda: all(hub.recorder.seen[topic] for topic in topics), within=20)
        assert time.monotonic() - began < 20
        assert all(len(hub.recorder.gaps(topic)) == 1 for topic in topics)
        await asyncio.gather(*(hub.publish(topic.encode(), topic) for topic in topics))
        await eventually(lambda: all(hub.recorder.after_gap(topic) == [topic.encode()] for topic in topics))


async def test_foreign_message_on_a_channel_is_a_gap_and_harms_nothing(redis_url: str) -> None:
    async with running(make_broker(redis_url, prefix="test")) as hub:
        await hub.bridge.subscribe(TOPIC)
        with redis.Redis.from_url(redis_url) as client:
            for junk in (
                b"",
                b"junk",
                b"\n",
                b"1:e\n2{}\n1",
                b"x:e\n1{}\n1",
                b"\n1{\n1",
                b"\n1[]\n1",
                b"\n1{\xff\n1",
            ):
                assert client.publish(f"test:p0:{{{TOPIC}}}", junk) == 1
        await hub.publish(b"1")
        await eventually(lambda: hub.recorder.after_gap(TOPIC) == [b"1"])


async def test_large_history_is_trimmed_by_time_without_holes(redis_url: str) -> None:
    async with running(make_broker(redis_url, prefix="test")) as hub:
        short, long = HistoryOptions(10_000, 0.5), HistoryOptions(10_000, 60)
        await asyncio.gather(*(hub.publish(b"%d" % number, history=short) for number in range(1, 1001)))
        await asyncio.gather(*(hub.publish(b"%d" % number, history=long) for number in range(1001, 1101)))
        await asyncio.sleep(0.7)
        assert await hub.raws() == [b"%d" % number for number in range(1001, 1101)]
        with redis.Redis.from_url(redis_url) as client:
            assert client.xlen(f"test:s:{{{TOPIC}}}") == 100


async def test_topics_are_shared_between_servers(
    redis_server: RedisServer, second_server: RedisServer
) -> None:
    async with running(make_broker([redis_server.url, second_server.url], prefix="test")) as hub:
        topics = [f"t:{number}" for number in range(60)]
        await asyncio.gather(*(hub.bridge.subscribe(topic) for topic in topics))
        await asyncio.gather(*(hub.publish(topic.encode(), topic) for topic in topics))
        await eventually(lambda: all(hub.recorder.raws(topic) == [topic.encode()] for topic in topics))
        kept = []
        for server in (redis_server, second_server):
            with redis.Redis.from_url(server.url) as client:
                kept.append(set(client.scan_iter("test:s:*")))
        assert len(kept[0]) + len(kept[1]) == 60
        assert min(len(kept[0]), len(kept[1])) > 10
        second_server.kill()
        await eventually(lambda: not hub.broker.connected)
        assert not hub.bridge.ready


async def test_password_is_used_and_never_told(
    second_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    with redis.Redis.from_url(second_server.url) as client:
        client.config_set("requirepass", "p@ss/w:rd")
    host = second_server.url.removeprefix("redis://")
    async with running(make_broker(f"redis://:p%40ss%2Fw%3Ard@{host}/3", prefix="test")) as hub:
        await hub.bridge.subscribe(TOPIC)
        await hub.publish(b"1")
        await eventually(lambda: hub.recorder.raws(TOPIC) == [b"1"])
    async with running(make_broker(f"redis://:wr0ng-secret@{host}", prefix="test")) as hub:
        assert not hub.bridge.ready
        with pytest.raises(BrokerError) as refused:
            await hub.publish(b"1")
        assert "wr0ng-secret" not in f"{refused.value}{caplog.text}"
        assert "no connection to Redis" in caplog.text


@pytest.mark.parametrize(
    "url",
    [
        "redis://h/notanumber",
        "redis://h:99999",
        "redis://h?nonsense=1",
        "rediss://h?ssl_ca_certs=/nowhere.pem",
        "redis://[h",
    ],
)
def test_url_that_cannot_be_used_is_refused_at_once(url: str) -> None:
    with pytest.raises(HubError, match="cannot be used"):
        make_broker(url, prefix="test")


async def test_idempotent_retry_after_an_unknown_outcome_is_stored_once(redis_server: RedisServer) -> None:
    async with running(make_broker(redis_server.url, prefix="test")) as hub:
        await hub.publish(b"0")
        redis_server.freeze()
        outgoing = [
            Outgoing(Publication(TOPIC, b"%d" % number), KEPT, idempotency_key=f"{number}")
            for number in (1, 2)
        ]
        outcomes = await asyncio.gather(
            *(hub.bridge.publish(each) for each in outgoing), return_exceptions=True
        )
        assert [isinstance(each, BrokerError) and each.unknown for each in outcomes] == [True, True]
        redis_server.thaw()
        for number in (1, 2):
            await published(hub, b"%d" % number)
        assert await hub.raws() == [b"0", b"1", b"2"]
