"""The database: one engine per process, sessions for plugins, and whether it answers.

SQLite is opened so that readers and one writer work side by side (WAL), waits up to five seconds for another writer,
and keeps foreign keys. An in-memory SQLite is one connection, which sessions take in turn.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import sqlite3
import threading
import time
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from hub.errors import StoreError
from hub.store.url import parse_url

if TYPE_CHECKING:
    import aiosqlite
    from sqlalchemy.engine.interfaces import DBAPIConnection, DBAPICursor
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
    from sqlalchemy.pool import ConnectionPoolEntry
    from sqlmodel.ext.asyncio.session import AsyncSession

BUSY_TIMEOUT = 5.0
"""Seconds that a SQLite statement waits for another connection's write."""

POOL_TIMEOUT = 10.0
"""Seconds that a session waits for a free connection."""

_ENDING = 0.5
"""Seconds that SQLite's threads have to end when the database is closed."""

_PRAGMAS = (
    f"PRAGMA busy_timeout = {BUSY_TIMEOUT * 1000:.0f}",  # first: the others may have to wait too
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = NORMAL",
    "PRAGMA foreign_keys = ON",
)


class Database:
    """The hub's database, by its URL; nothing is opened or imported before it is used.

    Raises StoreError for a URL that names no database the hub can drive.
    """

    def __init__(self, url: str) -> None:
        self.url = parse_url(url)
        self._engine: AsyncEngine | None = None
        self._threads: weakref.WeakSet[threading.Thread] = weakref.WeakSet()

    def __repr__(self) -> str:
        return f"Database({self.url.shown!r})"

    @property
    def engine(self) -> AsyncEngine:
        """SQLAlchemy's engine, made at its first use. Raises StoreError when the driver or the folder cannot be had."""
        if self._engine is None:
            self._engine = self._postgresql() if self.url.kind == "postgresql" else self._sqlite()
        return self._engine

    @asynccontextmanager
    async def session(self) -> AsyncIterator[AsyncSession]:
        """A session with a connection of its own, for one task: commit it yourself, else all is rolled back.

        Raises StoreError at once when the database cannot be reached or no connection is free for ten seconds; errors
        of the statements themselves are SQLAlchemy's. Objects stay readable after a commit.
        """
        from sqlmodel.ext.asyncio.session import AsyncSession

        async with AsyncSession(self.engine, expire_on_commit=False) as session:
            try:
                _ = await session.connection()
            except Exception as error:
                raise self.unusable(error) from error
            yield session

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[AsyncConnection]:
        """A bare connection, rolled back and given back at the end. Raises StoreError when there is none to be had."""
        connection = self.engine.connect()
        try:
            _ = await connection.start()
        except Exception as error:
            raise self.unusable(error) from error
        try:
            yield connection
        finally:
            await connection.close()

    async def ping(self, within: float = 2.0) -> None:
        """Asks the database for an answer, and raises StoreError unless it comes `within` that many seconds.

        To give up a connection that hangs takes two seconds more, once.
        Called once at start it also takes the second that the imports cost, so that no first message pays it.
        """
        from sqlalchemy import text

        importlib.import_module("sqlmodel.ext.asyncio.session")
        probe = text(
            "SELECT 1" if self.url.kind == "postgresql" else "PRAGMA schema_version"
        )  # reads SQLite's file
        try:
            async with asyncio.timeout(within), self.connection() as connection:
                await connection.execute(probe)
        except TimeoutError:
            raise StoreError(f"database {self.url.shown} did not answer within {within:g} s") from None
        except StoreError:
            raise
        except Exception as error:
            raise self.unusable(error) from error

    async def close(self) -> None:
        """Closes all connections that are not in use; the next use opens new ones (an in-memory database is gone)."""
        if self._engine is not None:
            engine, self._engine = self._engine, None
            await engine.dispose()
        # One whose connection failed is not waited for by the driver, and a loop that closes first gets a traceback.
        deadline = time.monotonic() + _ENDING
        while (  # noqa: ASYNC110 - a thread that ends sets no event
            any(thread.is_alive() for thread in self._threads) and time.monotonic() < deadline
        ):
            await asyncio.sleep(0.001)

    def unusable(self, error: BaseException) -> StoreError:
        """The StoreError that says in one line, without secrets, why the database cannot be used."""
        cause = getattr(error, "orig", None) or error
        lines = str(cause).strip().splitlines()
        reason = self.url.censor(lines[0] if lines else type(cause).__name__)[:300]
        return StoreError(f"database {self.url.shown} cannot be used: {reason}{self._way_out(cause)}")

    def _way_out(self, cause: BaseException) -> str:
        """What to do where SQLite may not write, as on a root filesystem that is read-only."""
        code = getattr(cause, "sqlite_errorcode", None) or 0
        denied = code & 0xFF in {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY}
        if self.url.file is None or not (denied or isinstance(cause, OSError)):
            return ""
        folder = self.url.file.parent.absolute()
        return (
            f". The hub has to write in {folder}: allow it, or set database.url to a file elsewhere, "
            "to PostgreSQL, or to sqlite://, which is in memory and forgets all when the hub stops"
        )

    def _postgresql(self) -> AsyncEngine:
        if importlib.util.find_spec("asyncpg") is None:
            raise StoreError("postgresql:// needs asyncpg: pip install 'topichub[postgres]'")
        from sqlalchemy.ext.asyncio import create_async_engine

        return create_async_engine(
            "postgresql+asyncpg://",
            # asyncpg reads the whole URL itself: several hosts, sslmode, sslrootcert, application_name …
            connect_args={"dsn": self.url.dsn, "timeout": self.url.connect_timeout},
            pool_pre_ping=True,  # a restarted server costs nobody an error
            pool_timeout=POOL_TIMEOUT,
            hide_parameters=True,  # what users wrote has no place in logs
        )

    def _sqlite(self) -> AsyncEngine:
        from sqlalchemy import URL, event
        from sqlalchemy.ext.asyncio import create_async_engine
        from sqlalchemy.pool import AsyncAdaptedQueuePool

        file = self.url.file
        options: dict[str, Any] = {"pool_timeout": POOL_TIMEOUT, "hide_parameters": True}
        if file is None:
            # One connection in turn: with one shared at the same time, a session's rollback undoes another's work.
            options |= {"poolclass": AsyncAdaptedQueuePool, "pool_size": 1, "max_overflow": 0}
        else:
            try:
                file.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise self.unusable(error) from error
        engine = create_async_engine(
            URL.create("sqlite+aiosqlite", database=str(file) if file else None),
            connect_args={"async_creator_fn": self._connect},
            **options,
        )
        event.listen(engine.sync_engine, "connect", _set_pragmas)
        return engine

    def _connect(self, *given: Any, **options: Any) -> aiosqlite.Connection:
        """A connection that is yet to be awaited, as SQLAlchemy itself would make it; its thread is remembered."""
        import aiosqlite

        connection = aiosqlite.connect(*given, **options)
        thread = connection if isinstance(connection, threading.Thread) else connection._thread  # noqa: SLF001 - there too
        thread.daemon = True
        self._threads.add(thread)
        return connection


def _set_pragmas(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
    cursor = connection.cursor()
    for pragma in _PRAGMAS:
        _patiently(cursor, pragma)
    cursor.close()


def _patiently(cursor: DBAPICursor, pragma: str) -> None:
    """The switch to WAL, once in a file's life, does not heed the busy timeout, and others may just be at it too."""
    deadline = time.monotonic() + BUSY_TIMEOUT
    while True:
        try:
            cursor.execute(pragma)
        except sqlite3.OperationalError as error:
            if getattr(error, "sqlite_errorcode", None) != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.005)
        else:
            return
