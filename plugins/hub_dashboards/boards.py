"""The dashboards of a running node: what was measured last, and by whom.

The schedule that publishes snapshots runs on one node of the cluster at a time, so the figures are those of that node
until it stops. Only who begins to watch where nobody did is first shown figures of the node that they are on.
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
TOO_OLD: Final = 2.5 * EVERY
"""Seconds after which a snapshot is not shown to a newcomer any more."""
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
        """Publishes a snapshot if anybody watches, on whichever node. Raises ReplyError 100 when the broker is away."""
        async with self._lock:
            if await self._watched(ctx):
                self._keep(await self._publish(ctx))

    async def current(self, ctx: Context[DashboardsSettings]) -> dict[str, Any]:
        """The latest snapshot, at most two seconds behind; where there is none of late, one that is published now.

        Raises ReplyError 100 when the broker is away.
        """
        async with self._lock:
            if not self._latest or time.monotonic() - self._seen > EVERY:
                self._keep(await self._published(ctx) or await self._publish(ctx))
            return self._latest

    def _keep(self, snapshot: dict[str, Any]) -> None:
        self._latest, self._seen = snapshot, time.monotonic()

    async def _watched(self, ctx: Context[DashboardsSettings]) -> bool:
        if ctx.subscribers(self.topic):
            return True
        try:
            return (await ctx.presence_stats(self.topic)).clients > 0
        except ReplyError as error:
            if error.code == NOT_AVAILABLE.number:
                return (
                    True  # The operator took presence away, and with it what nodes know of others' watchers.
                )
            raise

    async def _published(self, ctx: Context[DashboardsSettings]) -> dict[str, Any] | None:
        """The snapshot in the topic's history, unless it is old."""
        try:
            page = await ctx.history(self.topic, limit=1, reverse=True)
        except ReplyError as error:
            if error.code == NOT_AVAILABLE.number:
                return None
            raise
        found = page.publications[0].data if page.publications else None
        if not isinstance(found, dict) or "timestamp" not in found:
            return None
        age = ctx.now() - datetime.fromisoformat(found["timestamp"]).timestamp()
        return found if age < TOO_OLD else None

    async def _publish(self, ctx: Context[DashboardsSettings]) -> dict[str, Any]:
        snapshot = await self._measured(ctx)
        await ctx.publish(self.topic, snapshot)
        return snapshot

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
        """Publishes the dashboards that somebody watches; what one lacks is logged and holds up no other."""
        for board in self._boards.values():
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
