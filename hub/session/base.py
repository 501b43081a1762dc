"""What every session can do, whatever it speaks: hold subscriptions, publish, be present, and end."""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Awaitable, Iterator, Mapping
from typing import ClassVar, Final

from hub import metrics
from hub.credentials import ClientRequest
from hub.errors import (
    ALREADY_SUBSCRIBED,
    BAD_REQUEST,
    INTERNAL,
    INVALID_TOKEN,
    LIMIT_EXCEEDED,
    PERMISSION_DENIED,
    SERVER_ERROR,
    SLOW,
    TOO_MANY_COMMANDS,
    UNSUBSCRIBED,
    Code,
    Disconnect,
    ReplyError,
)
from hub.handlers import Call, TopicRule
from hub.model import ANONYMOUS, ClientInfo, Identity
from hub.node import Node
from hub.outbox import Outbox, Transport, Wire
from hub.plugin import Accept
from hub.protocol.json_codec import encode
from hub.rates import Rate
from hub.session.client_id import new_client_id
from hub.session.discretion import subscription_of
from hub.session.held import Established, Held, Wanted, is_told
from hub.session.introduction import introduce
from hub.session.leaving import for_good, hold_leave, tell_leaves

_log = logging.getLogger("hub.session")
MAX_GRANTS: Final = 16
"""Topics for which a session remembers that it may publish on them."""
BACKLOG_PAUSE: Final = 64
"""Frames that may wait behind one being handled before the peer is no longer read from; bytes are bounded too."""

TOKEN_REVOKED: Final = "token revoked"  # noqa: S105 - no secret

Rest = Awaitable[None]
"""What remains to be done of a frame once something has to be waited for."""


class Session(ABC):
    """One client. Subclasses say how it is spoken to; nothing here knows a socket.

    All methods are called in the event loop. `lost` is called once by the transport when the connection is gone.
    """

    __slots__ = (
        "_backlog",
        "_backlog_bytes",
        "_departing",
        "_due",
        "_granted_to",
        "_grants",
        "_making",
        "_rate",
        "_refused",
        "_slot",
        "_working",
        "admitted",
        "client",
        "closed",
        "identity",
        "node",
        "outbox",
        "subscriptions",
        "transport_name",
    )

    too_many: ClassVar[Code] = TOO_MANY_COMMANDS
    """How it ends when its client goes on sending what is refused as too many."""
    revoked_code: ClassVar[Code] = INVALID_TOKEN
    """How it ends when its token is revoked."""

    def __init__(self, node: Node, transport: Transport, wire: Wire, transport_name: str) -> None:
        self.node = node
        self._rate = None if node.meters.commands is None else node.meters.commands.fresh()
        self._refused: Rate | None = None
        """How many more may be refused; None until one was."""
        self.client = new_client_id()
        self.identity: Identity = ANONYMOUS
        self.subscriptions: dict[str, Held] = {}
        self.closed = False
        self.admitted = False
        self.transport_name = transport_name
        self.outbox = Outbox(transport, wire, node.tick, node.limits.queue_bytes, self.slow, node.budget)
        self._making: set[str] | None = None
        """Topics whose subscription is being made."""
        self._departing: dict[str, asyncio.Task[None]] | None = None
        self._backlog: deque[bytes] | None = None
        self._backlog_bytes = 0
        self._working = False
        self._grants: dict[str, TopicRule] | None = None
        self._granted_to: Identity | None = None
        self._due = float("inf")
        self._slot = 0
        metrics.session_opened(transport_name)

    # What the client sends

    def receive(self, frame: bytes) -> None:
        """Takes one frame (UTF-8); frames are handled one after another.

        A task exists only while one has to wait for something. What comes meanwhile waits behind it, and where much
        waits the peer is no longer read from.
        """
        if self.closed:
            return
        if self._working:
            self._put_behind(frame)
            return
        try:
            rest = self._begin(frame)
        except Exception as error:  # noqa: BLE001 - whatever it is, it ends this session and no other
            self._fail(error)
            return
        if rest is not None:
            self._working = True
            self.node.tasks.spawn(self._work(rest), "frames")

    def _put_behind(self, frame: bytes) -> None:
        """Has a frame wait until the one at hand is done."""
        if self._backlog is None:
            self._backlog = deque()
        self._backlog.append(frame)
        self._backlog_bytes += len(frame)
        if len(self._backlog) == BACKLOG_PAUSE:
            self.outbox.transport.pause_reading(True)
        if self._backlog_bytes > self.outbox.limit:
            self.slow()

    async def _work(self, rest: Rest) -> None:
        try:
            await rest
            while self._backlog and not self.closed:
                frame = self._backlog.popleft()
                self._backlog_bytes -= len(frame)
                if len(self._backlog) == BACKLOG_PAUSE // 2:
                    self.outbox.transport.pause_reading(False)
                more = self._begin(frame)
                if more is not None:
                    await more
        except Exception as error:  # noqa: BLE001 - whatever it is, it ends this session and no other
            self._fail(error)
        finally:
            self._working = False

    def _fail(self, error: Exception) -> None:
        if isinstance(error, Disconnect):
            self.end(error.code, error.reason)
        else:
            _log.error("a frame of session %s failed", self.client, exc_info=error)
            self.end(SERVER_ERROR.number, SERVER_ERROR.message)

    @abstractmethod
    def _begin(self, frame: bytes) -> Rest | None:
        """Handles one frame as far as nothing has to be waited for; returns what remains, None when nothing does.

        It, and what remains, may raise Disconnect to end the session.
        """

    def control(self) -> bool:
        """Counts a frame that only costs something, as a ping; False where it is one too many, to be passed over."""
        if self._rate is None or self._rate.take(self.node.meters.clock()):
            return True
        try:
            self._over()
        except Disconnect as error:
            self.end(error.code, error.reason)
        return False

    def _over(self) -> None:
        """A command or frame is one too many; raises Disconnect where a whole burst of them was refused already."""
        meters = self.node.meters
        meters.over("commands", self.client)
        if self._refused is None and meters.commands is not None:
            self._refused = meters.commands.fresh()
        if self._refused is not None and not self._refused.take(meters.clock()):
            raise Disconnect(self.too_many, TOO_MANY_COMMANDS.message)

    # What the session is

    def info(self, chan_info: bytes | None = None) -> ClientInfo:
        """What others may see of the client."""
        return ClientInfo(self.identity.user, self.client, self.identity.info, chan_info)

    def call(self, topic: str = "", params: Mapping[str, str] | None = None, method: str = "") -> Call:
        """Who handlers are called for."""
        return Call(topic, params or {}, self.identity, self.client, method)

    async def admit(
        self, identity: Identity, request: ClientRequest | None = None, *, nameless: bool = False
    ) -> list[Accept]:
        """Gives it its identity, asks the connect handlers, and enters it among the node's sessions.

        Raises ReplyError or Disconnect when a handler refuses, Disconnect 3504 when the user has too many sessions,
        and a Disconnect of `nobody` for a `nameless` client, one without token or ticket, that none of the handlers
        names although the node admits no anonymous ones.
        """
        self.node.demand_room(identity)
        answers: list[Accept] = []
        named = False
        if self.node.table.connect:
            identity, answers, named = await introduce(
                self.node.table, self.node.clock(), identity, self.client, request
            )
            if not self.closed:
                # Others of the same user may have come meanwhile, and the handlers may have named another one.
                self.node.demand_room(identity)
        if nameless and not named and not self.node.anonymous:
            raise self.nobody()
        self.identity = identity
        if self._revoked:
            # While the handlers ran, when no look through the sessions could find this one.
            raise Disconnect(self.revoked_code, TOKEN_REVOKED)
        if not self.closed:
            self.admitted = True
            self.node.sessions.add(self)
        return answers

    @abstractmethod
    def nobody(self) -> Disconnect:
        """How it ends when it had to say who it is and did not."""

    def retire(self) -> None:
        """Takes the session back out of the node, and all its subscriptions with it; the connection stays."""
        self.admitted = False
        self.node.sessions.remove(self)
        for topic in list(self.subscriptions):
            self.drop(topic)

    def presences(self) -> Iterator[tuple[str, ClientInfo]]:
        """The topics on which it is present, with what others see of it."""
        for topic, held in self.subscriptions.items():
            if held.rule.options.presence:
                yield topic, held.info

    # Subscriptions

    async def establish(self, wanted: Wanted) -> Established:
        """Makes a subscription: rules, handlers, catching up, presence. The client has not been told yet.

        Raises TopicError, ReplyError, Disconnect, BrokerError; then nothing is left of it.
        """
        topic = wanted.topic
        try:
            rule, params = self.node.permitted(self.identity, "subscribe", topic, granted=wanted.granted)
        except ReplyError as refusal:
            raise ReplyError(ALREADY_SUBSCRIBED) if topic in self.subscriptions else refusal from None
        if self._waits(wanted, rule):
            await self.node.tasks.handover()
        making = self._making or ()
        if topic in self.subscriptions or topic in making:
            raise ReplyError(ALREADY_SUBSCRIBED)
        if len(self.subscriptions) + len(making) >= self.node.limits.subscriptions:
            metrics.LIMITED.labels("subscriptions").inc()
            raise ReplyError(LIMIT_EXCEEDED)
        if not self.node.stands(self.identity, topic, wanted.mark):
            raise ReplyError(PERMISSION_DENIED)
        if wanted.filter is not None and not rule.options.filter:
            raise ReplyError(BAD_REQUEST, "bad request: this topic takes no tags filter")
        self._making = self._making or set()
        self._making.add(topic)
        try:
            if self._departing and topic in self._departing:
                # Presence and leave of the last time must not come after presence and join of this time.
                await asyncio.shield(self._departing[topic])
            return await self._make(wanted, rule, params)
        finally:
            self._making.discard(topic)
            self._making = self._making or None

    def _waits(self, wanted: Wanted, rule: TopicRule) -> bool:
        """Whether the making of a subscription may have to wait for something."""
        return (
            bool(rule.subscribe)
            or (rule.options.presence and self.node.presence.shared)
            or (self._departing is not None and wanted.topic in self._departing)
            or not self.node.router.subscribes_now(wanted.topic, wanted.since)
        )

    async def _make(self, wanted: Wanted, rule: TopicRule, params: Mapping[str, str]) -> Established:
        topic, data, chan_info = wanted.topic, wanted.data, wanted.chan_info
        if rule.subscribe:
            for answer in await self.node.table.run_all(rule.subscribe, self.call(topic, params)):
                if isinstance(answer, Accept):
                    data = data if answer.data is None else encode(answer.data)
                    chan_info = chan_info if answer.info is None else encode(answer.info)
        subscription = subscription_of(self, wanted, rule, params)
        held = Held(subscription, rule, params, self.info(chan_info), wanted.forced, wanted.expires_at)
        held.granted, held.mark = wanted.granted, wanted.mark
        if rule.options.presence and not self.closed:
            await self.node.presence.add(topic, held.info)
        try:
            if self.closed:
                raise _gone()
            latest = rule.options.recovery == "cache"
            outcome = await self.node.router.subscribe(subscription, rule, wanted.since, latest=latest)
        except BaseException:
            self._part(topic, held)
            raise
        stands = self.node.stands(self.identity, topic, held.mark)
        if self.closed or not stands:
            self.node.router.unsubscribe(subscription)
            self._part(topic, held)
            raise ReplyError(PERMISSION_DENIED) if not stands else _gone()
        self.subscriptions[topic] = held
        return Established(held, outcome, data)

    def announce_join(self, held: Held) -> None:
        """Tells the topic that the client has joined, where the topic wants it; the client was told before."""
        topic = held.subscription.topic
        if self.subscriptions.get(topic) is held:
            held.joined = True
            if held.rule.options.join_leave:
                held.names = self.node.attendance.joined(topic, held.info)

    def drop(self, topic: str, *, returning: bool = False) -> Held | None:
        """Takes a subscription back at once; presence, leave and handlers follow in the background.

        `returning` when the client is about to subscribe again, so that its leave may be held back.
        """
        held = self.subscriptions.pop(topic, None)
        if held is not None:
            self.node.router.unsubscribe(held.subscription)
            if returning:
                hold_leave(self.node.attendance, held)
            self._part(topic, held)
        return held

    def _part(self, topic: str, held: Held) -> None:
        if not is_told(held):
            return
        task = self.node.tasks.spawn(self._depart({topic: held}), f"depart {self.client}")
        departing = self._departing = self._departing or {}
        departing[topic] = task
        task.add_done_callback(lambda done: departing.pop(topic) if departing.get(topic) is done else None)

    async def _depart(self, parted: Mapping[str, Held]) -> None:
        """Presence and leaves first, so that no slow handler keeps a client present that is gone."""
        await tell_leaves(self.node.presence, self.node.attendance, parted)
        for topic, held in parted.items():
            if held.joined:
                await self.node.table.run_quietly(held.rule.unsubscribe, self.call(topic, held.params))

    # What is revoked

    @property
    def _revoked(self) -> bool:
        return self.node.revocations.refuse(self.identity)

    def reconsider(self) -> None:
        """Ends the session when its token was revoked, else each subscription that nothing stands behind any more."""
        self._grants = None
        if self.closed:
            return
        if self._revoked:
            self.end(self.revoked_code.number, TOKEN_REVOKED)
            return
        for topic, held in list(self.subscriptions.items()):
            if not self.node.stands(self.identity, topic, held.mark):
                self.order_unsubscribe(topic, UNSUBSCRIBED.number, PERMISSION_DENIED.message)

    # Publications

    async def publish(self, topic: str, raw: bytes) -> None:
        """Publishes as the client where `publish_now` gave False, which has counted it where it may be done.

        Raises TopicError, ReplyError, Disconnect, BrokerError.
        """
        if self._grant(topic) is None:
            self.node.demand(self.identity, "publish", topic)
        held = self.subscriptions.get(topic)
        info = held.info if held is not None else self.info()
        await self.node.router.publish(topic, raw, by=self, info=info)

    def publish_now(self, topic: str, raw: bytes) -> bool:
        """Publishes as the client, where nothing has to be waited for. Raises BrokerError, and TooManyRequests.

        False, and nothing published, where `publish` must be awaited instead, be it only to say what is wrong.
        """
        rule = None
        if self._grants is not None and self._granted_to is self.identity:
            rule = self._grants.get(topic)
        rule = rule or self._grant(topic)
        if rule is None:
            return False
        self.node.meters.publication(self.identity.user, topic)
        held = self.subscriptions.get(topic)
        info = held.info if held is not None else self.info()
        return self.node.router.publish_now(topic, rule, raw, info=info) is not None

    def _grant(self, topic: str) -> TopicRule | None:
        """The rule of a topic on which the client may publish, None on others.

        What the rules say hangs on the identity and the topic alone, so it is remembered for as long as the session
        has that identity.
        """
        if self._grants is None or self._granted_to is not self.identity:
            self._grants, self._granted_to = {}, self.identity
        rule = self._grants.get(topic)
        if rule is None:
            rule = self.node.publishable(self.identity, topic)
            if rule is not None:
                if len(self._grants) >= MAX_GRANTS:
                    self._grants.clear()
                self._grants[topic] = rule
        return rule

    # The end

    @abstractmethod
    def insufficient(self, topic: str) -> None:
        """Publications of a topic were missed; tells the client in its own way."""

    @abstractmethod
    async def order_subscribe(self, topic: str) -> None:
        """Subscribes it by the server's will."""

    @abstractmethod
    def order_refresh(self, expires_at: float | None) -> None:
        """Moves its expiry, in seconds since 1970; None for never."""

    @abstractmethod
    def order_unsubscribe(self, topic: str, code: int, reason: str) -> None:
        """Takes a subscription away; one that it does not hold is no error."""

    def slow(self) -> None:
        """More waits for the client than it may: ends the session, dropping what waits."""
        self.end(SLOW.number, SLOW.message)

    def end(self, code: int, reason: str) -> None:
        """Ends the session by the hub's will, after what waits for it was written (but for slow clients)."""
        if self.closed:
            return
        metrics.DISCONNECTS.labels(str(code) if code < 4_000 else "4xxx").inc()
        self.outbox.close(code, reason, drop=code == SLOW.number)
        self.lost(returning=not for_good(code))

    def lost(self, *, returning: bool = True) -> None:
        """The connection is gone: leaves every topic now, and tells presence and handlers in the background.

        `returning` when the client may come back, as far as is known, so that its leaves may be held back.
        """
        if self.closed:
            return
        self.closed = True
        self.outbox.shut()
        # The last that refers back: it is freed at once, and not by the garbage collector.
        self.outbox.on_slow = None
        metrics.session_closed(self.transport_name)
        self.node.sessions.remove(self)
        # Else the wheel would keep all of it until the beat, and in a storm of reconnects that is most of the memory.
        self.node.wheel.discard(self, self._slot)
        held, self.subscriptions = self.subscriptions, {}
        parted = {}
        for topic, each in held.items():
            self.node.router.unsubscribe(each.subscription)
            if returning:
                hold_leave(self.node.attendance, each)
            if is_told(each):
                parted[topic] = each
        if parted or (self.admitted and self.node.table.disconnect):
            self.node.tasks.spawn(self._farewell(parted), f"farewell {self.client}")

    # Time

    @abstractmethod
    def beat(self, now: float) -> None:
        """Does what is due."""

    def _beat_at(self, due: float) -> None:
        """Asks for a beat at a moment of the wheel's clock, unless one comes before; one that comes later is let go."""
        if due < self._due:
            wheel = self.node.wheel
            wheel.discard(self, self._slot)
            self._due = due
            self._slot = wheel.add(self, due)

    async def _farewell(self, held: dict[str, Held]) -> None:
        await self._depart(held)
        if self.admitted:
            await self.node.table.run_quietly(self.node.table.disconnect, self.call())


def _gone() -> Disconnect:
    return Disconnect(INTERNAL.number, "the connection is gone")
