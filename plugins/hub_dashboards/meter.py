"""The figures of this node: measured once, however many dashboards show them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

import psutil

from hub.plugin import NodeStats
from hub_dashboards.system import Counts, per_second, read_counts, system_figures

AS_NEW: Final = 1.0
"""Seconds during which figures are given out again in place of measuring anew."""
TOO_OLD: Final = 10.0
"""Seconds after which a former reading says nothing of now any more."""
WINDOW: Final = 0.2
"""Seconds between two readings when there is no former one to compare with."""

_COUNTED: Final = ("requests", "publications", "deliveries")
_GAUGES: Final = ("clients", "users", "subscriptions", "topics")

Figures: TypeAlias = Mapping[str, Mapping[str, float | None]]
"""Values by source and metric."""


@dataclass(frozen=True, slots=True)
class _Reading:
    counts: Counts
    node: NodeStats

    def since(self, before: _Reading) -> Figures:
        seconds = self.counts.at - before.counts.at
        node: dict[str, float | None] = {name: getattr(self.node, name) for name in (*_COUNTED, *_GAUGES)}
        node["uptime"] = round(self.node.uptime)
        for name in _COUNTED:
            rate = per_second(getattr(before.node, name), getattr(self.node, name), seconds)
            node[f"{name}_rate"] = None if rate is None else round(rate, 1)
        return {"system": system_figures(before.counts, self.counts), "hub": node}


class Meter:
    """Measures the machine and the node. Rates hold for the time since the reading before, so nothing is awaited."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._last: _Reading | None = None
        self._figures: Figures = {}
        self._lock = asyncio.Lock()

    async def figures(self, node: Callable[[], NodeStats]) -> Figures:
        """The figures of now, at most a second old; after a rest it takes two readings, a fifth of a second apart."""
        async with self._lock:
            age = self._age()
            if self._figures and age < AS_NEW:
                return self._figures
            before = self._last
            if before is None or age > TOO_OLD:
                before = await self._read(node)
                await asyncio.sleep(WINDOW)
            self._last = await self._read(node)
            self._figures = self._last.since(before)
            return self._figures

    def _age(self) -> float:
        return time.monotonic() - self._last.counts.at if self._last else 0.0

    async def _read(self, node: Callable[[], NodeStats]) -> _Reading:
        return _Reading(await asyncio.to_thread(read_counts, self._process), node())
