"""Presence of a single node, kept in its memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from hub.model import ClientInfo, PresenceStats
from hub.presence.base import Entry, Lease, Presence


class _Members:
    """One topic's clients, and how many of them each user has."""

    __slots__ = ("clients", "users")

    def __init__(self) -> None:
        self.clients: dict[str, ClientInfo] = {}
        self.users: Counter[str] = Counter()

    def add(self, info: ClientInfo) -> bool:
        """Returns whether the client is new."""
        new = not self.remove(info.client)
        self.clients[info.client] = info
        self.users[info.user] += 1
        return new

    def remove(self, client: str) -> bool:
        """Returns whether the client was there."""
        found = self.clients.pop(client, None)
        if found is None:
            return False
        self.users[found.user] -= 1
        if not self.users[found.user]:
            del self.users[found.user]
        return True


class MemoryPresence(Presence):
    """The clients of the only node there is. They end with it, so its lease is always kept and nobody is swept."""

    def __init__(self) -> None:
        self._topics: dict[str, _Members] = {}

    async def add(self, topic: str, info: ClientInfo) -> None:
        """Enters a client, or gives it this info."""
        self._add(topic, info)

    async def remove(self, topic: str, client: str, user: str) -> None:  # the entry says it
        """Takes a client out; an unknown one is no error."""
        members = self._topics.get(topic)
        if members is not None:
            members.remove(client)
            if not members.clients:
                del self._topics[topic]

    async def get(self, topic: str) -> Mapping[str, ClientInfo]:
        """The clients by id."""
        members = self._topics.get(topic)
        return dict(members.clients) if members else {}

    async def stats(self, topic: str) -> PresenceStats:
        """Counts."""
        members = self._topics.get(topic)
        return PresenceStats(len(members.clients), len(members.users)) if members else PresenceStats(0, 0)

    async def renew(self) -> Lease:
        """There is nobody else who could take it."""
        return Lease.KEPT

    async def restore(self, entries: Mapping[str, list[ClientInfo]]) -> list[Entry]:
        """Enters clients again, and returns those that were not there."""
        return [(topic, info) for topic, infos in entries.items() for info in infos if self._add(topic, info)]

    async def sweep(self, limit: int) -> list[Entry]:
        """There is no other node."""
        return []

    def _add(self, topic: str, info: ClientInfo) -> bool:
        members = self._topics.get(topic)
        if members is None:
            members = self._topics[topic] = _Members()
        return members.add(info)
