"""Runs the scheduled handlers: each in its own rhythm, never two runs of one at a time.

One with `once` runs on one node of the cluster, which holds its lease. With a `topic` too, only nodes on which that
topic has subscribers ask for the lease, and a node that has none any more gives it up: it runs as long as there are
subscribers on any node.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from hub.errors import BrokerError, Disconnect, LeaseLost, ReplyError
from hub.handlers import Call, HandlerTable, Schedule
from hub.leases.held import Lease
from hub.leases.keeper import Leases
from hub.tasks import Tasks

_log = logging.getLogger("hub.schedules")
LOOK_SECONDS: Final = 1.0
"""How often a node that holds a lease looks whether its topic still has subscribers."""
SHARED_RHYTHM: Final = 2.0
"""Seconds between runs from which on all nodes keep one rhythm together; below, whoever takes over begins at once."""


class Scheduler:
    """Starts and stops the schedules of a node. `subscribers` says how many a topic has here."""

    def __init__(
        self, table: HandlerTable, tasks: Tasks, subscribers: Callable[[str], int], leases: Leases
    ) -> None:
        self._table = table
        self._tasks = tasks
        self._subscribers = subscribers
        self._leases = leases
        self._running: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begins every schedule; the first run comes at once."""
        self._running = [
            self._tasks.spawn(
                self._repeat_once(schedule) if schedule.once else self._repeat(schedule),
                f"schedule {schedule.name}",
            )
            for schedule in self._table.schedules
        ]

    async def stop(self) -> None:
        """Ends every schedule; a run under way is cancelled."""
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    def _wanted(self, schedule: Schedule) -> bool:
        return schedule.topic is None or self._subscribers(schedule.topic) > 0

    async def _repeat(self, schedule: Schedule) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            if self._wanted(schedule):
                await self._run(schedule)
            # A run that took longer than its rhythm skips beats; they are not made up for.
            due = max(due + schedule.every, loop.time())
            await asyncio.sleep(due - loop.time())

    async def _run(self, schedule: Schedule) -> None:
        try:
            await self._table.run(schedule.handler, Call(method=schedule.name))
        except (ReplyError, Disconnect) as error:
            _log.warning("schedule %s ended early: %s", schedule.name, error)

    async def _repeat_once(self, schedule: Schedule) -> None:
        name = f"schedule:{schedule.handler.plugin}:{schedule.name}"
        due = asyncio.get_running_loop().time()
        while True:
            try:
                async with self._leases.hold(name, lambda: self._wanted(schedule)) as lease:
                    _log.info("schedule %s runs on this node from now on", schedule.name)
                    while self._wanted(schedule):
                        due = await self._beat(schedule, lease, due)
                _log.info("schedule %s has no subscribers here any more", schedule.name)
            except LeaseLost as error:
                level = logging.INFO if self._leases.leaving else logging.WARNING
                _log.log(level, "schedule %s no longer runs on this node: %s", schedule.name, error)

    async def _beat(self, schedule: Schedule, lease: Lease, due: float) -> float:
        """Runs it if its time has come, else waits a while; returns when its time comes next."""
        loop = asyncio.get_running_loop()
        if loop.time() < due:
            await asyncio.sleep(min(due - loop.time(), LOOK_SECONDS))
            return due
        if not await self._claim(schedule, lease, LOOK_SECONDS) or not lease.held:
            return loop.time() + LOOK_SECONDS
        await self._run(schedule)
        due = max(due + schedule.every, loop.time())
        await self._claim(schedule, lease, due - loop.time())
        return due

    async def _claim(self, schedule: Schedule, lease: Lease, seconds: float) -> bool:
        """Whether no other node has run it less than `every` ago; keeps the others from it for some seconds more.

        A run is claimed for its rhythm when it is over: one that was cut short is done again by whoever takes over.
        """
        if schedule.every < SHARED_RHYTHM:
            return True
        try:
            return await self._leases.claim(f"{lease.name}:run", max(seconds, LOOK_SECONDS))
        except BrokerError as error:
            _log.debug("schedule %s waits: %s", schedule.name, error)
            return False
