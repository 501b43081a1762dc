"""Routes publications: up to the broker through one door, and down from it to the subscribers of this node.

Per node there is one broker subscription for each topic that somebody here listens to, and one position, which all its
subscribers share. When the broker reports a gap, or an offset shows one, history fills it; where it cannot, every
subscriber is told.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from time import monotonic
from typing import Any, Final, Protocol

from hub import metrics, payloads, recovery
from hub.broker.base import INTERNAL_PREFIX, Outgoing, PublishResult
from hub.broker.broadcast import Bridge
from hub.errors import BAD_REQUEST, NOT_AVAILABLE, UNKNOWN_TOPIC, BrokerError, ReplyError
from hub.fitness import doubtful
from hub.handlers import Call, HandlerTable, TopicRule
from hub.live import LiveTopic, Subscription
from hub.model import (
    ClientInfo,
    HistoryPage,
    HistoryQuery,
    Identity,
    Position,
    Publication,
    TopicOptions,
)
from hub.outbox import Tick
from hub.positions import COMPARE_SECONDS, Comparison
from hub.protocol.deltas import Deltas
from hub.recovery import Recovered
from hub.schemas import PayloadSchema
from hub.sender import Sender
from hub.shared_read import SharedReads
from hub.tasks import Tasks
from hub.topics import check_topic
from hub.wheel import TimerWheel

_log = logging.getLogger("hub.router")
TOLD_AT_ONCE: Final = 200
"""Subscribers that are told of a gap in one turn of the loop."""
_CATCH_UP_SECONDS = 3.0
_UNDER_WAY_SECONDS = 0.5
_UNDECLARED = TopicRule(TopicOptions("", max_bytes=1_048_576))


@dataclass(frozen=True, slots=True)
class Published:
    """What was published: the publication as handlers left it, and its position, None on topics without history.

    `suppressed` is true when it was not sent, because its idempotency key or its version had been seen before; the
    position is then that of the first.
    """

    publication: Publication
    position: Position | None
    suppressed: bool


class Publisher(Protocol):
    """Who publishes, as handlers are told; it is asked only where there are any."""

    @property
    def identity(self) -> Identity:
        """Who it acts as."""

    @property
    def client(self) -> str:
        """The session, "" where it is none."""


class Router:
    """What the topics of this node are, and where publications go. Receives what the bridge delivers."""

    def __init__(
        self, table: HandlerTable, tick: Tick, tasks: Tasks, *, recovery_limit: int, recovery_bytes: int
    ) -> None:
        """`recovery_limit` is the most publications that a resubscribe or a mended gap may bring.

        `recovery_bytes` bounds the payloads that a resubscribe may bring.
        """
        self.table = table
        self.tick = tick
        self.bridge: Bridge
        self._tasks = tasks
        self._recovery_limit = recovery_limit
        self._recovery_bytes = recovery_bytes
        self._reads = SharedReads(self._read, tasks, recovery_limit + 1)
        self._topics: dict[str, LiveTopic] = {}
        self._opening: dict[str, asyncio.Task[None]] = {}
        self._warned: set[str] = set()
        self.sender = Sender(tasks)
        self._deltas = Deltas()
        self._schemas = {
            rule.options.pattern: PayloadSchema(rule.options.schema)
            for _, rule in table.topics
            if rule.options.schema is not None
        }

    def attach(self, bridge: Bridge) -> None:
        """Sets the way to the broker, once, before anything else is called."""
        self.bridge = bridge
        self.sender.attach(bridge.publish, own_keys=bridge.broker.shared, now=bridge.publish_now)

    def compare(self, wheel: TimerWheel, *, every: float = COMPARE_SECONDS) -> None:
        """Begins to compare the positions of topics with the broker's, each about every so many seconds."""
        Comparison(
            lambda: self._topics,
            self.bridge.positions,
            lambda topic: self.gap(topic, "its position is not the broker's"),
            lambda work: self._tasks.spawn(work, "compare positions"),
            every=every,
        ).start(wheel)

    # Up

    async def publish(
        self,
        topic: str,
        raw: bytes,
        *,
        by: Publisher | None = None,
        info: ClientInfo | None = None,
        tags: Mapping[str, str] | None = None,
        idempotency_key: str = "",
        version: int = 0,
        version_epoch: str = "",
        skip_history: bool = False,
        trusted: bool = False,
    ) -> Published:
        """The one door: checks name, size and schema, runs the publish handlers, hands it to the broker.

        Handlers run once, before anything waits: while the broker is away the publication waits for the topic's
        `publish_wait`. `trusted` (a plugin's own publish) runs no handlers and may name a topic that no pattern
        declares. Raises TopicError, ReplyError and BrokerError.
        """
        found = self.table.find(check_topic(topic))
        if found is None and not trusted:
            raise ReplyError(UNKNOWN_TOPIC)
        rule, params = found or (self._undeclared(topic), {})
        publication = Publication(topic, raw, info=info, tags=tags, key=idempotency_key)
        self._check_payload(rule, raw)
        if rule.publish and not trusted:
            call = Call(topic, params, by.identity, by.client) if by else Call(topic, params)
            publication = await self._handled(rule, call, publication)
        outgoing = Outgoing(
            publication,
            None if skip_history else rule.options.history,
            publication.key,
            version=version,
            version_epoch=version_epoch,
        )
        started = monotonic()
        result = await self.sender.send(outgoing, rule.options.publish_wait)
        metrics.PUBLISH_SECONDS.observe(monotonic() - started)
        metrics.PUBLICATIONS.inc()
        return Published(publication, result.position, result.suppressed)

    @property
    def prompt(self) -> bool:
        """Whether `publish_now` may do: the broker is one that answers at once."""
        return self.bridge.prompt

    def publish_now(
        self,
        topic: str,
        rule: TopicRule,
        raw: bytes,
        *,
        info: ClientInfo | None = None,
        tags: Mapping[str, str] | None = None,
        idempotency_key: str = "",
        version: int = 0,
        version_epoch: str = "",
        skip_history: bool = False,
    ) -> PublishResult | None:
        """As `publish`, for a topic whose rule is known, where nothing is to be waited for; None when there is.

        Then nothing was done, and `publish` has to be awaited: there are handlers to be asked, or a broker elsewhere,
        or the payload will not do. Raises BrokerError.
        """
        options = rule.options
        plain = not rule.publish and options.schema is None
        if not plain or len(raw) > options.max_bytes or doubtful(raw):
            return None
        started = monotonic()
        outgoing = Outgoing(
            Publication(topic, raw, 0, "", info, tags),
            None if skip_history else options.history,
            idempotency_key,
            version=version,
            version_epoch=version_epoch,
        )
        result = self.sender.send_now(outgoing, options.publish_wait)
        if result is not None:
            metrics.PUBLISH_SECONDS.observe(monotonic() - started)
            metrics.PUBLICATIONS.inc()
        return result

    def _check_payload(self, rule: TopicRule, raw: bytes) -> None:
        options = rule.options
        if len(raw) > options.max_bytes:
            metrics.LIMITED.labels("payload_bytes").inc()
            raise ReplyError(
                BAD_REQUEST,
                f"bad request: the payload has {len(raw)} bytes, this topic takes {options.max_bytes}",
            )
        schema = self._schemas.get(options.pattern)
        # What is judged here has to be what its readers get.
        payloads.check(raw, twice=bool(rule.publish) or schema is not None)
        if schema is not None:
            schema.check(raw)

    async def _handled(self, rule: TopicRule, call: Call, publication: Publication) -> Publication:
        for handler in rule.publish:
            changed = await self.table.run(handler, call, publication)
            if isinstance(changed, Publication):
                publication = changed
        return publication

    def _undeclared(self, topic: str) -> TopicRule:
        if topic not in self._warned and len(self._warned) < 1_000:
            self._warned.add(topic)
            _log.warning(
                "published on %r, which no topic pattern declares: nobody can be subscribed to it", topic
            )
        return _UNDECLARED

    async def announce(self, topic: str, changes: bytes) -> None:
        """Tells a topic's subscribers on every node of joins and leaves (`hub.broker.changes`). Raises BrokerError."""
        await self.bridge.publish(Outgoing(Publication(topic, changes, kind="changes")))

    async def history(self, topic: str, query: HistoryQuery) -> HistoryPage:
        """Reads what is kept; raises ReplyError 102 or 108, and BrokerError."""
        found = self.table.find(check_topic(topic))
        if found is None:
            raise ReplyError(UNKNOWN_TOPIC)
        if found[0].options.history is None:
            raise ReplyError(NOT_AVAILABLE)
        if query.since is not None:
            query = replace(query, since=query.since.bounded)
        return await self.bridge.history(topic, query)

    # Subscribers

    async def subscribe(
        self, subscription: Subscription, rule: TopicRule, since: Position | None, *, latest: bool = False
    ) -> Recovered:
        """Adds a subscriber, having first caught up with `since` where it is given.

        When it returns, the subscriber stands at the node's position: what the caller writes before it next awaits
        precedes all that follows on the topic. With `latest` the newest publication alone is recovered. Raises
        BrokerError.
        """
        live = self._enter(subscription.topic, rule)
        try:
            await self._opened(live)
            if since is None or rule.options.history is None or rule.options.recovery == "off":
                outcome = Recovered(False, live.position, [])
            elif latest:
                outcome = await self._latest(live)
            else:
                outcome = await self._recover(live, since.bounded)
        except BaseException:
            self._exit(live)
            raise
        live.add(subscription)
        metrics.SUBSCRIPTIONS.inc()
        return live.recovered(subscription, outcome)

    def subscribes_now(self, topic: str, since: Position | None) -> bool:
        """Whether `subscribe` has nothing to wait for: the topic is open here and there is nothing to catch up with."""
        live = self._topics.get(topic)
        if live is None or not live.opened:
            return False
        if since is None:
            return True
        return live.rule.options.recovery == "stream" and since == live.position

    def unsubscribe(self, subscription: Subscription) -> None:
        """Takes a subscriber out; it gets nothing more of the topic."""
        live = self._topics.get(subscription.topic)
        if live is None:
            return
        live.discard(subscription)
        metrics.SUBSCRIPTIONS.dec()
        self._exit(live)

    def subscribers(self, topic: str) -> int:
        """How many subscriptions a topic has here."""
        live = self._topics.get(topic)
        return live.count() if live else 0

    def topics(self) -> list[str]:
        """The topics that somebody here listens to."""
        return list(self._topics)

    def _enter(self, topic: str, rule: TopicRule) -> LiveTopic:
        live = self._topics.get(topic)
        if live is None:
            live = self._topics[topic] = LiveTopic(topic, rule, self.tick, self._deltas)
            metrics.TOPICS.inc()
        live.users += 1
        return live

    def _exit(self, live: LiveTopic) -> None:
        live.users -= 1
        if live.users == 0 and self._topics.get(live.name) is live:
            del self._topics[live.name]
            metrics.TOPICS.dec()
            self._tasks.spawn(self._leave(live.name), f"leave {live.name}")

    async def _leave(self, topic: str) -> None:
        if topic not in self._topics:
            await self.bridge.unsubscribe(topic)

    async def _opened(self, live: LiveTopic) -> None:
        """Waits until the topic is subscribed at the broker and its position known; several wait for one opening."""
        if live.opened:
            return
        opening = self._opening.get(live.name)
        if opening is None or opening.done():
            opening = self._opening[live.name] = self._tasks.spawn(self._open(live), f"open {live.name}")
            opening.add_done_callback(lambda _: self._opening.pop(live.name, None))
        await _result(opening)

    async def _open(self, live: LiveTopic) -> None:
        await self.bridge.subscribe(live.name)
        if live.rule.options.history is not None:
            position = await self.bridge.position(live.name)
            if not live.release(position):
                self._mend(live, "overflow while opening")
        live.opened = True

    async def _latest(self, live: LiveTopic) -> Recovered:
        limit = Position(live.offset + 1, live.epoch)
        page = await self.bridge.history(live.name, HistoryQuery(1, limit, reverse=True))
        return Recovered(True, live.position, page.publications)

    async def _recover(self, live: LiveTopic, since: Position) -> Recovered:
        if since == live.position:
            return Recovered(True, since, [])
        if since.epoch in ("", live.epoch) and live.offset - since.offset > self._recovery_limit:
            return Recovered(False, live.position, [])
        async with self._reads.since(live, since.offset) as (page, meanwhile):
            await self._catch_up(live, since, page.position)
            found = recovery.merge(since, page, meanwhile, live.position, self._recovery_limit)
        if sum(len(publication.raw) for publication in found.publications) > self._recovery_bytes:
            # More than may wait for a client would end its session as slow, again and again.
            return Recovered(False, live.position, [])
        return found

    async def _read(self, topic: str, query: HistoryQuery) -> HistoryPage:
        return await self.bridge.history(topic, query)

    @staticmethod
    async def _catch_up(live: LiveTopic, since: Position, top: Position) -> None:
        """Waits for this node to reach a client that has already seen more, from a node that was faster."""
        deadline = monotonic() + _CATCH_UP_SECONDS
        # Polled, because it is rare and short, while an event would cost every delivery.
        while (  # noqa: ASYNC110
            live.epoch == top.epoch and live.offset < since.offset <= top.offset and monotonic() < deadline
        ):
            await asyncio.sleep(0.005)

    # Down

    def deliver(self, topic: str, publications: list[Publication]) -> None:
        """Takes what arrived from the broker."""
        live = self._topics.get(topic)
        if live is not None and not live.accept(publications):
            self._mend(live, "an offset was skipped")

    def gap(self, topic: str, reason: str) -> None:
        """Compares the topic with its history, because something may have been missed."""
        if topic.startswith(INTERNAL_PREFIX):
            return
        live = self._topics.get(topic)
        if live is None or not live.opened:
            return
        if live.rule.options.history is None:
            metrics.GAPS.labels("untold").inc()
            return
        self._mend(live, reason)

    def _mend(self, live: LiveTopic, reason: str) -> None:
        if live.mending:
            live.mend_again = True
            return
        live.mending = True
        live.hold()
        _log.info("topic %r may have missed publications (%s): comparing with its history", live.name, reason)
        self._tasks.spawn(self._mended(live), f"mend {live.name}")

    async def _mended(self, live: LiveTopic) -> None:
        pause = 0.05
        while self._topics.get(live.name) is live:
            live.mend_again = False
            try:
                page = await self.bridge.history(
                    live.name, HistoryQuery(self._recovery_limit + 1, live.position)
                )
            except BrokerError:
                await asyncio.sleep(pause)
                pause = min(2.0, pause * 2)
                continue
            if live.rule.options.recovery == "off":
                await self._arrived(live, page)
            if self._fill(live, page) and not live.mend_again:
                break
            live.hold()
        live.mending = False

    @staticmethod
    async def _arrived(live: LiveTopic, page: HistoryPage) -> None:
        """Gives what is under way time to come, where history does not stand in for what does not."""
        deadline = monotonic() + _UNDER_WAY_SECONDS
        # Polled, for the reason given above.
        while not live.holds(page.publications) and monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.005)

    def _fill(self, live: LiveTopic, page: HistoryPage) -> bool:
        """Brings the topic to a page's top, from history or by telling everybody; False when a new gap shows."""
        filled = recovery.merge(live.position, page, (), page.position, self._recovery_limit)
        told = live.rule.options.recovery == "off" and not live.holds(filled.publications)
        if filled.recovered and not told:
            metrics.GAPS.labels("filled").inc()
            return live.catch_up(filled.publications) and live.release(live.position)
        metrics.GAPS.labels("told").inc()
        live.part()
        self._tell_some(live)
        if live.parted:
            self._tasks.spawn(self._tell(live), f"tell a gap on {live.name}")
        return live.release(page.position)

    async def _tell(self, live: LiveTopic) -> None:
        while live.parted:
            await asyncio.sleep(0)
            self._tell_some(live)

    @staticmethod
    def _tell_some(live: LiveTopic) -> None:
        """Tells some of those who missed something, as many as take some 5 ms, and they are no subscribers any more."""
        for subscription in list(islice(live.parted, TOLD_AT_ONCE)):
            live.parted.pop(subscription, None)
            subscription.owner.insufficient(live.name)


async def _result(task: asyncio.Task[Any] | Awaitable[Any]) -> None:
    """Waits for work that others wait for too: one waiter's end does not cancel it."""
    await asyncio.shield(task)
