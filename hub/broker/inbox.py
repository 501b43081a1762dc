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


class _Pending:
    """What waits on one topic, in order: runs of publications, and gaps between them."""

    __slots__ = ("count", "deliveries", "size")

    def __init__(self) -> None:
        self.deliveries: list[Delivery] = []
        self.count = 0
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
            self.discard(topic)
            self.gap(topic, "more publications arrived than this node could take")
            return
        pending = self._of(topic)
        if pending.deliveries and isinstance(run := pending.deliveries[-1], list):
            run.append(publication)
        else:
            pending.deliveries.append([publication])
        pending.count += 1
        pending.size += size
        self._count += 1
        self._size += size

    def gap(self, topic: str, reason: str) -> None:
        """Adds a gap behind the publications that wait on the topic."""
        deliveries = self._of(topic).deliveries
        if not deliveries or not isinstance(deliveries[-1], Gap):
            deliveries.append(Gap(reason))

    def discard(self, topic: str) -> None:
        """Forgets what waits on the topic."""
        pending = self._pending.pop(topic, None)
        if pending is not None:
            self._count -= pending.count
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
        delivery = pending.deliveries.pop(0)
        if not pending.deliveries:
            self.discard(topic)
        elif isinstance(delivery, list):
            self._release(pending, delivery)
        return Event(topic, delivery)  # type: ignore[arg-type]  # broadcaster passes any object through

    def _release(self, pending: _Pending, publications: list[Publication]) -> None:
        size = sum(len(publication.raw) + _OVERHEAD for publication in publications)
        pending.count -= len(publications)
        pending.size -= size
        self._count -= len(publications)
        self._size -= size

    def _of(self, topic: str) -> _Pending:
        pending = self._pending.get(topic)
        if pending is None:
            pending = self._pending[topic] = _Pending()
            if self._waiter is not None and not self._waiter.done():
                self._waiter.set_result(None)
        return pending
