"""The node's budget of bytes that wait: who is told of, and who has to go."""

from __future__ import annotations

from hub.budget import RECOUNT_SECONDS, QueueBudget
from hub.wheel import TimerWheel


class Way:
    """A way out, its transport, and its session in one."""

    def __init__(self, waiting: int = 0) -> None:
        self.waiting = waiting
        self.ended = self.cut = False
        self.on_slow = self.end

    @property
    def transport(self) -> Way:
        return self

    def buffered(self) -> int:
        return self.waiting

    def abort(self) -> None:
        self.cut, self.waiting = True, 0

    def end(self) -> None:
        self.ended, self.on_slow = True, None  # type: ignore[assignment]


def told(budget: QueueBudget, *ways: Way) -> None:
    for way in ways:
        budget.note(way, way.waiting)


def test_nobody_goes_while_all_that_waits_fits() -> None:
    budget, ways = QueueBudget(1_000), [Way(250) for _ in range(4)]
    told(budget, *ways, *ways)
    assert budget.total == 1_000
    assert not any(way.ended for way in ways)


def test_those_for_whom_most_waits_go_first() -> None:
    budget = QueueBudget(1_000)
    small, large, largest = Way(100), Way(400), Way(600)
    told(budget, small, large, largest)
    assert (small.ended, large.ended, largest.ended) == (False, False, True)


def test_so_many_go_that_there_is_room_again() -> None:
    budget, ways = QueueBudget(1_000), [Way(100) for _ in range(11)]
    told(budget, *ways)
    assert sum(way.waiting for way in ways if not way.ended) == 900


def test_who_has_caught_up_meanwhile_is_not_held_to_what_waited_once() -> None:
    budget, quick, slow = QueueBudget(1_000), Way(900), Way(200)
    told(budget, quick)
    quick.waiting = 0
    told(budget, slow)
    assert not quick.ended
    assert not slow.ended
    assert budget.total == 200


def test_connections_that_are_closing_are_cut_before_anybody_else_goes() -> None:
    budget, leaving, staying = QueueBudget(1_000), Way(700), Way(500)
    leaving.end()
    told(budget, leaving, staying)
    assert leaving.cut
    assert not staying.ended
    assert budget.total == 500


def test_what_was_taken_by_the_peer_no_longer_counts() -> None:
    budget, way = QueueBudget(1_000), Way(500)
    told(budget, way)
    budget.forget(way)
    budget.forget(way)
    assert budget.total == 0


def test_sessions_that_have_gone_are_forgotten_by_the_next_beat() -> None:
    now = [0.0]
    wheel = TimerWheel(lambda: now[0])
    budget, gone, staying = QueueBudget(1_000), Way(500), Way(100)
    budget.watch(wheel)
    told(budget, gone, staying)
    for _ in range(2):
        gone.waiting = 0
        now[0] += RECOUNT_SECONDS + 1
        wheel.advance()
        assert budget.total == 100
        told(budget, Way(0))
