"""One topic on a node: positions, order, and what joins and leaves during a turn."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from hub.congestion import MAX_WAITING, MAX_WAITING_BYTES
from hub.handlers import TopicRule
from hub.live import LiveTopic, Subscription
from hub.model import HistoryOptions, Position, Publication, SlowPolicy, TopicOptions
from hub.outbox import MAX_JOINED, Outbox, Tick, Unit
from hub.recovery import MAX_RECORDED, MAX_RECORDED_BYTES, Record


class Letters:
    """A wire that shows payloads, and counts how often it encodes."""

    separator = b"|"

    def __init__(self) -> None:
        self.encoded = 0

    def publication(self, topic: str, publication: Publication) -> bytes:
        self.encoded += 1
        return publication.raw

    def alone(self, topic: str, publication: Publication) -> bytes:
        return self.publication(topic, publication)

    def join(self, pieces: list[bytes]) -> bytes:
        return b"|".join(pieces)

    def share(self, pieces: list[bytes]) -> bytes:
        return self.join(pieces)


class Peer:
    """A transport and an owner in one."""

    socket = None

    def __init__(self, waiting: int = 0) -> None:
        self.units: list[Unit] = []
        self.waiting = waiting
        self.ended: tuple[int, str] | None = None
        self.missed: list[str] = []
        self.on_write: Callable[[], None] | None = None

    def write(self, unit: Unit) -> None:
        self.units.append(unit)
        if self.on_write:
            self.on_write()

    def buffered(self) -> int:
        return self.waiting

    def close(self, code: int, reason: str) -> None:
        self.ended = (code, reason)

    def abort(self) -> None:
        self.ended = (1006, "")

    def ping(self) -> bool:
        return True

    def pause_reading(self, paused: bool) -> None: ...

    def insufficient(self, topic: str) -> None:
        self.missed.append(topic)


class Bench:
    """A topic, its tick by hand, and subscribers."""

    def __init__(self, *, history: bool = True, slow: SlowPolicy = "disconnect") -> None:
        self.turns: list[Callable[[], None]] = []
        self.tick = Tick(self.turns.append)
        kept = HistoryOptions(100, 60) if history else None
        options = TopicOptions("t", history=kept, slow=slow, conflate="id")
        self.topic = LiveTopic("t", TopicRule(options), self.tick)
        self.wire = Letters()
        if history:
            self.topic.release(Position(0, "e"))

    def subscriber(self, wire: Letters | None = None) -> tuple[Peer, Subscription]:
        peer = Peer()
        return peer, Subscription(
            "t", peer, Outbox(peer, wire or self.wire, self.tick, 1_000), self.topic.rule.options
        )

    def turn(self) -> None:
        turns, self.turns[:] = list(self.turns), []
        for call in turns:
            call()


def pub(offset: int, raw: bytes = b"", epoch: str = "e") -> Publication:
    return Publication("t", raw or b"%d" % offset, offset, epoch)


def test_a_turns_publications_are_encoded_once_and_joined_for_everybody() -> None:
    bench = Bench()
    peers = [bench.subscriber() for _ in range(5)]
    for _, subscription in peers:
        bench.topic.add(subscription)
    bench.topic.accept([pub(1), pub(2)])
    bench.topic.accept([pub(3)])
    assert peers[0][0].units == []
    bench.turn()
    assert [peer.units for peer, _ in peers] == [[b"1|2|3"]] * 5
    assert bench.wire.encoded == 3


def test_a_newcomer_in_the_same_turn_gets_nothing_from_before_it_and_nothing_twice() -> None:
    bench = Bench()
    old, subscription = bench.subscriber()
    bench.topic.add(subscription)
    bench.topic.accept([pub(1)])
    new, late = bench.subscriber()
    bench.topic.add(late)
    bench.topic.accept([pub(2)])
    bench.turn()
    assert old.units == [b"1|2"]
    assert new.units == [b"2"]
    bench.topic.accept([pub(3)])
    bench.turn()
    assert old.units[1:] == new.units[1:] == [b"3"]


def test_a_reply_pushed_in_the_turn_precedes_what_follows_on_the_topic() -> None:
    bench = Bench()
    peer, subscription = bench.subscriber()
    bench.topic.accept([pub(1)])
    bench.topic.add(subscription)
    subscription.outbox.push(b"reply")
    bench.topic.accept([pub(2)])
    bench.turn()
    assert peer.units == [b"reply|2"]


def test_who_leaves_during_a_flush_gets_nothing_more_and_harms_nobody() -> None:
    bench = Bench()
    peers = [bench.subscriber() for _ in range(4)]
    for peer, subscription in peers:
        bench.topic.add(subscription)
        peer.on_write = lambda: [bench.topic.discard(other) for _, other in peers]  # type: ignore[assignment]
    bench.topic.accept([pub(1)])
    bench.turn()
    assert sorted(len(peer.units) for peer, _ in peers) == [0, 0, 0, 1]
    assert bench.topic.subscribers() == []


def test_duplicates_are_dropped_and_a_skipped_offset_is_a_gap() -> None:
    bench = Bench()
    peer, subscription = bench.subscriber()
    bench.topic.add(subscription)
    assert bench.topic.accept([pub(1), pub(1), pub(2)])
    assert not bench.topic.accept([pub(4), pub(5)])
    bench.turn()
    assert peer.units == [b"1|2"]
    assert bench.topic.catch_up([pub(3)])
    assert bench.topic.release(bench.topic.position)
    bench.turn()
    assert peer.units == [b"1|2", b"3|4|5"]


def test_another_epoch_is_a_gap() -> None:
    bench = Bench()
    assert not bench.topic.accept([pub(1, epoch="other")])
    assert bench.topic.release(Position(0, "other"))
    assert bench.topic.position == Position(1, "other")


def test_what_comes_before_the_position_is_known_is_held_and_then_sorted_out() -> None:
    bench = Bench()
    topic = LiveTopic("t", TopicRule(TopicOptions("t", history=HistoryOptions(10, 60))), bench.tick)
    peer, subscription = bench.subscriber()
    assert topic.accept([pub(3), pub(4)])
    topic.add(subscription)
    assert topic.release(Position(3, "e"))
    bench.turn()
    assert peer.units == [b"4"]


def test_too_much_held_back_is_a_gap_not_a_growing_heap() -> None:
    for much in (
        [pub(offset) for offset in range(1, MAX_RECORDED + 2)],
        [pub(offset, bytes(1_048_576)) for offset in range(1, MAX_RECORDED_BYTES // 1_048_576 + 2)],
    ):
        bench = Bench()
        bench.topic.hold()
        bench.topic.accept(much)
        assert not bench.topic.release(Position(0, "e"))


def test_publications_without_history_pass_at_once() -> None:
    bench = Bench(history=False)
    peer, subscription = bench.subscriber()
    bench.topic.add(subscription)
    assert bench.topic.accept([pub(0, b"a"), pub(0, b"b")])
    bench.turn()
    assert peer.units == [b"a|b"]


def test_a_burst_is_written_in_pieces_of_a_bounded_size_and_in_order() -> None:
    bench = Bench()
    peer, subscription = bench.subscriber()
    bench.topic.add(subscription)
    big = b"x" * 30_000
    bench.topic.accept([pub(1, b"1" + big), pub(2, b"2" + big), pub(3, b"3" + big)])
    bench.turn()
    assert [bytes(unit[:1]) for unit in peer.units] == [b"1", b"3"]
    assert all(len(unit) <= MAX_JOINED for unit in peer.units)


def test_each_kind_of_client_has_its_own_encoding() -> None:
    bench = Bench()
    other = Letters()
    first, one = bench.subscriber()
    second, two = bench.subscriber(other)
    bench.topic.add(one)
    bench.topic.add(two)
    bench.topic.accept([pub(1)])
    bench.turn()
    assert (bench.wire.encoded, other.encoded) == (1, 1)
    assert first.units == second.units == [b"1"]


def test_a_slow_reader_is_reported_and_the_others_are_served() -> None:
    bench = Bench()
    slow, one = bench.subscriber()
    fine, two = bench.subscriber()
    slow.waiting = 1_001
    one.outbox.on_slow = lambda: (bench.topic.discard(one), one.outbox.close(3008, "slow", drop=True))  # type: ignore[assignment,func-returns-value]
    bench.topic.add(one)
    bench.topic.add(two)
    bench.topic.accept([pub(1)])
    bench.turn()
    bench.topic.accept([pub(2)])
    bench.turn()
    assert slow.ended == (3008, "slow")
    assert fine.units == [b"1", b"2"]


def test_records_see_what_is_delivered_while_history_is_read() -> None:
    bench = Bench()
    meanwhile = Record()
    bench.topic.records.append(meanwhile)
    bench.topic.accept([pub(1), pub(2)])
    assert [publication.offset for publication in meanwhile.publications] == [1, 2]
    bench.topic.forget(meanwhile)
    bench.topic.accept([pub(3)])
    assert len(meanwhile.publications) == 2


def _congest(bench: Bench) -> tuple[Peer, Subscription]:
    peer, subscription = bench.subscriber()
    bench.topic.add(subscription)
    peer.waiting = 251
    return peer, subscription


def _catch_up(bench: Bench, peer: Peer, subscription: Subscription) -> None:
    peer.waiting = 0
    subscription.outbox.drained()


def test_conflation_keeps_the_latest_of_each_value_while_a_client_is_congested() -> None:
    bench = Bench(history=False, slow="conflate")
    peer, subscription = _congest(bench)
    fine, other = bench.subscriber()
    bench.topic.add(other)
    payloads = [b'{"id":1,"n":1}', b'{"id":2,"n":2}', b'{"id":1,"n":3}', b'"no id"', b"[]"]
    for payload in payloads:
        bench.topic.accept([pub(0, payload)])
        bench.turn()
    assert peer.units == []
    assert fine.units == payloads
    _catch_up(bench, peer, subscription)
    assert peer.units == [b'{"id":2,"n":2}|{"id":1,"n":3}|[]']
    bench.topic.accept([pub(0, b'{"id":1,"n":4}')])
    bench.turn()
    assert peer.units[-1] == b'{"id":1,"n":4}'


def test_dropping_the_oldest_keeps_the_newest_in_order() -> None:
    bench = Bench(history=False, slow="drop_oldest")
    peer, subscription = _congest(bench)
    for number in range(MAX_WAITING + 10):
        bench.topic.accept([pub(0, b"%d" % number)])
    bench.turn()
    _catch_up(bench, peer, subscription)
    assert b"|".join(bytes(unit) for unit in peer.units) == b"|".join(
        b"%d" % n for n in range(10, MAX_WAITING + 10)
    )


def test_what_waited_undropped_on_a_topic_with_history_is_simply_written() -> None:
    bench = Bench(slow="drop_oldest")
    peer, subscription = _congest(bench)
    bench.topic.accept([pub(1), pub(2)])
    bench.turn()
    _catch_up(bench, peer, subscription)
    assert (peer.units, peer.missed) == ([b"1|2"], [])


def test_a_drop_on_a_topic_with_history_is_told_and_nothing_is_written_over_the_gap() -> None:
    bench = Bench(slow="conflate")
    peer, subscription = _congest(bench)
    bench.topic.accept([pub(1, b'{"id":1}'), pub(2, b'{"id":1}')])
    bench.turn()
    _catch_up(bench, peer, subscription)
    assert (peer.units, peer.missed) == ([], ["t"])


def test_what_waited_for_a_client_that_has_left_the_topic_is_not_written_any_more() -> None:
    bench = Bench(slow="drop_oldest")
    peer, subscription = _congest(bench)
    bench.topic.accept([pub(1), pub(2)])
    bench.turn()
    bench.topic.discard(subscription)
    _catch_up(bench, peer, subscription)
    assert (peer.units, peer.missed) == ([], [])


@pytest.mark.parametrize("slow", ["conflate", "drop_oldest"])
def test_what_waits_for_a_congested_client_is_bounded_in_bytes(slow: SlowPolicy) -> None:
    bench = Bench(history=False, slow=slow)
    _, subscription = _congest(bench)
    for number in range(20):
        bench.topic.accept([pub(0, b'{"id":%d,"x":"%s"}' % (number, b"x" * 50_000))])
    bench.turn()
    assert subscription.waiting is not None
    waiting = subscription.waiting.take()
    assert sum(len(publication.raw) for publication in waiting) <= MAX_WAITING_BYTES
    assert waiting[-1].raw.startswith(b'{"id":19')
    assert subscription.waiting.dropped == 20 - len(waiting)
