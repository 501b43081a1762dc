"""The timer wheel."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hub.wheel import RESOLUTION, TimerWheel


class Item:
    def __init__(self) -> None:
        self.beats: list[float] = []

    def beat(self, now: float) -> None:
        self.beats.append(now)


@given(
    st.lists(st.floats(0, 100), min_size=1, max_size=20),
    st.lists(st.floats(0.01, 30), min_size=1, max_size=40),
)
def test_each_deadline_beats_once_soon_after_it_never_before(
    deadlines: list[float], steps: list[float]
) -> None:
    now = [50.0]
    wheel = TimerWheel(lambda: now[0])
    items = [(Item(), 50 + deadline) for deadline in deadlines]
    for item, deadline in items:
        wheel.add(item, deadline)
    for step in steps:
        before, now[0] = now[0], now[0] + step
        wheel.advance()
        for item, deadline in items:
            if item.beats and item.beats[-1] == now[0]:
                assert deadline <= now[0]
                assert deadline > before - 2 * RESOLUTION
    for item, deadline in items:
        assert len(item.beats) == (1 if deadline + RESOLUTION <= now[0] else len(item.beats))
        assert len(item.beats) <= 1


def test_a_deadline_in_the_past_beats_at_the_next_turn() -> None:
    now = [10.0]
    wheel = TimerWheel(lambda: now[0])
    item = Item()
    wheel.add(item, 1.0)
    now[0] += 2 * RESOLUTION
    wheel.advance()
    assert len(item.beats) == 1


def test_an_item_added_by_a_beat_waits_for_its_own_time() -> None:
    now = [0.0]
    wheel = TimerWheel(lambda: now[0])

    class Again(Item):
        def beat(self, now: float) -> None:
            super().beat(now)
            wheel.add(self, now + 1)

    item = Again()
    wheel.add(item, 1.0)
    for _ in range(20):
        now[0] += RESOLUTION
        wheel.advance()
    assert 3 <= len(item.beats) <= 5


def test_a_beat_that_was_taken_back_does_not_come_and_nothing_is_kept() -> None:
    now = [0.0]
    wheel = TimerWheel(lambda: now[0])
    stays, goes = Item(), Item()
    wheel.add(stays, 1.0)
    slot = wheel.add(goes, 1.0)
    wheel.discard(goes, slot)
    wheel.discard(goes, slot)
    now[0] = 2.0
    wheel.advance()
    assert (len(stays.beats), len(goes.beats)) == (1, 0)
    assert not wheel._slots


def test_a_beat_may_take_back_another_one_of_its_slot() -> None:
    now = [0.0]
    wheel = TimerWheel(lambda: now[0])
    other = Item()

    class Taking(Item):
        def beat(self, now: float) -> None:
            super().beat(now)
            wheel.discard(other, slot)

    wheel.add(Taking(), 1.0)
    slot = wheel.add(other, 1.0)
    now[0] = 2.0
    wheel.advance()
    assert not other.beats
