"""Requests and results of the server API, as types. Field names are those of the wire.

Unknown fields are ignored and `null` stands for a field left out (but for `data`, which may be null itself), so that
existing clients of this API family can talk to the hub.
"""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from hub.protocol.commands import StreamPosition, UInt63

Key = Annotated[str, Meta(max_length=255, pattern="^[^\\x00-\\x1f\\x7f]*$(?!\\n)")]
Limit = Annotated[int, Meta(ge=-(2**31), le=2**31 - 1)]
CloseCode = Annotated[int, Meta(ge=3_000, le=4_999)]


class Payload(Struct, frozen=True, kw_only=True):
    """What is published and how: `data`, or `b64data` with JSON in base64."""

    data: Raw | UnsetType = UNSET
    b64data: bytes | None = None
    tags: dict[str, str] | None = None
    skip_history: bool | None = None
    idempotency_key: Key | None = None
    version: UInt63 | None = None
    version_epoch: Key | None = None


class Publish(Payload, frozen=True, kw_only=True):
    """Publishes on one topic."""

    channel: str | None = None


class Broadcast(Payload, frozen=True, kw_only=True):
    """Publishes the same on several topics."""

    channels: list[str] | None = None


class OneTopic(Struct, frozen=True):
    """Presence, presence_stats and history_remove."""

    channel: str | None = None


class History(Struct, frozen=True):
    """Reads kept publications; without a limit the position only."""

    channel: str | None = None
    limit: Limit | None = None
    since: StreamPosition | None = None
    reverse: bool | None = None


class Channels(Struct, frozen=True):
    """Lists topics that somebody is subscribed to; the pattern is a glob."""

    pattern: str | None = None


class Explain(Struct, frozen=True, kw_only=True):
    """Asks whether a client may do something: one with this token, or with this user and claims, or without any."""

    action: str | None = None
    topic: str | None = None
    token: str | None = None
    user: str | None = None
    claims: dict[str, Any] | None = None
    subscription_token: str | None = None


class NoFields(Struct, frozen=True):
    """A request without fields."""


class Whom(Struct, frozen=True, kw_only=True):
    """The sessions of a user, or one of them; `session` is another name of `client`."""

    user: str | None = None
    client: str | None = None
    session: str | None = None


class Subscribe(Whom, frozen=True, kw_only=True):
    """Subscribes sessions by the server's will."""

    channel: str | None = None
    info: Any = None
    b64info: Any = None
    data: Any = None
    b64data: Any = None
    expire_at: Any = None
    recover_since: Any = None
    override: Any = None


class Unsubscribe(Whom, frozen=True, kw_only=True):
    """Takes a subscription from sessions."""

    channel: str | None = None


class CustomDisconnect(Struct, frozen=True):
    """The close code and reason to end sessions with."""

    code: CloseCode
    reason: str = ""


class DisconnectRequest(Whom, frozen=True, kw_only=True):
    """Ends sessions, but for those whose ids are on the white list."""

    whitelist: list[str] | None = None
    disconnect: CustomDisconnect | None = None


class RefreshRequest(Whom, frozen=True, kw_only=True):
    """Moves the expiry of sessions to a moment in seconds since 1970 (0: never), or ends them as expired."""

    expired: bool | None = None
    expire_at: UInt63 | None = None
    info: Any = None


class Unrevoke(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Lifts what was revoked: one of a token's id, a user, a user on a topic, or what was issued before a moment.

    `topic` is `channel` in plain words. What is not known is refused, for without a field more would be meant.
    """

    user: str | None = None
    token_id: str | None = None
    issued_before: float | None = None
    channel: str | None = None
    topic: str | None = None


class Revoke(Unrevoke, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Revokes the same; times are in seconds since 1970, `expire_at` (or `until`) is when it may be forgotten."""

    expire_at: float | None = None
    until: float | None = None


class Revocations(Struct, frozen=True, forbid_unknown_fields=True):
    """Lists what is revoked, of one user or all."""

    limit: Limit | None = None
    user: str | None = None


class Revoked(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One revocation in force."""

    revoked_at: int
    user: str | None = None
    token_id: str | None = None
    issued_before: float | None = None
    channel: str | None = None
    expire_at: float | None = None


class RevocationsResult(Struct, frozen=True):
    """The latest of them, and how many there are."""

    revocations: list[Revoked]
    total: int


class Batch(Struct, frozen=True):
    """Several commands, each an object with one method; done at once when `parallel`, else one after another."""

    commands: list[dict[str, Raw]] | None = None
    parallel: bool | None = None


class PublishResult(Struct, frozen=True, omit_defaults=True):
    """Where the publication stands; empty on topics without history."""

    offset: int = 0
    epoch: str = ""


class ChannelInfo(Struct, frozen=True):
    """How many are subscribed."""

    num_clients: int


class ChannelsResult(Struct, frozen=True):
    """Topics by name."""

    channels: dict[str, ChannelInfo]


class ProcessInfo(Struct, frozen=True):
    """What the process uses: percent of one core since the last call, and bytes."""

    cpu: float
    rss: int


class NodeInfo(Struct, frozen=True):
    """One node; `uptime` is in seconds."""

    uid: str
    name: str
    version: str
    num_clients: int
    num_users: int
    num_subs: int
    num_channels: int
    uptime: int
    process: ProcessInfo


class InfoResult(Struct, frozen=True):
    """The nodes."""

    nodes: list[NodeInfo]
