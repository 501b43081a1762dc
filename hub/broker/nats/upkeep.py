"""Deleting from NATS what no query shows any more."""

from __future__ import annotations

import asyncio
import heapq
import logging
from typing import Final

from hub.broker.nats.history import History
from hub.broker.nats.plan import Plan
from hub.broker.nats.subjects import Subjects
from hub.errors import BrokerError
from hub.nats.jetstream import JetStream

logger = logging.getLogger(__name__)
SWEEP_SECONDS: Final = 5.0
MAX_TOPICS: Final = 100_000
MAX_PURGES: Final = 1000


class Upkeep:
    """Sees to it that expired and surplus publications leave the stream; reading never shows them anyway.

    The node that published last on a topic clears it when all that is kept has expired. What a node leaves behind that
    dies before goes with the topic's position.
    """

    def __init__(self, jetstream: JetStream, history: History, subjects: Subjects) -> None:
        self._jetstream = jetstream
        self._history = history
        self._subjects = subjects
        self._purges: dict[str, int] = {}
        self._due: list[tuple[int, str]] = []
        self._last: dict[str, tuple[int, int]] = {}

    def stored(self, topic: str, sequence: int, plan: Plan) -> None:
        """Notes what a publish leaves to be done."""
        if plan.purge and (topic in self._purges or len(self._purges) < MAX_PURGES):
            self._purges[topic] = plan.purge
        expires = max((entry.expires for entry in plan.state.entries), default=0)
        if not expires:
            return
        noted = self._last.get(topic)
        if noted is None and len(self._last) >= MAX_TOPICS:
            return
        if noted is None:
            heapq.heappush(self._due, (expires, topic))
        self._last[topic] = (sequence, max(expires, noted[1] if noted else 0))

    async def run(self) -> None:
        """Works until cancelled."""
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            try:
                await self.sweep()
            except BrokerError as error:
                logger.debug("old publications stay in NATS for now: %s", error)
            except Exception:
                logger.exception("old publications could not be deleted from NATS")

    async def sweep(self) -> None:
        """Deletes what is surplus and what has expired by now. Raises BrokerError."""
        while self._purges:
            topic, before = next(iter(self._purges.items()))
            await self._jetstream.purge(self._subjects.kept(topic), before)
            if self._purges.get(topic) == before:
                del self._purges[topic]
        now = self._jetstream.now
        while self._due and self._due[0][0] <= now:
            _, topic = heapq.heappop(self._due)
            sequence, expires = self._last[topic]
            if expires > now:
                heapq.heappush(self._due, (expires, topic))
                continue
            del self._last[topic]
            await self._history.forget(topic, sequence)
