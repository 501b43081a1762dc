"""The broker on a real Redis Cluster whose nodes are killed, frozen and promoted, and whose slots move."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from redis.crc import key_slot

from hub.broker.factory import make_broker
from hub.errors import BrokerError, HubError
from hub.model import Position, Publication
from tests.contract.bridged import ALL, TOPIC, Hub, eventually, position, running
from tests.services.redis_cluster import ClusterNode, RedisCluster

KEY = f"test:m:{{{TOPIC}}}"
RIGHTS = ("+@all", "-@admin", "-@dangerous", "+info", "+role")
"""What the page about the broker says that an account needs."""
pytestmark = pytest.mark.timeout(60)


def key(topic: str) -> str:
    return f"test:m:{{{topic}}}"


def topic_on(cluster: RedisCluster, node: ClusterNode, name: str = "on") -> str:
    """A topic that the node serves."""
    return next(
        topic
        for topic in (f"{name}:{number}" for number in range(1000))
        if cluster.primary(key(topic)) is node
    )


class Story:
    """What was published on a topic and acknowledged, for comparison with what a subscriber got."""

    def __init__(self, hub: Hub, topic: str, *, keyed: bool) -> None:
        self.topic = topic
        self.acked: list[tuple[bytes, Position]] = []
        self.refused = 0
        self.unknown = 0
        self.longest = 0.0
        """Seconds between two acknowledgements, at most."""
        self._hub = hub
        self._keyed = keyed
        self._number = 0
        self.told = False

    async def tell(self) -> None:
        """Publishes one after another; with keys each is tried again until it is acknowledged."""
        last = time.monotonic()
        while not self.told:
            raw = b"%d" % self._number
            try:
                result = await self._hub.publish(raw, self.topic, key=raw.decode() if self._keyed else "")
            except BrokerError as error:
                self.unknown += error.unknown
                self.refused += not error.unknown
                self._number += not self._keyed
                await asyncio.sleep(0.02)
                continue
            self.acked.append((raw, position(result)))
            self._number += 1
            self.longest = max(self.longest, time.monotonic() - last)
            last = time.monotonic()
            await asyncio.sleep(0.002)


def check(seen: Iterable[Publication | str], acked: list[tuple[bytes, Position]]) -> Counter[str]:
    """Follows what a subscriber got: all that was acknowledged, once and in order, or word that some is missing."""
    last: Position | None = None
    told = True
    got: set[Position] = set()
    counts: Counter[str] = Counter()
    epochs: list[str] = []
    for each in seen:
        if isinstance(each, str):
            counts["gaps"] += 1
            told = True
            continue
        place = Position(each.offset, each.epoch)
        if last is not None and place.epoch == last.epoch:
            assert place.offset > last.offset, f"{place} came after {last}"
            assert told or place.offset == last.offset + 1, f"{place} came after {last}, and nothing was told"
        elif last is not None:
            assert place.epoch not in epochs, f"epoch {place.epoch} came back"
        if not epochs or epochs[-1] != place.epoch:
            epochs.append(place.epoch)
        last, told = place, False
        got.add(place)
        counts["got"] += 1
    for raw, place in acked:
        if place not in got:
            counts["told"] += 1
            assert counts["gaps"] or len(epochs) > 1, f"{raw!r} at {place} was lost without a word"
    assert len({place for _, place in acked}) == len(acked), "a position was given out twice"
    counts["epochs"] = len(epochs)
    return counts


@asynccontextmanager
async def telling(hub: Hub, *topics: str, keyed: bool = True) -> AsyncIterator[list[Story]]:
    """Publishes on the topics while the block runs."""
    stories = [Story(hub, topic, keyed=keyed) for topic in topics]
    tasks = [asyncio.create_task(story.tell()) for story in stories]
    try:
        yield stories
    finally:
        for story in stories:
            story.told = True
        await asyncio.gather(*tasks)


@asynccontextmanager
async def two_hubs(cluster: RedisCluster) -> AsyncIterator[tuple[Hub, Hub]]:
    async with AsyncExitStack() as stack:
        one, two = [
            await stack.enter_async_context(running(make_broker(cluster.url, prefix="test")))
            for _ in range(2)
        ]
        yield one, two


async def caught_up(hub: Hub, story: Story) -> None:
    """Publishes a last one, and waits until the subscriber got it."""
    async with asyncio.timeout(15):
        while True:
            try:
                await hub.publish(b"last", story.topic, key="last")
                break
            except BrokerError:
                await asyncio.sleep(0.05)
    await eventually(
        lambda: b"last" in hub.recorder.raws(story.topic) or bool(hub.recorder.gaps(story.topic))
    )


async def test_topics_and_their_subscriptions_lie_on_all_primaries(redis_cluster: RedisCluster) -> None:
    async with two_hubs(redis_cluster) as (one, two):
        topics = [f"t:{number}" for number in range(60)]
        await asyncio.gather(*(two.bridge.subscribe(topic) for topic in topics))
        await asyncio.gather(*(one.publish(topic.encode(), topic) for topic in topics))
        await eventually(lambda: all(two.recorder.raws(topic) == [topic.encode()] for topic in topics))
        spread = Counter(redis_cluster.primary(key(topic)).port for topic in topics)
        assert len(spread) == 3
        for node in redis_cluster.others():
            assert len(node.do("PUBSUB", "SHARDCHANNELS", "test:p0:{t:*")) == spread[node.port]
        assert all(two.recorder.gaps(topic) == [] for topic in topics)
        await asyncio.gather(*(two.bridge.unsubscribe(topic) for topic in topics))
        await eventually(
            lambda: (
                not any(node.do("PUBSUB", "SHARDCHANNELS", "test:p0:{t:*") for node in redis_cluster.others())
            )
        )


@pytest.mark.usefixtures("patient")
async def test_publishes_of_one_tick_share_few_round_trips_to_each_primary(
    redis_cluster: RedisCluster,
) -> None:
    async with running(make_broker(redis_cluster.url, prefix="test")) as hub:
        topics = [topic_on(redis_cluster, node) for node in redis_cluster.others()]
        await asyncio.gather(*(hub.publish(b"0", topic) for topic in topics))
        before = [node.info("stats")["total_reads_processed"] for node in redis_cluster.others()]
        await asyncio.gather(*(hub.publish(b"%d" % at, topics[at % 3]) for at in range(900)))
        after = [node.info("stats")["total_reads_processed"] for node in redis_cluster.others()]
        reads = [later - earlier for later, earlier in zip(after, before, strict=True)]
        assert max(reads) < 60, (
            "replicas, probes and the nodes among themselves read too, but not for each publish"
        )


async def test_killed_primary_is_followed_by_its_replica_and_nothing_is_lost_in_silence(
    redis_cluster: RedisCluster,
) -> None:
    victim, *rest = redis_cluster.others()
    replica = redis_cluster.replica(victim)
    hit = topic_on(redis_cluster, victim)
    spared = [topic_on(redis_cluster, node) for node in rest]
    async with two_hubs(redis_cluster) as (one, two):
        await asyncio.gather(*(two.bridge.subscribe(topic) for topic in (hit, *spared)))
        async with telling(one, hit, *spared) as stories:
            await asyncio.sleep(0.5)
            victim.kill()
            await eventually(lambda: not two.broker.connected)
            before = len(stories[0].acked)
            await eventually(lambda: len(stories[0].acked) > before + 50, within=20)
            await eventually(lambda: two.broker.connected and one.broker.connected)
            await asyncio.sleep(0.3)
        assert redis_cluster.primary(key(hit)) is replica
        for story in stories:
            await caught_up(two, story)
            check(two.recorder.seen[story.topic], story.acked)
        assert two.recorder.gaps(hit)
        for story in stories[1:]:
            assert story.refused + story.unknown == 0
            assert story.longest < stories[0].longest / 2
            assert two.recorder.gaps(story.topic) == []
            assert two.recorder.raws(story.topic)[:-1] == [raw for raw, _ in story.acked]
        await eventually(lambda: one.bridge.ready and two.bridge.ready)


async def test_frozen_primary_is_left_and_its_word_is_not_trusted_when_it_thaws(
    redis_cluster: RedisCluster,
) -> None:
    victim = redis_cluster.primary(KEY)
    async with two_hubs(redis_cluster) as (one, two):
        await two.bridge.subscribe(TOPIC)
        async with telling(one, TOPIC) as (story,):
            await asyncio.sleep(0.5)
            before = len(story.acked)
            victim.freeze()
            await eventually(lambda: len(story.acked) > before + 100, within=25)
            victim.thaw()
            await asyncio.sleep(2)
        assert redis_cluster.primary(KEY) is not victim
        await caught_up(two, story)
        assert check(two.recorder.seen[TOPIC], story.acked)["gaps"]
        await eventually(lambda: one.bridge.ready and two.bridge.ready)


async def test_promoted_replica_that_lacks_the_last_publications_begins_a_new_epoch(
    redis_cluster: RedisCluster,
) -> None:
    victim = redis_cluster.primary(KEY)
    replica = redis_cluster.replica(victim)
    async with running(make_broker(redis_cluster.url, prefix="test")) as hub:
        await hub.bridge.subscribe(TOPIC)
        kept = position(await hub.publish(b"kept"))
        await eventually(lambda: replica.info("replication")["master_link_status"] == "up")
        assert victim.do("WAIT", 1, 2000) == 1
        replica.freeze()
        victim.do("CLIENT", "KILL", "TYPE", "replica")
        lost = [position(await hub.publish(b"lost %d" % number)) for number in range(3)]
        victim.kill()
        replica.thaw()
        after = await published(hub, b"after")
        assert after.offset <= lost[-1].offset, "the replica was told all, so the test proves nothing"
        assert after.epoch != kept.epoch
        await eventually(lambda: bool(hub.recorder.gaps(TOPIC)))
        assert await hub.raws() == [b"kept", b"after"]


async def test_primary_that_was_replica_meanwhile_does_not_continue_its_old_epoch(
    redis_cluster: RedisCluster,
) -> None:
    """A cluster does not end the connections of a demoted node, so that all may seem as before."""
    first = redis_cluster.primary(KEY)
    second = redis_cluster.replica(first)
    async with running(make_broker(redis_cluster.url, prefix="test")) as hub:
        before = position(await hub.publish(b"1"))
        for promoted in (second, first):
            redis_cluster.wait()
            await asyncio.to_thread(redis_cluster.promote, promoted)
        after = await published(hub, b"2")
        assert after.offset == 2
        assert after.epoch != before.epoch


async def published(hub: Hub, raw: bytes, topic: str = TOPIC) -> Position:
    """Publishes again and again, with one idempotency key, until the broker takes it."""
    async with asyncio.timeout(20):
        while True:
            try:
                return position(await hub.publish(raw, topic, key=raw.decode()))
            except BrokerError:
                await asyncio.sleep(0.05)


async def heard_again(one: Hub, two: Hub) -> None:
    """Publishes again and again until one arrives; those before it are in the history."""
    async with asyncio.timeout(10):
        number = 0
        while not two.recorder.raws(TOPIC) or two.recorder.raws(TOPIC)[-1] != b"again %d" % number:
            number += 1
            await published(one, b"again %d" % number)
            await asyncio.sleep(0.1)


async def test_failover_by_hand_loses_nothing_and_moves_the_subscriptions(
    redis_cluster: RedisCluster,
) -> None:
    replica = redis_cluster.replica(redis_cluster.primary(KEY))
    async with two_hubs(redis_cluster) as (one, two):
        await two.bridge.subscribe(TOPIC)
        async with telling(one, TOPIC) as (story,):
            await asyncio.sleep(0.3)
            await asyncio.to_thread(redis_cluster.promote, replica)
            before = len(story.acked)
            await eventually(lambda: len(story.acked) > before + 100)
        await caught_up(two, story)
        check(two.recorder.seen[TOPIC], story.acked)
        assert await one.raws() == [*(raw for raw, _ in story.acked), b"last"]
        assert replica.do("PUBSUB", "SHARDCHANNELS", f"test:p0:{{{TOPIC}}}")


@pytest.mark.parametrize("keyed", [True, False])
async def test_slot_that_moves_under_load_loses_and_doubles_nothing(
    redis_cluster: RedisCluster, keyed: bool
) -> None:
    slot = key_slot(KEY.encode())
    source = redis_cluster.primary(KEY)
    other, third = redis_cluster.others(source)
    async with two_hubs(redis_cluster) as (one, two):
        await two.bridge.subscribe(TOPIC)
        stays = topic_on(redis_cluster, third)
        await two.bridge.subscribe(stays)
        async with telling(one, TOPIC, stays, keyed=keyed) as (story, still):
            await asyncio.sleep(0.3)
            for target in (other, third, source):
                await asyncio.to_thread(redis_cluster.migrate, slot, target, during=lambda: time.sleep(0.3))
                await asyncio.sleep(0.5)
        for each in (story, still):
            await caught_up(two, each)
        counts = check(two.recorder.seen[TOPIC], story.acked)
        assert counts["gaps"] >= 3
        assert await two.raws() == [*(raw for raw, _ in story.acked), b"last"][-1000:]
        offsets = [place.offset for _, place in story.acked]
        assert offsets == list(range(1, len(offsets) + 1))
        assert story.unknown == 0
        assert still.refused + still.unknown == 0
        assert two.recorder.raws(stays)[:-1] == [raw for raw, _ in still.acked]


async def test_publishes_keep_their_order_while_their_slot_changes_hands(redis_cluster: RedisCluster) -> None:
    slot = key_slot(KEY.encode())
    source = redis_cluster.primary(KEY)
    other = redis_cluster.others(source)[0]
    async with running(make_broker(redis_cluster.url, prefix="test")) as hub:
        await hub.publish(b"first")
        moving = asyncio.create_task(
            asyncio.to_thread(_back_and_forth, redis_cluster, slot, [other, source] * 4)
        )
        publishes: list[asyncio.Task[Position]] = []
        while not moving.done():
            for _ in range(20):
                publishes.append(asyncio.create_task(_placed(hub, b"%d" % len(publishes))))
            await asyncio.sleep(0.002)
        await moving
        results = await asyncio.gather(*publishes, return_exceptions=True)
        offsets = [result.offset for result in results if isinstance(result, Position)]
        refusals = [result for result in results if not isinstance(result, Position)]
        assert offsets == sorted(offsets)
        assert len(offsets) > 500
        assert all(isinstance(each, BrokerError) and not each.unknown for each in refusals)
        assert len(await hub.raws()) == min(1000, len(offsets) + 1)


def _back_and_forth(cluster: RedisCluster, slot: int, targets: list[ClusterNode]) -> None:
    for target in targets:
        cluster.migrate(slot, target)
        time.sleep(0.1)


async def _placed(hub: Hub, raw: bytes) -> Position:
    return position(await hub.publish(raw))


async def test_slot_left_half_way_is_heard_late_but_is_heard(redis_cluster: RedisCluster) -> None:
    """A topic that has moved is published where nobody may subscribe yet: gaps lead to its history meanwhile."""
    slot = key_slot(KEY.encode())
    target = redis_cluster.others(redis_cluster.primary(KEY))[0]
    heard: list[int] = []
    async with two_hubs(redis_cluster) as (one, two):
        two.recorder.on_gap = lambda topic: heard.append(len(two.recorder.gaps(topic)))
        await two.bridge.subscribe(TOPIC)
        await one.publish(b"1")
        loop = asyncio.get_running_loop()
        half = asyncio.Event()
        go_on = asyncio.Event()

        def wait() -> None:
            loop.call_soon_threadsafe(half.set)
            asyncio.run_coroutine_threadsafe(go_on.wait(), loop).result(20)

        moving = asyncio.create_task(asyncio.to_thread(redis_cluster.migrate, slot, target, during=wait))
        await half.wait()
        await one.publish(b"2")
        await eventually(lambda: len(heard) >= 2)
        assert await two.raws() == [b"1", b"2"]
        go_on.set()
        await moving
        await heard_again(one, two)


async def test_shard_without_a_server_fails_fast_while_the_others_work(redis_cluster: RedisCluster) -> None:
    victim, *rest = redis_cluster.others()
    replica = redis_cluster.replica(victim)
    hit, spared = topic_on(redis_cluster, victim), topic_on(redis_cluster, rest[0])
    async with two_hubs(redis_cluster) as (one, two):
        for topic in (hit, spared):
            await two.bridge.subscribe(topic)
        first = position(await one.publish(b"1", hit))
        replica.kill()
        victim.kill()
        await eventually(lambda: not one.broker.connected and not two.broker.connected)
        for attempt in range(5):
            began = time.monotonic()
            with pytest.raises(BrokerError) as refused:
                await one.publish(b"x", hit)
            assert not refused.value.unknown or attempt == 0
            with pytest.raises(BrokerError):
                await one.bridge.history(hit, ALL)
            await one.publish(b"%d" % attempt, spared)
            assert time.monotonic() - began < 3
            await asyncio.sleep(0.3)
        await eventually(lambda: len(two.recorder.raws(spared)) == 5)
        began = time.monotonic()
        await two.bridge.subscribe(f"{hit}:{{{hit}")
        await two.bridge.subscribe(topic_on_same(redis_cluster, hit))
        assert time.monotonic() - began < 2.5
        assert two.recorder.gaps(spared) == []
        victim.start()
        replica.start()
        second = await published(one, b"2", hit)
        assert second.epoch != first.epoch
        await eventually(lambda: two.recorder.after_gap(hit)[-1:] == [b"2"] or bool(two.recorder.gaps(hit)))
        await eventually(
            lambda: one.broker.connected and two.broker.connected and one.bridge.ready, within=15
        )
        await one.publish(b"3", hit)
        await eventually(lambda: two.recorder.after_gap(hit)[-1:] == [b"3"])


def topic_on_same(cluster: RedisCluster, topic: str) -> str:
    """Another topic of a slot near by, whoever serves it."""
    first = key_slot(key(topic).encode())
    return min(
        (f"near:{number}" for number in range(2000)),
        key=lambda near: abs(key_slot(key(near).encode()) - first),
    )


async def test_hub_starts_without_the_cluster_and_joins_it_later(redis_cluster: RedisCluster) -> None:
    for node in redis_cluster.nodes:
        node.kill()
    began = time.monotonic()
    async with running(make_broker(redis_cluster.url, prefix="test")) as hub:
        assert time.monotonic() - began < 8
        assert not hub.bridge.ready
        await hub.bridge.subscribe(TOPIC)
        with pytest.raises(BrokerError) as refused:
            await hub.publish(b"x")
        assert not refused.value.unknown
        for node in redis_cluster.nodes:
            node.start()
        await published(hub, b"1")
        await eventually(lambda: hub.recorder.after_gap(TOPIC) == [b"1"] or bool(hub.recorder.gaps(TOPIC)))
        await eventually(lambda: hub.bridge.ready, within=15)


async def test_stopped_and_started_again_it_is_subscribed_as_before(redis_cluster: RedisCluster) -> None:
    async with running(make_broker(redis_cluster.url, prefix="test")) as hub:
        await hub.bridge.subscribe(TOPIC)
        await hub.broker.disconnect()
        with pytest.raises(BrokerError):
            await hub.publish(b"x")
        await hub.broker.connect()
        await eventually(lambda: bool(hub.recorder.gaps(TOPIC)))
        await hub.publish(b"1")
        await eventually(lambda: hub.recorder.after_gap(TOPIC) == [b"1"])


@pytest.mark.usefixtures("patient")
async def test_thousands_of_topics_move_to_the_promoted_replica_within_seconds(
    redis_cluster: RedisCluster,
) -> None:
    victim = redis_cluster.primary(KEY)
    topics = [
        topic for topic in (f"many:{number}" for number in range(6000)) if redis_cluster_serves(victim, topic)
    ]
    async with running(make_broker(redis_cluster.url, prefix="test")) as hub:
        await asyncio.gather(*(hub.bridge.subscribe(topic) for topic in topics))
        replica = redis_cluster.replica(victim)
        await asyncio.to_thread(redis_cluster.promote, replica)
        await eventually(lambda: all(hub.recorder.gaps(topic) for topic in topics))
        await asyncio.gather(*(hub.publish(topic.encode(), topic) for topic in topics))
        await eventually(lambda: all(hub.recorder.after_gap(topic) == [topic.encode()] for topic in topics))


def redis_cluster_serves(node: ClusterNode, topic: str) -> bool:
    ranges = [
        (first, last) for first, last, (_, port, *_), *_ in node.do("CLUSTER", "SLOTS") if port == node.port
    ]
    return any(first <= key_slot(key(topic).encode()) <= last for first, last in ranges)


async def test_password_is_used_on_every_node_and_never_told(
    redis_cluster: RedisCluster, caplog: pytest.LogCaptureFixture
) -> None:
    hosts = redis_cluster.url.removeprefix("redis+cluster://")
    for node in redis_cluster.nodes:
        node.do("ACL", "SETUSER", "hub", "on", ">p@ss/w:rd", "~test:*", "&test:*", *RIGHTS)
        node.do("ACL", "SETUSER", "default", "resetpass", ">other")
    try:
        async with running(make_broker(f"redis+cluster://hub:p%40ss%2Fw%3Ard@{hosts}", prefix="test")) as hub:
            topics = [topic_on_slot(number) for number in range(0, 16384, 2000)]
            await asyncio.gather(*(hub.bridge.subscribe(topic) for topic in topics))
            await asyncio.gather(*(hub.publish(b"1", topic) for topic in topics))
            await eventually(lambda: all(hub.recorder.raws(topic) == [b"1"] for topic in topics))
            assert not caplog.records
        async with running(make_broker(f"redis+cluster://hub:wr0ng-secret@{hosts}", prefix="test")) as hub:
            assert not hub.bridge.ready
            with pytest.raises(BrokerError) as refused:
                await hub.publish(b"1")
            assert "wr0ng-secret" not in f"{refused.value}{caplog.text}"
            assert "password" in str(refused.value)
            assert "can be asked" in caplog.text
    finally:
        for node in redis_cluster.nodes:
            node.do("ACL", "SETUSER", "default", "nopass")


def topic_on_slot(least: int) -> str:
    """A topic whose slot is this one or a little above."""
    topics = (f"slot:{number}" for number in range(5000))
    return next(topic for topic in topics if 0 <= key_slot(key(topic).encode()) - least < 50)


async def test_ack_waits_for_the_replica_of_the_primary_where_that_is_wanted(
    redis_cluster: RedisCluster,
) -> None:
    replica = redis_cluster.replica(redis_cluster.primary(KEY))
    async with running(make_broker(f"{redis_cluster.url}?wait_replicas=1", prefix="test")) as hub:
        await hub.publish(b"1")
        replica.freeze()
        with pytest.raises(BrokerError, match="0 of 1 replicas") as told:
            await hub.publish(b"2")
        assert told.value.unknown


async def test_clusters_share_the_topics_between_them(redis_cluster: RedisCluster, redis_url: str) -> None:
    async with running(make_broker([redis_cluster.url, redis_url], prefix="test")) as hub:
        topics = [f"t:{number}" for number in range(40)]
        await asyncio.gather(*(hub.bridge.subscribe(topic) for topic in topics))
        await asyncio.gather(*(hub.publish(topic.encode(), topic) for topic in topics))
        await eventually(lambda: all(hub.recorder.raws(topic) == [topic.encode()] for topic in topics))
        kept = sum(len(node.do("KEYS", "test:s:*")) for node in redis_cluster.others())
        assert 5 < kept < 35


async def test_server_without_a_cluster_is_said_to_be_one(redis_url: str) -> None:
    async with running(make_broker(redis_url.replace("redis://", "redis+cluster://"), prefix="test")) as hub:
        assert not hub.bridge.ready
        with pytest.raises(BrokerError, match="cluster support disabled"):
            await hub.publish(b"1")


@pytest.mark.parametrize(
    "url",
    [
        "redis+cluster://h/3",
        "redis+cluster://h?db=1",
        "redis+cluster://",
        "redis+cluster://h,",
        "redis+cluster://h:0",
        "redis+cluster://h:99999",
        "redis+cluster://h?nonsense=1",
        "redis+cluster://u:wr0ng-secret@h:x",
        "rediss+cluster://h?ssl_ca_certs=/nowhere.pem",
    ],
)
def test_url_that_cannot_be_used_is_refused_at_once(url: str) -> None:
    with pytest.raises(HubError, match="cannot be used") as refused:
        make_broker(url, prefix="test")
    assert "wr0ng-secret" not in str(refused.value)
