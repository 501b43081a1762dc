"""Writes of several messages each, made together: a batch on disk costs NATS some milliseconds, whatever it holds."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from hub.errors import BrokerError
from hub.nats.jetstream import Conflict, JetStream, Write

MAX_WRITES: Final = 800
MAX_BYTES: Final = 1024 * 1024


@dataclass(slots=True, eq=False)
class _Lot:
    writes: Sequence[Write]
    answer: asyncio.Future[int]

    @property
    def size(self) -> int:
        return sum(len(write.data) for write in self.writes)


class Group:
    """Takes writes that stand or fall as a whole, and makes those that wait in one batch.

    A batch of many fails when one of them meets a Conflict: it is then made in halves, until the culprit is alone.
    """

    def __init__(self, jetstream: JetStream) -> None:
        self._jetstream = jetstream
        self._waiting: list[_Lot] = []
        self._task: asyncio.Task[None] | None = None

    async def write(self, writes: Sequence[Write]) -> int:
        """As that of the stream; a single message needs no batch and does not wait. Raises Conflict and BrokerError."""
        if len(writes) == 1:
            return await self._jetstream.write(writes)
        lot = _Lot(writes, asyncio.get_running_loop().create_future())
        self._waiting.append(lot)
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="nats batches")
        return await lot.answer

    async def close(self) -> None:
        """Ends what is under way."""
        task = self._task
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def _run(self) -> None:
        lots: list[_Lot] = []
        try:
            while self._waiting:
                lots = self._take()
                await self._store(lots)
        finally:
            self._task = None
            _fail([*lots, *self._waiting], BrokerError("the node leaves its broker", unknown=True))
            self._waiting = []

    def _take(self) -> list[_Lot]:
        """Lots from the front; those whose publishes were given up meanwhile are dropped."""
        taken: list[_Lot] = []
        count = size = at = 0
        for lot in self._waiting:
            if not lot.answer.done():
                count, size = count + len(lot.writes), size + lot.size
                if taken and (count > MAX_WRITES or size > MAX_BYTES):
                    break
                taken.append(lot)
            at += 1
        del self._waiting[:at]
        return taken

    async def _store(self, lots: list[_Lot]) -> None:
        """Makes one batch of the lots; its messages lie in the stream one behind the other."""
        if not lots:
            return
        try:
            sequence = await self._jetstream.write([write for lot in lots for write in lot.writes])
        except Conflict as conflict:
            if len(lots) == 1:
                _fail(lots, conflict)
                return
            middle = len(lots) // 2
            await self._store(lots[:middle])
            await self._store(lots[middle:])
        except BrokerError as error:
            _fail(lots, error)
        else:
            for lot in reversed(lots):
                if not lot.answer.done():
                    lot.answer.set_result(sequence)
                sequence -= len(lot.writes)


def _fail(lots: Sequence[_Lot], error: Conflict | BrokerError) -> None:
    for lot in lots:
        if not lot.answer.done():
            lot.answer.set_exception(
                BrokerError(str(error), unknown=error.unknown) if isinstance(error, BrokerError) else error
            )
