"""Changes of presence that failed, made good once the store answers again, and clients that leave in doubt.

A lease lasts as long as its node, so a client whose removal failed would be present for as long. And when a node goes
on that stood still, others may have said of its clients that they left: only what it then learns of its lease tells
whether that is still to be said of those who really did.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from hub.model import ClientInfo, PresenceStats
from hub.presence.base import Entry, Lease, Presence

_log = logging.getLogger("hub.presence")
MAX_OWED: Final = 200_000
"""Clients still to be removed, several times those that a node can have; what is beyond ends with the node's lease."""
DOUBT_SECONDS: Final = 5.0
"""How long a client's leave may wait for what the node learns of its lease."""


class Amends(Presence):
    """A store that remembers whom it could not remove, and whom it may have entered although it said that it failed."""

    def __init__(self, store: Presence) -> None:
        self.shared = store.shared  # as a store says it of its class
        self._store = store
        self._owed: dict[tuple[str, str], str] = {}
        self._parting: dict[tuple[str, str], ClientInfo] = {}
        self._swept: set[tuple[str, str]] = set()
        self.in_doubt: Callable[[], bool] = lambda: False
        """Whether others may have let this node's clients go, and it has yet to find out which; set by its keeper."""

    async def start(self) -> None:
        """As the store's."""
        await self._store.start()

    async def stop(self) -> None:
        """As the store's; what is owed ends with the lease."""
        await self._store.stop()

    async def add(self, topic: str, info: ClientInfo) -> None:
        """As the store's."""
        self._owed.pop((topic, info.client), None)
        try:
            await self._store.add(topic, info)
        except BaseException:
            self._owe(topic, info.client, info.user)
            raise

    async def remove(self, topic: str, client: str, user: str) -> None:
        """As the store's; where it fails it is made good later."""
        try:
            await self._store.remove(topic, client, user)
        except BaseException:
            self._owe(topic, client, user)
            raise

    async def part(self, topic: str, info: ClientInfo) -> bool:
        """Takes a client out; False when others have before. While in doubt it first waits, for 5 s at most."""
        key = topic, info.client
        if self.in_doubt():
            self._parting[key] = info
            try:
                await self._doubt_ended()
            finally:
                del self._parting[key]
        swept = key in self._swept
        self._swept.discard(key)
        await self.remove(topic, info.client, info.user)
        return not swept

    async def _doubt_ended(self) -> None:
        deadline = asyncio.get_running_loop().time() + DOUBT_SECONDS
        # Polled, because it is rare and short.
        while self.in_doubt() and asyncio.get_running_loop().time() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.02)

    def parting(self) -> list[Entry]:
        """Clients that are about to be taken out, and of whom it is not known whether others did so."""
        return [(topic, info) for (topic, _), info in self._parting.items()]

    def swept(self, entries: Iterable[Entry]) -> None:
        """These had been taken out by others; those among them that are parting need not be said to have left."""
        self._swept |= self._parting.keys() & {(topic, info.client) for topic, info in entries}

    async def get(self, topic: str) -> Mapping[str, ClientInfo]:
        """As the store's."""
        return await self._store.get(topic)

    async def stats(self, topic: str) -> PresenceStats:
        """As the store's."""
        return await self._store.stats(topic)

    async def renew(self) -> Lease:
        """As the store's."""
        return await self._store.renew()

    async def restore(self, entries: Mapping[str, list[ClientInfo]]) -> list[Entry]:
        """As the store's."""
        return await self._store.restore(entries)

    async def sweep(self, limit: int) -> list[Entry]:
        """As the store's."""
        return await self._store.sweep(limit)

    async def settle(self) -> None:
        """Removes those whom it owes. Raises BrokerError when the store is away still."""
        for (topic, client), user in list(self._owed.items()):
            # One that has subscribed again meanwhile is owed nothing any more.
            if (topic, client) in self._owed:
                await self._store.remove(topic, client, user)
                self._owed.pop((topic, client), None)

    def _owe(self, topic: str, client: str, user: str) -> None:
        if len(self._owed) < MAX_OWED:
            self._owed[topic, client] = user
        else:
            _log.error("client %s is present until this node stops: too many changes failed", client)
