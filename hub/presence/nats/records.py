"""What lies in the stream, and under which subjects."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, TypeVar

import msgspec

from hub.errors import BrokerError
from hub.model import ClientInfo
from hub.nats.token import digest_of, name_of, token_of

SHARDS: Final = "0123456789abcdef"
DEPTH: Final = 3
"""How many letters of a digest stand as tokens of their own, so that many subjects can be read piece by piece."""
T = TypeVar("T", bound=msgspec.Struct)
_json = msgspec.json.Encoder()


class Client(msgspec.Struct, array_like=True):
    """A client of an owner on a topic."""

    client: str
    user: str
    conn_info: bytes | None = None
    chan_info: bytes | None = None

    @property
    def info(self) -> ClientInfo:
        """The same as the hub knows it."""
        return ClientInfo(self.user, self.client, self.conn_info, self.chan_info)


class Owners(msgspec.Struct, array_like=True):
    """The owners that have clients of a user on a topic; the first one counts the user."""

    names: list[str]


class Tally(msgspec.Struct, array_like=True):
    """How many clients an owner has on a topic, and how many users it counts there.

    `by` is who sweeps them, for `span` milliseconds from the time at which the message was stored.
    """

    topic: str
    clients: int
    users: int
    by: str = ""
    span: int = 0


class Hold(msgspec.Struct, array_like=True):
    """How it stands with an owner's lease since the message was stored.

    It is held for `span` milliseconds; or was left; or taken, by nodes that sweep; or all its clients were swept.
    `nonce` is of the write.
    """

    state: Literal["held", "left", "taken", "swept"]
    nonce: str
    span: int


def pack(record: msgspec.Struct) -> bytes:
    """A record as the data of a message."""
    return _json.encode(record)


def unpack(data: bytes, kind: type[T]) -> T:
    """The record in a message. Raises BrokerError."""
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.MsgspecError as error:
        raise BrokerError(f"what NATS holds of presence cannot be read: {error}") from None


class Subjects:
    """Names of messages; None stands for all, `shards` are the first letters of a digest, for a part of all."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        any_shard = ".*" * DEPTH
        self.all = [
            f"{prefix}.c.*.*{any_shard}.*",
            f"{prefix}.u.*.*",
            f"{prefix}.s{any_shard}.*.*",
            f"{prefix}.n.*",
        ]

    def client(self, topic: str, owner: str, client: str) -> str:
        """A client's entry."""
        digest = digest_of(client)
        parts = ".".join(digest[:DEPTH])
        return f"{self._prefix}.c.{token_of(topic)}.{owner}.{parts}.{digest[DEPTH:]}"

    def clients(self, topic: str, owner: str | None = None, shards: Sequence[str] = ()) -> str:
        """The entries of a topic."""
        return f"{self._prefix}.c.{token_of(topic)}.{owner or '*'}.{_parts(shards)}.*"

    def user(self, topic: str, user: str) -> str:
        """Who has clients of a user on a topic."""
        return f"{self._prefix}.u.{token_of(topic)}.{digest_of(user)}"

    def tally(self, topic: str, owner: str | None = None) -> str:
        """An owner's counts on a topic."""
        return f"{self._prefix}.s.{'.'.join(digest_of(topic)[:DEPTH])}.{token_of(topic)}.{owner or '*'}"

    def tallies(self, owner: str, shards: Sequence[str] = ()) -> str:
        """The counts of an owner on all topics."""
        return f"{self._prefix}.s.{_parts(shards)}.*.{owner}"

    def hold(self, owner: str | None = None) -> str:
        """An owner's lease."""
        return f"{self._prefix}.n.{owner or '*'}"


def topic_of(subject: str) -> str:
    """The topic of an entry, by its subject."""
    return name_of(subject.split(".", 3)[2])


def owner_of(subject: str) -> str:
    """The owner of a lease, by its subject."""
    return subject.split(".", 2)[2]


def _parts(shards: Sequence[str]) -> str:
    return ".".join([*shards, *("*" * (DEPTH - len(shards)))])


def kept(info: ClientInfo) -> Client:
    """A client as its entry."""
    return Client(info.client, info.user, info.conn_info, info.chan_info)
