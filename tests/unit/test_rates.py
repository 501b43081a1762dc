"""How often something may happen, at times that the test names."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.rates import MAX_KEYS, Rate, Rates


def test_a_burst_passes_and_then_the_steady_rate() -> None:
    rate = Rate(50, 100)
    assert sum(rate.take(7.0) for _ in range(300)) == 100
    assert sum(rate.take(7.0 + number / 1000) for number in range(1, 1001)) == 50


def test_what_is_refused_costs_nothing() -> None:
    rate = Rate(1, 1)
    assert rate.take(0.0)
    assert not any(rate.take(0.5) for _ in range(100))
    assert rate.take(1.0)


def test_the_wait_is_as_long_as_it_says() -> None:
    rate = Rate(10, 1)
    assert rate.wait(5.0) == 0
    assert rate.take(5.0)
    wait = rate.wait(5.0)
    assert wait == pytest.approx(0.1)
    assert not rate.take(5.0 + wait - 0.001)
    assert rate.take(5.0 + wait)


def test_it_is_idle_when_its_whole_burst_is_back() -> None:
    rate = Rate(10, 5)
    assert rate.idle(1.0)
    rate.take(1.0, 5)
    assert not rate.idle(1.4)
    assert rate.idle(1.5)


@given(st.lists(st.floats(0, 10), max_size=200), st.integers(1, 100), st.integers(1, 50))
def test_no_span_of_time_sees_more_than_its_burst_and_its_share(
    times: list[float], per_second: int, burst: int
) -> None:
    rate = Rate(per_second, burst)
    passed = [now for now in sorted(times) if rate.take(now)]
    for first, begin in enumerate(passed):
        for last in range(first, len(passed)):
            assert last - first + 1 <= burst + (passed[last] - begin) * per_second + 1e-3


def test_keys_do_not_share_and_the_oldest_is_forgotten() -> None:
    rates = Rates(1, 1)
    assert rates.take("a", 0.0)
    assert rates.take("b", 0.0)
    assert not rates.take("a", 0.0)
    for number in range(MAX_KEYS):
        rates.take(str(number), 0.0)
    assert len(rates) == MAX_KEYS
    assert rates.take("a", 0.0)
