"""Background tasks with an owner: each has a name, a strong reference, and a log line when it fails."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Coroutine, Generator
from types import coroutine
from typing import Any

from hub.errors import HubError

_log = logging.getLogger("hub.tasks")


class Tasks:
    """The tasks of one owner, ended together."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[Any]] = set()
        self._starting = False

    def __len__(self) -> int:
        return len(self._running)

    def started(self, work: Coroutine[Any, Any, None]) -> Awaitable[None] | None:
        """Runs work that seldom waits for anything, at once and without a task; returns what remains of it, if any.

        It must await `handover` before it awaits anything else that may wait: what follows runs wherever the rest is
        awaited, and it is no task of its own until then.
        """
        before, self._starting = self._starting, True
        try:
            waits_for = work.send(None)
        except StopIteration:
            return None
        finally:
            self._starting = before
        if waits_for is not None:
            work.close()
            raise RuntimeError(f"{work!r} waits without having handed over")
        return _Rest(work)

    async def handover(self) -> None:
        """Ends the part of work that `started` runs; nothing happens where that is over, or never was."""
        if self._starting:
            await _nothing()

    def spawn(self, work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """Starts work in the background; what it raises is logged under its name."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._running.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if task.cancelled() or (error := task.exception()) is None:
            return
        if isinstance(error, HubError):
            _log.warning("task %s ended with: %s", task.get_name(), error)
        else:
            _log.error("task %s failed", task.get_name(), exc_info=error)

    async def settle(self, seconds: float) -> None:
        """Waits for the running tasks at most so long."""
        if self._running:
            await asyncio.wait(self._running, timeout=seconds)

    async def cancel(self) -> None:
        """Cancels what still runs and waits until it has ended."""
        running = list(self._running)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


class _Rest:
    """What remains of a coroutine that has begun, which Python would not let be awaited itself."""

    __slots__ = ("_work",)

    def __init__(self, work: Coroutine[Any, Any, None]) -> None:
        self._work = work

    def __await__(self) -> Generator[Any, Any, None]:
        return self._work.__await__()


@coroutine
def _nothing() -> Generator[None, None, None]:
    yield
