"""From a panel to its value: figures of the machine and the node from the meter, those of a topic from the hub."""

from __future__ import annotations

import time
from typing import Any, Final

from hub.plugin import NOT_AVAILABLE, UNKNOWN_TOPIC, Context, ReplyError
from hub_dashboards.meter import TOO_OLD, Figures
from hub_dashboards.panels import Panel
from hub_dashboards.system import per_second

_PRESENCE: Final = frozenset({"clients", "users"})
_OFTEN_ENOUGH: Final = 1.0
"""Seconds for which a rate holds, so that panels of one topic agree."""


class TopicFigures:
    """What panels show of topics. Remembers their positions, for rates."""

    def __init__(self) -> None:
        self._positions: dict[str, tuple[float, int, float | None]] = {}

    async def value(self, ctx: Context[Any], panel: Panel) -> float | None:
        """A metric of a topic; raises ReplyError as the hub does, and ValueError for an unfit payload."""
        topic = panel.topic or ""
        if panel.metric == "subscribers":
            return ctx.subscribers(topic)
        if panel.metric in _PRESENCE:
            stats = await ctx.presence_stats(topic)
            return stats.clients if panel.metric == "clients" else stats.users
        if panel.metric == "value":
            return await _latest(ctx, topic, panel.field)
        top = (await ctx.history(topic, limit=0)).position.offset
        return top if panel.metric == "publications" else self._rate(topic, top)

    def _rate(self, topic: str, top: int) -> float | None:
        """Publications per second since the sample before; None without one of late, or when the history restarted."""
        now = time.monotonic()
        before, count, rate = self._positions.get(topic, (0.0, 0, None))
        age = now - before
        if age < _OFTEN_ENOUGH:
            return rate
        found = per_second(count, top, age) if top >= count and age < TOO_OLD else None
        rate = None if found is None else round(found, 1)
        self._positions[topic] = (now, top, rate)
        return rate


async def value_of(ctx: Context[Any], panel: Panel, figures: Figures, topics: TopicFigures) -> dict[str, Any]:
    """What a snapshot says of a panel: its value, or null and why there is none."""
    if panel.source != "topic":
        value = figures[panel.source][panel.metric]
        return (
            {"value": value} if value is not None else {"value": None, "error": "this machine does not tell"}
        )
    try:
        return {"value": await topics.value(ctx, panel)}
    except ReplyError as error:
        return {"value": None, "error": _told(error, panel)}
    except ValueError as error:
        return {"value": None, "error": str(error)}


def _told(error: ReplyError, panel: Panel) -> str:
    if error.code == UNKNOWN_TOPIC.number:
        return "no pattern declares this topic"
    if error.code == NOT_AVAILABLE.number:
        return f"the topic has no {'presence' if panel.metric in _PRESENCE else 'history'}"
    return error.message


async def _latest(ctx: Context[Any], topic: str, field: str | None) -> float | None:
    page = await ctx.history(topic, limit=1, reverse=True)
    if not page.publications:
        return None
    found = page.publications[0].data
    for part in field.split(".") if field else ():
        if not isinstance(found, dict) or part not in found:
            raise ValueError(f"the latest publication has no {field}")
        found = found[part]
    if isinstance(found, bool) or not isinstance(found, (int, float)):
        raise ValueError(f"{field or 'the latest publication'} is not a number")
    return found
