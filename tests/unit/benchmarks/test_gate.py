"""The gate on hub : article is shut by a worse ratio, by a delivery gone wrong, and by nothing measured."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from benchmarks.gate import BOUNDS, CONTENDERS, MORE_ROUNDS, Measured, complaints, judged, verdict


def results(hub: list[float], article: list[float], **wrong: int) -> Measured:
    """The same in every scenario: parts of what is allowed of 10 µs; `wrong` is in the hub's first round."""
    return {
        scenario: {
            "hub-client": [
                {"cpu_us_per_delivery": part * 10 * bound, **(wrong if turn == 0 else {})}
                for turn, part in enumerate(hub)
            ],
            "article": [{"cpu_us_per_delivery": each} for each in article],
        }
        for scenario, bound in BOUNDS.items()
    }


def texts(found: Measured) -> list[str]:
    return [each.text for each in complaints(found)]


def test_it_is_open_up_to_the_bound() -> None:
    assert not complaints(results([1, 0.999, 0.5], [10, 10, 10]))
    assert [line.partition(":")[0] for line in verdict(results([0.5], [10]))] == list(BOUNDS)


def test_it_is_shut_above_the_bound_for_each_scenario() -> None:
    found = texts(results([1.1], [10]))
    assert [line.partition(":")[0] for line in found] == list(BOUNDS)
    assert f"{1.1 * BOUNDS['broadcast']:.2f}" in found[0]


def test_one_spoilt_round_of_three_does_not_shut_it() -> None:
    assert not complaints(results([0.5, 9, 0.5], [10, 10, 3], lost=7, dropped=1))


@pytest.mark.parametrize("wrong", ["gaps", "duplicates", "disorder", "stray", "corrupt"])
def test_one_delivery_gone_wrong_shuts_it_for_good_however_fast_the_hub_was(wrong: str) -> None:
    found = complaints(results([0.1, 0.1, 0.1], [10, 10, 10], **{wrong: 1}))
    assert [each.final for each in found] == [True, True]
    assert "1 deliveries" in found[0].text


@pytest.mark.parametrize("late", ["lost", "unreached", "dropped"])
def test_falling_behind_shuts_it_only_in_most_rounds(late: str) -> None:
    assert not complaints(results([0.1, 0.1], [10, 10], **{late: 5}))
    found = complaints(results([0.1], [10], **{late: 5}))
    assert "in 1 of 1 rounds" in found[0].text
    assert not found[0].final


def test_it_is_shut_when_nothing_was_measured() -> None:
    nothing: Measured = {each: {name: [] for name in CONTENDERS} for each in BOUNDS}
    assert texts(nothing) == [f"{name}: not measured" for name in BOUNDS]
    assert texts(results([0.1], [])) == [f"{name}: not measured" for name in BOUNDS]


def measuring(first: Measured, second: Measured) -> tuple[Callable[[int], Measured], list[int]]:
    asked: list[int] = []

    def measure(rounds: int) -> Measured:
        asked.append(rounds)
        return first if len(asked) == 1 else second

    return measure, asked


def test_an_open_gate_asks_for_no_more_rounds() -> None:
    measure, asked = measuring(results([0.5], [10]), {})
    assert not judged(measure, 3)
    assert asked == [3]


def test_more_rounds_decide_whether_a_bad_ratio_stands() -> None:
    bad, good = results([2], [10]), results([0.5], [10])
    measure, asked = measuring(bad, good)
    assert not judged(measure, 3)
    assert asked == [3, MORE_ROUNDS]
    measure, _ = measuring(bad, bad)
    assert len(judged(measure, 3)) == len(BOUNDS)


def test_what_is_final_is_not_measured_again() -> None:
    measure, asked = measuring(results([0.5], [10], duplicates=1), results([0.5], [10]))
    assert judged(measure, 3)
    assert asked == [3]
