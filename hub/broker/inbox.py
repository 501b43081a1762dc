"""What arrived from other tasks or nodes and waits for broadcaster's listener, bounded in number and bytes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Final

from broadcaster import Event

from hub.broker.base import Gap
from hub.model import Publication

MAX_COUNT: Final = 100_000
MAX_BYTES: Final = 64 * 1024 * 1024
_OVERHEAD: Final = 400
"""Bytes that a waiting publication takes beside its payload."""


class _Pending:
    """What waits on one topic: a gap, if any, stands before the publications."""

    __slots__ = ("gap", "publications", "size")

    def __init__(self) -> None:
        self.gap = ""
        self.publications: list[Publication] = []
        self.size = 0


class Inbox:
    """Groups what is put by topic, so that a burst on a topic leaves as one event.

    It never blocks and never grows beyond its bounds: a publication that finds no room takes the pending ones of its
    topic with it, and a Gap stands in their place. One task at a time may wait in `next`.
    """

    def __init__(self, max_count: int = MAX_COUNT, max_bytes: int = MAX_BYTES) -> None:
        self.overflows = 0
        self._max_count = max_count
        self._max_bytes = max_bytes
        self._pending: dict[str, _Pending] = {}
        self._count = 0
        self._size = 0
        self._waiter: asyncio.Future[None] | None = None

    def put(self, topic: str, publication: Publication) -> None:
        """Adds a publication behind those that wait on its topic."""
        size = len(publication.raw) + _OVERHEAD
        if self._count >= self._max_count or self._size + size > self._max_bytes:
            self.overflows += 1
            self.gap(topic, "more publications arrived than this node could take")
            return
        pending = self._of(topic)
        pending.publications.append(publication)
        pending.size += size
        self._count += 1
        self._size += size

    def gap(self, topic: str, reason: str) -> None:
        """Puts a gap in the place of all that waits on the topic."""
        self.discard(topic)
        self._of(topic).gap = reason

    def gaps(self, topics: Iterable[str], reason: str) -> None:
        """A gap on each of the topics."""
        for topic in topics:
            self.gap(topic, reason)

    def discard(self, topic: str) -> None:
        """Forgets what waits on the topic."""
        pending = self._pending.pop(topic, None)
        if pending is not None:
            self._count -= len(pending.publications)
            self._size -= pending.size

    async def next(self) -> Event:
        """Waits for the next event; its message is a Delivery. Cancelling it loses nothing."""
        while not self._pending:
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        topic, pending = next(iter(self._pending.items()))
        if pending.gap:
            reason, pending.gap = pending.gap, ""
            if not pending.publications:
                del self._pending[topic]
            return Event(topic, Gap(reason))  # type: ignore[arg-type]  # broadcaster passes any object through
        self.discard(topic)
        return Event(topic, pending.publications)  # type: ignore[arg-type]

    def _of(self, topic: str) -> _Pending:
        pending = self._pending.get(topic)
        if pending is None:
            pending = self._pending[topic] = _Pending()
            if self._waiter is not None and not self._waiter.done():
                self._waiter.set_result(None)
        return pending
