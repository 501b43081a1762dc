"""Changes of presence on PostgreSQL: those asked for while some are under way are the next ones, in one transaction."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
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


@dataclass(slots=True, eq=False)
class _Restore:
    """Clients to be entered again, how many of them still are, and who waits."""

    left: int
    done: asyncio.Future[None]
    found: dict[Key, ClientInfo] = field(default_factory=dict)
    """Those that had gone."""


class Lane:
    """Makes changes by `make`, one batch after the other, in the order in which they were asked for.

    A client that has changed since is not restored; what is restored waits for other changes, so that these stay quick.
    When a batch fails, so does all that waits: nothing waits longer than two batches take to fail.
    """

    def __init__(self, make: Make) -> None:
        self._make = make
        self._changes: deque[tuple[Key, ClientInfo | None, asyncio.Future[None]]] = deque()
        self._restores: dict[Key, tuple[ClientInfo, _Restore]] = {}
        self._told_later: dict[Key, ClientInfo] = {}
        """Those that had gone and were entered by a restore that failed later on."""
        self._task: asyncio.Task[None] | None = None

    async def close(self) -> None:
        """Waits until all that was asked for is done or has failed."""
        while self._task is not None:
            await asyncio.wait([self._task])
            await asyncio.sleep(0)

    async def change(self, key: Key, info: ClientInfo | None) -> None:
        """Enters a client, or takes it out. Raises BrokerError."""
        self._check(1)
        self._told_later.pop(key, None)
        self._supersede(key)
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._changes.append((key, info, done))
        self._run()
        await done

    async def restore(self, infos: dict[Key, ClientInfo]) -> dict[Key, ClientInfo]:
        """Enters clients again; returns those that had gone, those that an earlier call found and failed as well.

        Raises BrokerError.
        """
        self._check(len(infos))
        if infos:
            restore = _Restore(len(infos), asyncio.get_running_loop().create_future())
            for key, info in infos.items():
                self._supersede(key)
                self._restores[key] = (info, restore)
            self._run()
            await restore.done
            self._told_later |= restore.found
        gone, self._told_later = self._told_later, {}
        return gone

    def _check(self, more: int) -> None:
        if len(self._changes) + len(self._restores) + more > MAX_WAITING:
            raise BrokerError(f"more than {MAX_WAITING} changes of presence wait for PostgreSQL")

    def _supersede(self, key: Key) -> None:
        waiting = self._restores.pop(key, None)
        if waiting is not None:
            self._settle(waiting[1])

    @staticmethod
    def _settle(restore: _Restore) -> None:
        restore.left -= 1
        if not restore.left and not restore.done.done():
            restore.done.set_result(None)

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
        batch, waiting, restores = self._next()
        try:
            fresh = await self._make(batch)
        except BrokerError as error:
            self._fail(waiting, restores, error)
            return
        except BaseException:
            self._fail(waiting, restores, BrokerError("a change of presence was cut off", unknown=True))
            raise
        for done in waiting:
            if not done.done():
                done.set_result(None)
        for key in fresh:
            if key in restores:
                info, restore = restores[key]
                restore.found[key] = info
        for _, restore in restores.values():
            self._settle(restore)

    def _next(
        self,
    ) -> tuple[Batch, list[asyncio.Future[None]], dict[Key, tuple[ClientInfo, _Restore]]]:
        """The next batch, who waits for its changes, and which of it are restored; a client's last change holds."""
        batch: Batch = {}
        waiting: list[asyncio.Future[None]] = []
        size = 0
        while self._changes and len(waiting) < BATCH and size < BATCH_BYTES:
            key, info, done = self._changes.popleft()
            batch[key] = info
            waiting.append(done)
            size += _size(info)
        restores: dict[Key, tuple[ClientInfo, _Restore]] = {}
        for key, (info, restore) in self._restores.items():
            if len(batch) >= BATCH or size >= BATCH_BYTES:
                break
            if key not in batch:
                batch[key] = info
                restores[key] = (info, restore)
                size += _size(info)
        for key in restores:
            del self._restores[key]
        return batch, waiting, restores

    def _fail(
        self,
        waiting: list[asyncio.Future[None]],
        restores: dict[Key, tuple[ClientInfo, _Restore]],
        error: BrokerError,
    ) -> None:
        """Fails the batch and what waits behind it; what restores found is kept for the next."""
        for done in waiting:
            _raise(done, error)
        behind = BrokerError(str(error))
        for _, _, done in self._changes:
            _raise(done, behind)
        for _, restore in (*restores.values(), *self._restores.values()):
            if not restore.done.done():
                self._told_later |= restore.found
            _raise(restore.done, error)
        self._changes.clear()
        self._restores.clear()


def _raise(done: asyncio.Future[None], error: BrokerError) -> None:
    if not done.done():
        done.set_exception(BrokerError(str(error), unknown=error.unknown))


def _size(info: ClientInfo | None) -> int:
    return 100 + (len(info.conn_info or b"") + len(info.chan_info or b"") if info is not None else 0)
