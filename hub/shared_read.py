"""One reading of a topic's history for all clients that come back to it at the same moment.

When a node or a network returns, every client of a topic asks for what it missed within the same few turns of the
loop. They share one read from the earliest of their positions, and one record of what was delivered meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Protocol

from hub.model import HistoryPage, HistoryQuery, Position, Publication
from hub.recovery import Record
from hub.tasks import Tasks

Read = Callable[[str, HistoryQuery], Awaitable[HistoryPage]]


class Recorded(Protocol):
    """A topic whose deliveries can be recorded while its history is read."""

    name: str
    epoch: str
    records: list[Record]

    def forget(self, record: Record) -> None:
        """Stops recording deliveries there."""


class _Gathered:
    """A read that several wait for. `readers` counts them; the record of deliveries lives as long as there are any."""

    __slots__ = ("meanwhile", "offset", "readers", "task")

    def __init__(self, offset: int) -> None:
        self.offset = offset
        self.readers = 0
        self.meanwhile = Record()
        self.task: asyncio.Task[HistoryPage]


class SharedReads:
    """Joins the reads of one topic that are asked for in the same turn; one brings `limit` publications at most."""

    def __init__(self, read: Read, tasks: Tasks, limit: int) -> None:
        self._read = read
        self._tasks = tasks
        self._limit = limit
        self._gathering: dict[str, _Gathered] = {}

    @asynccontextmanager
    async def since(
        self, live: Recorded, offset: int
    ) -> AsyncIterator[tuple[HistoryPage, list[Publication]]]:
        """What is kept after an offset of the topic's epoch, and what is delivered until the context is left.

        Both may begin earlier than asked. Raises BrokerError.
        """
        gathered = self._gathering.get(live.name)
        if gathered is None:
            gathered = self._gathering[live.name] = _Gathered(offset)
            live.records.append(gathered.meanwhile)
            gathered.task = self._tasks.spawn(self._run(live, gathered), f"read {live.name}")
        gathered.offset = min(gathered.offset, offset)
        gathered.readers += 1
        try:
            page = await asyncio.shield(gathered.task)
            yield page, gathered.meanwhile.publications
        finally:
            gathered.readers -= 1
            if not gathered.readers:
                live.forget(gathered.meanwhile)

    async def _run(self, live: Recorded, gathered: _Gathered) -> HistoryPage:
        await asyncio.sleep(0)
        # From here on the position is fixed: who comes later begins a read of its own.
        del self._gathering[live.name]
        return await self._read(live.name, HistoryQuery(self._limit, Position(gathered.offset, live.epoch)))
