"""A session that speaks no protocol: one topic, frames or events that are payloads, errors that are closes."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import replace
from typing import ClassVar, Final

from hub.credentials import Credentials
from hub.errors import (
    BAD_REQUEST,
    CONNECTION_LIMIT,
    EXPIRED,
    INSUFFICIENT_STATE,
    INTERNAL,
    OUTCOME_UNKNOWN,
    PERMISSION_DENIED,
    SERVER_ERROR,
    SOCKET_BAD_TOKEN,
    SOCKET_BAD_TOPIC,
    SOCKET_LIMIT,
    SOCKET_NOT_ALLOWED,
    SOCKET_TOO_SLOW,
    BrokerError,
    Code,
    Disconnect,
    ExpiredToken,
    HubError,
    InvalidToken,
    KeysUnavailable,
    ReplyError,
    TooManyRequests,
    TopicError,
    broker_refusal,
)
from hub.model import ANONYMOUS, Identity, Position, Publication
from hub.node import Node
from hub.outbox import Transport, Wire
from hub.payloads import fault
from hub.protocol.json_codec import compact, encode
from hub.session.base import Rest, Session
from hub.session.held import Established, Wanted
from hub.topics import fill

NAMELESS: Final = "a token is needed: Authorization: Bearer, ?ticket=, or else ?token="
RETRY_SECONDS: Final = 0.1
MAX_RETRY_SECONDS: Final = 2.0
"""How long a socket that waits for the broker waits between two attempts, more or less."""


async def identify(node: Node, token: str) -> Identity:
    """The identity behind a token, or the anonymous one.

    Raises Disconnect 4001 when that is not admitted, 3004 while its key cannot be had.
    """
    if not token and not node.anonymous:
        raise Disconnect(SOCKET_BAD_TOKEN, NAMELESS)
    try:
        return await node.identified(token)
    except KeysUnavailable as error:
        raise Disconnect(SERVER_ERROR, error.message) from error
    except ExpiredToken as error:
        raise Disconnect(SOCKET_BAD_TOKEN, "token expired") from error
    except InvalidToken as error:
        raise Disconnect(SOCKET_BAD_TOKEN) from error


def payload_of(text: bytes) -> bytes:
    """What a frame publishes: JSON as it stands (on one line), and any other text as a JSON string.

    A frame that is itself a JSON string is taken as text, quotes and all, so that what is sent is what arrives.
    """
    if text[:1] != b'"' and not fault(text):
        return compact(text.strip())
    try:
        return encode(text.decode())
    except UnicodeDecodeError as error:
        raise ReplyError(BAD_REQUEST, "bad request: a frame is text in UTF-8") from error


class PlainSession(Session):
    """One plain socket or event stream on one topic."""

    __slots__ = ("_ping_at", "topic")

    too_many: ClassVar[Code] = SOCKET_LIMIT
    revoked_code: ClassVar[Code] = SOCKET_BAD_TOKEN

    def __init__(self, node: Node, transport: Transport, wire: Wire, transport_name: str) -> None:
        super().__init__(node, transport, wire, transport_name)
        self.topic = ""
        self._ping_at = node.wheel.clock() + node.limits.ping
        self._schedule()

    async def open(self, template: str, brought: Credentials, since: Position | None = None) -> Established:
        """Admits the client and subscribes it. `{connection}` and `{user}` in the template get their values.

        Raises Disconnect with a code of the plain socket, whatever is wrong.
        """
        return await self._open(
            brought, lambda user: fill(template, {"connection": self.client, "user": user}), since
        )

    async def open_topic(
        self, topic: str, brought: Credentials, since: Position | None = None
    ) -> Established:
        """Admits the client and subscribes it to a topic that it named itself; raises as `open` does."""
        return await self._open(brought, lambda _: topic, since)

    async def _open(
        self, brought: Credentials, name: Callable[[str], str], since: Position | None
    ) -> Established:
        nameless = not (brought.token or brought.ticket)
        identity = await self._identify(brought)
        try:
            await self.admit(identity, brought.request, nameless=nameless)
            self.topic = name(self.identity.user)
            self._schedule()
            established = await self.establish(Wanted(self.topic, since))
        except HubError as error:
            raise _as_disconnect(error, self.identity) from error
        self._greet(established)
        return established

    async def _identify(self, brought: Credentials) -> Identity:
        if brought.token or not (brought.ticket or self.node.table.connect):
            return await identify(self.node, brought.token)
        if not brought.ticket:
            return ANONYMOUS
        try:
            return await self.node.redeem(brought.ticket, brought.origin)
        except InvalidToken as error:
            raise Disconnect(SOCKET_BAD_TOKEN) from error

    def nobody(self) -> Disconnect:
        """A client without a token, where one is needed."""
        return Disconnect(SOCKET_BAD_TOKEN, NAMELESS)

    def _greet(self, established: Established) -> None:
        if established.data is not None:
            self._tell(Publication(self.topic, established.data))
        for publication in established.outcome.publications:
            self._tell(publication)
        # What follows on the topic is written past the outbox's own pieces only when the loop's turn ends.
        self.outbox.flush()

    def _tell(self, publication: Publication) -> None:
        piece = self.outbox.wire.publication(self.topic, publication)
        if piece is not None:
            self.outbox.push(piece)

    def open_later(self) -> None:
        """Keeps the session although the broker is away, and subscribes it when the broker is back."""
        self.node.tasks.spawn(self._open_later(), f"subscribe {self.client} later")

    async def _open_later(self) -> None:
        pause = RETRY_SECONDS
        while not self.closed:
            await asyncio.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 - a spread, no secret
            pause = min(MAX_RETRY_SECONDS, pause * 2)
            # Subscribe handlers run with each attempt, so there is none before it has a chance.
            if self.closed or not self.node.router.bridge.broker.connected:
                continue
            try:
                established = await self.establish(Wanted(self.topic))
            except BrokerError:
                continue
            except HubError as error:
                end = _as_disconnect(error, self.identity)
                self.end(end.code, end.reason)
                return
            self._greet(established)
            self.joined(established)
            return

    def joined(self, established: Established) -> None:
        """Tells the topic of the newcomer."""
        self.announce_join(established.held)

    def _begin(self, frame: bytes) -> Rest | None:
        if self._rate is not None and not self._rate.take(self.node.meters.clock()):
            self._over()
            self._refuse(TooManyRequests(self._rate.wait(self.node.meters.clock())))
            return None
        try:
            raw = payload_of(frame)
            return None if self.publish_now(self.topic, raw) else self._publish(raw)
        except (ReplyError, BrokerError) as error:
            self._refuse(error)
            return None

    async def _publish(self, raw: bytes) -> None:
        try:
            await self.publish(self.topic, raw)
        except Disconnect:
            raise
        except HubError as error:
            self._refuse(error)

    def _refuse(self, error: HubError) -> None:
        refusal = _refusal(error)
        told: dict[str, object] = {"code": refusal.code, "message": refusal.message}
        if refusal.temporary:
            told["temporary"] = True
        self._tell(Publication(self.topic, encode({"error": told})))

    def _schedule(self) -> None:
        """Asks for a beat at the next ping or at the token's end, whichever is sooner, unless one comes before."""
        due = self._ping_at
        if self.identity.expires_at is not None:
            due = min(due, self.node.wheel.clock() + self.identity.expires_at - self.node.clock())
        self._beat_at(due)

    def beat(self, now: float) -> None:
        """Ends the session when its token has expired or its peer is gone; pings."""
        if self.closed or now < self._due:
            return
        self._due = float("inf")
        expires_at = self.identity.expires_at
        if expires_at is not None and expires_at <= self.node.clock():
            self.end(SOCKET_BAD_TOKEN.number, "token expired")
            return
        if now >= self._ping_at:
            if not self.outbox.transport.ping():
                self.lost()
                return
            self._ping_at = now + self.node.limits.ping
        self._schedule()

    def slow(self) -> None:
        """More waits for the socket than it may."""
        self.end(SOCKET_TOO_SLOW.number, SOCKET_TOO_SLOW.message)

    def insufficient(self, topic: str) -> None:
        """Publications were missed, and a plain socket can only be told by its end."""
        self.end(INSUFFICIENT_STATE.number, INSUFFICIENT_STATE.message)

    async def order_subscribe(self, topic: str) -> None:
        """A plain socket has one topic and takes no other."""

    def order_refresh(self, expires_at: float | None) -> None:
        """Moves the session's expiry."""
        self.identity = replace(self.identity, expires_at=expires_at)
        self._schedule()

    def order_unsubscribe(self, topic: str, code: int, reason: str) -> None:
        """Losing its topic is its end."""
        if topic == self.topic:
            self.end(SOCKET_NOT_ALLOWED.number, reason)


def _refusal(error: HubError) -> ReplyError:
    if isinstance(error, ReplyError):
        return error
    if isinstance(error, BrokerError):
        return broker_refusal(error)
    return ReplyError(INTERNAL)


def _as_disconnect(error: HubError, identity: Identity) -> Disconnect:
    if isinstance(error, Disconnect):
        return Disconnect(SOCKET_LIMIT, error.reason) if error.code == CONNECTION_LIMIT.number else error
    if isinstance(error, TopicError):
        return Disconnect(SOCKET_BAD_TOPIC, str(error))
    if isinstance(error, ReplyError):
        return _of_reply(error, identity)
    if isinstance(error, BrokerError):
        return Disconnect(SERVER_ERROR, "the broker is away; try again later")
    return Disconnect(SERVER_ERROR)


def _of_reply(error: ReplyError, identity: Identity) -> Disconnect:
    if error.code == PERMISSION_DENIED.number:
        # Whoever came without a token is told to bring one; whoever has one, that it does not suffice.
        if identity.anonymous:
            return Disconnect(SOCKET_BAD_TOKEN, NAMELESS)
        return Disconnect(SOCKET_NOT_ALLOWED)
    if error.code == EXPIRED.number:
        return Disconnect(SOCKET_BAD_TOKEN, error.message)
    if error.code in {INTERNAL.number, OUTCOME_UNKNOWN.number}:
        return Disconnect(SERVER_ERROR, error.message)
    if error.code >= 400:
        return Disconnect(SOCKET_NOT_ALLOWED, error.message)
    return Disconnect(SOCKET_LIMIT, error.message)
