"""One Redis as the broker uses it: publishing, reading and subscribing, each over connections of its own."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from hub.broker.base import Outgoing, PublishResult
from hub.broker.envelope import EnvelopeError, decode_body, encode_body, parse_place
from hub.broker.epochs import new_epoch
from hub.broker.inbox import Inbox
from hub.broker.redis.cluster_subscriber import ClusterSubscriber
from hub.broker.redis.keys import Names
from hub.broker.redis.scripts import HISTORY, PUBLISH, SCRIPTS
from hub.broker.redis.subscriber import Subscriber
from hub.errors import BrokerError
from hub.model import HistoryPage, HistoryQuery, Position, Publication
from hub.redis.client import Redis
from hub.redis.cluster_map import ClusterMap
from hub.redis.places import place_of

DEFAULT_META_TTL: Final = 30 * 86_400.0
"""Seconds for which positions and versions are kept where the topic's options do not say."""
_MAX_OFFSET: Final = 2**53
_NOTHING: Final = ("", "", "", 0)


class RedisServer:
    """Keeps and carries the topics that fall to one server, or to one cluster. Every method may raise BrokerError."""

    def __init__(
        self, url: str, inbox: Inbox, *, prefix: str, timeout: float, connect_timeout: float
    ) -> None:
        place = place_of(url)
        self.subscriber: Subscriber | ClusterSubscriber
        if isinstance(place, ClusterMap):
            self.subscriber = ClusterSubscriber(place, inbox, connect_timeout=connect_timeout)
            self._send = "SPUBLISH"
        else:
            self.subscriber = Subscriber(place, inbox, connect_timeout=connect_timeout)
            self._send = "PUBLISH"
        self._names = Names(prefix, place.db)
        self._publishing, self._reading = (
            Redis(place, scripts=SCRIPTS, timeout=timeout, connect_timeout=connect_timeout) for _ in range(2)
        )

    async def start(self) -> None:
        """Connects, or begins to try."""
        self._publishing.open()
        self._reading.open()
        await self.subscriber.start()

    async def stop(self) -> None:
        """Disconnects."""
        await asyncio.gather(self._publishing.close(), self._reading.close(), self.subscriber.stop())

    async def subscribe(self, topic: str) -> None:
        """Subscribes a topic; never raises."""
        await self.subscriber.subscribe(topic, self._names.channel(topic))

    def unsubscribe(self, topic: str) -> None:
        """Ends a topic's subscription; never raises."""
        self.subscriber.unsubscribe(self._names.channel(topic))

    async def publish(self, topic: str, message: Outgoing) -> PublishResult:
        """Stores and sends, as one act."""
        body = encode_body(message.publication)
        channel = self._names.channel(topic)
        if message.history is None and not message.idempotency_key and message.version <= 0:
            await self._publishing.command(channel, self._send, channel, b"\n" + body)
            return PublishResult()
        keys = [self._names.meta(topic), self._names.stream(topic)]
        if message.idempotency_key:
            keys.append(self._names.result(topic, message.idempotency_key))
        answer = await self._publishing.run(
            PUBLISH,
            keys,
            new_epoch(),
            self._send,
            channel,
            body,
            *_bounds(message),
            max(0, message.version),
            message.version_epoch,
        )
        try:
            return PublishResult(parse_place(answer[1]), suppressed=bool(answer[0]))
        except EnvelopeError as error:
            raise BrokerError(f"Redis keeps what is no result of a publish: {error}", unknown=True) from None

    async def history(self, topic: str, query: HistoryQuery) -> HistoryPage:
        """Reads kept publications and the top position."""
        keys = [self._names.meta(topic), self._names.stream(topic)]
        wanted = query.since.epoch if query.since is not None else ""
        answer = await self._reading.run(
            HISTORY, keys, new_epoch(), _milliseconds(DEFAULT_META_TTL), wanted, *_range(query)
        )
        position = Position(int(answer[0]), answer[1].decode())
        try:
            return HistoryPage([_entry(topic, each, position.epoch) for each in answer[2]], position)
        except EnvelopeError as error:
            raise BrokerError(f"the history of topic {topic!r} cannot be read: {error}") from None

    async def remove_history(self, topic: str) -> None:
        """Forgets the kept publications."""
        key = self._names.stream(topic)
        await self._publishing.command(key, "DEL", key)


def _bounds(message: Outgoing) -> tuple[str | int, int, int, int]:
    """Size, ttl, meta ttl and result ttl as the script takes them."""
    options, remember = message.history, _milliseconds(message.idempotency_ttl)
    if options is None:
        return "", 0, _milliseconds(DEFAULT_META_TTL), remember
    meta_ttl = max(options.meta_ttl, options.ttl)
    return max(0, options.size), _milliseconds(options.ttl), _milliseconds(meta_ttl), remember


def _range(query: HistoryQuery) -> tuple[str, str, str, int]:
    """The command that reads what a query asks for, its two bounds and the count; an id begins with the offset."""
    if not query.limit:
        return _NOTHING
    count = query.limit if query.limit > 0 else _MAX_OFFSET
    since = min(query.since.offset, _MAX_OFFSET) if query.since is not None else None
    if not query.reverse:
        return "XRANGE", "-" if since is None else str(max(0, since + 1)), "+", count
    if since is not None and since < 1:
        return _NOTHING
    return "XREVRANGE", "+" if since is None else str(since - 1), "-", count


def _entry(topic: str, entry: list[Any], epoch: str) -> Publication:
    identifier, fields = entry
    return decode_body(topic, fields[1], Position(int(identifier.partition(b"-")[0]), epoch))


def _milliseconds(seconds: float) -> int:
    return max(1, int(seconds * 1000))
