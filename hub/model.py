"""The hub's own values: what a publication, a position and a client are, without any wire or storage form.

Those that are made with every publication are msgspec's structs: they cost a third of a dataclass to make.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import msgspec
from msgspec import Struct, structs

SlowPolicy = Literal["disconnect", "drop_oldest", "conflate"]


MAX_OFFSET: Final = 2**53 - 1
"""Beyond any topic's top; what clients send is cut to it, because not every broker and client counts further."""


class Position(Struct, frozen=True, gc=False):
    """A place in a topic's history: `offset` counts publications from 1, a new `epoch` says that it restarted."""

    offset: int
    epoch: str

    @property
    def bounded(self) -> Position:
        """The same place, or one just as far beyond the top when the offset is absurd."""
        return self if self.offset <= MAX_OFFSET else Position(MAX_OFFSET, self.epoch)


@dataclass(frozen=True, slots=True)
class ClientInfo:
    """Who sits behind a session, as other clients may see it.

    `conn_info` (from the token) and `chan_info` (from the subscription) are raw JSON, or None.
    """

    user: str
    client: str
    conn_info: bytes | None = None
    chan_info: bytes | None = None
    # What the codec of the client protocol made of it, once it has; its own affair.
    encoded: bytes = field(default=b"", init=False, compare=False, repr=False)


class Publication(Struct, gc=False):
    """One datum on a topic.

    `raw` is the payload's JSON text exactly as it was published, free of raw newlines; `offset` is 0 and `epoch` empty
    where the topic keeps no history. Treat instances as immutable (a struct is made three times as fast as a dataclass,
    and the garbage collector need not look at those that histories keep); `replace` gives a changed copy.
    """

    topic: str
    raw: bytes
    offset: int = 0
    epoch: str = ""
    info: ClientInfo | None = None
    tags: Mapping[str, str] | None = None
    time: int = 0
    """Milliseconds since 1970, 0 when unknown."""
    kind: Literal["pub", "join", "leave", "changes"] = "pub"
    """A join or leave is like a publication without history; its `info` says who, its payload is null. Between nodes
    joins and leaves travel as `changes`, many in one payload; no subscriber and no handler ever sees these."""
    key: str = ""
    """The publisher's idempotency key, for publish handlers to read or set: of publications of one topic with the same
    key, only the first within five minutes is sent. Brokers do not carry it."""

    @property
    def data(self) -> Any:
        """The payload decoded; each read decodes anew, so keep the result."""
        return msgspec.json.decode(self.raw)

    @property
    def text(self) -> str:
        """The payload as a person would type it: a JSON string without its quotes, else the JSON text itself."""
        if self.raw[:1] == b'"':
            return str(msgspec.json.decode(self.raw))
        return self.raw.decode()

    @property
    def position(self) -> Position:
        """Offset and epoch together."""
        return Position(self.offset, self.epoch)

    def replace(self, **changes: Any) -> Publication:
        """A copy with other fields; `data=` may be given in place of `raw=` and is encoded."""
        if "data" in changes:
            changes["raw"] = msgspec.json.encode(changes.pop("data"))
        return structs.replace(self, **changes)


@dataclass(frozen=True, slots=True)
class HistoryOptions:
    """How much a topic keeps: at most `size` publications, none older than `ttl` seconds.

    `meta_ttl` seconds after the last publication the position itself may be forgotten; the next one starts a new epoch.
    """

    size: int
    ttl: float
    meta_ttl: float = 30 * 86_400.0


@dataclass(frozen=True, slots=True)
class HistoryQuery:
    """What to read of a topic's history.

    `limit` None reads no publications, only the position; -1 reads all. `since` is exclusive: later publications, or
    earlier ones when `reverse`. Its epoch may be empty, which matches any.
    """

    limit: int | None = None
    since: Position | None = None
    reverse: bool = False


@dataclass(frozen=True, slots=True)
class HistoryPage:
    """Publications read (oldest first unless the query was reversed), and the topic's top position."""

    publications: list[Publication]
    position: Position


@dataclass(frozen=True, slots=True)
class PresenceStats:
    """How many clients, and how many different users among them, are on a topic."""

    clients: int
    users: int


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a session or a request acts as.

    `user` is the token's `sub`, "" for the anonymous user. `expires_at` (seconds since 1970) is None when it never
    ends. `claims` are the token's own, for handlers and rules. `topics` maps topic patterns to the actions that the
    token grants on them. `subs` are topics that the server subscribes the session to at connect, with their options.
    `roles` are those of the claim that is configured for them, None where none is.
    """

    user: str = ""
    info: bytes | None = None
    expires_at: float | None = None
    claims: Mapping[str, Any] = field(default_factory=dict)
    topics: Mapping[str, frozenset[str]] = field(default_factory=dict)
    subs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    roles: frozenset[str] | None = None

    @property
    def anonymous(self) -> bool:
        """Whether no user is named."""
        return not self.user

    def has_role(self, role: str) -> bool:
        """Whether it is one of `roles`; where these are None, whether the claim `role` is it or `roles` holds it."""
        if self.roles is not None:
            return role in self.roles
        roles = self.claims.get("roles")
        return self.claims.get("role") == role or (isinstance(roles, list) and role in roles)


ANONYMOUS: Final = Identity()


class Revocation(Struct, frozen=True, omit_defaults=True, gc=False):
    """What is worth nothing any more, or who may not be somewhere.

    Times are in seconds since 1970, `changed` in milliseconds.

    `subject` is a token's id (kind `token`) or a user; "" stands for everybody (kind `before` alone). `issued_before`
    goes with kind `before`, `topic` with kind `topic`. `until` is None for an entry that holds until it is lifted.
    """

    kind: Literal["token", "user", "before", "topic"]
    subject: str
    changed: int
    topic: str = ""
    issued_before: float = 0.0
    until: float | None = None
    lifted: bool = False

    @property
    def key(self) -> tuple[str, str, str]:
        """What it is about: there is one entry for each."""
        return (self.kind, self.subject, self.topic)


@dataclass(frozen=True, slots=True)
class TopicOptions:
    """What the configuration says of one topic pattern, after manifests and the operator's file were merged."""

    pattern: str
    owner: str = ""
    """The plugin that declares it, "" for the operator's own."""
    allow: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    history: HistoryOptions | None = None
    presence: bool = False
    join_leave: bool = False
    leave_grace: float = 0.0
    """Seconds that a client whose connection was lost may take to come back before its leave is told."""
    recovery: Literal["stream", "cache", "off"] = "stream"
    publish_wait: float = 0.0
    """Seconds that a publication may wait for a broker that is away."""
    slow: SlowPolicy = "disconnect"
    conflate: str = ""
    delta: bool = False
    filter: bool = False
    max_bytes: int = 65_536
    schema: Mapping[str, Any] | None = None

    @property
    def recoverable(self) -> bool:
        """Whether who comes back gets what was missed."""
        return self.history is not None and self.recovery != "off"
