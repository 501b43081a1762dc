"""The tables: medians over the rounds, with ratios to Centrifugo and to the article's app."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from benchmarks.contenders import ALL as CONTENDERS
from benchmarks.scenarios import Scenario

Found = Mapping[str, Any]
"""What the load generator printed of one measurement."""

REFERENCES: Final = ("centrifugo", "article")
BEGIN: Final = "<!-- benchmarks: begin -->"
END: Final = "<!-- benchmarks: end -->"


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its heading, and what a row shows of its rounds."""

    heading: str
    cell: Callable[[Sequence[Found]], str]


def median(rounds: Sequence[Found], key: str) -> float | None:
    """Returns the median of a figure over the rounds that have it; None when none has."""
    values = [float(found[key]) for found in rounds if found.get(key) is not None]
    return statistics.median(values) if values else None


def total(rounds: Sequence[Found], *keys: str) -> int:
    """Returns the sum of these counters over all rounds."""
    return sum(int(found.get(key) or 0) for found in rounds for key in keys)


def number(value: float | None, digits: int = 1) -> str:
    """Returns a figure for a table: thousands are grouped, from 100 on there are no decimals, `-` stands for none."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:,.{digits}f}"


def ratio(rounds: Sequence[Found], reference: Sequence[Found], key: str) -> float | None:
    """Returns the median of a figure divided by the reference's; None when either is missing."""
    ours, theirs = median(rounds, key), median(reference, key)
    return ours / theirs if ours is not None and theirs else None


def _spread(key: str, digits: int = 1) -> Callable[[Sequence[Found]], str]:
    """The median and, when there are several rounds, the lowest and the highest."""

    def cell(rounds: Sequence[Found]) -> str:
        values = [float(found[key]) for found in rounds if found.get(key) is not None]
        shown = number(median(rounds, key), digits)
        if len(values) < 2:
            return shown
        return f"{shown} ({number(min(values), digits)} to {number(max(values), digits)})"

    return cell


def _plain(key: str, digits: int = 1) -> Callable[[Sequence[Found]], str]:
    return lambda rounds: number(median(rounds, key), digits)


def _sum(*keys: str) -> Callable[[Sequence[Found]], str]:
    return lambda rounds: number(total(rounds, *keys), 0)


_WRONG: Final = Column("gone wrong", _sum("stray", "corrupt", "dropped", "unreached", "publish_failed"))
_COLUMNS: Final[dict[str, tuple[tuple[str, int], tuple[Column, ...]]]] = {
    "fanout": (
        ("cpu_us_per_delivery", 1),
        (
            Column("p50 ms", _plain("p50_ms")),
            Column("p99 ms", _plain("p99_ms")),
            Column("lost", _sum("lost")),
            Column("doubled or disordered", _sum("duplicates_or_disorder")),
            _WRONG,
        ),
    ),
    "idle": (
        ("kib_per_conn", 1),
        (
            Column("CPU of a core at rest, %", _plain("idle_cpu_percent")),
            Column("connected", _plain("connected", 0)),
            _WRONG,
        ),
    ),
    "handshakes": (
        ("cpu_ms_per_handshake", 2),
        (
            Column("handshakes/s", _plain("handshakes_per_s", 0)),
            Column("p50 ms", _plain("p50_ms")),
            Column("p99 ms", _plain("p99_ms")),
            Column("refused", lambda rounds: number(sum(_errors(found) for found in rounds), 0)),
        ),
    ),
}
_HEADINGS: Final = {
    "cpu_us_per_delivery": "CPU µs/delivery",
    "kib_per_conn": "KiB/connection",
    "cpu_ms_per_handshake": "CPU ms/handshake",
}


def _errors(found: Found) -> int:
    return sum((found.get("errors") or {}).values())


def table(scenario: Scenario, results: Mapping[str, Sequence[Found]]) -> str:
    """Returns the table of one scenario in Markdown: `results` has the rounds of each contender by name.

    A contender whose every round failed has a row that says so. Ratios are shown to each reference that was measured.
    """
    (key, digits), more = _COLUMNS[scenario.kind]
    references = [name for name in REFERENCES if results.get(name)]
    columns = [
        Column(_HEADINGS[key], _spread(key, digits)),
        *(_ratio_column(name, results[name], key) for name in references),
        *more,
    ]
    lines = [
        f"**{scenario.title}**",
        "",
        "| server | " + " | ".join(column.heading for column in columns) + " |",
        "| --- |" + " --- |" * len(columns),
        *_rows(columns, results),
    ]
    return "\n".join(lines)


def _ratio_column(name: str, reference: Sequence[Found], key: str) -> Column:
    return Column(f"to {name}", lambda rounds: number(ratio(rounds, reference, key), 2))


def _rows(columns: Sequence[Column], results: Mapping[str, Sequence[Found]]) -> Iterator[str]:
    for contender in CONTENDERS:
        if contender.name not in results:
            continue
        rounds = results[contender.name]
        cells = (
            [column.cell(rounds) for column in columns] if rounds else ["failed", *["-"] * (len(columns) - 1)]
        )
        title = contender.title + (", fell behind" if fell_behind(rounds) else "")
        yield f"| {title} | " + " | ".join(cells) + " |"


def fell_behind(rounds: Sequence[Found]) -> bool:
    """Whether deliveries were still on their way when the load generator stopped waiting: missing, but none skipped."""
    return any(
        (found.get("lost") or 0) > 0 and not found.get("gaps") and not found.get("dropped")
        for found in rounds
    )


def replaced(page: str, text: str) -> str:
    """Returns the page with what stands between the two marks replaced; raises ValueError when they are not there."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page does not have the lines {BEGIN} and {END}")
    return f"{before}{begin}\n\n{text}\n\n{end}{after}"
