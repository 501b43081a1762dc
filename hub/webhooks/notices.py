"""Webhooks that are only told: of what has happened already, and without anybody waiting for it."""

from __future__ import annotations

from collections import deque
from typing import Final

from hub import metrics
from hub.tasks import Tasks
from hub.webhooks.endpoint import Endpoint, Unanswered

MAX_NOTICES: Final = 1_000
"""Notices of one URL that may wait to be sent."""
_SHARE: Final = 8
"""One in so many of a URL's requests may be a notice, so that a storm of goodbyes leaves room for those who wait."""


class Notices:
    """What one URL has still to be told, in order as far as its requests come one after another.

    Each is sent once. What finds no room, meets an error or is left when the node stops is lost, counted and logged.
    """

    def __init__(self, endpoint: Endpoint, tasks: Tasks, concurrency: int) -> None:
        self._endpoint = endpoint
        self._tasks = tasks
        self._most = max(1, concurrency // _SHARE)
        self._waiting: deque[tuple[str, bytes, int]] = deque()
        self._senders = 0

    def add(self, event: str, body: bytes, now: int) -> None:
        """Has it told soon."""
        if len(self._waiting) >= MAX_NOTICES:
            self._lose(event, Unanswered("dropped", f"{MAX_NOTICES} notices wait for it already"))
            return
        self._waiting.append((event, body, now))
        if self._senders < self._most:
            self._senders += 1
            self._tasks.spawn(self._send(), f"notices to {self._endpoint.target.host}")

    async def _send(self) -> None:
        try:
            while self._waiting:
                event, body, now = self._waiting.popleft()
                try:
                    await self._endpoint.ask(body, now)
                except Unanswered as failure:
                    self._lose(event, failure)
                else:
                    metrics.WEBHOOKS.labels(event, "ok").inc()
        finally:
            self._senders -= 1

    def give_up(self) -> None:
        """Loses what waits, because the node stops."""
        while self._waiting:
            event, _, _ = self._waiting.popleft()
            self._lose(event, Unanswered("dropped", "the node stopped before it could be told"))

    def _lose(self, event: str, failure: Unanswered) -> None:
        metrics.WEBHOOKS.labels(event, failure.kind).inc()
        self._endpoint.tell(event, failure)
