"""Who is told who comes and goes: where a topic has rules for its presence, joins and leaves go by them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Protocol

from hub.auth.rules import Decision
from hub.handlers import TopicRule
from hub.live import Owner, Subscription
from hub.model import Identity, Publication
from hub.outbox import Outbox, Unit, Wire
from hub.session.held import Wanted


class Judge(Protocol):
    """Who knows what may be done: a node."""

    def decide(
        self, identity: Identity, action: str, topic: str, rule: TopicRule, params: Mapping[str, str]
    ) -> Decision:
        """What the rules of a topic say of an action."""


class Subscriber(Owner, Protocol):
    """The session that a subscription is made for."""

    identity: Identity
    outbox: Outbox

    @property
    def node(self) -> Judge:
        """Where it is."""


class Discreet:
    """Another wire for those who are not told who comes and goes."""

    def __init__(self, wire: Wire) -> None:
        """Forms what it tells as this wire does, which also gives the session's own pieces their form."""
        self._wire = wire
        self.join = wire.join
        self.share = wire.share
        self.separator = wire.separator

    def publication(self, topic: str, publication: Publication) -> bytes | None:
        """A publication; None for joins and leaves."""
        return self._wire.publication(topic, publication) if publication.kind == "pub" else None

    def alone(self, topic: str, publication: Publication) -> Unit | None:
        """The same by itself."""
        return self._wire.alone(topic, publication) if publication.kind == "pub" else None


# One for each wire, of which there are few, since the router encodes once for each.
_discreet = cache(Discreet)


def subscription_of(
    session: Subscriber, wanted: Wanted, rule: TopicRule, params: Mapping[str, str]
) -> Subscription:
    """What the router is to know of a subscription: where its publications go, and in which form."""
    delta = wanted.delta and rule.options.delta
    made = Subscription(
        wanted.topic, session, session.outbox, rule.options, delta=delta, filter=wanted.filter
    )
    if not sees_others(session.node, session.identity, wanted.topic, rule, params):
        made.wire = _discreet(made.wire)  # type: ignore[arg-type]  # a protocol does not say that its objects can be hashed
    return made


def sees_others(
    node: Judge, identity: Identity, topic: str, rule: TopicRule, params: Mapping[str, str]
) -> bool:
    """Whether an identity may be told who comes and goes: all may, unless the topic has rules for its presence."""
    if not rule.options.join_leave or "presence" not in rule.options.allow:
        return True
    return bool(node.decide(identity, "presence", topic, rule, params))
