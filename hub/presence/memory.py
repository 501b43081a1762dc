"""Presence of a single node, kept in its memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping

from hub.model import ClientInfo, PresenceStats
from hub.presence.base import Presence


class _Members:
    """One topic's clients, the one whose lease ends first in front, and how many of them each user has."""

    __slots__ = ("clients", "users")

    def __init__(self) -> None:
        self.clients: dict[str, tuple[ClientInfo, float]] = {}
        self.users: Counter[str] = Counter()

    def add(self, info: ClientInfo, until: float) -> None:
        self.remove(info.client)
        self.clients[info.client] = (info, until)
        self.users[info.user] += 1

    def remove(self, client: str) -> None:
        found = self.clients.pop(client, None)
        if found is not None:
            user = found[0].user
            self.users[user] -= 1
            if not self.users[user]:
                del self.users[user]

    def expire(self, now: float) -> None:
        while self.clients:
            client, (_, until) = next(iter(self.clients.items()))
            if until > now:
                return
            self.remove(client)


class MemoryPresence(Presence):
    """Entries with leases of `ttl` seconds by `clock`; those that ran out are dropped when their topic is looked at."""

    def __init__(self, ttl: float, clock: Callable[[], float]) -> None:
        self._ttl = ttl
        self._clock = clock
        self._topics: dict[str, _Members] = {}

    async def add(self, topic: str, info: ClientInfo) -> None:
        """Enters a client, or renews it with this info."""
        members = self._topics.get(topic)
        if members is None:
            members = self._topics[topic] = _Members()
        members.add(info, self._clock() + self._ttl)

    async def remove(self, topic: str, client: str, user: str) -> None:  # the entry says it
        """Takes a client out; an unknown one is no error."""
        members = self._members(topic)
        if members is not None:
            members.remove(client)
            self._members(topic)

    async def keep(self, entries: Mapping[str, list[ClientInfo]]) -> None:
        """Renews leases."""
        for topic, infos in entries.items():
            for info in infos:
                await self.add(topic, info)

    async def get(self, topic: str) -> Mapping[str, ClientInfo]:
        """The clients by id."""
        members = self._members(topic)
        return {client: info for client, (info, _) in members.clients.items()} if members else {}

    async def stats(self, topic: str) -> PresenceStats:
        """Counts."""
        members = self._members(topic)
        return PresenceStats(len(members.clients), len(members.users)) if members else PresenceStats(0, 0)

    def _members(self, topic: str) -> _Members | None:
        """The topic's members whose leases run; a topic without any is forgotten."""
        members = self._topics.get(topic)
        if members is None:
            return None
        members.expire(self._clock())
        if not members.clients:
            del self._topics[topic]
            return None
        return members
