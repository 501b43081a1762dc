"""Carries on what applications published inside their own transactions."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from time import monotonic
from typing import Any, Final

import msgspec

from hub.broker.base import Outgoing
from hub.broker.postgres.lane import Lane
from hub.broker.postgres.schema import Schema
from hub.errors import BrokerError, TopicError
from hub.model import HistoryOptions, Publication
from hub.postgres import Pool, Refused

logger = logging.getLogger(__name__)
IDLE_SECONDS: Final = 1.0
BUSY_SECONDS: Final = 0.02
STAY_SECONDS: Final = 1.0
"""After it found something it looks often for so long: of many that commit at once, only one rings."""
PAGE: Final = 200
_SELECT: Final = f"""
SELECT id, (extract(epoch FROM at) * 1000)::bigint AS time, topic, payload, tags, idempotency_key, version,
  version_epoch FROM @outbox@ ORDER BY id LIMIT {PAGE}
"""  # noqa: S608  # nothing of a user's goes into it
_TAKEN: Final = "55P03"
"""Another node was quicker."""


class Relay:
    """Empties the outbox in the order of its rows; of all nodes one does at a time, and no row goes twice.

    `history_of` says how a topic keeps what is published on it, and raises TopicError for one that cannot be published
    to: such a row is dropped with a warning.
    """

    def __init__(
        self, schema: Schema, pool: Pool, lane: Lane, history_of: Callable[[str], HistoryOptions | None]
    ) -> None:
        self._pool = pool
        self._lane = lane
        self._history_of = history_of
        self._select = schema.names.fill(_SELECT)
        self._bell = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begins to look."""
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="postgresql outbox")

    async def stop(self) -> None:
        """Ends it; rows that it did not carry stay for another node."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    def ring(self) -> None:
        """Says that there is something new."""
        self._bell.set()

    async def _run(self) -> None:
        busy_until = 0.0
        while True:
            try:
                async with asyncio.timeout(BUSY_SECONDS if monotonic() < busy_until else IDLE_SECONDS):
                    await self._bell.wait()
            except TimeoutError:
                pass
            self._bell.clear()
            try:
                if await self._carry():
                    busy_until = monotonic() + STAY_SECONDS
            except Refused as error:
                if error.code != _TAKEN:
                    logger.warning("what applications published cannot be carried on: %s", error)
            except BrokerError as error:
                logger.debug("what applications published waits: %s", error)
            except Exception:
                logger.exception("what applications published cannot be carried on")

    async def _carry(self) -> bool:
        """Publishes all that is there; returns whether there was anything."""
        found = False
        async with self._pool.link() as link:
            while rows := await link.fetch(self._select):
                found = True
                messages = [message for row in rows if (message := self._message(row)) is not None]
                await self._lane.store(link, messages, [row["id"] for row in rows])
        return found

    def _message(self, row: Any) -> Outgoing | None:
        topic = row["topic"]
        try:
            history = self._history_of(topic)
        except TopicError as error:
            logger.warning("an application published on topic %r, which is dropped: %s", topic, error)
            return None
        tags = msgspec.json.decode(row["tags"], type=dict[str, str]) if row["tags"] is not None else None
        return Outgoing(
            Publication(topic, row["payload"].encode(), tags=tags, time=row["time"]),
            history,
            row["idempotency_key"],
            version=row["version"],
            version_epoch=row["version_epoch"],
        )
