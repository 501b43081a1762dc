"""Runs the scheduled handlers: each in its own rhythm, never two runs of one at a time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from hub.errors import Disconnect, ReplyError
from hub.handlers import Call, HandlerTable, Schedule
from hub.tasks import Tasks

_log = logging.getLogger("hub.schedules")


class Scheduler:
    """Starts and stops the schedules of a node. `subscribers` says how many a topic has here."""

    def __init__(self, table: HandlerTable, tasks: Tasks, subscribers: Callable[[str], int]) -> None:
        self._table = table
        self._tasks = tasks
        self._subscribers = subscribers
        self._running: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begins every schedule; the first run comes at once."""
        self._running = [
            self._tasks.spawn(self._repeat(schedule), f"schedule {schedule.name}")
            for schedule in self._table.schedules
        ]

    async def stop(self) -> None:
        """Ends every schedule; a run under way is cancelled."""
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    async def _repeat(self, schedule: Schedule) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            if schedule.topic is None or self._subscribers(schedule.topic):
                try:
                    await self._table.run(schedule.handler, Call(method=schedule.name))
                except (ReplyError, Disconnect) as error:
                    _log.warning("schedule %s ended early: %s", schedule.name, error)
            # A run that took longer than its rhythm skips beats; they are not made up for.
            due = max(due + schedule.every, loop.time())
            await asyncio.sleep(due - loop.time())
