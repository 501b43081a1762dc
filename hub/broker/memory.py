"""The broker of a hub that is one process: everything lies in its memory and ends with it."""

from __future__ import annotations

import asyncio
import heapq
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from itertools import islice
from typing import Final

from broadcaster import Event

from hub.broker.base import Broker, Outgoing, PublishResult
from hub.broker.epochs import new_epoch
from hub.broker.inbox import Inbox
from hub.model import HistoryOptions, HistoryPage, HistoryQuery, Position, Publication

DEFAULT_META_TTL: Final = 30 * 86_400.0
"""Seconds for which positions and versions are kept where the topic's options do not say."""
MAX_RESULTS: Final = 100_000
"""Results remembered for idempotency keys; beyond, the oldest are forgotten before their time."""
_SENT: Final = PublishResult()
SWEEP_SECONDS: Final = 1.0
SWEEP_TOPICS: Final = 5_000
"""Topics looked at in one sweep at most: a few milliseconds."""
LOOK_AGAIN_SECONDS: Final = 60.0
"""Longest time after which a topic's old publications leave memory; reading never shows them."""


class _Stream:
    """One topic's position and kept publications; those are always the last ones, without a hole."""

    __slots__ = ("epoch", "expires", "kept", "top", "version", "version_epoch")

    def __init__(self, expires: float) -> None:
        self.epoch = new_epoch()
        self.expires = expires
        self.top = 0
        self.kept: deque[tuple[float, Publication]] = deque()
        self.version = 0
        self.version_epoch = ""

    @property
    def position(self) -> Position:
        return Position(self.top, self.epoch)

    @property
    def due(self) -> float:
        """When there will be something to forget."""
        return self.kept[0][0] if self.kept else self.expires

    def append(self, publication: Publication, options: HistoryOptions, now: float) -> Publication:
        """Gives a publication the next position and keeps it."""
        self.top += 1
        placed = Publication(
            publication.topic,
            publication.raw,
            self.top,
            self.epoch,
            publication.info,
            publication.tags,
            publication.time,
        )
        self.kept.append((now + options.ttl, placed))
        while len(self.kept) > options.size:
            self.kept.popleft()
        self.expires = now + max(options.meta_ttl, options.ttl)
        return placed

    def trim(self, now: float) -> None:
        """Forgets what is too old."""
        while self.kept and self.kept[0][0] <= now:
            self.kept.popleft()

    def read(self, query: HistoryQuery) -> list[Publication]:
        """The publications that a query asks for."""
        since, limit = query.since, query.limit
        if not limit or (since is not None and since.epoch not in {"", self.epoch}):
            return []
        first = self.top - len(self.kept) + 1
        start, stop = 0, len(self.kept)
        if since is not None and query.reverse:
            stop = max(0, min(stop, since.offset - first))
        elif since is not None:
            start = max(0, since.offset - first + 1)
        if limit > 0 and query.reverse:
            start = max(start, stop - limit)
        elif limit > 0:
            stop = min(stop, start + limit)
        found = [publication for _, publication in islice(self.kept, start, stop)]
        return found[::-1] if query.reverse else found


class MemoryBroker(Broker):
    """Keeps the contract without a server, within one process.

    `clock` gives seconds that never go back. `inbox` bounds what waits for delivery.
    """

    prompt = True

    def __init__(self, *, clock: Callable[[], float] = time.monotonic, inbox: Inbox | None = None) -> None:
        super().__init__()
        self._clock = clock
        self._inbox = inbox or Inbox()
        self._wanted: set[str] = set()
        self._streams: dict[str, _Stream] = {}
        self._due: list[tuple[float, str]] = []
        self._results: OrderedDict[tuple[str, str], tuple[float, PublishResult]] = OrderedDict()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def connected(self) -> bool:
        """Between `connect` and `disconnect`."""
        return self._timer is not None

    @property
    def reconnects(self) -> int:
        """Never: there is no connection to lose."""
        return 0

    @property
    def overflows(self) -> int:
        """How often the inbox had no room."""
        return self._inbox.overflows

    async def connect(self) -> None:
        """Begins the sweep of what has expired; a second call does nothing."""
        if self._timer is None:
            self._arm()

    async def disconnect(self) -> None:
        """Ends the sweep; everything kept stays, for a later `connect`."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def subscribe(self, topic: str) -> None:
        """From here on publications of the topic are delivered."""
        self._wanted.add(topic)

    async def unsubscribe(self, topic: str) -> None:
        """Ends delivery; what waits on the topic is dropped."""
        self._wanted.discard(topic)
        self._inbox.discard(topic)

    async def next_published(self) -> Event:
        """The next event for broadcaster's listener."""
        return await self._inbox.next()

    async def publish(self, channel: str, message: Outgoing) -> None:
        """Places, keeps and delivers in one step of the loop, so that nothing comes between."""
        now = self._clock()
        result = self._seen(channel, message, now) if message.idempotency_key or message.version else None
        message.result = result or self._accept(channel, message, now)

    async def history(self, topic: str, query: HistoryQuery) -> HistoryPage:
        """Reads kept publications and the top position."""
        now = self._clock()
        stream = self._stream(topic, now)
        stream.trim(now)
        return HistoryPage(stream.read(query), stream.position)

    async def remove_history(self, topic: str) -> None:
        """Forgets the kept publications; the position stays."""
        stream = self._streams.get(topic)
        if stream is not None:
            stream.kept.clear()

    def sweep(self) -> None:
        """Forgets what has expired; runs by itself every second, at the cost of what is due only."""
        now = self._clock()
        for _ in range(min(len(self._due), SWEEP_TOPICS)):
            if self._due[0][0] > now:
                break
            _, topic = heapq.heappop(self._due)
            stream = self._streams[topic]
            stream.trim(now)
            if stream.expires <= now:
                del self._streams[topic]
            else:
                heapq.heappush(self._due, (min(stream.due, now + LOOK_AGAIN_SECONDS), topic))
        while self._results and next(iter(self._results.values()))[0] <= now:
            self._results.popitem(last=False)

    def _arm(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(SWEEP_SECONDS, self._tick)

    def _tick(self) -> None:
        self._arm()
        self.sweep()

    def _seen(self, topic: str, message: Outgoing, now: float) -> PublishResult | None:
        """The answer to a publish that must not be sent again."""
        if message.idempotency_key:
            remembered = self._results.get((topic, message.idempotency_key))
            if remembered is not None and remembered[0] > now:
                return PublishResult(remembered[1].position, suppressed=True)
        if message.version > 0:
            stream = self._stream(topic, now)
            if stream.version_epoch == message.version_epoch and stream.version >= message.version:
                return PublishResult(stream.position if message.history else None, suppressed=True)
        return None

    def _accept(self, topic: str, message: Outgoing, now: float) -> PublishResult:
        publication, options = message.publication, message.history
        if options is not None:
            stream = self._stream(topic, now)
            if stream.kept and stream.kept[0][0] <= now:
                stream.trim(now)
            publication = stream.append(publication, options, now)
            result = PublishResult(Position(publication.offset, publication.epoch))
        else:
            result = _SENT
        if message.idempotency_key:
            self._remember(topic, message, result, now)
        if message.version > 0:
            stream = self._stream(topic, now)
            stream.version, stream.version_epoch = message.version, message.version_epoch
            if options is None:
                stream.expires = now + DEFAULT_META_TTL
        if topic in self._wanted:
            self._inbox.put(topic, publication)
        return result

    def _remember(self, topic: str, message: Outgoing, result: PublishResult, now: float) -> None:
        key = (topic, message.idempotency_key)
        self._results.pop(key, None)
        self._results[key] = (now + message.idempotency_ttl, result)
        if len(self._results) > MAX_RESULTS:
            self._results.popitem(last=False)

    def _stream(self, topic: str, now: float) -> _Stream:
        stream = self._streams.get(topic)
        if stream is None or stream.expires <= now:
            if stream is None:  # else the sweep's note of the one that expired serves the one in its place
                heapq.heappush(self._due, (now + LOOK_AGAIN_SECONDS, topic))
            stream = self._streams[topic] = _Stream(now + DEFAULT_META_TTL)
        return stream
