"""The contract of a presence store."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from enum import Enum
from typing import Final

from hub.model import ClientInfo, PresenceStats

LEASE_SECONDS: Final = 10.0
"""How long a node may be silent before its clients count as gone."""

Entry = tuple[str, ClientInfo]
"""A topic and a client on it."""


class Lease(Enum):
    """What a node learns when it renews its lease."""

    KEPT = "kept"
    """It never ended, or nobody took notice of that."""
    TAKEN = "taken"
    """It ended, and others have begun to let this node's clients go, and to say so."""
    LOST = "lost"
    """The store does not know it: it was emptied, or this is the first renewal."""


class Presence(ABC):
    """Keeps, for each topic, the clients that are subscribed, under one lease for all clients of a node.

    An entry ends by `remove`, or when the lease of its node has ended and another node sweeps it. A store whose nodes
    share it says so by `shared`. Counts show every change that was made, by whichever node, at once or within two
    seconds. Every method may raise BrokerError; of entries that a failed `add` or `remove` concerns it is not known
    whether the change was made. `add`, `remove` and `restore` are carried out in the order in which they are called.
    """

    shared = False

    async def start(self) -> None:
        """Begins whatever upkeep the store needs."""

    async def stop(self) -> None:
        """Ends this node's lease as far as the store can be reached, and the upkeep."""

    @abstractmethod
    async def add(self, topic: str, info: ClientInfo) -> None:
        """Enters a client of this node, or gives it this info."""

    @abstractmethod
    async def remove(self, topic: str, client: str, user: str) -> None:
        """Takes a client of this node out; an unknown one is no error."""

    async def part(self, topic: str, info: ClientInfo) -> bool:
        """As `remove`; False where others have taken the client out before, its node being silent, and said so."""
        await self.remove(topic, info.client, info.user)
        return True

    @abstractmethod
    async def get(self, topic: str) -> Mapping[str, ClientInfo]:
        """The clients by id."""

    @abstractmethod
    async def stats(self, topic: str) -> PresenceStats:
        """Counts, without reading every client: in the same time on a topic of ten and of 100,000."""

    @abstractmethod
    async def renew(self) -> Lease:
        """Renews this node's lease for `LEASE_SECONDS`, by the store's clock, in one round trip however many clients.

        After TAKEN or LOST the node has a new lease, and must `restore` its clients.
        """

    @abstractmethod
    async def restore(self, entries: Mapping[str, list[ClientInfo]]) -> list[Entry]:
        """Enters clients of this node again, by topic, in as few round trips as possible; returns those that had gone.

        Entries that are there already under this node's present or former lease are taken over.
        """

    @abstractmethod
    async def sweep(self, limit: int) -> list[Entry]:
        """Takes clients of nodes whose lease has ended out, at most about `limit`, and returns them.

        Each is returned to one caller, so that its leave is told once. Nothing is returned when all leases hold. Who
        calls it must have renewed its own lease without failure for as long as a lease lasts: after an outage of the
        store all leases have ended, though their nodes live.
        """
