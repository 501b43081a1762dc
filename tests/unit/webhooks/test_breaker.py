"""When a server counts as away, and how it is found to be back."""

from __future__ import annotations

from hub.webhooks.breaker import FAILURES, PAUSE_SECONDS, Breaker


def broken() -> Breaker:
    breaker = Breaker()
    assert [breaker.failed(0.0) for _ in range(FAILURES)] == [False] * (FAILURES - 1) + [True]
    return breaker


def test_failures_in_a_row_close_the_way_and_one_answer_between_them_does_not() -> None:
    breaker = Breaker()
    for _ in range(FAILURES - 1):
        breaker.failed(0.0)
    breaker.succeeded()
    for _ in range(FAILURES - 1):
        breaker.failed(0.0)
    assert breaker.admit(0.0)
    assert not broken().admit(PAUSE_SECONDS - 0.01)


def test_after_the_pause_one_may_try_and_its_outcome_counts() -> None:
    breaker = broken()
    assert not breaker.away(PAUSE_SECONDS)
    assert breaker.admit(PAUSE_SECONDS)
    assert not breaker.admit(PAUSE_SECONDS), "only one"
    assert not breaker.failed(PAUSE_SECONDS), "it is known already"
    assert not breaker.admit(2 * PAUSE_SECONDS - 0.01)
    assert breaker.admit(2 * PAUSE_SECONDS)
    breaker.succeeded()
    assert breaker.admit(2 * PAUSE_SECONDS)
    assert breaker.admit(2 * PAUSE_SECONDS)


def test_a_trial_that_is_given_up_leaves_room_for_another() -> None:
    breaker = broken()
    assert breaker.admit(PAUSE_SECONDS)
    breaker.abandoned()
    assert breaker.admit(PAUSE_SECONDS)
