"""What all sessions of this process share: the router, who is connected, and the rules they live by."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

import msgspec

from hub import __version__
from hub.attendance import Attendance
from hub.auth.rules import Decision, allowed
from hub.auth.tokens import TokenVerifier
from hub.budget import QueueBudget
from hub.cluster import Cluster
from hub.errors import (
    NOT_AVAILABLE,
    PERMISSION_DENIED,
    UNKNOWN_TOPIC,
    InvalidToken,
    ReplyError,
    TopicError,
    repeatable,
)
from hub.handlers import TopicRule
from hub.model import ANONYMOUS, ClientInfo, Identity
from hub.presence.base import Presence
from hub.router import Router
from hub.tasks import Tasks
from hub.topics import check_topic
from hub.wheel import TimerWheel

_log = logging.getLogger("hub.permissions")


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds and beats of sessions. Times in seconds, sizes in bytes."""

    ping: float
    pong_timeout: float
    stale: float
    expired_grace: float
    queue_bytes: int
    node_queue_bytes: int
    subscriptions: int
    history_page: int
    recovery_page: int


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

    def __init__(
        self,
        *,
        router: Router,
        attendance: Attendance,
        presence: Presence,
        verifier: TokenVerifier | None,
        anonymous: bool,
        limits: Limits,
        cluster: Cluster,
        tasks: Tasks,
        wheel: TimerWheel,
        clock: Callable[[], float],
    ) -> None:
        """`clock` gives seconds since 1970; `verifier` is None where no key is configured, so that no token is good."""
        self.id = cluster.node
        self.cluster = cluster
        cluster.methods[ORDER] = self._obey
        self.version = __version__
        self.table = router.table
        self.router = router
        self.attendance = attendance
        self.presence = presence
        self.verifier = verifier
        self.anonymous = anonymous
        self.limits = limits
        self.tick = router.tick
        self.tasks = tasks
        self.wheel = wheel
        self.clock = clock
        self.sessions = Registry()
        self.budget = QueueBudget(limits.node_queue_bytes)
        self.started = clock()
        self.draining = False

    def identify(self, token: str) -> Identity:
        """The identity behind a token, the anonymous one for none; whether that is admitted is the caller's to say.

        Raises ExpiredToken and InvalidToken; without a configured key every token is invalid.
        """
        if not token:
            return ANONYMOUS
        if self.verifier is None:
            raise InvalidToken("no key is configured to verify tokens with")
        return self.verifier.verify_connection(token)

    def rule(self, topic: str) -> tuple[TopicRule, Mapping[str, str]]:
        """What is configured for a topic; raises TopicError, or ReplyError 102."""
        found = self.table.find(check_topic(topic))
        if found is None:
            raise ReplyError(UNKNOWN_TOPIC)
        return found

    def may(self, identity: Identity, action: str, topic: str) -> bool:
        """Whether an identity may subscribe, publish, or read presence or history.

        Nobody may on a topic that no pattern matches. Raises TopicError.
        """
        found = self.table.find(check_topic(topic))
        return found is not None and bool(decided(identity, action, topic, *found))

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
            decision = decided(identity, action, topic, *found)
            if decision.allowed:
                return found
            why = decision.rule
        _log.debug("%r may not %s %r: %s", identity.user, action, topic, why)
        raise ReplyError(PERMISSION_DENIED)

    def publishable(self, identity: Identity, topic: str) -> TopicRule | None:
        """The rule of a topic on which an identity may publish; None where it may not, or the name is no topic's."""
        try:
            found = self.table.find(check_topic(topic))
        except TopicError:
            return None
        return found[0] if found is not None and decided(identity, "publish", topic, *found) else None

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


def decided(
    identity: Identity, action: str, topic: str, rule: TopicRule, params: Mapping[str, str]
) -> Decision:
    """What the rules of a topic say of an action."""
    decides = bool(rule.handlers_of(action))
    return allowed(identity, action, topic, rule.options, params, handlers_decide=decides)
