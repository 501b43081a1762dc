"""The contract of a presence store."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

from hub.model import ClientInfo, PresenceStats


class Presence(ABC):
    """Keeps, for each topic, the clients that are subscribed, under leases.

    An entry ends by `remove`, or `ttl` seconds after it was last added or kept. Every method may raise BrokerError.
    """

    async def start(self) -> None:
        """Begins whatever upkeep the store needs."""

    async def stop(self) -> None:
        """Ends the upkeep; entries of other nodes stay."""

    @abstractmethod
    async def add(self, topic: str, info: ClientInfo) -> None:
        """Enters a client, or renews it with this info."""

    @abstractmethod
    async def remove(self, topic: str, client: str, user: str) -> None:
        """Takes a client out; an unknown one is no error."""

    @abstractmethod
    async def keep(self, entries: Mapping[str, list[ClientInfo]]) -> None:
        """Renews the leases of all this node's clients, by topic, in as few round trips as possible."""

    @abstractmethod
    async def get(self, topic: str) -> Mapping[str, ClientInfo]:
        """The clients by id."""

    @abstractmethod
    async def stats(self, topic: str) -> PresenceStats:
        """Counts, without reading every client."""
