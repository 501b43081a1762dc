"""Presence stores for tests: several nodes on one real server, and ways to wait for what they promise."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeVar

import asyncpg
import pytest
import redis.asyncio

from hub.errors import BrokerError
from hub.model import ClientInfo, PresenceStats
from hub.presence.base import Entry, Lease, Presence
from hub.presence.factory import make_presence
from tests.services.nats import delete_streams

STORES: Final = ("memory", "redis", "nats", "postgresql")
"""Every store there is, by the scheme of its URL."""
SHARED: Final = ("redis", "nats", "postgresql")
"""Those that several nodes share, the clients of each under one lease."""
TOPIC: Final = "chat:lobby"
ANN: Final = ClientInfo("ann", "c-1", b'{"name": "Ann"}', None)
ANN_TOO: Final = ClientInfo("ann", "c-2", None, b"[1,\n2]")
BOB: Final = ClientInfo("bob", "c-3", b"\xff\x00", b"")
NOBODY: Final = ClientInfo("", "c-4")
LEASE: Final = 1.5
"""Seconds of the lease of a node that is to fall silent."""
T = TypeVar("T")


@dataclass
class Nodes:
    """Nodes on one server."""

    url: str
    prefix: str = "test"
    started: list[Presence] = field(default_factory=list)

    async def node(self, name: str, *, lease: float = 30) -> Presence:
        """A node that has its first lease."""
        presence = make_presence(self.url, prefix=self.prefix, node=name, lease=lease)
        await presence.start()
        self.started.append(presence)
        assert await presence.renew() is Lease.LOST
        return presence

    async def stop(self) -> None:
        """Stops all nodes."""
        for presence in self.started:
            await presence.stop()

    async def empty(self) -> None:
        """Takes everything out of the store, as a restart without persistence does."""
        if self.url.startswith("redis"):
            async with redis.asyncio.Redis.from_url(self.url) as client:
                await client.flushdb()
        elif self.url.startswith("postgres"):
            await _truncate(self.url)
        else:
            await delete_streams(self.url)


async def _truncate(url: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        tables = await connection.fetch(r"SELECT tablename FROM pg_tables WHERE tablename LIKE 'test\_%'")
        await connection.execute(f"TRUNCATE {', '.join(row['tablename'] for row in tables)}")
    finally:
        await connection.close()


def url_of(request: pytest.FixtureRequest, store: str) -> str:
    """The URL of an empty store."""
    if store == "memory":
        return "memory://"
    url: str = request.getfixturevalue(f"{'postgres' if store == 'postgresql' else store}_url")
    return url


def crowd(size: int, *, users: int = 10**9, name: str = "c") -> list[ClientInfo]:
    """Clients of so many users."""
    return [
        ClientInfo(f"{name}-u{number % users}", f"{name}-{number}", b"{}", None) for number in range(size)
    ]


async def counts(presence: Presence, topic: str, wanted: PresenceStats) -> None:
    """Returns when the counts are these; they must be within seconds."""
    found = await presence.stats(topic)
    try:
        async with asyncio.timeout(8.0):
            while found != wanted:
                await asyncio.sleep(0.05)
                found = await presence.stats(topic)
    except TimeoutError:
        raise AssertionError(f"{found} after 8 s in place of {wanted}") from None


async def persistently(call: Callable[[], Awaitable[T]], done: Callable[[T], bool] = lambda _: True) -> T:
    """The first answer that is `done`, asked for again and again while a server comes back."""
    found: object = None
    try:
        async with asyncio.timeout(10.0):
            while True:
                try:
                    found = answer = await call()
                except BrokerError as error:
                    found = error
                else:
                    if done(answer):
                        return answer
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(f"{found!r} after 10 s") from None


async def first_swept(presence: Presence, limit: int) -> list[Entry]:
    """The first clients that a sweep brings, waited for."""
    return await persistently(lambda: presence.sweep(limit), bool)


async def all_swept(presence: Presence, limit: int = 1000) -> list[Entry]:
    """All clients that sweeps bring, from the first, which is waited for, until one brings none."""
    found = piece = await first_swept(presence, limit)
    while piece:
        assert len(piece) <= 2 * limit
        piece = await presence.sweep(limit)
        found = found + piece
    return found


def as_entries(clients: Mapping[str, list[ClientInfo]]) -> list[Entry]:
    """Topics and clients, as a sweep returns them."""
    return [(topic, info) for topic, infos in clients.items() for info in infos]


def in_order(entries: list[Entry]) -> list[Entry]:
    """Sorted, so that lists can be compared."""
    return sorted(entries, key=lambda each: (each[0], each[1].client))
