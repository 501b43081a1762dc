"""The tables: medians over the rounds, with ratios to peers of the same run."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from benchmarks.contenders import Contender
from benchmarks.scenarios import DEFLATE, Kind, Scenario

Found = Mapping[str, Any]
"""What the load generator printed of one measurement."""
Results = Mapping[str, Sequence[Found]]
"""Contender -> what each round found."""

PEERS: Final = ("floor", "centrifugo", "article")
"""Whom ratios are shown to, unless others are named."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its heading, and what it shows of a contender."""

    heading: str
    cell: Callable[[str, Results], str]


@dataclass(frozen=True, slots=True)
class Layout:
    """The table of one kind of load: the figure that counts, with its digits, and the columns behind it."""

    key: str
    heading: str
    digits: int
    columns: tuple[Column, ...]
    compared: bool = True
    """Whether the figure is shown as a ratio to the peers."""


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


def _spread(heading: str, key: str, digits: int = 1) -> Column:
    """The median and, when there are several rounds, the lowest and the highest."""

    def cell(name: str, results: Results) -> str:
        values = [float(found[key]) for found in results[name] if found.get(key) is not None]
        shown = number(median(results[name], key), digits)
        if len(values) < 2:
            return shown
        return f"{shown} ({number(min(values), digits)} to {number(max(values), digits)})"

    return Column(heading, cell)


def _median(heading: str, key: str, digits: int = 1) -> Column:
    return Column(heading, lambda name, results: number(median(results[name], key), digits))


def _sum(heading: str, *keys: str) -> Column:
    return Column(heading, lambda name, results: number(total(results[name], *keys), 0))


def _to(peer: str, key: str) -> Column:
    return Column(f"to {peer}", lambda name, results: number(ratio(results[name], results[peer], key), 2))


def _to_plain(heading: str, key: str) -> Column:
    """Beside the same contender without compression."""
    return Column(
        heading,
        lambda name, results: number(
            ratio(results[name], results.get(name.removesuffix(DEFLATE), ()), key), 2
        ),
    )


def _negotiated(name: str, results: Results) -> str:
    """Whether the server agreed to compress, where the client offered it."""
    if not name.endswith(DEFLATE):
        return "not offered"
    agreed, asked = total(results[name], "deflate_negotiated"), total(results[name], "connected")
    if not agreed:
        return "**no: the server did not negotiate it**"
    return "yes" if agreed == asked else f"{agreed:,} of {asked:,}"


def _errors(name: str, results: Results) -> str:
    return number(sum(sum((found.get("errors") or {}).values()) for found in results[name]), 0)


_WRONG: Final = _sum("gone wrong", "stray", "corrupt", "dropped", "unreached", "publish_failed")
_LATENCY: Final = (_median("p50 ms", "p50_ms"), _median("p90 ms", "p90_ms"), _median("p99 ms", "p99_ms"))
_COUNTS: Final = (
    _sum("lost", "lost"),
    _sum("doubled", "duplicates"),
    _sum("out of order", "disorder"),
    _WRONG,
)
_CPU: Final = _median("CPU µs/delivery", "cpu_us_per_delivery")
_PUBLISHED: Final = (
    _median("requests/s", "requests_per_s", 0),
    _median("answer p50 ms", "http_p50_ms", 2),
    _median("answer p99 ms", "http_p99_ms", 2),
    _median("delivery p50 ms", "p50_ms", 2),
    _median("delivery p99 ms", "p99_ms", 2),
    *_COUNTS,
)
LAYOUTS: Final[Mapping[Kind, Layout]] = {
    "fanout": Layout("cpu_us_per_delivery", "CPU µs/delivery", 1, (*_LATENCY, *_COUNTS)),
    "saturation": Layout(
        "deliveries_per_s",
        "deliveries/s",
        0,
        (
            _median("CPU µs/delivery", "cpu_us_per_delivery", 2),
            _median("reads/delivery", "reads_per_delivery", 2),
            *_LATENCY,
            *_COUNTS,
        ),
    ),
    "slow": Layout(
        "cpu_us_per_delivery",
        "CPU µs/delivery",
        1,
        (
            _median("p99 ms without slow readers", "p99_without_ms"),
            _median("p99 ms beside them", "p99_ms"),
            _median("growth", "p99_growth", 2),
            _median("MiB per slow reader", "mib_per_slow", 2),
            _median("slow readers let go", "let_go", 0),
            *_COUNTS,
        ),
    ),
    "deflate": Layout(
        "bytes_per_delivery",
        "bytes/delivery",
        0,
        (
            _to_plain("to its own without", "bytes_per_delivery"),
            _CPU,
            _to_plain("CPU to its own without", "cpu_us_per_delivery"),
            _median("KiB/connection", "kib_per_conn"),
            Column("negotiated", _negotiated),
            *_COUNTS,
        ),
        compared=False,
    ),
    "idle": Layout(
        "kib_per_conn",
        "KiB/connection",
        1,
        (
            _median("CPU of a core at rest, %", "idle_cpu_percent"),
            _median("CPU ms to open one", "connect_cpu_ms", 2),
            _median("connected", "connected", 0),
            _WRONG,
        ),
    ),
    "handshakes": Layout(
        "cpu_ms_per_handshake",
        "CPU ms/handshake",
        2,
        (
            _median("handshakes/s", "handshakes_per_s", 0),
            _median("p50 ms", "p50_ms"),
            _median("p99 ms", "p99_ms"),
            Column("refused", _errors),
        ),
    ),
    "publish": Layout("cpu_us_per_publish", "CPU µs/publication", 0, _PUBLISHED),
    "batch": Layout("cpu_us_per_publish", "CPU µs/publication", 0, _PUBLISHED),
}


def table(
    scenario: Scenario, entrants: Sequence[Contender], results: Results, peers: Sequence[str] = PEERS
) -> str:
    """Returns the table of one scenario in Markdown, with a row for each entrant.

    An entrant whose every round failed has a row that says so. Ratios are shown to each peer that was measured.
    """
    layout = LAYOUTS[scenario.kind]
    among = [name for name in peers if layout.compared and results.get(name)]
    columns = (
        _spread(layout.heading, layout.key, layout.digits),
        *(_to(name, layout.key) for name in among),
        *layout.columns,
    )
    lines = [
        "| server | " + " | ".join(column.heading for column in columns) + " |",
        "| --- |" + " --- |" * len(columns),
        *_rows(columns, entrants, results),
    ]
    return "\n".join(lines)


def _rows(columns: Sequence[Column], entrants: Sequence[Contender], results: Results) -> Iterator[str]:
    for entrant in entrants:
        rounds = results[entrant.name]
        cells = [column.cell(entrant.name, results) for column in columns] if rounds else _failed(columns)
        title = entrant.title + (", fell behind" if fell_behind(rounds) else "")
        yield f"| {title} | " + " | ".join(cells) + " |"


def _failed(columns: Sequence[Column]) -> list[str]:
    return ["failed", *["-"] * (len(columns) - 1)]


def fell_behind(rounds: Sequence[Found]) -> bool:
    """Whether deliveries were still on their way when the load generator stopped waiting: missing, but none skipped."""
    return any(
        (found.get("lost") or 0) > 0 and not found.get("gaps") and not found.get("dropped")
        for found in rounds
    )
