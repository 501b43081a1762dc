"""The dashboards of a running node: who measures them, and what was measured last.

The figures of a dashboard are those of one node at a time. The node that published the latest snapshot goes on; the
others pass it to their subscribers. When it falls silent, because it stopped or nobody watches there any more, its
snapshot leaves the topic's history after the history's `ttl`, and the next node that has subscribers takes its place.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final
from weakref import WeakKeyDictionary

from hub.plugin import NOT_AVAILABLE, Context, ReplyError, Services
from hub_dashboards.meter import Meter
from hub_dashboards.panels import Dashboard, topic_of
from hub_dashboards.settings import DashboardsSettings
from hub_dashboards.sources import TopicFigures, value_of

EVERY: Final = 2.0
"""Seconds between snapshots: those of the manifest's schedule."""
NO_DASHBOARD: Final = 1_404


class Board:
    """One dashboard on this node."""

    def __init__(self, name: str, dashboard: Dashboard, meter: Meter) -> None:
        self.topic = topic_of(name)
        self._name = name
        self._dashboard = dashboard
        self._meter = meter
        self._topics = TopicFigures()
        self._latest: dict[str, Any] = {}
        self._seen = 0.0
        self._lock = asyncio.Lock()

    async def beat(self, ctx: Context[DashboardsSettings]) -> None:
        """Publishes a snapshot, unless another node does. Raises ReplyError 100 when the broker is away."""
        async with self._lock:
            await self._renew(ctx)

    async def current(self, ctx: Context[DashboardsSettings]) -> dict[str, Any]:
        """The latest snapshot; where there is none of late, one that is made and published now.

        Raises ReplyError 100 when the broker is away.
        """
        async with self._lock:
            if not self._latest or time.monotonic() - self._seen > 2 * EVERY:
                await self._renew(ctx)
            return self._latest

    async def _renew(self, ctx: Context[DashboardsSettings]) -> None:
        snapshot = await self._of_another(ctx)
        if snapshot is None:
            snapshot = await self._measured(ctx)
            await ctx.publish(self.topic, snapshot)
        self._latest, self._seen = snapshot, time.monotonic()

    async def _of_another(self, ctx: Context[DashboardsSettings]) -> dict[str, Any] | None:
        """The snapshot in the topic's history, when it is another node's."""
        try:
            page = await ctx.history(self.topic, limit=1, reverse=True)
        except ReplyError as error:
            if error.code == NOT_AVAILABLE.number:
                return None  # The operator took the history away, and with it what nodes know of one another.
            raise
        found = page.publications[0].data if page.publications else None
        node = found.get("node") if isinstance(found, dict) else None
        return found if isinstance(node, str) and node != ctx.node().node else None

    async def _measured(self, ctx: Context[DashboardsSettings]) -> dict[str, Any]:
        figures = await self._meter.figures(ctx.node)
        panels = self._dashboard.panels.items()
        return {
            "dashboard": self._name,
            "node": ctx.node().node,
            "timestamp": datetime.fromtimestamp(ctx.now(), UTC).isoformat(timespec="milliseconds"),
            "panels": {name: await value_of(ctx, panel, figures, self._topics) for name, panel in panels},
        }


class Boards:
    """Every dashboard of this node."""

    def __init__(self, dashboards: Mapping[str, Dashboard]) -> None:
        meter = Meter()
        self._boards = {name: Board(name, dashboard, meter) for name, dashboard in dashboards.items()}

    def board(self, name: str) -> Board:
        """The dashboard of a name; raises ReplyError 1404."""
        found = self._boards.get(name)
        if found is None:
            raise ReplyError(NO_DASHBOARD, f"there is no dashboard {name}")
        return found

    async def beat(self, ctx: Context[DashboardsSettings]) -> None:
        """Publishes the dashboards that somebody here watches; what one lacks is logged and holds up no other."""
        for board in self._boards.values():
            if not ctx.subscribers(board.topic):
                continue
            try:
                await board.beat(ctx)
            except ReplyError as error:
                ctx.log.warning("no snapshot on %s: %s", board.topic, error.message)


_RUNNING: Final[WeakKeyDictionary[Services, Boards]] = WeakKeyDictionary()
"""By what stands behind the contexts of one running hub, of which a process may have several."""


def boards(ctx: Context[DashboardsSettings]) -> Boards:
    """The dashboards of the hub that a context belongs to."""
    found = _RUNNING.get(ctx.services)
    if found is None:
        found = _RUNNING[ctx.services] = Boards(ctx.settings.shown)
    return found
