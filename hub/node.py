"""What all sessions of this process share: the router, who is connected, and the rules they live by."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

import msgspec

from hub import __version__
from hub.admission import USER, Refusals
from hub.attendance import Attendance
from hub.auth.revocations import Mark
from hub.auth.rules import Decision, allowed
from hub.auth.tokens import SubscriptionGrant, TokenVerifier
from hub.budget import QueueBudget
from hub.cluster import Cluster
from hub.errors import (
    CONNECTION_LIMIT,
    NOT_AVAILABLE,
    PERMISSION_DENIED,
    UNKNOWN_TOPIC,
    Disconnect,
    InvalidToken,
    ReplyError,
    TopicError,
    UnknownKey,
    repeatable,
)
from hub.handlers import TopicRule
from hub.meters import Meters
from hub.model import ANONYMOUS, ClientInfo, Identity, Revocation
from hub.presence.base import Presence
from hub.protocol.json_codec import MAX_COMMANDS
from hub.revoking import Revoking
from hub.router import Router
from hub.tasks import Tasks
from hub.tickets import Tickets
from hub.topics import check_topic
from hub.wheel import TimerWheel

_log = logging.getLogger("hub.permissions")


_BARRED: Final = Decision(False, "the user was barred from the topic")


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds and beats of sessions. Times in seconds, sizes in bytes, rates in events a second or None for any."""

    ping: float
    pong_timeout: float
    stale: float
    expired_grace: float
    queue_bytes: int
    node_queue_bytes: int
    subscriptions: int
    history_page: int
    recovery_page: int
    connections_per_user: int | None = None
    commands: float | None = None
    publishes_per_user: float | None = None
    publishes_per_topic: float | None = None
    api_requests: float | None = None

    def meters(self, clock: Callable[[], float]) -> Meters:
        """What holds clients and backends to the rates."""
        return Meters(
            commands=self.commands,
            # A client that comes back asks for all its subscriptions at once, behind the connect command.
            least_burst=self.subscriptions + 2,
            publishes_per_user=self.publishes_per_user,
            publishes_per_topic=self.publishes_per_topic,
            api_requests=self.api_requests,
            clock=clock,
        )

    @property
    def frame_commands(self) -> int:
        """Commands in one frame: an SDK that connects asks for all its subscriptions in one."""
        return max(MAX_COMMANDS, self.subscriptions + 2)


class Member(Protocol):
    """A session, as the registry and orders from elsewhere see it."""

    client: str
    identity: Identity

    def presences(self) -> Iterator[tuple[str, ClientInfo]]:
        """The topics on which it is present, with what others see of it."""

    def end(self, code: int, reason: str) -> None:
        """Ends it."""

    async def order_subscribe(self, topic: str) -> None:
        """Subscribes it by the server's will."""

    def order_refresh(self, expires_at: float | None) -> None:
        """Moves its expiry, in seconds since 1970; None for never."""

    def order_unsubscribe(self, topic: str, code: int, reason: str) -> None:
        """Takes a subscription away; one that it does not hold is no error."""

    def reconsider(self) -> None:
        """Ends what has been revoked: the session itself, or some of its subscriptions."""


class Order(msgspec.Struct, frozen=True, omit_defaults=True):
    """A message from node to node about the sessions of a user or one session (`client`); both given must match.

    The sessions in `keep` are left alone.
    """

    action: str
    user: str = ""
    client: str = ""
    topic: str = ""
    code: int = 0
    reason: str = ""
    keep: tuple[str, ...] = ()
    expires_at: float | None = None
    """For `refresh`: seconds since 1970, None for never."""


ORDER: Final = "order"
"""The method by which nodes pass orders on."""
RECONSIDERED_AT_ONCE: Final = 1_000
"""Sessions that are looked through for revoked tokens before others have their turn."""
SWEEP_PAUSE: Final = 0.2
"""Seconds between two looks through all sessions, however many tokens are revoked meanwhile."""


class Registry:
    """The sessions of this node, by id and by user."""

    def __init__(self) -> None:
        self._clients: dict[str, Member] = {}
        self._users: dict[str, Member | set[Member]] = {}
        """A user's only session, as most have one, or all of several."""

    def add(self, member: Member) -> None:
        """Enters a session that has an identity."""
        self._clients[member.client] = member
        user = member.identity.user
        known = self._users.get(user)
        if known is None:
            self._users[user] = member
        elif isinstance(known, set):
            known.add(member)
        elif known is not member:
            self._users[user] = {known, member}

    def remove(self, member: Member) -> None:
        """Takes a session out; an unknown one is no error."""
        if self._clients.pop(member.client, None) is None:
            return
        user = member.identity.user
        known = self._users[user]
        if isinstance(known, set):
            known.discard(member)
        if not known or known is member:
            del self._users[user]

    def find(self, user: str, client: str) -> list[Member]:
        """The sessions that an order means."""
        if client:
            member = self._clients.get(client)
            return [member] if member is not None and user in ("", member.identity.user) else []
        known = self._users.get(user, ())
        return list(known) if isinstance(known, set | tuple) else [known]

    def count(self, user: str) -> int:
        """How many sessions a user has on this node."""
        known = self._users.get(user)
        return len(known) if isinstance(known, set) else 0 if known is None else 1

    def __len__(self) -> int:
        return len(self._clients)

    def __iter__(self) -> Iterator[Member]:
        return iter(list(self._clients.values()))

    @property
    def users(self) -> int:
        """How many different users are connected, the anonymous one included."""
        return len(self._users)


class Node:
    """One hub process, as its sessions see it."""

    def __init__(  # noqa: PLR0913 - the parts of a process
        self,
        *,
        router: Router,
        attendance: Attendance,
        presence: Presence,
        verifier: TokenVerifier | None,
        anonymous: bool,
        limits: Limits,
        cluster: Cluster,
        revoking: Revoking,
        tasks: Tasks,
        wheel: TimerWheel,
        clock: Callable[[], float],
    ) -> None:
        """`clock` gives seconds since 1970; `verifier` is None where no key is configured, so that no token is good."""
        self.id = cluster.node
        self.cluster = cluster
        cluster.methods[ORDER] = self._obey
        self.tickets = Tickets(cluster, wheel.clock)
        self.revoking = revoking
        self.revocations = revoking.revocations
        revoking.enforce = self._enforce
        self._sweeping = self._sweep_again = False
        self.version = __version__
        self.table = router.table
        self.router = router
        self.attendance = attendance
        self.presence = presence
        self.verifier = verifier
        self.anonymous = anonymous
        self.limits = limits
        self.meters = limits.meters(wheel.clock)
        self.tick = router.tick
        self.tasks = tasks
        self.wheel = wheel
        self.clock = clock
        self.refusals = Refusals(wheel.clock)
        self.sessions = Registry()
        self.budget = QueueBudget(limits.node_queue_bytes)
        self.started = clock()
        self.draining = False

    def identify(self, token: str) -> Identity:
        """The identity behind a token, the anonymous one for none; whether that is admitted is the caller's to say.

        Raises ExpiredToken and InvalidToken; without a configured key every token is invalid. Of the latter UnknownKey
        is for `identified` to deal with.
        """
        if not token:
            return ANONYMOUS
        if self.verifier is None:
            raise InvalidToken("no key is configured to verify tokens with")
        identity = self.verifier.verify_connection(token)
        if self.revocations.refuse(identity):
            raise InvalidToken("it was revoked")
        return identity

    def stands(self, identity: Identity, topic: str, mark: Mark | None) -> bool:
        """Whether nothing was revoked that a subscription rests on; `mark` is that of its own token, if it has one."""
        if mark is not None and self.revocations.strike(mark):
            return False
        return not self.revocations.bar(identity.user, topic)

    async def redeem(self, ticket: str, origin: str) -> Identity:
        """The identity behind a one-time ticket that is presented by a page of an origin, "" by no page.

        Raises InvalidToken, also where the token that it was made with has expired since.
        """
        identity = await self.tickets.redeem(ticket, origin)
        if identity.expires_at is not None and identity.expires_at <= self.clock():
            raise InvalidToken("the identity behind the ticket has expired")
        if self.revocations.refuse(identity):
            raise InvalidToken("it was revoked")
        return identity

    async def identified(self, token: str) -> Identity:
        """The same, after a look at the published keys where the token's is not known; else nothing is awaited.

        Raises KeysUnavailable too, when that look is not possible now.
        """
        try:
            return self.identify(token)
        except UnknownKey:
            await self.keys_refreshed()
            return self.identify(token)

    async def granted(self, token: str, *, topic: str, identity: Identity, client: str) -> SubscriptionGrant:
        """What a subscription token grants, found out as `identified` does it; raises as that does."""
        try:
            return self._grant(token, topic, identity, client)
        except UnknownKey:
            await self.keys_refreshed()
            return self._grant(token, topic, identity, client)

    def _grant(self, token: str, topic: str, identity: Identity, client: str) -> SubscriptionGrant:
        if self.verifier is None:
            raise InvalidToken("no key is configured to verify tokens with")
        granted = self.verifier.verify_subscription(token, topic=topic, user=identity.user, client=client)
        if self.revocations.strike(granted.mark):
            raise InvalidToken("it was revoked")
        return granted

    async def keys_refreshed(self) -> None:
        """Waits for a look at the published keys; raises KeysUnavailable when that is not possible now."""
        await self.tasks.handover()
        published = None if self.verifier is None else self.verifier.ring.published
        if published is not None:
            await published.looked_up()

    def demand_room(self, identity: Identity) -> None:
        """Raises Disconnect 3504 when a user has as many sessions on this node as allowed; the anonymous one may."""
        most = self.limits.connections_per_user
        if most is not None and not identity.anonymous and self.sessions.count(identity.user) >= most:
            self.refusals.count(USER)
            raise Disconnect(CONNECTION_LIMIT)

    def rule(self, topic: str) -> tuple[TopicRule, Mapping[str, str]]:
        """What is configured for a topic; raises TopicError, or ReplyError 102."""
        found = self.table.find(check_topic(topic))
        if found is None:
            raise ReplyError(UNKNOWN_TOPIC)
        return found

    def may(self, identity: Identity, action: str, topic: str) -> bool:
        """Whether the rules let an identity subscribe, publish, or read presence or history.

        Handlers are not asked, so whoever is for them to decide about may not; and nobody may on a topic that no
        pattern matches. Raises TopicError.
        """
        found = self.table.find(check_topic(topic))
        if found is None or self.revocations.bar(identity.user, topic):
            return False
        rule, params = found
        return bool(allowed(identity, action, topic, rule.options, params, handlers_decide=False))

    def permitted(
        self, identity: Identity, action: str, topic: str, *, granted: bool = False
    ) -> tuple[TopicRule, Mapping[str, str]]:
        """What is configured for a topic to which an identity may do this, or anybody where it is `granted`.

        Raises TopicError, or ReplyError 103: whether there is no such topic or it is not for this identity, is for
        nobody to know but the log. Only who was granted a topic that is none is told so, with 102.
        """
        if granted:
            return self.rule(topic)
        found = self.table.find(check_topic(topic))
        why = "no pattern matches it"
        if found is not None:
            decision = self.decide(identity, action, topic, *found)
            if decision.allowed:
                return found
            why = decision.rule
        _log.debug("%r may not %s %r: %s", identity.user, action, topic, why)
        raise ReplyError(PERMISSION_DENIED)

    def decide(
        self, identity: Identity, action: str, topic: str, rule: TopicRule, params: Mapping[str, str]
    ) -> Decision:
        """What revocations and the rules of a topic say of an action, for who has looked up the rule."""
        if self.revocations.bar(identity.user, topic):
            return _BARRED
        decides = bool(rule.handlers_of(action))
        return allowed(identity, action, topic, rule.options, params, handlers_decide=decides)

    def publishable(self, identity: Identity, topic: str) -> TopicRule | None:
        """The rule of a topic on which an identity may publish; None where it may not, or the name is no topic's."""
        try:
            found = self.table.find(check_topic(topic))
        except TopicError:
            return None
        return found[0] if found is not None and self.decide(identity, "publish", topic, *found) else None

    def demand(self, identity: Identity, action: str, topic: str) -> None:
        """Raises as `permitted` does, and then ReplyError 108 where the feature is off."""
        rule, _ = self.permitted(identity, action, topic)
        if (action == "presence" and not rule.options.presence) or (
            action == "history" and rule.options.history is None
        ):
            raise ReplyError(NOT_AVAILABLE)

    def present(self) -> dict[str, list[ClientInfo]]:
        """All clients of this node that are present, by topic."""
        entries: dict[str, list[ClientInfo]] = {}
        for member in self.sessions:
            for topic, info in member.presences():
                entries.setdefault(topic, []).append(info)
        return entries

    async def order(self, order: Order) -> None:
        """Sends an order to every node, this one included. Raises BrokerError."""
        with repeatable():
            await self.cluster.tell(ORDER, msgspec.json.encode(order))

    def _enforce(self, revocations: list[Revocation]) -> None:
        """Ends what has been revoked of that which is here: a user's sessions at once, others within a moment."""
        for each in revocations:
            if each.lifted:
                continue
            if each.kind == "token" or not each.subject:
                self._sweep()
            else:
                for member in self.sessions.find(each.subject, ""):
                    member.reconsider()

    def _sweep(self) -> None:
        self._sweep_again = True
        if not self._sweeping:
            self._sweeping = True
            self.tasks.spawn(self._look_through(), "look for revoked tokens")

    async def _look_through(self) -> None:
        """All sessions in slices. Who connects meanwhile is asked before it is let in."""
        try:
            while self._sweep_again:
                self._sweep_again = False
                for number, member in enumerate(self.sessions):
                    if number and number % RECONSIDERED_AT_ONCE == 0:
                        await asyncio.sleep(0)
                    member.reconsider()
                await asyncio.sleep(SWEEP_PAUSE)
        finally:
            self._sweeping = False

    async def _obey(self, message: bytes) -> bytes:
        """Carries out an order on the sessions of this node."""
        order = msgspec.json.decode(message, type=Order)
        for member in self.sessions.find(order.user, order.client):
            if member.client in order.keep:
                continue
            if order.action == "disconnect":
                member.end(order.code, order.reason)
            elif order.action == "unsubscribe":
                member.order_unsubscribe(order.topic, order.code, order.reason)
            elif order.action == "subscribe":
                self.tasks.spawn(member.order_subscribe(order.topic), f"subscribe {member.client}")
            elif order.action == "refresh":
                member.order_refresh(order.expires_at)
        return b""
