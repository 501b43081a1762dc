"""Changes of a node's clients in the order in which they are given, many at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from hub.errors import BrokerError
from hub.model import ClientInfo
from hub.presence.nats.members import Change, Key
from hub.presence.nats.plan import MAX_CHANGES

Clients = dict[Key, ClientInfo]


@dataclass(slots=True, eq=False)
class _Call:
    changes: Sequence[Change]
    answer: asyncio.Future[Clients]


class Lane:
    """Gives `change` as many changes at a time as may be stored together, never two lots at once.

    A client that leaves while all are restored must not be entered again by that: order matters.
    """

    def __init__(self, change: Callable[[list[Change]], Awaitable[Clients]]) -> None:
        self._change = change
        self._waiting: list[_Call] = []
        self._task: asyncio.Task[None] | None = None

    async def run(self, changes: Sequence[Change]) -> Clients:
        """Returns when at most `MAX_CHANGES` are stored: the clients that were not there. Raises BrokerError."""
        call = _Call(changes, asyncio.get_running_loop().create_future())
        self._waiting.append(call)
        if self._task is None:
            self._task = asyncio.create_task(self._flush(), name="presence writes")
        return await call.answer

    async def close(self) -> None:
        """Waits for what is under way, which is bounded by the timeout of an answer."""
        while self._task is not None:
            await asyncio.wait([self._task])

    async def _flush(self) -> None:
        calls: list[_Call] = []
        try:
            while self._waiting:
                calls = self._take()
                try:
                    fresh = await self._change([change for call in calls for change in call.changes])
                except BrokerError as error:
                    _fail(calls, error)
                else:
                    _answer(calls, fresh)
        finally:
            self._task = None
            _fail([*calls, *self._waiting], BrokerError("the presence store was left", unknown=True))
            self._waiting = []

    def _take(self) -> list[_Call]:
        """The calls that wait longest; those given up are dropped before they were sent."""
        taken: list[_Call] = []
        size = at = 0
        for call in self._waiting:
            if not call.answer.done():
                size += len(call.changes)
                if size > MAX_CHANGES:
                    break
                taken.append(call)
            at += 1
        del self._waiting[:at]
        return taken


def _answer(calls: list[_Call], fresh: Clients) -> None:
    for call in calls:
        if not call.answer.done():
            keys = {change.key for change in call.changes}
            call.answer.set_result({key: info for key, info in fresh.items() if key in keys})


def _fail(calls: list[_Call], error: BrokerError) -> None:
    for call in calls:
        if not call.answer.done():
            call.answer.set_exception(BrokerError(str(error), unknown=error.unknown))
