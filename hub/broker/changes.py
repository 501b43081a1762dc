"""Joins and leaves of one topic as one publication between nodes: its payload is their list.

Each is a list of its kind, the user, the client, and the client's two infos in base64 where it has any; base64, so
that no info, whatever it holds, can make the others unreadable.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal

import msgspec

from hub.broker.envelope import EnvelopeError
from hub.model import ClientInfo, Publication

ChangeKind = Literal["join", "leave"]


class _Change(msgspec.Struct, array_like=True, frozen=True):
    kind: ChangeKind
    user: str
    client: str
    conn_info: bytes | None = None
    chan_info: bytes | None = None


_NULL: Final = b"null"
_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(list[_Change])


def encode_change(kind: ChangeKind, info: ClientInfo) -> bytes:
    """One join or leave, for `encode_changes`. Raises UnicodeEncodeError for a user who is no text."""
    return _encoder.encode(_Change(kind, info.user, info.client, info.conn_info, info.chan_info))


def encode_changes(changes: Iterable[bytes]) -> bytes:
    """The payload of a publication of kind `changes`."""
    return b"[%s]" % b",".join(changes)


def expand(publication: Publication) -> list[Publication]:
    """The joins and leaves that a publication of kind `changes` holds, in order. Raises EnvelopeError."""
    try:
        changes = _decoder.decode(publication.raw)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise EnvelopeError(f"joins and leaves cannot be read: {error}") from None
    return [
        Publication(
            publication.topic,
            _NULL,
            info=ClientInfo(change.user, change.client, change.conn_info, change.chan_info),
            kind=change.kind,
        )
        for change in changes
    ]
