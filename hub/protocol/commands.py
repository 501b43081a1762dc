"""Commands of clients and results of replies, as types. Field names are those of the wire.

The form is version 2 of the Centrifugo client protocol. Unknown fields are ignored, so that newer SDKs can talk to the
hub; zero values are left out when written, as its SDKs expect of proto3 JSON.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import UNSET, Meta, Raw, Struct, UnsetType

UInt32 = Annotated[int, Meta(ge=0, le=2**32 - 1)]
UInt63 = Annotated[int, Meta(ge=0, le=2**63 - 1)]
"""What databases hold, and decoders of JSON that know integers of 64 bits alone."""
ShortText = Annotated[str, Meta(max_length=64)]


class StreamPosition(Struct, frozen=True):
    """`since` of a history command."""

    offset: UInt63 = 0
    epoch: str = ""


class SubscribeRequest(Struct, frozen=True):
    """Also the value of `connect.subs`, where `channel` is the key instead."""

    channel: str = ""
    token: str = ""
    recover: bool = False
    epoch: str = ""
    offset: UInt63 = 0
    data: Raw | UnsetType = UNSET
    positioned: bool = False
    recoverable: bool = False
    join_leave: bool = False
    delta: str = ""
    tf: Raw | UnsetType = UNSET
    flag: int = 0
    type: int = 0


class ConnectRequest(Struct, frozen=True):
    """The first command of a session."""

    token: str = ""
    data: Raw | UnsetType = UNSET
    subs: dict[str, SubscribeRequest] = {}
    name: Annotated[str, Meta(max_length=64)] = ""
    version: ShortText = ""
    headers: dict[str, str] = {}


class UnsubscribeRequest(Struct, frozen=True):
    """Ends one subscription."""

    channel: str = ""


class PublishRequest(Struct, frozen=True):
    """Publishes as the client."""

    channel: str = ""
    data: Raw | UnsetType = UNSET


class TopicRequest(Struct, frozen=True):
    """Presence and presence_stats."""

    channel: str = ""


class HistoryRequest(Struct, frozen=True):
    """Reads kept publications; `limit` 0 reads the position only, -1 all."""

    channel: str = ""
    limit: Annotated[int, Meta(ge=-(2**31), le=2**31 - 1)] = 0
    since: StreamPosition | None = None
    reverse: bool = False


class RPCRequest(Struct, frozen=True):
    """Calls a handler by name."""

    method: str = ""
    data: Raw | UnsetType = UNSET


class SendRequest(Struct, frozen=True):
    """A message outside any topic; it has no id and no reply."""

    data: Raw | UnsetType = UNSET


class RefreshRequest(Struct, frozen=True):
    """Brings a fresh connection token."""

    token: str = ""


class SubRefreshRequest(Struct, frozen=True):
    """Brings a fresh subscription token."""

    channel: str = ""
    token: str = ""


Request = (
    ConnectRequest
    | SubscribeRequest
    | UnsubscribeRequest
    | PublishRequest
    | TopicRequest
    | HistoryRequest
    | RPCRequest
    | SendRequest
    | RefreshRequest
    | SubRefreshRequest
)


class Command(Struct, frozen=True):
    """One command: an id above 0 (but for `send`) and one method; of several, the first in this order is read."""

    id: UInt32 = 0
    connect: ConnectRequest | None = None
    subscribe: SubscribeRequest | None = None
    unsubscribe: UnsubscribeRequest | None = None
    publish: PublishRequest | None = None
    presence: TopicRequest | None = None
    presence_stats: TopicRequest | None = None
    history: HistoryRequest | None = None
    rpc: RPCRequest | None = None
    send: SendRequest | None = None
    refresh: RefreshRequest | None = None
    sub_refresh: SubRefreshRequest | None = None

    def publishes(self) -> PublishRequest | None:
        """The request, where the method is publish: the one that is asked for most by far."""
        request = self.publish
        if request is None or self.connect or self.subscribe or self.unsubscribe:
            return None
        return request

    def method(self) -> tuple[str, Request] | None:
        """The method's name and request; None when there is none, as in the pong `{}`."""
        for name in METHODS:
            request = getattr(self, name)
            if request is not None:
                return name, request
        return None


METHODS = tuple(name for name in Command.__struct_fields__ if name != "id")


class WireInfo(Struct, frozen=True, omit_defaults=True):
    """A client as others see it."""

    user: str
    client: str
    conn_info: Raw | UnsetType = UNSET
    chan_info: Raw | UnsetType = UNSET


class WirePublication(Struct, frozen=True, omit_defaults=True):
    """A publication in pushes, recovered lists and history pages."""

    data: Raw
    info: WireInfo | None = None
    offset: int = 0
    tags: dict[str, str] | None = None
    epoch: str = ""
    delta: bool = False


class SubscribeResult(Struct, frozen=True, omit_defaults=True):
    """The reply to subscribe, and the value of `connect.subs`."""

    expires: bool = False
    ttl: int = 0
    recoverable: bool = False
    positioned: bool = False
    epoch: str = ""
    offset: int = 0
    publications: list[WirePublication] | None = None
    recovered: bool = False
    was_recovering: bool = False
    data: Raw | UnsetType = UNSET
    delta: bool = False


class ConnectResult(Struct, frozen=True, omit_defaults=True):
    """The reply to connect. `ping` is in seconds."""

    client: str
    version: str
    expires: bool = False
    ttl: int = 0
    data: Raw | UnsetType = UNSET
    subs: dict[str, SubscribeResult] | None = None
    ping: int = 0
    pong: bool = False
    session: str = ""
    node: str = ""


class RefreshResult(Struct, frozen=True, omit_defaults=True):
    """The reply to refresh and sub_refresh. The connection's carries client and version too."""

    expires: bool = False
    ttl: int = 0
    client: str = ""
    version: str = ""


class HistoryResult(Struct, frozen=True):
    """The reply to history; `publications` is present even when empty."""

    publications: list[WirePublication]
    epoch: str
    offset: int


class PresenceResult(Struct, frozen=True):
    """The reply to presence; present even when empty."""

    presence: dict[str, WireInfo]


class PresenceStatsResult(Struct, frozen=True):
    """The reply to presence_stats."""

    num_clients: int
    num_users: int


class RPCResult(Struct, frozen=True, omit_defaults=True):
    """The reply to rpc."""

    data: Raw | UnsetType = UNSET


class Empty(Struct, frozen=True):
    """A result without fields."""


class WireError(Struct, frozen=True, omit_defaults=True):
    """An error in place of a result."""

    code: int
    message: str
    temporary: bool = False
