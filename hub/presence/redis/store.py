"""The presence store that stands on Redis."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Final

from hub.errors import BrokerError
from hub.model import ClientInfo, PresenceStats
from hub.presence.base import Entry, Lease, Presence
from hub.presence.redis.changes import Changes
from hub.presence.redis.entry import unpack_all
from hub.presence.redis.keys import Keys
from hub.presence.redis.lease import OwnLease
from hub.presence.redis.scripts import CHANGE, CLAIM, NOTE, RENEW, STATS, TAKE
from hub.presence.redis.sweep import sweep
from hub.redis.client import Redis

logger = logging.getLogger(__name__)
TIMEOUT_SECONDS: Final = 3.0
CONNECT_SECONDS: Final = 2.0
SLICE: Final = 10_000
"""Ids and entries that are read before anything else of this node has its turn: some 20 ms."""


class RedisPresence(Presence):
    """Entries of all nodes, those of one under a lease of `lease` seconds by the clock of Redis.

    A node that restores its clients goes on under a new lease: what it does not enter there ends with the former one,
    such as those who had left, and whom a failover brought back. All answers come within a few seconds or as
    BrokerError, but for `restore` of many clients, which takes the time that it needs while Redis answers. Raises
    HubError for a URL that cannot be used.
    """

    shared = True

    def __init__(self, url: str, *, prefix: str, node: str, lease: float) -> None:
        self._keys = Keys(prefix)
        # A renewal must not wait behind a thousand clients that are entered.
        self._writes = _redis(url)
        self._reads = _redis(url)
        self._lease = OwnLease(self._reads, self._keys, node=node, seconds=lease)
        self._changes = Changes(self._writes, self._keys, self._lease, timeout=TIMEOUT_SECONDS)

    async def start(self) -> None:
        """Takes calls from now on; it connects with the first."""
        self._writes.open()
        self._reads.open()

    async def stop(self) -> None:
        """Ends the lease, if Redis answers, and the connections."""
        await self._changes.close()
        try:
            await self._lease.end()
        except BrokerError as error:
            logger.info("the lease of this node ends by itself: %s", error)
        await self._writes.close()
        await self._reads.close()

    async def add(self, topic: str, info: ClientInfo) -> None:
        """Enters a client of this node, or gives it this info."""
        await self._changes.enter(topic, info)

    async def remove(self, topic: str, client: str, user: str) -> None:  # the entry says it
        """Takes a client of this node out; an unknown one is no error."""
        await self._changes.remove(topic, client)

    async def get(self, topic: str) -> Mapping[str, ClientInfo]:
        """The clients by id."""
        entries = self._keys.topic(topic)[0]
        found = await self._reads.command(entries, "HGETALL", entries)
        clients: dict[str, ClientInfo] = {}
        for at in range(0, len(found), SLICE):
            clients |= {info.client: info for info in unpack_all(found[at : at + SLICE])}
            await asyncio.sleep(0)
        return clients

    async def stats(self, topic: str) -> PresenceStats:
        """Counts."""
        clients, users = await self._reads.run(STATS, self._keys.topic(topic))
        return PresenceStats(clients, users)

    async def renew(self) -> Lease:
        """Renews this node's lease."""
        return await self._lease.renew()

    async def restore(self, entries: Mapping[str, list[ClientInfo]]) -> list[Entry]:
        """Enters clients of this node again, and returns those that had gone."""
        gone = set(await self._changes.enter_all(list(entries.items())))
        return [
            (topic, info)
            for topic, infos in entries.items()
            for info in infos
            if (topic, info.client) in gone
        ]

    async def sweep(self, limit: int) -> list[Entry]:
        """Takes clients of nodes whose lease has ended out, at most `limit`, and returns them."""
        return await sweep(self._writes, self._keys, limit)


def _redis(url: str) -> Redis:
    scripts = (CHANGE, TAKE, STATS, RENEW, NOTE, CLAIM)
    return Redis(url, scripts=scripts, timeout=TIMEOUT_SECONDS, connect_timeout=CONNECT_SECONDS)
