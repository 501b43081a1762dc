"""What arrived from other tasks or nodes and waits for broadcaster's listener, bounded in number and bytes."""

from __future__ import annotations

import asyncio
from typing import Final

from broadcaster import Event

from hub.broker.base import Delivery, Gap
from hub.model import Publication

MAX_COUNT: Final = 100_000
MAX_BYTES: Final = 64 * 1024 * 1024
_OVERHEAD: Final = 400
"""Bytes that a waiting publication takes beside its payload."""


class Inbox:
    """Groups what is put by topic, so that a burst on a topic leaves as one event.

    It never blocks and never grows beyond its bounds: a publication that finds no room takes the pending ones of its
    topic with it, and a Gap stands in their place. One task at a time may wait in `next`.
    """

    def __init__(self, max_count: int = MAX_COUNT, max_bytes: int = MAX_BYTES) -> None:
        self.overflows = 0
        self._max_count = max_count
        self._max_bytes = max_bytes
        self._pending: dict[str, list[Delivery]] = {}
        """What waits on each topic, in order: runs of publications, and gaps between them."""
        self._count = 0
        self._size = 0
        self._waiter: asyncio.Future[None] | None = None

    def put(self, topic: str, publication: Publication) -> None:
        """Adds a publication behind those that wait on its topic."""
        size = len(publication.raw) + _OVERHEAD
        if self._count >= self._max_count or self._size + size > self._max_bytes:
            self.overflows += 1
            self.discard(topic)
            self.gap(topic, "more publications arrived than this node could take")
            return
        self._count += 1
        self._size += size
        pending = self._pending.get(topic)
        if pending is None:
            self._begin(topic, [publication])
        elif isinstance(run := pending[-1], list):
            run.append(publication)
        else:
            pending.append([publication])

    def gap(self, topic: str, reason: str) -> None:
        """Adds a gap behind the publications that wait on the topic."""
        pending = self._pending.get(topic)
        if pending is None:
            self._begin(topic, Gap(reason))
        elif not isinstance(pending[-1], Gap):
            pending.append(Gap(reason))

    def discard(self, topic: str) -> None:
        """Forgets what waits on the topic."""
        for delivery in self._pending.pop(topic, ()):
            self._release(delivery)

    async def next(self) -> Event:
        """Waits for the next event; its message is a Delivery. Cancelling it loses nothing."""
        while not self._pending:
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        topic = next(iter(self._pending))
        pending = self._pending[topic]
        delivery = pending.pop(0)
        if not pending:
            del self._pending[topic]
        self._release(delivery)
        return Event(topic, delivery)  # type: ignore[arg-type]  # broadcaster passes any object through

    def _release(self, delivery: Delivery) -> None:
        if isinstance(delivery, list):
            self._count -= len(delivery)
            for publication in delivery:
                self._size -= len(publication.raw) + _OVERHEAD

    def _begin(self, topic: str, delivery: Delivery) -> None:
        self._pending[topic] = [delivery]
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
