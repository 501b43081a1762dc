"""Presence of a single node, kept in its memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from hub.model import ClientInfo, PresenceStats
from hub.presence.base import Presence


class MemoryPresence(Presence):
    """Entries with leases of `ttl` seconds by `clock`; those that ran out are dropped when their topic is looked at."""

    def __init__(self, ttl: float, clock: Callable[[], float]) -> None:
        self._ttl = ttl
        self._clock = clock
        self._topics: dict[str, dict[str, tuple[ClientInfo, float]]] = {}

    async def add(self, topic: str, info: ClientInfo) -> None:
        """Enters a client, or renews it with this info."""
        self._topics.setdefault(topic, {})[info.client] = (info, self._clock() + self._ttl)

    async def remove(self, topic: str, client: str, user: str) -> None:
        """Takes a client out; an unknown one is no error."""
        clients = self._topics.get(topic)
        if clients is not None:
            clients.pop(client, None)
            if not clients:
                del self._topics[topic]

    async def keep(self, entries: Mapping[str, list[ClientInfo]]) -> None:
        """Renews leases."""
        for topic, infos in entries.items():
            for info in infos:
                await self.add(topic, info)

    async def get(self, topic: str) -> Mapping[str, ClientInfo]:
        """The clients by id."""
        now = self._clock()
        clients = self._topics.get(topic, {})
        for client in [client for client, (_, until) in clients.items() if until <= now]:
            del clients[client]
        return {client: info for client, (info, _) in clients.items()}

    async def stats(self, topic: str) -> PresenceStats:
        """Counts."""
        clients = await self.get(topic)
        return PresenceStats(len(clients), len({info.user for info in clients.values()}))
