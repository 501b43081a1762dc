"""One migrator at a time: in this process, on this machine's SQLite file, in this PostgreSQL database.

Locks are asked for again and again, never waited for inside the database: a waiting statement holds a snapshot, and
that of a second migrator can block what the first one does (CREATE INDEX CONCURRENTLY waits for it, for ever).
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from hub.errors import StoreError

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

POLL = 0.05
"""Seconds between two tries."""

ADVISORY_KEY = 0x746F706963687562
"""The key of PostgreSQL's advisory lock: "topichub" in ASCII. Advisory locks belong to one database."""

# Alembic's `op`, which migrations import, is one object per process.
_process = threading.Lock()


@asynccontextmanager
async def only_migrator(connection: AsyncConnection, file: Path | None, wait: float) -> AsyncIterator[None]:
    """Holds every lock that the database needs; `file` is SQLite's.

    Raises StoreError when another migrator does not end within `wait` seconds. PostgreSQL's lock lives in the
    connection's session, so a pooler that hands out a session per transaction must not stand in between.
    """
    deadline = time.monotonic() + wait
    async with AsyncExitStack() as held:
        await _taken(lambda: _process.acquire(blocking=False), deadline)
        held.callback(_process.release)
        if file is not None:
            handle = os.open(f"{file}-migrate.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            held.callback(os.close, handle)  # which also lets the lock go
            await _taken(lambda: _locked(handle), deadline)
        if connection.dialect.name == "postgresql":
            await held.enter_async_context(_advisory(connection, deadline))
        yield


async def _taken(take: Callable[[], bool], deadline: float) -> None:
    while not take():
        _check(deadline)
        await asyncio.sleep(POLL)


def _check(deadline: float) -> None:
    if time.monotonic() > deadline:
        raise StoreError(
            "another migrator has been at work on this database for too long; see what it waits for"
        )


def _locked(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@asynccontextmanager
async def _advisory(connection: AsyncConnection, deadline: float) -> AsyncIterator[None]:
    while not await _asked(connection, "pg_try_advisory_lock"):
        _check(deadline)
        await asyncio.sleep(POLL)
    try:
        yield
    finally:
        if not connection.invalidated:  # a broken session has let its lock go
            await connection.rollback()
            await _asked(connection, "pg_advisory_unlock")


async def _asked(connection: AsyncConnection, function: str) -> bool:
    from sqlalchemy import BigInteger, bindparam, func, select

    answer = await connection.scalar(
        select(getattr(func, function)(bindparam("key", ADVISORY_KEY, BigInteger)))
    )
    await connection.commit()
    return bool(answer)
