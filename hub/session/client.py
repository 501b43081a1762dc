"""A session of the client protocol: frames in, replies and pushes out, and the clock that watches it."""

from __future__ import annotations

import logging
import random
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import Any, ClassVar, Literal

from hub import metrics
from hub.credentials import NOTHING, Credentials
from hub.errors import (
    BAD_FRAME,
    BAD_REQUEST,
    CONNECTION_EXPIRED,
    INSUFFICIENT_STATE,
    INTERNAL,
    NO_PONG,
    PERMISSION_DENIED,
    STALE,
    SUBSCRIPTION_EXPIRED,
    TOO_MANY_REQUESTS,
    UNSUBSCRIBE_EXPIRED,
    UNSUBSCRIBE_INSUFFICIENT,
    UNSUBSCRIBED,
    BrokerError,
    Disconnect,
    HubError,
    ReplyError,
    TooManyRequests,
    TopicError,
    broker_refusal,
)
from hub.model import Identity
from hub.node import Node
from hub.outbox import Transport, Wire
from hub.protocol.commands import METHODS, Command, RefreshResult, SubscribeResult
from hub.protocol.json_codec import (
    PING,
    PONG,
    decode_command,
    decode_commands,
    error_reply,
    payload,
    publish_reply,
    push,
    reply,
)
from hub.rates import Rate
from hub.session.base import Rest, Session
from hub.session.discretion import sees_others
from hub.session.held import Wanted

_log = logging.getLogger("hub.session")
_COMMANDS = {method: metrics.COMMANDS.part(method) for method in METHODS}
_PUBLISHES = _COMMANDS["publish"]
Reply = Callable[[Any], None]
"""Writes the successful result of the command at hand."""

Method = Callable[["ClientSession", Any, Reply], Awaitable[None]]


class ClientSession(Session):
    """One client of the bidirectional protocol.

    The transport calls `receive` with each frame and `lost` at the end. Commands are handled one after another, also
    across frames; a task exists only while one is being handled. `methods` are the functions behind the commands.
    """

    __slots__ = (
        "_ping_at",
        "_pong_until",
        "_stale_at",
        "brought",
        "emulated",
        "expires_at",
        "frame_ping",
        "methods",
        "state",
    )

    one_way: ClassVar[bool] = False
    """Whether nothing is taken from the client once it has connected, not even a pong."""

    def __init__(
        self,
        node: Node,
        transport: Transport,
        wire: Wire,
        transport_name: str,
        methods: dict[str, Method],
        *,
        brought: Credentials = NOTHING,
        frame_ping: bool = False,
    ) -> None:
        """`brought` came with the handshake; its token or ticket is used when the connect command has none.

        With `frame_ping` the client wants to be pinged by the transport, not by the protocol.
        """
        super().__init__(node, transport, wire, transport_name)
        self.methods = methods
        self.brought = brought
        """Until the connect command; a session that has connected needs it no longer."""
        self.frame_ping = frame_ping
        self.emulated = False
        self.state: Literal["new", "connected", "failed"] = "new"
        self.expires_at: float | None = None
        self._pong_until: float | None = None
        self._ping_at: float | None = None
        stale_at = node.wheel.clock() + node.limits.stale
        self._stale_at: float | None = stale_at
        self._beat_at(stale_at)

    # Frames

    def _put_behind(self, frame: bytes) -> None:
        """A pong does not wait."""
        if frame == PING:
            self._pong()
        else:
            super()._put_behind(frame)

    def _begin(self, frame: bytes) -> Rest | None:
        if frame == PING:
            self._pong()
            return None
        if b"\n" not in frame:
            return self._take(decode_command(frame))
        commands = decode_commands(frame, self.node.limits.frame_commands)
        for command in commands:
            rest = self._take(command)
            if rest is not None:
                return self._go_on(rest, commands)
            if self.closed:
                return None
        return None

    async def _go_on(self, rest: Rest, commands: Iterator[Command]) -> None:
        await rest
        for following in commands:
            if self.closed:
                return
            more = self._take(following)
            if more is not None:
                await more

    def _take(self, command: Command) -> Rest | None:
        """Handles a command as far as nothing has to be waited for; returns what remains."""
        if self._rate is not None and not self._rate.take(self.node.meters.clock()) and command != PONG:
            self._refuse_too_many(command, self._rate)
            return None
        if self._handle_now(command):
            return None
        work = self._handle(command)
        # What begins each connection: mostly there is nothing to wait for, and they hand over where there is.
        if command.connect is not None or command.subscribe is not None:
            return self.node.tasks.started(work)
        return work

    def _refuse_too_many(self, command: Command, rate: Rate) -> None:
        self._over()
        if command.id:
            method, _ = command.method() or ("unknown", None)
            metrics.REPLY_ERRORS.labels(method, str(TOO_MANY_REQUESTS.number)).inc()
            error = TooManyRequests(rate.wait(self.node.meters.clock()))
            self.outbox.push(error_reply(command.id, error))

    def _handle_now(self, command: Command) -> bool:
        """Handles a publish for which nothing has to be waited; False, and nothing done, with any other command."""
        request = command.publishes()
        if request is None or not command.id or self.state != "connected":
            return False
        raw = payload(request.data)
        try:
            if raw is None or not self.publish_now(request.channel, raw):
                return False
            self.outbox.push(publish_reply(command.id))
        except (BrokerError, TooManyRequests) as error:
            self._refuse(command.id, "publish", as_reply_error(error, publishing=True))
        _PUBLISHES.inc()
        return True

    async def _handle(self, command: Command) -> None:
        found = command.method()
        if found is None:
            if command.id:
                raise Disconnect(BAD_FRAME)
            self._pong()
            return
        method, request = found
        if (not command.id and method != "send") or (self.state == "new") != (method == "connect"):
            raise Disconnect(BAD_FRAME)
        if self.state == "failed":
            raise Disconnect(BAD_FRAME)
        _COMMANDS[method].inc()
        try:
            await self.methods[method](self, request, partial(self._reply, command.id, method))
        except Disconnect:
            raise
        except HubError as error:
            self._refuse(command.id, method, as_reply_error(error, publishing=method == "publish"))

    def _reply(self, command_id: int, method: str, result: Any) -> None:
        self.outbox.push(reply(command_id, method, result))

    def _refuse(self, command_id: int, method: str, error: ReplyError) -> None:
        metrics.REPLY_ERRORS.labels(method, str(error.code) if error.code < 400 else "plugin").inc()
        if method == "connect":
            self.state = "failed"
        if command_id:
            self.outbox.push(error_reply(command_id, error))

    def nobody(self) -> Disconnect:
        """A client without a token, where one is needed."""
        return Disconnect(BAD_FRAME, "a token is needed: connect with one")

    # Time

    def begin(self, expires_at: float | None, *, renewable: bool = True) -> None:
        """Starts pings and the watch on expiry: the connect command was granted."""
        self.state = "connected"
        if expires_at is not None and not renewable:
            expires_at -= self.node.limits.expired_grace  # for there is nothing to wait for
        self.expires_at = expires_at
        self._stale_at = None
        interval = self.node.limits.ping
        # The wait for the connect command is over, and nothing comes sooner than what is asked for now.
        self._due = float("inf")
        # The first ping comes at a random moment, so that clients that connect together do not beat together.
        self._ping_at = self.node.wheel.clock() + interval * random.uniform(0.5, 1.0)  # noqa: S311 - no secret
        self._schedule()

    def renew(self, expires_at: float | None) -> None:
        """Moves the session's expiry."""
        self.expires_at = expires_at
        self._schedule()

    def relinquish(self, before: Identity, now: Identity) -> None:
        """Gives up what a refreshed token no longer allows; what a subscription token or a handler granted stays.

        Who may no longer see who comes and goes is to subscribe again, and is told no more of it then.
        """
        for topic, held in list(self.subscriptions.items()):
            granted = held.granted and (topic in now.subs or topic not in before.subs)
            by_rules = not granted and held.mark is None
            if by_rules and not self.node.decide(now, "subscribe", topic, held.rule, held.params):
                self.order_unsubscribe(topic, UNSUBSCRIBED.number, PERMISSION_DENIED.message)
            elif held.subscription.wire is self.outbox.wire and not sees_others(
                self.node, now, topic, held.rule, held.params
            ):
                self.insufficient(topic)

    def watch(self) -> None:
        """Looks at the deadlines anew, because a subscription with an expiry was added."""
        self._schedule()

    def ttl(self, expires_at: float | None) -> int:
        """Whole seconds until a moment, at least 1 and at most a year; 0 for never."""
        if expires_at is None:
            return 0
        return min(max(int(expires_at - self.node.clock()), 1), 31_536_000)

    def _schedule(self) -> None:
        due = end = float("inf")
        for at in (self._stale_at, self._ping_at, self._pong_until):
            if at is not None and at < due:
                due = at
        if self.expires_at is not None:
            end = self.expires_at
        for held in self.subscriptions.values():
            if held.expires_at is not None and held.expires_at < end:
                end = held.expires_at
        if end != float("inf"):
            node = self.node
            due = min(due, node.wheel.clock() + end + node.limits.expired_grace - node.clock())
        self._beat_at(due)

    def beat(self, now: float) -> None:
        """Does what is due: ends stale, silent or expired sessions, ends expired subscriptions, pings."""
        if self.closed or now < self._due:
            return
        self._due = float("inf")
        if self._stale_at is not None and now >= self._stale_at:
            return self.end(STALE.number, STALE.message)
        if self._pong_until is not None and now >= self._pong_until:
            return self.end(NO_PONG.number, NO_PONG.message)
        last = self.node.clock() - self.node.limits.expired_grace
        if self.expires_at is not None and last >= self.expires_at:
            return self.end(CONNECTION_EXPIRED.number, CONNECTION_EXPIRED.message)
        self._expire_subscriptions(last)
        if not self.closed:
            self._ping(now)
            self._schedule()

    def _expire_subscriptions(self, last: float) -> None:
        for topic, held in list(self.subscriptions.items()):
            if held.expires_at is None or held.expires_at > last:
                continue
            if held.forced:
                return self.end(SUBSCRIPTION_EXPIRED.number, SUBSCRIPTION_EXPIRED.message)
            self.order_unsubscribe(topic, UNSUBSCRIBE_EXPIRED.number, UNSUBSCRIBE_EXPIRED.message)

    def _ping(self, now: float) -> None:
        if self._ping_at is None or now < self._ping_at:
            return
        self._ping_at = now + self.node.limits.ping
        if self.frame_ping:
            if not self.outbox.transport.ping():
                self.lost()
            return
        self.outbox.push(PING)
        self._pong_until = now + self.node.limits.pong_timeout

    def _pong(self) -> None:
        if self._pong_until is None:
            # The protocol takes a pong that nobody asked for as a fault of the client.
            self.end(BAD_FRAME.number, BAD_FRAME.message)
        self._pong_until = None

    # Orders

    def tell(self, kind: str, body: Any, topic: str = "") -> None:
        """Has a push of this kind written to the client."""
        self.outbox.push(push(topic, kind, body))

    def insufficient(self, topic: str) -> None:
        """Publications were missed: the client subscribes again, or connects again for what the server subscribed."""
        held = self.subscriptions.get(topic)
        if held is None:
            return
        if held.forced:
            self.end(INSUFFICIENT_STATE.number, INSUFFICIENT_STATE.message)
        else:
            self.order_unsubscribe(topic, UNSUBSCRIBE_INSUFFICIENT.number, UNSUBSCRIBE_INSUFFICIENT.message)

    async def order_subscribe(self, topic: str) -> None:
        """Subscribes it by the server's will, and tells it so."""
        if self.state != "connected":
            return
        try:
            established = await self.establish(Wanted(topic, granted=True, forced=True))
        except (HubError, Disconnect) as error:
            _log.warning("session %s could not be subscribed to %r: %s", self.client, topic, error)
            return
        position = established.outcome.position
        options = established.held.rule.options
        result = SubscribeResult(
            recoverable=options.recoverable,
            positioned=options.history is not None,
            epoch=position.epoch,
            offset=position.offset,
        )
        self.tell("subscribe", result, topic)
        self.announce_join(established.held)

    def order_refresh(self, expires_at: float | None) -> None:
        """Moves the session's expiry, and tells the client."""
        if self.state != "connected":
            return
        self.renew(expires_at)
        ttl = self.ttl(expires_at)
        self.tell("refresh", RefreshResult(expires=ttl > 0, ttl=ttl))

    def order_unsubscribe(self, topic: str, code: int, reason: str) -> None:
        """Takes a subscription away and tells the client why."""
        if self.drop(topic, returning=code == UNSUBSCRIBE_INSUFFICIENT.number) is not None:
            metrics.UNSUBSCRIBES.labels(str(code)).inc()
            self.tell("unsubscribe", {"code": code, "reason": reason}, topic)


def as_reply_error(error: HubError, *, publishing: bool) -> ReplyError:
    """The number by which a client is told of an error."""
    if isinstance(error, ReplyError):
        return error
    if isinstance(error, TopicError):
        return ReplyError(BAD_REQUEST)
    if isinstance(error, BrokerError):
        # Whoever does anything but publish may simply do it again.
        return broker_refusal(error) if publishing else ReplyError(INTERNAL)
    _log.error("a command failed: %s", error, exc_info=error)
    return ReplyError(INTERNAL)
