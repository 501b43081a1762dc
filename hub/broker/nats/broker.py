"""The broker that links nodes by NATS."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Sequence
from typing import Final

from broadcaster import Event

from hub.broker.base import Broker, Outgoing
from hub.broker.inbox import Inbox
from hub.broker.nats.history import History
from hub.broker.nats.publisher import Publisher
from hub.broker.nats.subjects import Subjects
from hub.broker.nats.subscriber import Subscriber
from hub.broker.nats.topics import Topics
from hub.broker.nats.upkeep import Upkeep
from hub.errors import BrokerError, HubError
from hub.model import HistoryPage, HistoryQuery
from hub.nats.address import Address
from hub.nats.jetstream import JetStream
from hub.nats.link import Link
from hub.nats.token import token_of

logger = logging.getLogger(__name__)
PUBLISH_SECONDS: Final = 3.0
CONNECT_SECONDS: Final = 2.0
BACKOFF_SECONDS: Final = 0.05
MAX_BACKOFF_SECONDS: Final = 1.0


class NatsBroker(Broker):
    """Keeps the contract on NATS 2.12 or later with JetStream.

    `urls` are servers of one NATS system. Everything lies in one stream, named by `prefix`, made when it is not
    there. Raises HubError for a URL or prefix that cannot be used.
    """

    shared = True

    def __init__(self, urls: Sequence[str], *, prefix: str, inbox: Inbox | None = None) -> None:
        super().__init__()
        if not prefix:
            raise HubError("the broker's prefix must not be empty")
        self._address = Address.parse(urls)
        self._inbox = inbox or Inbox()
        subjects = Subjects(token_of(prefix))
        self._jetstream = JetStream(
            subjects.stream,
            subjects.stored,
            {"max_msgs_per_subject": -1, "republish": subjects.forward},
            storage=self._address.storage,
            replicas=self._address.replicas,
        )
        topics = self._topics = Topics(self._jetstream, subjects)
        self._subscriber = Subscriber(self._inbox, topics, subjects)
        self._history = History(self._jetstream, topics, subjects)
        self._upkeep = Upkeep(self._jetstream, self._history, subjects)
        self._publisher = Publisher(
            self._jetstream, topics, subjects, timeout=PUBLISH_SECONDS, stored=self._upkeep.stored
        )
        self._servers = list(self._address.servers)
        self._tasks: list[asyncio.Task[None]] = []
        self._tried = asyncio.Event()
        self._lost = False
        self._reconnects = 0

    @property
    def connected(self) -> bool:
        """Whether the connection is open and all topics are subscribed on it."""
        return self._jetstream.link is not None

    @property
    def reconnects(self) -> int:
        """How often NATS came back."""
        return self._reconnects

    @property
    def overflows(self) -> int:
        """How often the inbox had no room."""
        return self._inbox.overflows

    async def connect(self) -> None:
        """Begins to connect, and returns when that has succeeded or failed once."""
        if not self._tasks:
            self._tried.clear()
            self._tasks = [
                asyncio.create_task(self._supervise(), name=f"nats {self._address.name}"),
                asyncio.create_task(self._upkeep.run(), name="nats upkeep"),
            ]
        await self._tried.wait()

    async def disconnect(self) -> None:
        """Disconnects; what is subscribed is so again after a later `connect`."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        await self._publisher.close()
        self._tried.set()

    async def subscribe(self, topic: str) -> None:
        """Subscribes a topic. Never raises."""
        await self._subscriber.subscribe(topic)

    async def unsubscribe(self, topic: str) -> None:
        """Ends a topic's subscription; what waits on it is dropped. Never raises."""
        await self._subscriber.unsubscribe(topic)
        self._inbox.discard(topic)

    async def next_published(self) -> Event:
        """The next event for broadcaster's listener."""
        return await self._inbox.next()

    async def publish(self, channel: str, message: Outgoing) -> None:
        """Stores and sends as one act. Raises BrokerError within a few seconds."""
        message.result = await self._publisher.publish(channel, message)

    async def history(self, topic: str, query: HistoryQuery) -> HistoryPage:
        """Reads kept publications and the top position. Raises BrokerError."""
        return await self._history.read(topic, query)

    async def remove_history(self, topic: str) -> None:
        """Forgets the kept publications. Raises BrokerError."""
        await self._history.remove(topic)

    async def _supervise(self) -> None:
        attempts = 0
        while True:
            try:
                link = await Link.open(
                    self._address, self._servers, within=CONNECT_SECONDS, answer=PUBLISH_SECONDS
                )
                try:
                    await self._begin(link)
                    attempts = 0
                    await link.closed.wait()
                    logger.warning("the connection to NATS at %s was lost", self._address.name)
                finally:
                    await self._lose(link)
            except BrokerError as error:
                level = logging.WARNING if attempts == 0 else logging.DEBUG
                logger.log(level, "no connection to NATS at %s: %s", self._address.name, error)
            except Exception:
                logger.exception("the connection to NATS at %s failed and is made again", self._address.name)
            self._tried.set()
            delay = min(BACKOFF_SECONDS * 2**attempts, MAX_BACKOFF_SECONDS)
            attempts = min(attempts + 1, 10)
            await asyncio.sleep(delay * random.uniform(0.5, 1))  # noqa: S311  # spreads nodes, guards nothing

    async def _begin(self, link: Link) -> None:
        """Makes a new connection the one in use. What was known may be another server's."""
        self._topics.doubt_all()
        await self._jetstream.prepare(link)
        await self._subscriber.resume(link)
        self._servers = list(dict.fromkeys([*self._address.servers, *link.discovered]))
        self._jetstream.link = link
        self._tried.set()
        if self._lost:
            self._lost = False
            self._reconnects += 1
            logger.info("connected to NATS at %s again", self._address.name)

    async def _lose(self, link: Link) -> None:
        self._lost = self._lost or self._jetstream.link is not None
        self._jetstream.link = None
        self._subscriber.lose()
        await link.close()
