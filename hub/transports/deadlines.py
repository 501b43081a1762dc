"""Deadlines of the same length for many: one timer of the event loop for all of them."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Protocol
from weakref import ref


class Awaited(Protocol):
    """Something that may take too long."""

    def overdue(self, number: int) -> None:
        """The time is over for what had this number; it must know whether that still matters."""


class Deadlines:
    """Tells what was added, so many seconds later, unless it is gone by then; nothing else takes a deadline back."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._due: deque[tuple[float, ref[Awaited], int]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def add(self, item: Awaited, number: int = 0) -> None:
        """Begins to count for an item, which is not kept alive by it."""
        loop = self._loop
        if loop is None:
            # Kept, for asking takes a system call, and each connection comes here twice.
            loop = self._loop = asyncio.get_running_loop()
        at = loop.time() + self._seconds
        self._due.append((at, ref(item), number))
        if self._timer is None:
            self._timer = loop.call_at(at, self._beat)

    def _beat(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        while self._due and self._due[0][0] <= now:
            _, found, number = self._due.popleft()
            item = found()
            if item is not None:
                item.overdue(number)
        self._timer = loop.call_at(self._due[0][0], self._beat) if self._due else None
