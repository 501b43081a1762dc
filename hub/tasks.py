"""Background tasks with an owner: each has a name, a strong reference, and a log line when it fails."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

from hub.errors import HubError

_log = logging.getLogger("hub.tasks")


class Tasks:
    """The tasks of one owner, ended together."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[Any]] = set()

    def __len__(self) -> int:
        return len(self._running)

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
