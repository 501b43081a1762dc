"""The broker that links nodes by a PostgreSQL database."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from broadcaster import Event

from hub.broker.base import Broker, Outgoing
from hub.broker.inbox import Inbox
from hub.broker.postgres.archive import Archive
from hub.broker.postgres.lane import Lane
from hub.broker.postgres.names import Names
from hub.broker.postgres.reader import Reader
from hub.broker.postgres.relay import Relay
from hub.broker.postgres.schema import Schema
from hub.broker.postgres.trimmer import Trimmer
from hub.errors import HubError
from hub.model import HistoryOptions, HistoryPage, HistoryQuery, Position
from hub.postgres import Pool, Server

PUBLISH_SECONDS: Final = 3.0
CONNECT_SECONDS: Final = 2.0
READERS: Final = 3
"""Connections of a node for reading histories, the outbox and trimming; beside one that publishes and one that
listens."""


class PostgresBroker(Broker):
    """Keeps the contract on PostgreSQL 13 or later, reached directly or through a pooler in session mode.

    It makes what it needs in the first schema of the user's search path, with `prefix` in front of every name.
    What an application publishes there with SQL is kept as `history_of` says.
    Raises HubError for a URL or prefix that cannot be used.
    """

    shared = True

    def __init__(self, urls: Sequence[str], *, prefix: str, inbox: Inbox | None = None) -> None:
        super().__init__()
        if len(urls) != 1:
            raise HubError("the broker on PostgreSQL takes one URL")
        self._inbox = inbox or Inbox()
        schema = Schema(
            Server(urls[0]), Names(prefix), timeout=PUBLISH_SECONDS, connect_timeout=CONNECT_SECONDS
        )
        self._pools = [Pool(schema.connect, size=size, timeout=PUBLISH_SECONDS) for size in (1, READERS)]
        publishing, reading = self._pools
        self._reader = Reader(schema, self._inbox, self._ring_outbox, self._is_own)
        self._lane = Lane(schema, publishing, self._reader.ring, timeout=PUBLISH_SECONDS)
        self._archive = Archive(schema, reading)
        self._relay = Relay(schema, reading, self._lane, self._history_of)
        self._trimmer = Trimmer(schema, reading)

    @property
    def connected(self) -> bool:
        """Whether the database answered when it was read last."""
        return self._reader.connected

    @property
    def reconnects(self) -> int:
        """How often the database came back."""
        return self._reader.reconnects

    @property
    def overflows(self) -> int:
        """How often the inbox had no room."""
        return self._inbox.overflows

    async def connect(self) -> None:
        """Connects, or begins to try."""
        for pool in self._pools:
            pool.open()
        self._lane.open()
        await self._reader.start()
        self._relay.start()
        self._trimmer.start()

    async def disconnect(self) -> None:
        """Disconnects; what is subscribed is so again after a later `connect`."""
        await asyncio.gather(
            self._relay.stop(), self._trimmer.stop(), self._lane.close(), self._reader.stop()
        )
        for pool in self._pools:
            pool.close()

    async def subscribe(self, topic: str) -> None:
        """Subscribes a topic. Never raises."""
        await self._reader.subscribe(topic)

    async def unsubscribe(self, topic: str) -> None:
        """Ends a topic's subscription; what waits on it is dropped. Never raises."""
        self._reader.unsubscribe(topic)
        self._inbox.discard(topic)

    async def next_published(self) -> Event:
        """The next event for broadcaster's listener."""
        return await self._inbox.next()

    async def publish(self, channel: str, message: Outgoing) -> None:
        """Stores and sends as one act. Raises BrokerError within a few seconds."""
        message.result = await self._lane.publish(channel, message)

    async def history(self, topic: str, query: HistoryQuery) -> HistoryPage:
        """Reads kept publications and the top position. Raises BrokerError."""
        return await self._archive.history(topic, query)

    async def positions(self, topics: Sequence[str]) -> dict[str, Position]:
        """The top positions of several topics. Raises BrokerError."""
        known = await self._archive.positions(topics)
        return known | await super().positions([topic for topic in topics if topic not in known])

    async def remove_history(self, topic: str) -> None:
        """Forgets the kept publications. Raises BrokerError."""
        await self._archive.remove(topic)

    def _history_of(self, topic: str) -> HistoryOptions | None:
        return self.history_of(topic)  # which is set later

    def _ring_outbox(self) -> None:
        self._relay.ring()

    def _is_own(self, sender: int) -> bool:
        return sender in self._lane.pids
