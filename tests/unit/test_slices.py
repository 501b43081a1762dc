"""A topic with many subscribers is written in slices: who waits for whom, in which order, and what may wait."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest

from hub import live
from hub.handlers import TopicRule
from hub.live import LiveTopic, Subscription
from hub.model import HistoryOptions, Position, Publication, SlowPolicy, TopicOptions
from hub.outbox import LARGEST_SLICE, MAX_JOINED, WRITE_SECONDS, Outbox, Tick, Unit

MANY = 50


class Letters:
    """A wire that shows payloads."""

    separator = b"|"

    def publication(self, topic: str, publication: Publication) -> bytes:
        return publication.raw

    def alone(self, topic: str, publication: Publication) -> bytes:
        return publication.raw

    def join(self, pieces: list[bytes]) -> bytes:
        return b"|".join(pieces)

    def share(self, pieces: list[bytes]) -> bytes:
        return self.join(pieces)


WIRE = Letters()


class Peer:
    """A transport, an owner and a subscription in one."""

    socket = None

    def __init__(self, bench: Bench, topic: LiveTopic, limit: int = 1_000) -> None:
        self.units: list[Unit] = []
        self.waiting = 0
        self.missed = 0
        self.ended: tuple[int, str] | None = None
        self.fails = False
        self.on_write: Callable[[], None] | None = None
        self.outbox = Outbox(self, WIRE, bench.tick, limit)
        self.subscription = Subscription(topic.name, self, self.outbox, topic.rule.options)
        topic.add(self.subscription)

    @property
    def heard(self) -> bytes:
        return b"|".join(bytes(unit) for unit in self.units if isinstance(unit, bytes))

    def write(self, unit: Unit) -> None:
        if self.fails:
            raise RuntimeError("on purpose")
        self.units.append(unit)
        if self.on_write:
            self.on_write()

    def buffered(self) -> int:
        return self.waiting

    def close(self, code: int, reason: str) -> None:
        self.ended = (code, reason)

    def abort(self) -> None: ...

    def ping(self) -> bool:
        return True

    def pause_reading(self, paused: bool) -> None: ...

    def insufficient(self, topic: str) -> None:
        self.missed += 1


class Bench:
    """Topics, a tick by hand with a clock by hand; more than 20 writes are made in slices of 10."""

    def __init__(self) -> None:
        self.now = 0.0
        self.turns: list[Callable[[], None]] = []
        self.tick = Tick(self.turns.append, lambda: self.now, at_once=20, smallest_slice=10)

    def topic(self, name: str = "t", slow: SlowPolicy = "disconnect") -> LiveTopic:
        options = TopicOptions(name, history=HistoryOptions(100, 60), slow=slow, conflate="id")
        topic = LiveTopic(name, TopicRule(options), self.tick)
        topic.release(Position(0, "e"))
        return topic

    def peers(self, topic: LiveTopic, count: int = MANY) -> list[Peer]:
        return [Peer(self, topic) for _ in range(count)]

    def turn(self) -> None:
        turns, self.turns[:] = list(self.turns), []
        for call in turns:
            call()

    def settle(self) -> None:
        while self.turns:
            self.turn()


def publish(topic: LiveTopic, *payloads: bytes) -> None:
    for payload in payloads:
        assert topic.accept([Publication(topic.name, payload, topic.offset + 1, "e")])


def served(peers: list[Peer]) -> int:
    return sum(bool(peer.units) for peer in peers)


def test_many_are_written_a_slice_in_each_turn_and_few_at_once() -> None:
    bench = Bench()
    few, many = bench.topic("few"), bench.topic("many")
    some, crowd = bench.peers(few, 20), bench.peers(many)
    publish(few, b"1")
    bench.turn()
    assert served(some) == 20
    publish(many, b"1")
    progress = []
    for _ in range(8):
        bench.turn()
        progress.append(served(crowd))
    assert progress[0] == 0
    assert progress[-1] == MANY
    assert all(later - earlier <= 10 for earlier, later in pairwise(progress))


def test_many_small_topics_of_one_turn_are_not_written_all_at_once() -> None:
    bench = Bench()
    topics = [bench.topic(f"t{number}") for number in range(10)]
    peers = [bench.peers(topic, 5) for topic in topics]
    for topic in topics:
        publish(topic, b"1")
    bench.turn()
    assert sum(map(served, peers)) == 20
    bench.settle()
    assert all(peer.units == [b"1"] for crowd in peers for peer in crowd)


def test_another_topic_does_not_wait_for_the_slices_of_a_large_one() -> None:
    bench = Bench()
    large, small = bench.topic("large"), bench.topic("small")
    crowd, pair = bench.peers(large), bench.peers(small, 2)
    publish(large, b"1")
    bench.turn()
    bench.turn()
    publish(small, b"1")
    bench.turn()
    assert served(pair) == 2
    assert served(crowd) < MANY


def test_large_topics_take_turns() -> None:
    bench = Bench()
    one, two = bench.topic("one"), bench.topic("two")
    first, second = bench.peers(one), bench.peers(two)
    publish(one, b"1")
    publish(two, b"1")
    for _ in range(5):
        bench.turn()
    assert abs(served(first) - served(second)) <= 1
    assert 15 < served(first) < MANY


def test_what_comes_during_the_slices_follows_them_joined() -> None:
    bench = Bench()
    topic = bench.topic()
    crowd = bench.peers(topic)
    publish(topic, b"1")
    bench.turn()
    bench.turn()
    publish(topic, b"2", b"3")
    bench.turn()
    publish(topic, b"4")
    bench.settle()
    assert all(peer.units == [b"1", b"2|3|4"] for peer in crowd)


def test_who_comes_during_the_slices_gets_what_follows_its_reply_and_nothing_older() -> None:
    bench = Bench()
    topic = bench.topic()
    crowd = bench.peers(topic)
    publish(topic, b"1")
    bench.turn()
    early = Peer(bench, topic)
    early.outbox.push(b"reply")
    bench.turn()
    publish(topic, b"2")
    middle = Peer(bench, topic)
    middle.outbox.push(b"reply")
    publish(topic, b"3")
    late = Peer(bench, topic)
    late.outbox.push(b"reply")
    assert topic.count() == len(topic.subscribers()) == MANY + 3
    bench.settle()
    publish(topic, b"4")
    bench.settle()
    assert all(peer.heard == b"1|2|3|4" for peer in crowd)
    assert (early.heard, middle.heard, late.heard) == (b"reply|2|3|4", b"reply|3|4", b"reply|4")


def test_who_goes_during_the_slices_gets_nothing_behind_its_last_reply() -> None:
    bench = Bench()
    topic = bench.topic()
    crowd = bench.peers(topic)
    publish(topic, b"1")
    bench.turn()
    bench.turn()
    publish(topic, b"2")
    newcomer = Peer(bench, topic)
    for peer in (*crowd, newcomer):
        topic.discard(peer.subscription)
        peer.outbox.push(b"unsubscribed")
    assert topic.count() == len(topic.subscribers()) == 0
    bench.settle()
    assert {peer.heard for peer in crowd} == {b"1|unsubscribed", b"unsubscribed"}
    assert newcomer.heard == b"unsubscribed"


def test_replies_are_not_held_up_by_slices() -> None:
    bench = Bench()
    topic = bench.topic()
    crowd = bench.peers(topic)
    publish(topic, b"1")
    bench.turn()
    crowd[-1].outbox.push(b"pong")
    bench.turn()
    assert crowd[-1].units[0].startswith(b"pong")


def test_a_slow_client_is_found_in_the_slices_and_a_failing_one_harms_nobody() -> None:
    bench = Bench()
    topic = bench.topic()
    crowd = bench.peers(topic)
    slow, failing = crowd[7], crowd[31]
    slow.waiting = 1_001

    def end() -> None:
        topic.discard(slow.subscription)
        slow.outbox.close(3008, "slow", drop=True)

    slow.outbox.on_slow, failing.fails = end, True
    publish(topic, b"1")
    failures = 0
    while bench.turns:
        turns, bench.turns[:] = list(bench.turns), []
        for call in turns:
            try:
                call()
            except RuntimeError:
                failures += 1
    assert failures == 1
    assert slow.ended == (3008, "slow")
    assert all(peer.units == [b"1"] for peer in crowd if peer not in (slow, failing))
    failing.fails = False
    publish(topic, b"2")
    bench.settle()
    assert failing.units == [b"2"]


@pytest.mark.parametrize("slow", ["drop_oldest", "conflate"])
def test_congested_clients_hold_back_in_slices_as_they_do_at_once(slow: SlowPolicy) -> None:
    bench = Bench()
    topic = bench.topic(slow=slow)
    crowd = bench.peers(topic)
    lagging = crowd[3]
    lagging.waiting = 500
    publish(topic, b'{"id":1}')
    bench.settle()
    publish(topic, b'{"id":2}')
    bench.settle()
    assert lagging.units == []
    lagging.waiting = 0
    lagging.outbox.drained()
    assert lagging.units == [b'{"id":1}|{"id":2}']
    assert all(peer.heard == b'{"id":1}|{"id":2}' for peer in crowd)


def test_a_burst_is_written_unit_by_unit_and_large_ones_count_for_more() -> None:
    bench = Bench()
    topic = bench.topic()
    crowd = bench.peers(topic)
    publish(topic, *(b"%d" % number + b"x" * 40_000 for number in range(4)))
    bench.turn()
    bench.turn()
    assert 0 < sum(len(peer.units) for peer in crowd) < 10
    bench.settle()
    for peer in crowd:
        assert [bytes(unit[:1]) for unit in peer.units if isinstance(unit, bytes)] == [b"0", b"1", b"2", b"3"]
        assert all(len(unit) <= MAX_JOINED for unit in peer.units)


def test_what_waits_behind_slices_is_bounded_without_a_loss() -> None:
    bench = Bench()
    topic = bench.topic()
    crowd = bench.peers(topic)
    for _ in range(30):
        publish(topic, b"x" * 100_000)
        assert bench.tick.waiting <= 2 * live.MAX_WAITING_BYTES + 100_000 + live.OVERHEAD
        bench.turn()
    bench.settle()
    assert all(len(peer.heard) == 30 * 100_001 - 1 for peer in crowd)
    assert bench.tick.waiting == 0


def test_what_waits_for_all_topics_together_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "MAX_WAITING_BYTES_ON_NODE", 10_000)
    bench = Bench()
    topics = [bench.topic(f"t{number}") for number in range(5)]
    crowds = [bench.peers(topic) for topic in topics]
    for _ in range(50):
        for topic in topics:
            publish(topic, b"x" * 1_000)
        bench.turn()
    bench.settle()
    assert all(len(peer.heard) == 50 * 1_001 - 1 for crowd in crowds for peer in crowd)


def test_a_gap_is_mended_during_the_slices_and_nobody_gets_anything_twice() -> None:
    bench = Bench()
    topic = bench.topic()
    crowd = bench.peers(topic)
    publish(topic, b"1")
    bench.turn()
    bench.turn()
    assert not topic.accept([Publication("t", b"3", 3, "e")])
    newcomer = Peer(bench, topic)
    bench.turn()
    assert topic.catch_up([Publication("t", b"2", 2, "e")])
    assert topic.release(topic.position)
    bench.settle()
    assert all(peer.heard == b"1|2|3" for peer in crowd)
    assert newcomer.heard == b"2|3"


def test_slices_grow_while_others_keep_the_loop_busy_within_bounds() -> None:
    bench = Bench()
    topic = bench.topic()
    crowd = bench.peers(topic, 2_000)
    publish(topic, b"1")
    bench.turn()
    sizes = []
    for busy in (0.0, 50 * WRITE_SECONDS, 10.0, 0.0):
        before = served(crowd)
        bench.now += busy
        bench.turn()
        sizes.append(served(crowd) - before)
    for size, expected in zip(sizes, (10, 40, LARGEST_SLICE, 10), strict=True):
        assert size == pytest.approx(expected, abs=2)
