"""Presence on PostgreSQL, common to all nodes."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any, Final

import msgspec

from hub.errors import BrokerError, HubError
from hub.model import ClientInfo, PresenceStats
from hub.postgres import Link, Pool, Server
from hub.presence.base import Presence

logger = logging.getLogger(__name__)
TIMEOUT_SECONDS: Final = 3.0
CONNECT_SECONDS: Final = 2.0
CHUNK: Final = 1000
"""Clients renewed by one statement at most."""
READERS: Final = 2
_PREFIX: Final = re.compile(r"[A-Za-z0-9_.\-]{1,40}")

# A crash empties it: leases are short, and every node enters its clients again with its next renewal.
_TABLE: Final = """
CREATE UNLOGGED TABLE IF NOT EXISTS {table} (
  topic bytea NOT NULL,
  client bytea NOT NULL,
  member bytea NOT NULL,
  info bytea NOT NULL,
  until timestamptz NOT NULL,
  PRIMARY KEY (topic, client)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05)
"""
_KEEP: Final = """
INSERT INTO {table} (topic, client, member, info, until)
SELECT i.*, clock_timestamp() + make_interval(secs => $5)
FROM unnest($1::bytea[], $2::bytea[], $3::bytea[], $4::bytea[]) AS i ORDER BY 1, 2
ON CONFLICT (topic, client) DO UPDATE SET member = EXCLUDED.member, info = EXCLUDED.info, until = EXCLUDED.until
"""
_REMOVE: Final = """
DELETE FROM {table} USING unnest($1::bytea[], $2::bytea[]) AS i (topic, client)
WHERE {table}.topic = i.topic AND {table}.client = i.client
"""
_GET: Final = "SELECT client, member, info FROM {table} WHERE topic = $1 AND until > clock_timestamp()"
_STATS: Final = """
SELECT coalesce(sum(clients), 0)::bigint AS clients, count(*) AS users
FROM (SELECT count(*) AS clients FROM {table} WHERE topic = $1 AND until > now() GROUP BY member) AS members
"""
_EXPIRE: Final = """
DELETE FROM {table} WHERE ctid = ANY (ARRAY(
  SELECT ctid FROM {table} WHERE until <= now() LIMIT 5000 FOR UPDATE SKIP LOCKED))
"""

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(tuple[bytes | None, bytes | None])
_Change = tuple[bytes, bytes, ClientInfo | None]
"""A topic and a client, with what it enters, or None when it leaves."""


class PostgresPresence(Presence):
    """Entries with leases of `lease` seconds by the clock of the database.

    All answers come within a few seconds or as BrokerError. Raises HubError for a URL or prefix that cannot be used.
    """

    def __init__(self, url: str, *, prefix: str, node: str, lease: float) -> None:
        if not _PREFIX.fullmatch(prefix):
            raise HubError(
                f"the prefix {prefix!r} must be 1 to 40 letters, digits, '_', '.' and '-' on PostgreSQL"
            )
        self._server = Server(url)
        self._ttl = lease
        self._statements = _Statements(f'"{prefix}_presence"')
        self._lock = (
            int.from_bytes(blake2b(f"{prefix} presence".encode(), digest_size=8).digest(), "big") >> 1
        )
        self._writing, self._reading = (
            Pool(self._connect, size=size, timeout=TIMEOUT_SECONDS) for size in (1, READERS)
        )
        self._writing.open()
        self._reading.open()
        self._waiting: list[tuple[list[_Change], asyncio.Future[None]]] = []
        self._flusher: asyncio.Task[None] | None = None
        self._upkeep: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begins to delete what has expired."""
        if self._upkeep is None:
            self._upkeep = asyncio.create_task(self._expire(), name="presence upkeep")

    async def stop(self) -> None:
        """Ends the connections once what is under way is done; entries stay until their leases end."""
        upkeep, self._upkeep = self._upkeep, None
        if upkeep is not None:
            upkeep.cancel()
            await asyncio.wait([upkeep])
        while self._flusher is not None:
            await asyncio.wait([self._flusher])
            await asyncio.sleep(0)
        self._writing.close()
        self._reading.close()

    async def add(self, topic: str, info: ClientInfo) -> None:
        """Enters a client, or renews it with this info."""
        await self._change([(_bytes(topic), _bytes(info.client), info)])

    async def remove(self, topic: str, client: str, user: str) -> None:  # the entry says it
        """Takes a client out; an unknown one is no error."""
        await self._change([(_bytes(topic), _bytes(client), None)])

    async def keep(self, entries: Mapping[str, list[ClientInfo]]) -> None:
        """Renews leases, a thousand in a round trip."""
        changes: list[_Change] = [
            (_bytes(topic), _bytes(info.client), info) for topic, infos in entries.items() for info in infos
        ]
        parts = (changes[at : at + CHUNK] for at in range(0, len(changes), CHUNK))
        await asyncio.gather(*(self._change(part) for part in parts))

    async def get(self, topic: str) -> Mapping[str, ClientInfo]:
        """The clients by id."""
        rows = await self._reading.fetch(self._statements.get, _bytes(topic))
        found = (ClientInfo(_text(row[1]), _text(row[0]), *_decoder.decode(row[2])) for row in rows)
        return {info.client: info for info in found}

    async def stats(self, topic: str) -> PresenceStats:
        """Counts."""
        (row,) = await self._reading.fetch(self._statements.stats, _bytes(topic))
        return PresenceStats(row["clients"], row["users"])

    async def _change(self, changes: list[_Change]) -> None:
        """Waits until the changes are made; all are made in the order in which they were asked for."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((changes, done))
        if self._flusher is None:
            self._start_flusher()
        await done

    def _start_flusher(self) -> None:
        self._flusher = asyncio.create_task(self._flush(), name="presence changes")
        self._flusher.add_done_callback(self._flushed)

    def _flushed(self, _: asyncio.Task[None]) -> None:
        self._flusher = None
        if self._waiting:
            self._start_flusher()

    async def _flush(self) -> None:
        """Makes the next changes, up to a thousand or so, as one; of several on one client the last holds."""
        last: dict[tuple[bytes, bytes], ClientInfo | None] = {}
        waiting: list[asyncio.Future[None]] = []
        while self._waiting and (not last or len(last) + len(self._waiting[0][0]) <= CHUNK):
            changes, done = self._waiting.pop(0)
            waiting.append(done)
            for topic, client, info in changes:
                last[topic, client] = info
        error: Exception | None = BrokerError("the presence store was left", unknown=True)
        try:
            await self._write(last)
            error = None
        except BrokerError as lost:
            error = BrokerError(str(lost), unknown=True)
        finally:
            for done in waiting:
                if done.done():
                    continue
                if error is None:
                    done.set_result(None)
                else:
                    done.set_exception(error)

    async def _write(self, last: Mapping[tuple[bytes, bytes], ClientInfo | None]) -> None:
        gone = [key for key, info in last.items() if info is None]
        kept = [(*key, info) for key, info in last.items() if info is not None]
        async with self._writing.link() as link:
            if gone:
                await link.fetch(self._statements.remove, *_columns(gone))
            if kept:
                rows = [(*key, _bytes(info.user), _rest(info)) for *key, info in kept]
                await link.fetch(self._statements.keep, *_columns(rows), self._ttl)

    async def _connect(self) -> Link:
        link = await self._server.connect(answer_within=TIMEOUT_SECONDS, connect_within=CONNECT_SECONDS)
        try:
            if (await link.row("SELECT to_regclass($1) AS made", self._statements.table))["made"] is None:
                # The lock is the session's: only a statement that begins after it sees what others made.
                await link.fetch("SELECT pg_advisory_lock($1)", self._lock)
                await link.script(self._statements.make)
                await link.fetch("SELECT pg_advisory_unlock($1)", self._lock)
        except BaseException:
            link.close()
            raise
        return link

    async def _expire(self) -> None:
        while True:
            await asyncio.sleep(max(1.0, self._ttl / 3))
            try:
                await self._reading.fetch(self._statements.expire)
            except BrokerError as error:
                logger.debug("ended leases were not deleted: %s", error)
            except Exception:
                logger.exception("ended leases could not be deleted")


class _Statements:
    """The statements with the table's name."""

    __slots__ = ("expire", "get", "keep", "make", "remove", "stats", "table")

    def __init__(self, table: str) -> None:
        self.table = table
        self.make, self.keep, self.remove, self.get, self.stats, self.expire = (
            each.format(table=table) for each in (_TABLE, _KEEP, _REMOVE, _GET, _STATS, _EXPIRE)
        )


def _columns(rows: list[Any]) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)]


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _text(found: bytes) -> str:
    return found.decode("utf-8", "surrogatepass")


def _rest(info: ClientInfo) -> bytes:
    return _encoder.encode((info.conn_info, info.chan_info))
