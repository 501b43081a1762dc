"""The tables of the benchmarks, made of figures that are known."""

from __future__ import annotations

import pytest

from benchmarks import contenders, scenarios
from benchmarks.scenarios import ALL
from benchmarks.tables import LAYOUTS, Found, fell_behind, number, table


def found(cpu: float, **more: float) -> dict[str, float]:
    return {"cpu_us_per_delivery": cpu, "p50_ms": 1.0, "p99_ms": 2.0, **more}


def shown(scenario: str, results: dict[str, list[dict[str, float]]], **more: tuple[str, ...]) -> str:
    (load,) = scenarios.chosen([scenario])
    entrants = [each for each in load.entrants(contenders.ALL) if each.name in results]
    return table(load, entrants, results, **more)


def row(text: str, title: str) -> dict[str, str]:
    """A row by its headings."""
    heads, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines())
    cells = next(cells for cells in rows if cells[0].startswith(title))
    assert len(cells) == len(heads)
    return dict(zip(heads, cells, strict=True))


def test_a_row_has_the_median_its_spread_and_the_ratio_of_medians() -> None:
    text = shown(
        "broadcast",
        {"hub": [found(10), found(14), found(11)], "article": [found(20), found(22), found(40)]},
    )
    assert row(text, "hub")["CPU µs/delivery"] == "11.0 (10.0 to 14.0)"
    assert row(text, "hub")["to article"] == "0.50"
    assert row(text, "article")["to article"] == "1.00"


def test_ratios_are_shown_to_the_peers_that_were_measured() -> None:
    assert "to centrifugo" not in shown("broadcast", {"hub": [found(1)], "article": [found(1)]})
    results = {"hub": [found(6)], "floor": [found(4)], "article": [found(12)], "centrifugo": [found(8)]}
    cells = row(shown("broadcast", results), "hub")
    assert [cells[f"to {peer}"] for peer in ("floor", "centrifugo", "article")] == ["1.50", "0.75", "0.50"]
    cells = row(shown("broadcast", results, peers=("hub",)), "article")
    assert cells["to hub"] == "2.00"
    assert "to article" not in cells


def test_what_was_lost_doubled_out_of_order_or_wrong_is_added_over_all_rounds() -> None:
    rounds = [
        found(1, lost=2, duplicates=1),
        found(1, lost=3, disorder=6, stray=4, unreached=5, publish_failed=1),
    ]
    cells = row(shown("broadcast", {"hub": rounds}), "hub")
    assert [cells[each] for each in ("lost", "doubled", "out of order", "gone wrong")] == [
        "5",
        "1",
        "6",
        "10",
    ]


def test_a_contender_that_failed_has_a_row_that_says_so() -> None:
    cells = row(shown("broadcast", {"hub": [], "article": [found(1)]}), "hub")
    assert cells["CPU µs/delivery"] == "failed"
    assert cells["p99 ms"] == "-"


def test_a_server_that_fell_behind_is_told_from_one_that_lost_or_dropped() -> None:
    assert fell_behind([found(1), found(1, lost=7)])
    assert not fell_behind([found(1)])
    assert not fell_behind([found(1, lost=7, gaps=7)])
    assert not fell_behind([found(1, lost=7, dropped=1)])
    cells = row(shown("broadcast", {"hub": [found(1, lost=7)]}), "hub")
    assert cells["server"] == "hub, plain socket, fell behind"


def deflated(negotiated: int) -> dict[str, list[dict[str, float]]]:
    return {
        "hub": [found(10, bytes_per_delivery=1000, connected=200)],
        "hub+deflate": [found(15, bytes_per_delivery=150, connected=200, deflate_negotiated=negotiated)],
    }


def test_compression_is_compared_with_the_same_server_without_it() -> None:
    text = shown("deflate", deflated(200))
    cells = row(text, "hub, plain socket, deflate")
    assert cells["negotiated"] == "yes"
    assert (cells["to its own without"], cells["CPU to its own without"]) == ("0.15", "1.50")


def test_a_server_that_did_not_negotiate_compression_is_said_not_to_have_done_so() -> None:
    text = shown("deflate", deflated(0))
    assert "did not negotiate" in row(text, "hub, plain socket, deflate")["negotiated"]
    assert row(shown("deflate", deflated(150)), "hub, plain socket, deflate")["negotiated"] == "150 of 200"


def test_saturation_counts_deliveries_so_that_more_is_better() -> None:
    text = shown(
        "saturation", {"hub": [found(1, deliveries_per_s=3e6)], "article": [found(9, deliveries_per_s=1.5e6)]}
    )
    assert row(text, "hub")["deliveries/s"] == "3,000,000"
    assert row(text, "hub")["to article"] == "2.00"


@pytest.mark.parametrize("load", ALL, ids=lambda load: load.name)
def test_every_scenario_has_a_table_also_of_rounds_that_found_little(load: scenarios.Scenario) -> None:
    entrants = load.entrants(contenders.ALL)
    little: dict[str, list[Found]] = {each.name: [{}] for each in entrants}
    text = table(load, entrants, little)
    assert len(text.splitlines()) == 2 + len(entrants)
    assert LAYOUTS[load.kind].heading in text


@pytest.mark.parametrize(
    ("value", "text"), [(None, "-"), (0, "0.0"), (9.96, "10.0"), (99.94, "99.9"), (1234.5, "1,234")]
)
def test_figures_are_short_and_thousands_are_grouped(value: float | None, text: str) -> None:
    assert number(value) == text
