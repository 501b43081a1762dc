"""Brings the database to what the installed code needs, and says whether it is there.

There is no way down: a release that must be taken back brings a further revision, or the backup is restored.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NamedTuple

from hub.errors import StoreError
from hub.store.locks import only_migrator
from hub.store.owners import Owner, in_order
from hub.store.revisions import Revisions

if TYPE_CHECKING:
    from sqlalchemy import Connection
    from sqlalchemy.ext.asyncio import AsyncConnection

    from hub.store.engine import Database

WAIT = 300.0
"""Seconds that a migrator waits for another to end."""

LOCK_TIMEOUT = "30s"
"""How long a migration waits for a table in PostgreSQL; while it does, all later users of the table wait behind it."""

log = logging.getLogger("hub.store")


class Applied(NamedTuple):
    """A revision that `upgrade` carried out."""

    owner: str
    revision: str


class Status(NamedTuple):
    """Where an owner's tables are (`current`, None before the first revision) and should be (`head`)."""

    owner: str
    current: str | None
    head: str | None
    ok: bool


class Migrator:
    """The migrations of all owners: `[core(), *plugins]`, in any order.

    Raises StoreError when the owners' names or requirements clash or a revision cannot be read. May be used within a
    running loop; any number of migrators, in any number of processes, may be started at once.
    """

    def __init__(self, database: Database, owners: Iterable[Owner], wait: float = WAIT) -> None:
        self._database = database
        self._histories = {owner.name: Revisions(owner) for owner in in_order(owners)}
        self._wait = wait

    async def upgrade(self) -> list[Applied]:
        """Carries out every missing revision, owner by owner, and returns what this call did, in order.

        Each revision is one transaction. Raises StoreError with owner and revision at the first that fails (those
        before it stay), and before doing anything when the database is newer than the code or cannot be reached.
        """
        applied: list[Applied] = []
        async with self._alone() as connection:
            _refuse_unknown(await connection.run_sync(self._status), self._histories)
            for name, revisions in self._histories.items():

                def done(revision: str, owner: str = name) -> None:
                    applied.append(Applied(owner, revision))
                    log.info("migrated %s to %s", owner, revision)

                await connection.run_sync(revisions.upgrade, tuple(self._histories), done)
        return applied

    async def status(self) -> list[Status]:
        """Where each owner is, in the order of migration. Changes nothing: a SQLite file that is missing stays so."""
        file = self._database.url.file
        if file is not None and not file.exists():
            return [
                Status(name, None, known.head, known.head is None) for name, known in self._histories.items()
            ]
        async with self._connected() as connection:
            return await connection.run_sync(self._status)

    async def check(self) -> None:
        """Raises StoreError, which tells who is behind and what to do, unless the database is as the code needs it."""
        found = await self.status()
        _refuse_unknown(found, self._histories)
        behind = [
            f"{one.owner} is at {one.current or 'nothing'} and needs {one.head}"
            for one in found
            if not one.ok
        ]
        if behind:
            where = self._database.url.shown
            raise StoreError(f"database {where} is not migrated: {'; '.join(behind)}. Run: hub migrate")

    async def open(self) -> list[Applied]:
        """Creates all tables in a SQLite database that has none of them yet; any other is only checked.

        A new file has nothing to lose, and its one node nobody to agree with. What exists is migrated on request
        only: there should be a backup first. Raises StoreError as `upgrade` and `check` do.
        """
        if self._database.url.kind == "sqlite" and all(
            found.current is None for found in await self.status()
        ):
            return await self.upgrade()
        await self.check()
        return []

    async def diff(self, owner: str) -> str:
        """What the next revision of an owner would have to do for its tables to be as its models say: Python, or "".

        For the tests of whoever writes models, on a migrated database. Raises StoreError for an owner without models
        and for a table that does not carry its owner's name.
        """
        async with self._connected() as connection:
            return await connection.run_sync(self._histories[owner].diff, tuple(self._histories))

    def _status(self, connection: Connection) -> list[Status]:
        found = [(name, known.current(connection), known.head) for name, known in self._histories.items()]
        return [Status(name, current, head, current == head) for name, current, head in found]

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[AsyncConnection]:
        from sqlalchemy.exc import SQLAlchemyError

        async with self._database.connection() as connection:
            try:
                yield connection
            except (SQLAlchemyError, OSError) as error:
                raise self._database.unusable(error) from error

    @asynccontextmanager
    async def _alone(self) -> AsyncIterator[AsyncConnection]:
        """The one connection that migrates; the database's peculiarities are put back in the end."""
        url = self._database.url
        prepared = _sqlite if url.kind == "sqlite" else _postgresql
        async with (
            self._connected() as connection,
            only_migrator(connection, url.file, self._wait),
            prepared(connection),
        ):
            yield connection


def _refuse_unknown(found: Iterable[Status], histories: dict[str, Revisions]) -> None:
    newer = [
        f"{one.owner} is at {one.current}"
        for one in found
        if one.current and not histories[one.owner].knows(one.current)
    ]
    if newer:
        raise StoreError(
            f"the database is newer than this installation, which does not know these revisions: {'; '.join(newer)}. "
            "Install the version that migrated it, or restore the backup made before"
        )


@asynccontextmanager
async def _sqlite(connection: AsyncConnection) -> AsyncIterator[None]:
    """Foreign keys are not watched meanwhile, or dropping the old copy of a rebuilt table would delete its children.

    Python's driver begins no transaction for DDL, so each is begun by name; IMMEDIATE, for a migration will write.
    """
    from sqlalchemy import event

    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    await connection.exec_driver_sql("PRAGMA foreign_keys = OFF")
    await connection.rollback()
    event.listen(connection.sync_connection, "begin", begin)
    try:
        yield
    finally:
        event.remove(connection.sync_connection, "begin", begin)
        await connection.rollback()
        await connection.exec_driver_sql("PRAGMA foreign_keys = ON")


@asynccontextmanager
async def _postgresql(connection: AsyncConnection) -> AsyncIterator[None]:
    await connection.exec_driver_sql(f"SET lock_timeout = '{LOCK_TIMEOUT}'")
    await connection.commit()
    try:
        yield
    finally:
        if not connection.invalidated:
            await connection.rollback()
            await connection.exec_driver_sql("RESET lock_timeout")
            await connection.commit()
