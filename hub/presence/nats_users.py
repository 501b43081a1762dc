"""Which users have how many clients of this node on a topic."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from hub.model import ClientInfo


class _Members:
    __slots__ = ("clients", "users")

    def __init__(self) -> None:
        self.clients: dict[str, str] = {}
        self.users: Counter[str] = Counter()


class Users:
    """Knows when the last client of a user leaves a topic on this node."""

    def __init__(self) -> None:
        self._topics: dict[str, _Members] = {}

    def add(self, topic: str, info: ClientInfo) -> None:
        """A client came, or has another user now."""
        members = self._topics.setdefault(topic, _Members())
        before = members.clients.get(info.client)
        if before != info.user:
            if before is not None:
                _leave(members, before)
            members.clients[info.client] = info.user
            members.users[info.user] += 1

    def remove(self, topic: str, client: str, user: str) -> list[str]:
        """A client left: the users who have none left; `user` is that of a client that was not known."""
        members = self._topics.get(topic)
        known = members.clients.pop(client, None) if members is not None else None
        if members is None or known is None:
            return [user] if members is None or user not in members.users else []
        left = _leave(members, known)
        if not members.clients:
            del self._topics[topic]
        return [known] if left else []

    def replace(self, entries: Mapping[str, list[ClientInfo]]) -> None:
        """These are all clients of this node."""
        self._topics.clear()
        for topic, infos in entries.items():
            for info in infos:
                self.add(topic, info)


def _leave(members: _Members, user: str) -> bool:
    members.users[user] -= 1
    if members.users[user] < 1:
        del members.users[user]
        return True
    return False
