"""Changes of presence on PostgreSQL: those asked for while some are under way are the next ones, in one transaction."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from itertools import islice
from typing import Final

from hub.errors import BrokerError
from hub.model import ClientInfo

logger = logging.getLogger(__name__)
BATCH: Final = 1000
"""Clients changed at once at most: some 30 ms of the server's time."""
BATCH_BYTES: Final = 4 * 1024 * 1024
MAX_WAITING: Final = 200_000
"""Changes that may wait; more are refused."""

Key = tuple[str, str]
"""A topic and a client."""
Batch = dict[Key, ClientInfo | None]
"""What each client enters with, None when it leaves."""
Make = Callable[[Batch], Awaitable[Iterable[Key]]]
"""Makes changes and returns the clients that had not been there."""


class Lane:
    """Makes changes by `make`, one batch after the other, in the order in which they were asked for.

    A client that has changed since is not restored; what is restored waits for other changes, so that these stay quick.
    When a batch fails, so does all that waits: nothing waits longer than two batches take to fail.
    """

    def __init__(self, make: Make) -> None:
        self._make = make
        self._changes: deque[tuple[Key, ClientInfo | None, asyncio.Future[None]]] = deque()
        self._restores: dict[Key, ClientInfo] = {}
        self._restoring: dict[Key, ClientInfo] = {}
        """Those of the batch that is under way."""
        self._gone: dict[Key, ClientInfo] = {}
        """Those that had gone and were entered again, until somebody is told."""
        self._restored: list[asyncio.Future[None]] = []
        """Who waits until nothing is to be restored."""
        self._task: asyncio.Task[None] | None = None

    async def close(self) -> None:
        """Waits until all that was asked for is done or has failed."""
        while self._task is not None:
            await asyncio.wait([self._task])
            await asyncio.sleep(0)

    async def change(self, key: Key, info: ClientInfo | None) -> None:
        """Enters a client, or takes it out. Raises BrokerError."""
        self._check(1)
        self._restores.pop(key, None)
        if info is None:
            self._restoring.pop(key, None)
            self._gone.pop(key, None)
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._changes.append((key, info, done))
        self._run()
        await done

    async def restore(self, infos: dict[Key, ClientInfo]) -> dict[Key, ClientInfo]:
        """Enters clients again; returns those that had gone, those that an earlier call found and failed as well.

        Of calls at once the first to end returns what all have found. Raises BrokerError.
        """
        self._check(len(infos))
        if infos:
            self._restores.update(infos)
            done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._restored.append(done)
            self._run()
            await done
        gone, self._gone = self._gone, {}
        return gone

    def _check(self, more: int) -> None:
        if len(self._changes) + len(self._restores) + more > MAX_WAITING:
            raise BrokerError(f"more than {MAX_WAITING} changes of presence wait for PostgreSQL")

    def _run(self) -> None:
        if self._task is None:
            self._task = asyncio.create_task(self._flush(), name="presence changes")
            self._task.add_done_callback(self._flushed)

    def _flushed(self, task: asyncio.Task[None]) -> None:
        self._task = None
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("changing presence in PostgreSQL failed in an unforeseen way", exc_info=error)
        if self._changes or self._restores:
            self._run()

    async def _flush(self) -> None:
        batch, waiting = self._next()
        try:
            fresh = await self._make(batch)
        except BrokerError as error:
            self._fail(waiting, error)
            return
        except BaseException:
            self._fail(waiting, BrokerError("a change of presence was cut off", unknown=True))
            raise
        for key in fresh:
            if key in self._restoring:
                self._gone[key] = self._restoring[key]
        self._restoring = {}
        if not self._restores:
            waiting += self._restored
            self._restored = []
        for done in waiting:
            if not done.done():
                done.set_result(None)

    def _next(self) -> tuple[Batch, list[asyncio.Future[None]]]:
        """The next batch, and who waits for the changes in it; of several of a client the last holds."""
        batch: Batch = {}
        waiting: list[asyncio.Future[None]] = []
        size = 0
        while self._changes and len(waiting) < BATCH and size < BATCH_BYTES:
            key, info, done = self._changes.popleft()
            batch[key] = info
            waiting.append(done)
            size += _size(info)
        for key, info in islice(self._restores.items(), BATCH - len(waiting)):
            if size >= BATCH_BYTES:
                break
            if key not in batch:
                self._restoring[key] = info
                size += _size(info)
        for key in self._restoring:
            del self._restores[key]
        return batch | self._restoring, waiting

    def _fail(self, waiting: list[asyncio.Future[None]], error: BrokerError) -> None:
        """Fails the batch and what waits behind it."""
        behind = BrokerError(str(error))
        failed = [(done, error) for done in (*waiting, *self._restored)]
        failed += [(done, behind) for _, _, done in self._changes]
        self._changes.clear()
        self._restores, self._restoring, self._restored = {}, {}, []
        for done, why in failed:
            if not done.done():
                done.set_exception(BrokerError(str(why), unknown=why.unknown))


def _size(info: ClientInfo | None) -> int:
    return 100 + (len(info.conn_info or b"") + len(info.chan_info or b"") if info is not None else 0)
