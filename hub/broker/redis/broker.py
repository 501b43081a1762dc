"""The broker that links nodes by Redis, or by several Redis servers that share the topics between them."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from hashlib import blake2b
from typing import Final

from broadcaster import Event

from hub.broker.base import Broker, Outgoing
from hub.broker.inbox import Inbox
from hub.broker.redis.server import RedisServer
from hub.errors import HubError
from hub.model import HistoryPage, HistoryQuery

_PREFIX: Final = re.compile(r"[A-Za-z0-9_.\-]+")
PUBLISH_SECONDS: Final = 3.0
CONNECT_SECONDS: Final = 2.0


class RedisBroker(Broker):
    """Keeps the contract on Redis 6.2 or later, and on servers that speak like it.

    `prefix` begins every key. A topic belongs to one of the servers by its name; which ones stay where they are when a
    server is added at the end. Raises HubError for a URL or prefix that cannot be used.
    """

    shared = True

    def __init__(self, urls: Sequence[str], *, prefix: str, inbox: Inbox | None = None) -> None:
        super().__init__()
        if not _PREFIX.fullmatch(prefix):
            raise HubError(f"the broker's prefix {prefix!r} may hold letters, digits, '_', '.' and '-' only")
        if not urls:
            raise HubError("the broker needs a URL")
        self._inbox = inbox or Inbox()
        self._servers = [
            RedisServer(
                url, self._inbox, prefix=prefix, timeout=PUBLISH_SECONDS, connect_timeout=CONNECT_SECONDS
            )
            for url in urls
        ]

    @property
    def connected(self) -> bool:
        """Whether all servers are connected."""
        return all(server.subscriber.connected for server in self._servers)

    @property
    def reconnects(self) -> int:
        """How often a server came back."""
        return sum(server.subscriber.reconnects for server in self._servers)

    @property
    def overflows(self) -> int:
        """How often the inbox had no room."""
        return self._inbox.overflows

    async def connect(self) -> None:
        """Connects to all servers; those that are away are tried again and again."""
        await asyncio.gather(*(server.start() for server in self._servers))

    async def disconnect(self) -> None:
        """Disconnects; what is subscribed is so again after a later `connect`."""
        await asyncio.gather(*(server.stop() for server in self._servers))

    async def subscribe(self, topic: str) -> None:
        """Subscribes a topic. Never raises."""
        await self._server(topic).subscribe(topic)

    async def unsubscribe(self, topic: str) -> None:
        """Ends a topic's subscription; what waits on it is dropped. Never raises."""
        self._server(topic).unsubscribe(topic)
        self._inbox.discard(topic)

    async def next_published(self) -> Event:
        """The next event for broadcaster's listener."""
        return await self._inbox.next()

    async def publish(self, channel: str, message: Outgoing) -> None:
        """Stores and sends as one act. Raises BrokerError within a few seconds."""
        message.result = await self._server(channel).publish(channel, message)

    async def history(self, topic: str, query: HistoryQuery) -> HistoryPage:
        """Reads kept publications and the top position. Raises BrokerError."""
        return await self._server(topic).history(topic, query)

    async def remove_history(self, topic: str) -> None:
        """Forgets the kept publications. Raises BrokerError."""
        await self._server(topic).remove_history(topic)

    def _server(self, topic: str) -> RedisServer:
        """The topic's server: the one whose number draws the highest lot with the topic's name."""
        if len(self._servers) == 1:
            return self._servers[0]
        name = topic.encode("utf-8", "surrogatepass")
        lots = (blake2b(name, digest_size=8, salt=b"%d" % at).digest() for at in range(len(self._servers)))
        return self._servers[max(enumerate(lots), key=lambda lot: lot[1])[0]]
