"""Writes to NATS in the order in which they are given, many at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from hub.errors import BrokerError
from hub.nats.jetstream import Write

BATCH: Final = 500


@dataclass(slots=True, eq=False)
class _Call:
    writes: list[Write]
    answer: asyncio.Future[None]


class Lane:
    """Gives `write` up to 500 messages at a time, never two lots at once.

    A client that leaves while leases are renewed must not be entered again by the renewal: order matters.
    """

    def __init__(self, write: Callable[[list[Write]], Awaitable[None]]) -> None:
        self._write = write
        self._waiting: list[_Call] = []
        self._task: asyncio.Task[None] | None = None

    async def run(self, writes: list[Write]) -> None:
        """Returns when the messages are stored. Raises BrokerError."""
        call = _Call(writes, asyncio.get_running_loop().create_future())
        self._waiting.append(call)
        if self._task is None:
            self._task = asyncio.create_task(self._flush(), name="presence writes")
        await call.answer

    async def close(self) -> None:
        """Waits for what is under way, which is bounded by the timeout of `write`."""
        while self._task is not None:
            await asyncio.wait([self._task])

    async def _flush(self) -> None:
        calls: list[_Call] = []
        try:
            while self._waiting:
                calls = self._take()
                try:
                    await self._write([write for call in calls for write in call.writes])
                except BrokerError as error:
                    _answer(calls, error)
                _answer(calls)
        finally:
            self._task = None
            _answer([*calls, *self._waiting], BrokerError("the presence store was left", unknown=True))
            self._waiting = []

    def _take(self) -> list[_Call]:
        """The calls that wait longest; those given up are dropped before they were sent."""
        taken: list[_Call] = []
        size = at = 0
        for at, call in enumerate(self._waiting, 1):  # noqa: B007  # how far it came is asked below
            if not call.answer.done():
                taken.append(call)
                size += len(call.writes)
            if size >= BATCH:
                break
        del self._waiting[:at]
        return taken


def _answer(calls: list[_Call], error: BrokerError | None = None) -> None:
    for call in calls:
        if not call.answer.done():
            if error is None:
                call.answer.set_result(None)
            else:
                call.answer.set_exception(BrokerError(str(error), unknown=error.unknown))
