"""A broker with a bridge on it and a receiver that remembers what came, for tests to drive and to wait on."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from hub.broker.base import Broker, Outgoing, PublishResult
from hub.broker.broadcast import Bridge
from hub.model import HistoryOptions, HistoryQuery, Position, Publication

TOPIC = "news:all"
KEPT = HistoryOptions(size=1000, ttl=60)
ALL = HistoryQuery(limit=-1)


class Recorder:
    """Keeps, for each topic, all publications and gaps in the order in which they came; a gap is its reason."""

    def __init__(self) -> None:
        self.seen: dict[str, list[Publication | str]] = defaultdict(list)
        self.deliveries = 0
        self.fail: Callable[[str], None] | None = None
        self.on_gap: Callable[[str], None] | None = None

    def deliver(self, topic: str, publications: list[Publication]) -> None:
        self.deliveries += 1
        if self.fail is not None:
            self.fail(topic)
        self.seen[topic] += publications

    def gap(self, topic: str, reason: str) -> None:
        self.seen[topic].append(reason)
        if self.on_gap is not None:
            self.on_gap(topic)

    def publications(self, topic: str) -> list[Publication]:
        return [each for each in self.seen[topic] if isinstance(each, Publication)]

    def raws(self, topic: str) -> list[bytes]:
        return [publication.raw for publication in self.publications(topic)]

    def gaps(self, topic: str) -> list[str]:
        return [each for each in self.seen[topic] if isinstance(each, str)]

    def offsets(self, topic: str) -> list[int]:
        return [publication.offset for publication in self.publications(topic)]

    def after_gap(self, topic: str) -> list[bytes]:
        """Payloads that came after the last gap."""
        seen = self.seen[topic]
        last = max((at for at, each in enumerate(seen) if isinstance(each, str)), default=-1)
        return [each.raw for each in seen[last + 1 :] if isinstance(each, Publication)]


async def eventually(holds: Callable[[], bool], *, within: float = 15) -> None:
    """Returns when `holds()`, and fails when it never does."""
    try:
        async with asyncio.timeout(within):
            while not holds():  # what it asks lies in many places
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError("what the test waits for did not happen") from None


class Hub:
    """A broker, the bridge on it and what the bridge delivered."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.recorder = Recorder()
        self.bridge = Bridge(broker, self.recorder, node=f"node-{id(self)}", linger=0.05)

    async def publish(
        self,
        raw: bytes,
        topic: str = TOPIC,
        *,
        history: HistoryOptions | None = KEPT,
        key: str = "",
        version: int = 0,
    ) -> PublishResult:
        outgoing = Outgoing(Publication(topic, raw), history, idempotency_key=key, version=version)
        return await self.bridge.publish(outgoing)

    async def raws(self, topic: str = TOPIC, query: HistoryQuery = ALL) -> list[bytes]:
        return [publication.raw for publication in (await self.bridge.history(topic, query)).publications]


def position(result: PublishResult) -> Position:
    assert result.position is not None
    return result.position


@asynccontextmanager
async def running(broker: Broker) -> AsyncIterator[Hub]:
    hub = Hub(broker)
    await hub.bridge.start()
    try:
        yield hub
    finally:
        await hub.bridge.stop()
