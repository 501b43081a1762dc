"""Leases on PostgreSQL."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from hashlib import blake2b
from typing import Any, Final

from hub.errors import HubError
from hub.leases.base import Grant, LeaseStore, kept
from hub.postgres import Link, Pool, Server

TIMEOUT_SECONDS: Final = 3.0
CONNECT_SECONDS: Final = 2.0
CONNECTIONS: Final = 2
"""So that renewals do not wait for those who ask in vain."""
CLEAN_SECONDS: Final = 3600.0
_PREFIX: Final = re.compile(r"[A-Za-z0-9_.\-]{1,40}")
_MARK: Final = b""
"""The row whose owner is the server that knows its leases, and whose end is when it begins to grant any."""

_TABLE: Final = """
CREATE TABLE IF NOT EXISTS {table} (
  name bytea PRIMARY KEY,
  owner text NOT NULL,
  number bigint NOT NULL,
  until timestamptz NOT NULL
) WITH (fillfactor = 50)
"""
# Another timeline is another server, which may lack what the former one granted last.
_RUN: Final = "SELECT left(pg_walfile_name(pg_current_wal_lsn()), 8) AS run"
_ENTER: Final = """
INSERT INTO {table} AS mark (name, owner, number, until)
SELECT $1, $2, 0, clock_timestamp() + make_interval(secs => $3)
WHERE NOT EXISTS (SELECT FROM {table} WHERE name = $1 AND owner = $2)
ON CONFLICT (name) DO UPDATE SET owner = EXCLUDED.owner, until = EXCLUDED.until WHERE mark.owner <> EXCLUDED.owner
"""
# What others hold is looked at before anything is written: most of those who ask ask in vain, again and again.
# The time in the numbers lets them grow even when the rows are gone.
_ACQUIRE: Final = """
INSERT INTO {table} AS held (name, owner, number, until)
SELECT name, $2, extract(epoch FROM clock_timestamp()) * 1000, clock_timestamp() + make_interval(secs => $3)
FROM unnest($1::bytea[]) AS wanted (name)
WHERE EXISTS (SELECT FROM {table} WHERE name = $4 AND owner = $5 AND until <= clock_timestamp())
  AND NOT EXISTS (SELECT FROM {table} AS other
    WHERE other.name = wanted.name AND other.owner <> $2 AND other.until > clock_timestamp())
ORDER BY name
ON CONFLICT (name) DO UPDATE SET owner = EXCLUDED.owner, number = greatest(held.number + 1, EXCLUDED.number),
  until = clock_timestamp() + make_interval(secs => $3)
WHERE held.owner = EXCLUDED.owner OR held.until <= clock_timestamp()
RETURNING name, number
"""
_PROLONG: Final = """
UPDATE {table} AS held SET until = clock_timestamp() + make_interval(secs => $4)
FROM unnest($1::bytea[], $2::bigint[]) WITH ORDINALITY AS mine (name, number, place)
WHERE held.name = mine.name AND held.number = mine.number AND held.owner = $3 AND held.until > clock_timestamp()
RETURNING mine.place
"""
_CLEAN: Final = "DELETE FROM {table} WHERE name <> $1 AND until < now() - interval '1 day'"


class PostgresLeases(LeaseStore):
    """Leases by the clock of the database, in a table that is on disk before a grant is told.

    After a failover nothing is granted for a term, since the new primary may lack what the former one granted last. Two
    nodes may hold one lease while both take writes. Raises HubError for a URL or prefix that cannot be used.
    """

    def __init__(self, url: str, *, prefix: str, owner: str, term: float) -> None:
        super().__init__(owner, term)
        if not _PREFIX.fullmatch(prefix):
            raise HubError(
                f"the prefix {prefix!r} must be 1 to 40 letters, digits, '_', '.' and '-' on PostgreSQL"
            )
        self._server = Server(url)
        self._table = f'"{prefix}_leases"'
        self._lock = int.from_bytes(blake2b(f"{prefix} leases".encode(), digest_size=8).digest(), "big") >> 1
        self._pool = Pool(self._connect, size=CONNECTIONS, timeout=TIMEOUT_SECONDS)
        self._run = ""
        self._cleaned = 0.0

    async def open(self) -> None:
        """Takes calls from now on."""
        self._pool.open()

    async def close(self) -> None:
        """Ends the connection."""
        self._pool.close()

    async def acquire(self, names: Sequence[str], seconds: float | None = None) -> list[Grant]:
        """Takes what is free."""
        wanted = {_bytes(name): name for name in names}
        length = self.term if seconds is None else seconds
        async with self._pool.link() as link:
            rows = await self._fetch(link, _ACQUIRE, list(wanted), self.owner, length, _MARK, self._run)
            if not rows:
                await self._enter(link)
        return [Grant(wanted[row["name"]], row["number"]) for row in rows]

    async def renew(self, grants: Sequence[Grant]) -> list[Grant]:
        """Gives another term."""
        return kept(grants, await self._prolong(grants, self.term))

    async def release(self, grants: Sequence[Grant]) -> None:
        """Ends grants. Their rows stay for a day, so that numbers grow even when the clock goes back."""
        await self._prolong(grants, 0.0)
        if time.monotonic() - self._cleaned > CLEAN_SECONDS:
            self._cleaned = time.monotonic()
            async with self._pool.link() as link:
                await self._fetch(link, _CLEAN, _MARK)

    async def _prolong(self, grants: Sequence[Grant], length: float) -> list[int]:
        names, numbers = [_bytes(grant.name) for grant in grants], [grant.number for grant in grants]
        async with self._pool.link() as link:
            rows = await self._fetch(link, _PROLONG, names, numbers, self.owner, length)
        return [row["place"] for row in rows]

    async def _connect(self) -> Link:
        return await self._server.prepared(
            self._prepare, answer_within=TIMEOUT_SECONDS, connect_within=CONNECT_SECONDS
        )

    async def _prepare(self, link: Link) -> None:
        await link.fetch("SELECT set_config('synchronous_commit', 'on', false)")
        if (await link.row("SELECT to_regclass($1) AS made", self._table))["made"] is None:
            # The lock is the session's: only a statement that begins after it sees what others made.
            await link.fetch("SELECT pg_advisory_lock($1)", self._lock)
            await link.script(_TABLE.format(table=self._table))
            await link.fetch("SELECT pg_advisory_unlock($1)", self._lock)
        self._run = str((await link.row(_RUN))["run"])
        await self._enter(link)

    async def _enter(self, link: Link) -> None:
        """Enters the server as one that will grant leases in a term, unless it is entered already."""
        await self._fetch(link, _ENTER, _MARK, self._run, self.term)

    async def _fetch(self, link: Link, statement: str, *arguments: Any) -> list[Any]:
        return await link.fetch(statement.format(table=self._table), *arguments)


def _bytes(name: str) -> bytes:
    return name.encode("utf-8", "surrogatepass")
