"""Subscriptions as a session sees them: one that is wanted, one just made, one that is held."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hub.auth.revocations import Mark
from hub.grace import HeldLeave
from hub.handlers import TopicRule
from hub.live import Subscription
from hub.model import ClientInfo, Position
from hub.recovery import Recovered
from hub.tags import TagFilter


@dataclass(slots=True)
class Held:
    """A subscription that a session holds. `forced` ones were made by the server, not asked for by the client."""

    subscription: Subscription
    rule: TopicRule
    params: Mapping[str, str]
    info: ClientInfo
    forced: bool = False
    expires_at: float | None = None
    joined: bool = False
    """Whether the topic knows of the client, so that it must be told when it leaves."""
    names: tuple[str, ...] = ()
    """Ids of the user's earlier clients, in whose place it is present."""
    leave: HeldLeave | None = None
    """Its leave, while that is held back."""
    granted: bool = False
    """Whether something else than the topic's rules decided."""
    mark: Mark | None = None
    """That of the subscription token that it rests on."""


@dataclass(slots=True)
class Wanted:
    """A subscription to be made. `since` with an empty epoch matches any; `granted` means that a token decided.

    Not to be changed once made, as `Established`; a frozen class takes three times as long to make.
    """

    topic: str
    since: Position | None = None
    granted: bool = False
    forced: bool = False
    chan_info: bytes | None = None
    data: bytes | None = None
    expires_at: float | None = None
    mark: Mark | None = None
    """What revocations know the token by that granted it."""
    delta: bool = False
    """Whether differences are wanted; it gets them where the topic offers them."""
    filter: TagFilter | None = None


@dataclass(slots=True)
class Established:
    """A subscription just made, with what its client is to be told."""

    held: Held
    outcome: Recovered
    data: bytes | None


def is_told(held: Held) -> bool:
    """Whether anybody is told when the subscription ends."""
    options = held.rule.options
    return options.presence or options.join_leave or bool(held.rule.unsubscribe)
