"""The gate on hub : article is shut by a worse ratio, by a delivery gone wrong, and by nothing measured."""

from __future__ import annotations

from benchmarks.gate import BOUNDS, CONTENDERS, complaints
from benchmarks.tables import Found


def results(hub: float, article: float, **wrong: int) -> dict[str, dict[str, list[dict[str, float]]]]:
    each = {
        "hub-client": [{"cpu_us_per_delivery": hub, **wrong}],
        "article": [{"cpu_us_per_delivery": article}],
    }
    return dict.fromkeys(BOUNDS, each)


def test_it_is_open_up_to_the_bound() -> None:
    assert not list(complaints(results(10, 10)))


def test_it_is_shut_above_the_bound_for_each_scenario() -> None:
    found = list(complaints(results(10.2, 10)))
    assert [line.partition(":")[0] for line in found] == list(BOUNDS)
    assert "1.02" in found[0]


def test_it_is_shut_when_the_hub_lost_something_however_fast_it_was() -> None:
    assert "3 deliveries" in next(complaints(results(1, 10, lost=2, duplicates_or_disorder=1)))


def test_it_is_shut_when_nothing_was_measured() -> None:
    nothing: dict[str, dict[str, list[Found]]] = {each: {name: [] for name in CONTENDERS} for each in BOUNDS}
    assert list(complaints(nothing)) == [f"{name}: not measured" for name in BOUNDS]
