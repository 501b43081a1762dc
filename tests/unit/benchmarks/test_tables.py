"""The tables of the benchmarks, made of figures that are known."""

from __future__ import annotations

import pytest

from benchmarks import contenders, scenarios
from benchmarks.tables import BEGIN, END, fell_behind, number, replaced, table

LOAD = scenarios.chosen(["broadcast"])[0]


def found(cpu: float, **more: float) -> dict[str, float]:
    return {"cpu_us_per_delivery": cpu, "p50_ms": 1.0, "p99_ms": 2.0, **more}


def row(text: str, title: str) -> list[str]:
    line = next(line for line in text.splitlines() if line.startswith(f"| {title}"))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_a_row_has_the_median_its_spread_and_the_ratio_of_medians() -> None:
    text = table(
        LOAD, {"hub": [found(10), found(14), found(11)], "article": [found(20), found(22), found(40)]}
    )
    assert row(text, "hub")[1:3] == ["11.0 (10.0 to 14.0)", "0.50"]
    assert row(text, "article")[2] == "1.00"


def test_ratios_to_centrifugo_are_shown_only_where_it_was_measured() -> None:
    assert "to centrifugo" not in table(LOAD, {"hub": [found(1)], "article": [found(1)]})
    text = table(LOAD, {"hub": [found(6)], "article": [found(12)], "centrifugo": [found(8)]})
    assert row(text, "hub")[2:4] == ["0.75", "0.50"]


def test_what_was_lost_doubled_or_wrong_is_added_over_all_rounds() -> None:
    rounds = [found(1, lost=2, duplicates_or_disorder=1), found(1, lost=3, stray=4, unreached=5)]
    assert row(table(LOAD, {"hub": rounds}), "hub")[-3:] == ["5", "1", "9"]


def test_a_contender_that_failed_has_a_row_that_says_so() -> None:
    cells = row(table(LOAD, {"hub": [], "article": [found(1)]}), "hub")
    assert cells[1] == "failed"
    assert len(cells) == len(row(table(LOAD, {"article": [found(1)]}), "article"))


def test_a_server_that_fell_behind_is_told_from_one_that_lost_or_dropped() -> None:
    assert fell_behind([found(1), found(1, lost=7)])
    assert not fell_behind([found(1)])
    assert not fell_behind([found(1, lost=7, gaps=7)])
    assert not fell_behind([found(1, lost=7, dropped=1)])
    assert row(table(LOAD, {"hub": [found(1, lost=7)]}), "hub")[0] == "hub, plain socket, fell behind"


@pytest.mark.parametrize(
    ("value", "shown"), [(None, "-"), (0, "0.0"), (9.96, "10.0"), (99.94, "99.9"), (1234.5, "1,234")]
)
def test_figures_are_short_and_thousands_are_grouped(value: float | None, shown: str) -> None:
    assert number(value) == shown


def test_a_page_keeps_what_stands_outside_the_marks() -> None:
    assert (
        replaced(f"before\n{BEGIN}\nold\n{END}\nafter\n", "new")
        == f"before\n{BEGIN}\n\nnew\n\n{END}\nafter\n"
    )


def test_a_page_without_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="does not have the lines"):
        replaced("no marks", "new")


def test_every_name_that_a_scenario_leaves_out_is_a_contender() -> None:
    names = {each.name for each in contenders.ALL}
    assert all(load.without < names for load in scenarios.ALL)


def test_a_name_that_nobody_has_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(ValueError, match=r"no contender nobody; there are hub, "):
        contenders.chosen(["hub", "nobody"])
    with pytest.raises(ValueError, match=r"no scenario nothing; there are broadcast, "):
        scenarios.chosen(["nothing"])
