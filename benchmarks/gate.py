"""What a change must not break: what the hub spends on a delivery, beside the article's app in the same run.

A ratio of CPU time in one interleaved run holds on any machine, a figure does not. A machine that is busy with other
things can still spoil a round, so more rounds are measured before the gate is shut for anything that such a
machine could have caused.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from benchmarks.tables import Found, ratio, total

Measured = Mapping[str, Mapping[str, Sequence[Found]]]
"""Scenario -> contender -> what each round found."""
BOUNDS: Final = {"broadcast": 0.9, "bursts": 0.4}
"""Scenario -> the highest allowed ratio of CPU per delivery, hub : article.

Measured were 0.5 to 0.6 for a broadcast and 0.03 to 0.05 for bursts, on a quiet machine and on busy ones.
"""
CONTENDERS: Final = ("hub-client", "article")
ROUNDS: Final = 3
MORE_ROUNDS: Final = 4
"""How many are added, once, when the first ones would shut it."""
QUICKLY: Final = ("-conns", "500", "-settle", "300ms", "-drain", "2s")


@dataclass(frozen=True, slots=True)
class Complaint:
    """Why the gate is shut. A final one stands, whatever more rounds would say."""

    text: str
    final: bool = False


def complaints(results: Measured) -> list[Complaint]:
    """Returns what is wrong with these results; nothing when the gate is open."""
    return [
        complaint
        for scenario in BOUNDS
        for complaint in _complaints(scenario, *(results[scenario][name] for name in CONTENDERS))
    ]


def judged(measure: Callable[[int], Measured], rounds: int) -> list[Complaint]:
    """Returns why the gate is shut, nothing when it is open.

    `measure` adds so many rounds and returns all results so far. What a busy machine could have caused must hold over
    MORE_ROUNDS more.
    """
    found = complaints(measure(rounds))
    if not found or any(each.final for each in found):
        return found
    print(*(each.text for each in found), sep="\n", file=sys.stderr)
    print(f"the machine may be busy: {MORE_ROUNDS} more rounds decide", file=sys.stderr, flush=True)
    return complaints(measure(MORE_ROUNDS))


def _complaints(scenario: str, hub: Sequence[Found], article: Sequence[Found]) -> Iterator[Complaint]:
    found, bound = ratio(hub, article, "cpu_us_per_delivery"), BOUNDS[scenario]
    if found is None:
        yield Complaint(f"{scenario}: not measured")
    elif found > bound:
        yield Complaint(
            f"{scenario}: the hub takes {found:.2f} of the article's CPU per delivery, allowed is {bound:.2f}"
        )
    if wrong := total(hub, "gaps", "duplicates", "disorder", "stray", "corrupt"):
        yield Complaint(
            f"{scenario}: {wrong} deliveries of the hub were skipped, doubled, out of order or wrong",
            final=True,
        )
    behind = sum(1 for found in hub if total([found], "lost", "unreached", "dropped"))
    if 2 * behind > len(hub):
        yield Complaint(f"{scenario}: in {behind} of {len(hub)} rounds not everybody got everything in time")


def verdict(results: Measured) -> Iterator[str]:
    """Yields a line for each scenario of an open gate: how far it is from being shut."""
    for scenario, bound in BOUNDS.items():
        hub, article = (results[scenario][name] for name in CONTENDERS)
        found = ratio(hub, article, "cpu_us_per_delivery") or 0.0
        yield f"{scenario}: the hub takes {found:.2f} of the article's CPU per delivery, allowed is {bound:.2f}"
