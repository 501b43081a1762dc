"""The clients of one owner, as far as they are known to lie in the stream."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import islice

from hub.model import ClientInfo
from hub.presence.base import Entry

Key = tuple[str, str]
"""A topic and a client's id."""


@dataclass(frozen=True, slots=True)
class Change:
    """A client comes, with this info, or goes, without any."""

    topic: str
    client: str
    info: ClientInfo | None

    @property
    def key(self) -> Key:
        """Which entry it concerns."""
        return self.topic, self.client


class _Topic:
    __slots__ = ("clients", "users")

    def __init__(self) -> None:
        self.clients: dict[str, ClientInfo] = {}
        self.users: Counter[str] = Counter()


class Members:
    """Clients by topic, and how many of them each user has."""

    def __init__(self) -> None:
        self._topics: dict[str, _Topic] = {}

    def __bool__(self) -> bool:
        return bool(self._topics)

    def get(self, topic: str, client: str) -> ClientInfo | None:
        """A client, if it is there."""
        found = self._topics.get(topic)
        return found.clients.get(client) if found is not None else None

    def clients(self, topic: str) -> int:
        """How many there are on a topic."""
        found = self._topics.get(topic)
        return len(found.clients) if found is not None else 0

    def of_user(self, topic: str, user: str) -> int:
        """How many of them are a user's."""
        found = self._topics.get(topic)
        return found.users[user] if found is not None else 0

    def apply(self, change: Change) -> None:
        """Enters or takes out a client."""
        members = self._topics.setdefault(change.topic, _Topic())
        before = members.clients.pop(change.client, None)
        if before is not None:
            members.users[before.user] -= 1
            if not members.users[before.user]:
                del members.users[before.user]
        if change.info is not None:
            members.clients[change.client] = change.info
            members.users[change.info.user] += 1
        if not members.clients:
            del self._topics[change.topic]

    def first(self, limit: int) -> list[Entry]:
        """Some of them, topic by topic."""
        every = ((topic, info) for topic, found in self._topics.items() for info in found.clients.values())
        return list(islice(every, limit))

    def forget(self, topic: str) -> None:
        """Drops what is known of a topic."""
        self._topics.pop(topic, None)

    def clear(self) -> None:
        """Drops all."""
        self._topics.clear()
