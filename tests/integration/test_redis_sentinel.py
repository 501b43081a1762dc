"""The broker behind Redis Sentinels: primaries that are killed, frozen and replaced, and replicas that lack a tail."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from hub.broker.factory import make_broker
from hub.errors import BrokerError
from hub.model import HistoryOptions, HistoryQuery, Position, Publication
from hub.redis.client import Redis
from tests.contract.bridged import ALL, TOPIC, Hub, eventually, position, running
from tests.services.redis_sentinel import RedisNode, RedisSentinels, program_or_skip

pytestmark = pytest.mark.timeout(60)
PLAIN = "plain:topic"
LONG = HistoryOptions(size=100_000, ttl=300)


async def published(hub: Hub, raw: bytes, *, within: float = 15) -> Position:
    """Publishes as a backend does: again and again, with one idempotency key, until the broker takes it."""
    async with asyncio.timeout(within):
        while True:
            try:
                return position(await hub.publish(raw, key=raw.decode()))
            except BrokerError:
                await asyncio.sleep(0.05)


async def promoted(sentinels: RedisSentinels, old: RedisNode) -> RedisNode:
    return await asyncio.to_thread(sentinels.until_promoted, old)


def places(publications: list[Publication]) -> dict[tuple[str, int], set[bytes]]:
    """What was said of each position."""
    said: dict[tuple[str, int], set[bytes]] = defaultdict(set)
    for each in publications:
        said[each.epoch, each.offset].add(each.raw)
    return said


class Traffic:
    """Numbered publications, one after another, and what became of each."""

    def __init__(self, hub: Hub) -> None:
        self.acked: dict[bytes, Position] = {}
        self.unknown: set[bytes] = set()
        self.longest = 0.0
        self._hub = hub
        self._task = asyncio.create_task(self._publish())

    async def stop(self) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])

    async def until(self, count: int) -> None:
        """Waits for so many more acks."""
        goal = len(self.acked) + count
        await eventually(lambda: len(self.acked) >= goal, within=15)

    async def _publish(self) -> None:
        number, last = 0, time.monotonic()
        while True:
            raw = b"%d" % (number := number + 1)
            try:
                self.acked[raw] = position(await self._hub.publish(raw, history=LONG))
                self.longest, last = max(self.longest, time.monotonic() - last), time.monotonic()
            except BrokerError as error:
                if error.unknown:
                    self.unknown.add(raw)
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.001)


async def nothing_lies(listener: Hub, traffic: Traffic) -> None:
    """Each position means one payload, in order; what was acked and did not come was told as a gap or a new epoch."""
    seen = listener.recorder.seen[TOPIC]
    last = next(reversed(traffic.acked.items()))
    await eventually(lambda: last[0] in listener.recorder.raws(TOPIC))
    came = listener.recorder.publications(TOPIC)
    acked = [Publication(TOPIC, raw, offset=at.offset, epoch=at.epoch) for raw, at in traffic.acked.items()]
    doubtful = {place: raws for place, raws in places([*came, *acked]).items() if len(raws) > 1}
    assert not doubtful
    known: Position | None = None
    for each in seen:
        if isinstance(each, str):
            known = None
        elif known is not None and each.epoch == known.epoch:
            assert each.offset == known.offset + 1
        known = Position(each.offset, each.epoch) if isinstance(each, Publication) else None
    kept = await listener.bridge.history(TOPIC, ALL)
    missing = traffic.acked.keys() - set(listener.recorder.raws(TOPIC)) - {e.raw for e in kept.publications}
    top = kept.position.epoch
    assert {raw for raw in missing if traffic.acked[raw].epoch == top} == set()


async def test_killed_primary_is_followed_by_the_promoted_replica(redis_sentinels: RedisSentinels) -> None:
    url = redis_sentinels.url
    async with (
        running(make_broker(url, prefix="test")) as hub,
        running(make_broker(url, prefix="test")) as listener,
    ):
        for topic in (TOPIC, PLAIN):
            await listener.bridge.subscribe(topic)
        traffic = Traffic(hub)
        await traffic.until(200)
        before = traffic.acked[b"100"]
        old = redis_sentinels.primary
        old.process.kill()
        await traffic.until(50)
        await traffic.stop()
        assert traffic.longest < 12
        new = await promoted(redis_sentinels, old)
        assert new.is_primary
        await eventually(lambda: bool(listener.recorder.gaps(TOPIC)) and bool(listener.recorder.gaps(PLAIN)))
        last = await published(hub, b"last")
        traffic.acked[b"last"] = last
        assert last.epoch != before.epoch
        await nothing_lies(listener, traffic)
        recovered = await listener.bridge.history(TOPIC, HistoryQuery(limit=-1, since=before))
        assert recovered.publications == []
        assert recovered.position == last
        await listener.publish(b"plain", PLAIN, history=None)
        await eventually(lambda: listener.recorder.after_gap(PLAIN) == [b"plain"])
        assert hub.bridge.ready


async def test_silent_primary_is_left_as_soon_as_sentinels_name_another(
    redis_sentinels: RedisSentinels,
) -> None:
    url = redis_sentinels.url
    async with (
        running(make_broker(url, prefix="test")) as hub,
        running(make_broker(url, prefix="test")) as listener,
    ):
        await listener.bridge.subscribe(TOPIC)
        traffic = Traffic(hub)
        await traffic.until(100)
        old = redis_sentinels.primary
        old.process.freeze()
        new = await promoted(redis_sentinels, old)
        began = time.monotonic()
        await traffic.until(1)
        assert time.monotonic() - began < 6
        await eventually(lambda: traffic.acked.keys() & set(listener.recorder.after_gap(TOPIC)) != set())
        assert time.monotonic() - began < 8
        old.process.thaw()
        await traffic.until(100)
        await eventually(lambda: not old.is_primary, within=25)
        await traffic.until(100)
        await traffic.stop()
        assert redis_sentinels.primary is new
        await nothing_lies(listener, traffic)


async def test_replica_that_lacks_a_tail_begins_a_new_epoch(redis_sentinels: RedisSentinels) -> None:
    """What the replica never got was acknowledged with offsets that it would give out again."""
    url = redis_sentinels.url
    async with (
        running(make_broker(url, prefix="test")) as hub,
        running(make_broker(url, prefix="test")) as listener,
    ):
        await listener.bridge.subscribe(TOPIC)
        common = position(await hub.publish(b"common"))
        old, [replica] = redis_sentinels.primary, redis_sentinels.replicas
        await eventually(lambda: replica.ask("ROLE")[4] == old.ask("ROLE")[1])
        replica.process.freeze()
        for _ in range(
            300
        ):  # more than what lies between two sockets, from where a frozen replica would take it
            await hub.publish(b"x" * 100_000)
        tail = [position(await hub.publish(b"tail %d" % number)) for number in range(5)]
        old.process.kill()
        replica.process.thaw()
        await promoted(redis_sentinels, old)
        after = [await published(hub, b"after %d" % number) for number in range(5)]
        assert common.offset < after[0].offset < tail[0].offset
        assert not {each.epoch for each in after} & {common.epoch, tail[0].epoch}
        await eventually(lambda: bool(listener.recorder.gaps(TOPIC)))
        after.append(await published(hub, b"after 5"))
        await eventually(lambda: b"after 5" in listener.recorder.after_gap(TOPIC))
        assert {len(raws) for raws in places(listener.recorder.publications(TOPIC)).values()} == {1}
        page = await listener.bridge.history(TOPIC, ALL)
        assert [each.raw for each in page.publications[-6:]] == [b"after %d" % number for number in range(6)]
        assert {each.epoch for each in page.publications} == {after[0].epoch}
        since = HistoryQuery(limit=-1, since=tail[-1])
        assert (await listener.bridge.history(TOPIC, since)).publications == []


async def test_primary_that_lost_its_tail_to_another_begins_a_new_epoch_on_an_open_connection(
    redis_sentinels: RedisSentinels,
) -> None:
    """A is demoted, takes over what B has, and is promoted again, all behind a connection that nobody cut."""
    primary, [other] = redis_sentinels.primary, redis_sentinels.replicas
    for sentinel in redis_sentinels.sentinels:
        sentinel.kill()
    async with running(make_broker(f"redis://127.0.0.1:{primary.port}", prefix="test")) as hub:
        for number in range(3):
            await hub.publish(b"common %d" % number)
        await eventually(lambda: other.ask("ROLE")[4] == primary.ask("ROLE")[1])
        other.ask("REPLICAOF", "NO", "ONE")
        tail = [position(await hub.publish(b"tail %d" % number)) for number in range(3)]
        connections = clients(primary)
        primary.ask("REPLICAOF", "127.0.0.1", other.port)
        await eventually(lambda: primary.ask("ROLE")[0:4:3] == [b"slave", b"connected"])
        primary.ask("REPLICAOF", "NO", "ONE")
        after = [position(await hub.publish(b"after %d" % number)) for number in range(3)]
        assert clients(primary) == connections
        assert [each.offset for each in after] == [each.offset for each in tail]
        assert not {each.epoch for each in after} & {each.epoch for each in tail}


def clients(node: RedisNode) -> set[bytes]:
    """The ids of the hub's connections."""
    lines = [line.split() for line in node.ask("CLIENT", "LIST").splitlines()]
    return {line[0] for line in lines if b"name=topichub" in line}


async def test_failover_on_command_is_followed_and_what_it_loses_is_told(
    redis_sentinels: RedisSentinels,
) -> None:
    url = redis_sentinels.url
    async with (
        running(make_broker(url, prefix="test")) as hub,
        running(make_broker(url, prefix="test")) as listener,
    ):
        await listener.bridge.subscribe(TOPIC)
        traffic = Traffic(hub)
        await traffic.until(100)
        old = redis_sentinels.primary
        new = await asyncio.to_thread(redis_sentinels.failover)
        await traffic.until(100)
        await traffic.stop()
        assert new is not old
        assert traffic.longest < 8
        await nothing_lies(listener, traffic)


async def test_read_only_server_is_left_and_tried_again(redis_sentinels: RedisSentinels) -> None:
    """As behind a name or proxy that leads to the primary, without Sentinels."""
    primary, [other] = redis_sentinels.primary, redis_sentinels.replicas
    for sentinel in redis_sentinels.sentinels:
        sentinel.kill()
    async with running(make_broker(f"redis://127.0.0.1:{primary.port}", prefix="test")) as hub:
        first = position(await hub.publish(b"1"))
        before = clients(primary)
        other.ask("REPLICAOF", "NO", "ONE")
        primary.ask("REPLICAOF", "127.0.0.1", other.port)
        with pytest.raises(BrokerError, match="read only") as refused:
            await hub.publish(b"2")
        assert not refused.value.unknown
        with pytest.raises(BrokerError):
            await hub.publish(b"2")
        assert clients(primary) != before
        primary.ask("REPLICAOF", "NO", "ONE")
        assert (await published(hub, b"3")).epoch != first.epoch


async def test_hub_starts_without_sentinels_and_joins_them_later(redis_sentinels: RedisSentinels) -> None:
    for sentinel in redis_sentinels.sentinels:
        sentinel.freeze()
    async with running(make_broker(redis_sentinels.url, prefix="test")) as hub:
        await hub.bridge.subscribe(TOPIC)
        with pytest.raises(BrokerError, match="cannot be reached") as refused:
            await hub.publish(b"1")
        assert not refused.value.unknown
        for sentinel in redis_sentinels.sentinels:
            sentinel.thaw()
        await published(hub, b"1")
        await eventually(lambda: hub.bridge.ready)


async def test_one_sentinel_is_enough_to_begin_and_none_to_go_on(redis_sentinels: RedisSentinels) -> None:
    primary = redis_sentinels.primary
    for sentinel in redis_sentinels.sentinels[:2]:
        sentinel.kill()
    async with running(make_broker(redis_sentinels.url, prefix="test")) as hub:
        await hub.publish(b"1")
        redis_sentinels.sentinels[2].kill()
        await asyncio.sleep(1.5)
        primary.ask("CLIENT", "KILL", "TYPE", "normal")
        await published(hub, b"2")
        assert await hub.raws() == [b"1", b"2"]


async def test_unknown_name_of_the_primary_is_told(redis_sentinels: RedisSentinels) -> None:
    url = redis_sentinels.url.replace("mymaster", "yours")
    async with running(make_broker(url, prefix="test")) as hub:
        with pytest.raises(
            BrokerError, match=r"no Sentinel names the primary: .*No such master with that name"
        ):
            await hub.publish(b"1")


async def test_passwords_of_primary_and_sentinels_are_two(tmp_path: Path) -> None:
    sentinels = RedisSentinels(program_or_skip(), tmp_path / "sentinels", password="correct-horse")
    try:
        bare = sentinels.url.replace("://", "://:correct-horse@")
        async with running(make_broker(f"{bare}&sentinel_password=correct-horse-too", prefix="test")) as hub:
            await hub.bridge.subscribe(TOPIC)
            await hub.publish(b"1")
            sentinels.primary.process.kill()
            await published(hub, b"2")
            await eventually(lambda: bool(hub.recorder.gaps(TOPIC)))
            await published(hub, b"3")
            await eventually(lambda: b"3" in hub.recorder.after_gap(TOPIC))
        for url, reason in (
            (bare, "no Sentinel names the primary: .*NOAUTH"),
            (f"{bare}&sentinel_password=wrong-horse", "no Sentinel names the primary: .*WRONGPASS"),
            (f"{sentinels.url}&sentinel_password=correct-horse-too", "cannot be reached: .*Authentication"),
        ):
            async with running(make_broker(url, prefix="test")) as hub:
                with pytest.raises(BrokerError, match=reason) as refused:
                    await hub.publish(b"4")
                assert "horse" not in str(refused.value)
    finally:
        sentinels.stop()


async def test_commands_under_way_at_a_silent_primary_are_told_when_another_is_named(
    redis_sentinels: RedisSentinels,
) -> None:
    """Long before the time that they may take is over."""
    client = Redis(redis_sentinels.url, scripts=(), timeout=25, connect_timeout=2)
    client.open()
    try:
        await client.command(b"k", "SET", "k", "1")
        old = redis_sentinels.primary
        old.process.freeze()
        began = time.monotonic()
        with pytest.raises(BrokerError, match="another server is the primary now") as lost:
            await client.command(b"k", "SET", "k", "2")
        assert lost.value.unknown
        assert time.monotonic() - began < 20
        assert await client.command(b"k", "SET", "k", "3") == b"OK"
        assert (await promoted(redis_sentinels, old)).ask("GET", "k") == b"3"
    finally:
        await client.close()


@pytest.mark.parametrize("again", [{"key": "away"}, {"version": 7}], ids=["key", "version"])
async def test_what_was_done_by_another_node_is_no_ack_until_replicas_have_it(
    redis_sentinels: RedisSentinels, again: dict[str, Any]
) -> None:
    [replica] = redis_sentinels.replicas
    for sentinel in redis_sentinels.sentinels[1:]:
        sentinel.kill()
    url = f"{redis_sentinels.url}&wait_replicas=1"
    async with (
        running(make_broker(url, prefix="test")) as one,
        running(make_broker(url, prefix="test")) as two,
    ):
        await two.publish(b"before")
        replica.process.freeze()
        for hub in (one, two):
            with pytest.raises(BrokerError, match="0 of 1 replicas") as lost:
                await hub.publish(b"away", **again)
            assert lost.value.unknown
        replica.process.thaw()
        async with asyncio.timeout(10):
            while replica.ask("XLEN", f"test:s:{{{TOPIC}}}") != 2:
                await asyncio.sleep(0.05)
        assert (await two.publish(b"away", **again)).suppressed


async def test_ack_with_wait_replicas_means_that_replicas_have_it(redis_sentinels: RedisSentinels) -> None:
    primary, [replica] = redis_sentinels.primary, redis_sentinels.replicas
    for sentinel in redis_sentinels.sentinels[1:]:
        sentinel.kill()
    url = f"{redis_sentinels.url}&wait_replicas=1"
    async with running(make_broker(url, prefix="test")) as hub:
        await asyncio.gather(*(hub.publish(b"%d" % number) for number in range(50)))
        assert replica.ask("XLEN", f"test:s:{{{TOPIC}}}") == 50
        replica.process.freeze()
        began = time.monotonic()
        with pytest.raises(BrokerError, match="0 of 1 replicas") as lost:
            await hub.publish(b"away", key="away")
        assert lost.value.unknown
        primary.ask("CLIENT", "KILL", "TYPE", "normal")
        told = set()
        for _ in range(2):  # the connection that was cut may be noticed when it is used
            with pytest.raises(BrokerError) as lost:
                await hub.publish(b"away", key="away")
            told.add(str(lost.value))
        assert "0 of 1 replicas of Redis have it" in told
        assert time.monotonic() - began < 9
        await hub.publish(b"plain", PLAIN, history=None)
        assert (await hub.raws())[-1] == b"away"
        replica.process.thaw()
        assert (await published(hub, b"away")).offset == 51
        assert replica.ask("XLEN", f"test:s:{{{TOPIC}}}") == 51
