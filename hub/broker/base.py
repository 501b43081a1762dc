"""The contract that every broker keeps, and the values that pass through it.

A broker is a backend of the broadcaster library with a memory: besides carrying publications to every node it gives
each one on a topic with history its position, and answers for what it kept.

Promises, each proven by the contract suite on every implementation:

- `publish` is one act: position, history and delivery happen together or not at all. Offsets of one topic rise by
  exactly one, and every node sees them in that order.
- `publish` returns after the publication is stored. `BrokerError` with `unknown` set means that it may be stored.
- A topic subscribed before a publish began receives it; `subscribe` returns only when the broker has confirmed,
  or at once when the broker is unreachable (it is then subscribed on return, and a Gap is sent first).
- Nothing is dropped without a word: wherever publications may have been missed (a lost connection, a full inbox), a
  Gap is delivered on each topic concerned, after which only publications later than the gap follow.
- `next_published`, `subscribe` and `unsubscribe` never raise: broadcaster's listener would die of it silently.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

from broadcaster import BroadcastBackend
from msgspec import Struct

from hub.errors import BrokerError
from hub.model import HistoryOptions, HistoryPage, HistoryQuery, Position, Publication

INTERNAL_PREFIX = "\x1f"
"""Begins the names of the hub's own channels (probes, control between nodes); no topic may hold this character."""


class PublishResult(Struct, frozen=True, gc=False):
    """What became of a publish.

    `position` is None on topics without history. `suppressed` is true when it was not sent, because its idempotency
    key (whose first result this then is) or its version had been seen before.
    """

    position: Position | None = None
    suppressed: bool = False


class Outgoing(Struct):
    """A publication on its way to the broker, with how to keep it; the broker writes `result`.

    It carries its own result because `Broadcast.publish` returns nothing. `idempotency_key` is remembered per topic
    for `idempotency_ttl` seconds; `version` above 0 suppresses publications that are not newer within `version_epoch`.
    """

    publication: Publication
    history: HistoryOptions | None = None
    idempotency_key: str = ""
    idempotency_ttl: float = 300.0
    version: int = 0
    version_epoch: str = ""
    result: PublishResult | None = None


@dataclass(frozen=True, slots=True)
class Gap:
    """Stands in a delivery for what may have been missed on a topic; `reason` is for logs."""

    reason: str


Delivery = list[Publication] | Gap
"""What one broadcaster event carries: the publications of one topic that arrived together, in order, or a Gap."""


class Receiver(Protocol):
    """Where the bridge hands what arrives; called in the event loop, must return fast and not raise."""

    def deliver(self, topic: str, publications: list[Publication]) -> None:
        """Takes publications of one topic, in order."""

    def gap(self, topic: str, reason: str) -> None:
        """Learns that publications of the topic may have been missed before what is delivered next."""


class Broker(BroadcastBackend, ABC):
    """One link between nodes with a memory. See the module's promises.

    `shared` says whether several nodes may be linked by it; `prompt`, that its `publish` never waits for anything, so
    that it needs no task. A broker that loses its connection mends it by itself for as long as it runs.

    `connect` does not raise when the server is away: the broker then goes on trying. `disconnect` may be called twice,
    and `connect` after it; what is subscribed and kept stays.
    """

    shared: ClassVar[bool] = False
    prompt: ClassVar[bool] = False

    def __init__(self) -> None:
        """Deliberately not the base's: broadcaster's raises."""
        self.history_of: Callable[[str], HistoryOptions | None] = lambda _: None
        """How a topic keeps what reaches the broker by a door of its own; whoever knows the configuration sets it.

        It raises TopicError for a topic on which nothing may be published.
        """

    @property
    @abstractmethod
    def connected(self) -> bool:
        """Whether it answers now."""

    @property
    @abstractmethod
    def reconnects(self) -> int:
        """How often a lost connection was mended."""

    @property
    @abstractmethod
    def overflows(self) -> int:
        """How often publications were dropped, and a Gap told, because too many waited for this node."""

    @abstractmethod
    async def publish(self, channel: str, message: Outgoing) -> None:
        """Stores and sends, and writes `message.result`. Raises BrokerError, see its `unknown`."""

    @abstractmethod
    async def history(self, topic: str, query: HistoryQuery) -> HistoryPage:
        """Reads kept publications and the top position.

        A topic never published to has position (0, epoch): the epoch is made and kept by this call, so that the
        position is good for recovery. What was kept is always the last publications without a hole; a query from a
        position of another epoch reads none. Raises BrokerError.
        """

    @abstractmethod
    async def remove_history(self, topic: str) -> None:
        """Forgets the kept publications; epoch and top offset stay. Raises BrokerError."""

    async def position(self, topic: str) -> Position:
        """The top position alone."""
        return (await self.history(topic, HistoryQuery())).position

    async def positions(self, topics: Sequence[str]) -> dict[str, Position]:
        """The top positions of several topics, read together; a topic whose own cannot be read is left out.

        May raise BrokerError when none can.
        """
        found = await asyncio.gather(*map(self.position, topics), return_exceptions=True)
        for each in found:
            if isinstance(each, BaseException) and not isinstance(each, BrokerError):
                raise each
        return {topic: each for topic, each in zip(topics, found, strict=True) if isinstance(each, Position)}
