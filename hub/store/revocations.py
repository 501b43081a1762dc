"""Revocations in the database: what a node knows when it starts, and what lasts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

from hub.errors import StoreError
from hub.model import Revocation
from hub.store.engine import Database

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

SECONDS: Final = 5.0
"""How long the database may take to store."""
READ_SECONDS: Final = 30.0
"""How long it may take to tell all."""
_PART: Final = 1_000
"""Entries that are read before others have their turn."""

_READ: Final = """
SELECT kind, subject, topic, issued_before, ends, changed, lifted FROM hub_revocation WHERE ends IS NULL OR ends > :now
"""
_SUM: Final = "SELECT count(*), coalesce(sum(changed % 1000000007), 0), min(ends) FROM hub_revocation"
_PUT: Final = """
INSERT INTO hub_revocation (kind, subject, topic, issued_before, ends, changed, lifted)
VALUES (:kind, :subject, :topic, :issued_before, :ends, :changed, :lifted)
ON CONFLICT (kind, subject, topic) DO UPDATE SET
  issued_before = excluded.issued_before, ends = excluded.ends, changed = excluded.changed, lifted = excluded.lifted
WHERE excluded.changed >= hub_revocation.changed
"""
_PURGE: Final = "DELETE FROM hub_revocation WHERE ends <= :now"


class RevocationTable:
    """The table `hub_revocation`. Each call raises StoreError when the database cannot, or does not in time."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._state: tuple[int, int] | None = None
        """Of the table as it was last read: how many entries, and the sum of when they were changed."""

    async def read(self, now: float) -> AsyncIterator[list[Revocation]]:
        """All that is not over, in parts, and drops what is; `now` is in seconds since 1970.

        Nothing when the table is as it was when it was last read to its end.
        """
        from sqlalchemy import text

        async with self._connection(READ_SECONDS) as connection:
            number, changes, ends = (await connection.execute(text(_SUM))).one()
            if ends is not None and ends <= now:
                await _purge(connection, now)
            state = (number, int(changes))
            if state == self._state:
                return
            found = await connection.stream(text(_READ), {"now": now})
            async for rows in found.partitions(_PART):
                yield [
                    Revocation(kind, subject, changed, topic, issued_before, until, bool(lifted))
                    for kind, subject, topic, issued_before, until, changed, lifted in rows
                ]
                await asyncio.sleep(0)  # others have their turn
        self._state = state

    async def store(self, entries: Iterable[Revocation]) -> None:
        """Stores entries, all or none; one that was changed later than what is given stays as it is.

        Raises StoreError whose `unknown` says that they may have been stored all the same.
        """
        from sqlalchemy import text

        rows = [_row(entry) for entry in entries]
        if not rows:
            return
        async with self._connection(SECONDS) as connection:
            await connection.execute(text(_PUT), rows)
            try:
                await connection.commit()
            except Exception as error:
                raise StoreError(str(self._database.unusable(error)), unknown=True) from error

    @asynccontextmanager
    async def _connection(self, seconds: float) -> AsyncIterator[AsyncConnection]:
        begun = False
        try:
            async with asyncio.timeout(seconds), self._database.connection() as connection:
                begun = True
                yield connection
        except TimeoutError:
            shown = self._database.url.shown
            raise StoreError(f"database {shown} did not answer within {seconds:g} s", unknown=begun) from None
        except StoreError:
            raise
        except Exception as error:
            raise self._database.unusable(error) from error


async def _purge(connection: AsyncConnection, now: float) -> None:
    """Drops what is over. Where the database may only be read, as on a standby, what holds is read all the same."""
    from sqlalchemy import text
    from sqlalchemy.exc import DBAPIError

    try:
        await connection.execute(text(_PURGE), {"now": now})
        await connection.commit()
    except DBAPIError:
        await connection.rollback()


def _row(entry: Revocation) -> dict[str, Any]:
    return {
        "kind": entry.kind,
        "subject": entry.subject,
        "topic": entry.topic,
        "issued_before": entry.issued_before,
        "ends": entry.until,
        "changed": entry.changed,
        "lifted": entry.lifted,
    }
