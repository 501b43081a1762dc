"""Positions compared now and then: evenly, cheaply, and a difference that lasts is noticed in time."""

from __future__ import annotations

from collections.abc import Coroutine, Mapping, Sequence
from typing import Any

import pytest

from hub.errors import BrokerError
from hub.model import Position
from hub.positions import BEAT_SECONDS, COMPARE_SECONDS, GRACE_SECONDS, TOGETHER, Comparison, Visit, agree
from hub.wheel import TimerWheel


class Topic:
    """A topic of the node."""

    def __init__(self, offset: int, epoch: str = "e") -> None:
        self.position = Position(offset, epoch)
        self.settled = True
        self.visit: Visit | None = None

    def move(self, offset: int, epoch: str = "e") -> None:
        self.position = Position(offset, epoch)


class Bench:
    """A node's topics, a broker's positions, and time that tests move."""

    def __init__(self, topics: int) -> None:
        self.topics = {f"t{number}": Topic(1) for number in range(topics)}
        self.tops = {name: Position(1, "e") for name in self.topics}
        self.reads: list[list[str]] = []
        self.told: list[str] = []
        self.away = False
        self.now = 0.0
        self.comparison = Comparison(self._topics, self._read, self.told.append, self._spawn)

    def _topics(self) -> Mapping[str, Topic]:
        return self.topics

    async def _read(self, names: Sequence[str]) -> dict[str, Position]:
        self.reads.append(list(names))
        if self.away:
            raise BrokerError("away")
        return {name: self.tops[name] for name in names}

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        raise AssertionError("turns are taken by hand")

    async def run(self, seconds: float) -> None:
        """Turns for so long, a beat at a time."""
        until = self.now + seconds
        while self.now < until:
            self.now += BEAT_SECONDS
            await self.comparison.turn(self.now)

    @property
    def compared(self) -> int:
        return sum(map(len, self.reads))


ENOUGH = COMPARE_SECONDS + GRACE_SECONDS + 2 * BEAT_SECONDS


async def test_a_quiet_topic_is_compared_once_in_the_interval() -> None:
    bench = Bench(1)
    await bench.run(10 * COMPARE_SECONDS)
    assert bench.compared in {9, 10}
    assert bench.told == []


async def test_comparisons_are_spread_evenly() -> None:
    bench = Bench(1_000)
    await bench.run(COMPARE_SECONDS)
    bench.reads.clear()
    await bench.run(COMPARE_SECONDS)
    assert 990 <= bench.compared <= 1_010
    assert max(map(len, bench.reads)) <= 60


async def test_a_topic_on_which_something_keeps_arriving_is_not_read() -> None:
    bench = Bench(1)
    for offset in range(2, 400):
        bench.topics["t0"].move(offset)
        bench.tops["t0"] = Position(offset, "e")
        await bench.run(BEAT_SECONDS)
    assert bench.reads == []


@pytest.mark.parametrize("lost_after", [0, 1, 7, 19, 20, 21, 33, 39, 41, 60])
@pytest.mark.parametrize("moves", [True, False])
async def test_a_lost_tail_is_noticed_within_the_interval(lost_after: int, moves: bool) -> None:
    bench = Bench(3)
    for second in range(lost_after):
        if moves:
            bench.topics["t1"].move(second + 2)
            bench.tops["t1"] = Position(second + 2, "e")
        await bench.run(1)
    bench.tops["t1"] = Position(bench.tops["t1"].offset + 1, "e")
    await bench.run(ENOUGH)
    assert set(bench.told) == {"t1"}


async def test_what_was_under_way_is_no_difference() -> None:
    bench = Bench(1)
    bench.tops["t0"] = Position(2, "e")
    while not bench.reads:
        await bench.run(BEAT_SECONDS)
    bench.topics["t0"].move(2)
    await bench.run(ENOUGH)
    assert bench.told == []


@pytest.mark.parametrize("top", [Position(0, "e"), Position(1, "other"), Position(7, "other")])
async def test_a_broker_that_fell_back_or_began_anew_is_noticed(top: Position) -> None:
    bench = Bench(1)
    bench.tops["t0"] = top
    await bench.run(ENOUGH)
    assert bench.told == ["t0"]


async def test_a_broker_that_fell_back_and_returned_is_none_of_our_business() -> None:
    bench = Bench(1)
    bench.tops["t0"] = Position(0, "e")
    while not bench.reads:
        await bench.run(BEAT_SECONDS)
    bench.tops["t0"] = Position(1, "e")
    await bench.run(ENOUGH)
    assert bench.told == []


async def test_topics_that_are_being_mended_are_left_alone() -> None:
    bench = Bench(1)
    bench.topics["t0"].settled = False
    bench.tops["t0"] = Position(5, "e")
    await bench.run(2 * ENOUGH)
    assert (bench.reads, bench.told) == ([], [])


async def test_a_difference_that_is_being_mended_when_it_is_judged_is_left_alone() -> None:
    bench = Bench(1)
    bench.tops["t0"] = Position(5, "e")
    while not bench.reads:
        await bench.run(BEAT_SECONDS)
    bench.topics["t0"].settled = False
    await bench.run(GRACE_SECONDS + BEAT_SECONDS)
    assert bench.told == []


async def test_a_topic_that_is_left_meanwhile_is_forgotten() -> None:
    bench = Bench(2)
    bench.tops["t0"] = Position(5, "e")
    while not bench.reads:
        await bench.run(BEAT_SECONDS)
    del bench.topics["t0"]
    await bench.run(3 * ENOUGH)
    assert bench.told == []


async def test_a_broker_that_is_away_ends_nothing() -> None:
    bench = Bench(3)
    bench.away = True
    await bench.run(3 * ENOUGH)
    assert bench.reads
    bench.away = False
    bench.tops["t2"] = Position(5, "e")
    await bench.run(ENOUGH)
    assert set(bench.told) == {"t2"}


async def test_after_a_long_pause_every_topic_is_visited_but_reads_stay_bounded() -> None:
    bench = Bench(3 * TOGETHER)
    await bench.run(COMPARE_SECONDS / 2)
    bench.now += 3_600
    await bench.comparison.turn(bench.now)
    assert bench.compared == 3 * TOGETHER
    assert max(map(len, bench.reads)) == TOGETHER


async def test_a_beat_does_not_wait_for_a_broker_that_hangs() -> None:
    bench, works = Bench(1), list[Coroutine[Any, Any, None]]()
    now = 0.0
    wheel = TimerWheel(lambda: now)
    comparison = Comparison(bench._topics, bench._read, bench.told.append, works.append)
    comparison.start(wheel)
    for beat in range(1, 6):
        now = beat * 2.0
        wheel.advance()
    assert len(works) == 1
    await works[0]
    now += 2.0
    wheel.advance()
    assert len(works) == 2
    await works[1]


@pytest.mark.parametrize(
    ("before", "top", "after", "fits"),
    [
        ((1, "e"), (1, "e"), (1, "e"), True),
        ((1, "e"), (2, "e"), (3, "e"), True),
        ((1, "e"), (4, "e"), (3, "e"), False),
        ((2, "e"), (1, "e"), (3, "e"), False),
        ((9, "d"), (1, "e"), (1, "e"), True),
        ((1, "e"), (1, "f"), (1, "e"), False),
    ],
)
def test_a_position_between_before_and_after_fits(
    before: tuple[int, str], top: tuple[int, str], after: tuple[int, str], fits: bool
) -> None:
    assert agree(Position(*before), Position(*top), Position(*after)) is fits
