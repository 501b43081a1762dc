"""Deletes, every few seconds, what nobody can read any more."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from hub.broker.postgres.reader import STALE_SECONDS
from hub.broker.postgres.schema import Schema
from hub.errors import BrokerError
from hub.postgres import Pool

logger = logging.getLogger(__name__)
EVERY_SECONDS: Final = 5.0
CARRY_SECONDS: Final = STALE_SECONDS + 10
"""For so long every publication is kept for nodes that are slow or away, however short its topic's history is; longer
than they believe it by more than a publish may take."""
BUDGET: Final = 5000


class Trimmer:
    """Runs the trimming job; all nodes may, one at a time does."""

    def __init__(self, schema: Schema, pool: Pool) -> None:
        self._pool = pool
        self._trim = schema.names.fill("SELECT @trim@($1, $2) AS more")
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begins the rhythm."""
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="postgresql trimming")

    async def stop(self) -> None:
        """Ends it."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def trim(self, carry: float = CARRY_SECONDS, budget: int = BUDGET) -> bool:
        """Deletes up to `budget` rows of each kind; returns whether there is more to do. Raises BrokerError."""
        return bool((await self._pool.fetch(self._trim, carry, budget))[0]["more"])

    async def _run(self) -> None:
        more = False
        while True:
            await asyncio.sleep(0.1 if more else EVERY_SECONDS)
            try:
                more = await self.trim()
            except BrokerError as error:
                more = False
                logger.debug("nothing was trimmed: %s", error)
            except Exception:
                more = False
                logger.exception("the broker's tables could not be trimmed")
