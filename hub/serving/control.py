"""A worker's side of the line to its parent: what it is asked for, and what it asks of the others through it."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from typing import Final, Self

from hub.api.health import Check, run_checks
from hub.app import Hub
from hub.metrics import REGISTRY
from hub.serving.figures import packed, taken
from hub.serving.line import Line, Silent
from hub.tasks import Tasks

UP: Final = "up"
COUNTED: Final = "counted"
FIGURES: Final = "figures"
READY: Final = "ready"
YES: Final = b"yes"
NO: Final = b"no"

ANSWER_WITHIN: Final = 1.0
"""Seconds that a worker has to answer its parent."""
_CHECKED_WITHIN: Final = 0.8
_FIGURES_WITHIN: Final = 3.0
"""Seconds that the parent has to bring everybody's figures: it may be at it already, and begins anew for latecomers."""
_OTHERS_WITHIN: Final = 1.5


class Control:
    """The worker's end."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._tasks = Tasks()

    @classmethod
    async def open(cls, number: int, hub: Hub) -> Self:
        """Takes the socket of that file number, and has the hub answer for all workers: in its checks and metrics.

        To be called before the hub's applications are made.
        """
        own = dict(hub.checks)

        async def tell_figures(_: bytes) -> bytes:
            return packed(taken(REGISTRY.collect()))

        async def tell_ready(_: bytes) -> bytes:
            return YES if await _good(own) else NO

        line = await Line.open(socket.socket(fileno=number), {FIGURES: tell_figures, READY: tell_ready})
        control = cls(line)
        control._tell_figures()
        hub.checks["workers"] = control.others_ready
        hub.figures = control.figures
        return control

    def watch(self, lost: Callable[[], None]) -> None:
        """Has `lost` called when the parent is gone, however it went."""

        async def wait() -> None:
            await self._line.closed.wait()
            lost()

        self._tasks.spawn(wait(), "watch over the parent")

    def ready(self) -> None:
        """Tells the parent that connections are accepted."""
        self._line.tell(UP)

    async def figures(self) -> bytes:
        """The metrics of all workers as text. Raises Silent."""
        return await self._line.ask(FIGURES, _FIGURES_WITHIN)

    async def others_ready(self) -> bool:
        """Whether all others that answer are ready; who does not answer takes no connections either."""
        try:
            return await self._line.ask(READY, _OTHERS_WITHIN) == YES
        except Silent:
            return True

    async def close(self) -> None:
        """Tells the parent the last figures and ends the line."""
        await self._tasks.cancel()
        self._tell_figures()
        await self._line.close()

    def _tell_figures(self) -> None:
        self._line.tell(COUNTED, packed(taken(REGISTRY.collect())))


async def _good(checks: Mapping[str, Check]) -> bool:
    outcomes = await run_checks(checks, _CHECKED_WITHIN)
    return all(outcome == "ok" for outcome in outcomes.values())
