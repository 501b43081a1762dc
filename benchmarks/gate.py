"""What a change must not break: the hub spends no more on a delivery than the article's app does, in the same run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from benchmarks.tables import Found, ratio, total

BOUNDS: Final = {"broadcast": 1.0, "bursts": 1.0}
"""Scenario -> the highest allowed ratio of CPU per delivery, hub : article."""
CONTENDERS: Final = ("hub-client", "article")
QUICKLY: Final = ("-settle", "300ms", "-drain", "2s")


def complaints(results: Mapping[str, Mapping[str, Sequence[Found]]]) -> Iterator[str]:
    """Yields what is wrong with these results (scenario -> contender -> rounds); nothing when the gate is open."""
    for scenario, bound in BOUNDS.items():
        hub, article = (results[scenario][name] for name in CONTENDERS)
        found = ratio(hub, article, "cpu_us_per_delivery")
        if found is None:
            yield f"{scenario}: not measured"
        elif found > bound:
            yield f"{scenario}: the hub takes {found:.2f} of the article's CPU per delivery, allowed is {bound:.2f}"
        if wrong := total(hub, "lost", "duplicates_or_disorder", "stray", "corrupt", "unreached"):
            yield f"{scenario}: {wrong} deliveries of the hub were lost, doubled, out of order or wrong"
