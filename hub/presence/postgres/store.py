"""Presence on PostgreSQL, common to all nodes."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any, Final

from hub.errors import BrokerError
from hub.model import ClientInfo, PresenceStats
from hub.postgres import Link, Pool, Refused, Server
from hub.presence.base import Entry, Lease, Presence
from hub.presence.postgres.lane import BATCH, Batch, Key, Lane
from hub.presence.postgres.schema import Schema

logger = logging.getLogger(__name__)
TIMEOUT_SECONDS: Final = 3.0
CONNECT_SECONDS: Final = 2.0
READERS: Final = 2
MARK_SECONDS: Final = 86_400.0
"""For how long a node that was let go can learn that."""
TRACE_SECONDS: Final = 3600.0
"""For how long an ended lease without clients is remembered."""
SLICE: Final = 2000
"""Clients made from rows between two looks at what else the node has to do."""
_TRIES: Final = 5
_AGAIN: Final = {"40P01", "40001"}
"""Deadlock and serialization failure: nothing was done, and trying again helps."""
_UNMADE: Final = {"42P01", "42883", "3F000"}
"""No such table, function or schema: somebody dropped it, and the next connection makes it anew."""
_CHANGE: Final = "SELECT * FROM @change@($1, $2, $3, $4, $5, $6, $7, $8, $9)"
_GET: Final = "SELECT client, member, conn_info, chan_info FROM @entry@ WHERE topic = $1"
_STATS: Final = "SELECT clients, users FROM @topic@ WHERE topic = $1"
_RENEW: Final = "SELECT @renew@($1, $2, $3, $4) AS standing"
_SWEEP: Final = "SELECT topic, client, member, conn_info, chan_info FROM @sweep@($1, $2, $3)"
_END: Final = "UPDATE @owner@ SET until = clock_timestamp() WHERE owner = $1"


class PostgresPresence(Presence):
    """Entries of this node under one lease of `lease` seconds by the clock of the database.

    All answers come within a few seconds or as BrokerError. Raises HubError for a URL or prefix that cannot be used.
    """

    shared = True

    def __init__(self, url: str, *, prefix: str, node: str, lease: float) -> None:
        self._schema = Schema(Server(url), prefix)
        self._node = _bytes(node).decode("utf-8", "replace").replace("\0", "")
        self._lease = lease
        self._owner = _new_owner()
        self._turn = 0
        self._lane = Lane(self._make)
        self._writing, self._reading = (
            Pool(self._connect, size=size, timeout=TIMEOUT_SECONDS) for size in (1, READERS)
        )
        self._writing.open()
        self._reading.open()
        fill = self._schema.fill
        self._change, self._get, self._stats = fill(_CHANGE), fill(_GET), fill(_STATS)
        self._renew, self._sweep, self._end = fill(_RENEW), fill(_SWEEP), fill(_END)

    async def stop(self) -> None:
        """Ends the lease once the changes under way are made, so that others may sweep at once, and the connections."""
        await self._lane.close()
        try:
            await self._ask(self._writing, self._end, self._owner)
        except BrokerError as error:
            logger.debug("the lease was left to end by itself: %s", error)
        self._writing.close()
        self._reading.close()

    async def add(self, topic: str, info: ClientInfo) -> None:
        """Enters a client of this node, or gives it this info."""
        await self._lane.change((topic, info.client), info)

    async def remove(self, topic: str, client: str, user: str) -> None:  # the entry says it
        """Takes a client out; an unknown one is no error."""
        await self._lane.change((topic, client), None)

    async def get(self, topic: str) -> Mapping[str, ClientInfo]:
        """The clients by id."""
        rows = iter(await self._ask(self._reading, self._get, _bytes(topic)))
        found: dict[str, ClientInfo] = {}
        while some := list(islice(rows, SLICE)):
            found.update((info.client, info) for info in map(_info, some))
            await asyncio.sleep(0)
        return found

    async def stats(self, topic: str) -> PresenceStats:
        """Counts: one row, whatever the number of clients."""
        rows = await self._ask(self._reading, self._stats, _bytes(topic))
        return PresenceStats(rows[0]["clients"], rows[0]["users"]) if rows else PresenceStats(0, 0)

    async def renew(self) -> Lease:
        """Renews this node's lease; where that was taken or lost, the answer brings a new one."""
        # Each attempt names another successor: a lease that began without this node's knowing is nobody's.
        successor = _new_owner()
        (row,) = await self._ask(self._reading, self._renew, self._owner, successor, self._node, self._lease)
        standing = Lease(row["standing"])
        if standing is not Lease.KEPT:
            self._owner = successor
        return standing

    async def restore(self, entries: Mapping[str, list[ClientInfo]]) -> list[Entry]:
        """Enters clients of this node again, a thousand in a round trip; returns those that had gone."""
        infos = {(topic, info.client): info for topic, each in entries.items() for info in each}
        gone = await self._lane.restore(infos)
        return [(topic, info) for (topic, _), info in gone.items()]

    async def sweep(self, limit: int) -> list[Entry]:
        """Takes clients out whose leases have ended, and returns them; what was returned is returned to nobody else."""
        found: list[Entry] = []
        while (room := min(BATCH, limit - len(found))) > 0:
            try:
                rows = await self._ask(self._reading, self._sweep, room, MARK_SECONDS, TRACE_SECONDS)
            except BrokerError:
                if not found:
                    raise
                break
            found += [(_text(row["topic"]), _info(row)) for row in rows]
            if len(rows) < room:
                break
        return found

    async def _make(self, batch: Batch) -> Iterable[Key]:
        """Makes changes as one transaction; returns the clients that had not been there."""
        self._turn += 1
        rows = [_row(topic, client, info) for (topic, client), info in batch.items()]
        columns = [list(column) for column in zip(*rows, strict=True)]
        made = await self._ask(
            self._writing, self._change, self._owner, self._node, self._lease, self._turn, *columns
        )
        return [(_text(topic), _text(client)) for topic, client in made]

    async def _ask(self, pool: Pool, statement: str, *arguments: Any) -> list[Any]:
        """The rows of a statement, which is repeated when nodes were in one another's way. Raises BrokerError."""
        async with pool.link() as link:
            for left in range(_TRIES - 1, -1, -1):
                try:
                    return await link.fetch(statement, *arguments)
                except Refused as error:
                    if error.code in _UNMADE:
                        link.close()
                    if error.code not in _AGAIN or not left:
                        raise
        raise BrokerError("PostgreSQL was not asked")

    async def _connect(self) -> Link:
        return await self._schema.connect(answer_within=TIMEOUT_SECONDS, connect_within=CONNECT_SECONDS)


def _new_owner() -> int:
    return secrets.randbits(63)


def _row(topic: str, client: str, info: ClientInfo | None) -> tuple[bytes | None, ...]:
    if info is None:
        return _bytes(topic), _bytes(client), None, None, None
    return _bytes(topic), _bytes(client), _bytes(info.user), info.conn_info, info.chan_info


def _info(row: Any) -> ClientInfo:
    return ClientInfo(_text(row["member"]), _text(row["client"]), row["conn_info"], row["chan_info"])


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _text(found: bytes) -> str:
    return found.decode("utf-8", "surrogatepass")
