"""The form of a publication between nodes, and in a shared broker's history.

A body is the digit of its form, one line of JSON with all but the payload, a newline, and the payload byte for byte.
In front of a body that travels stands one line more, `offset:epoch`, empty without history, put there by the broker.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from hub.model import ClientInfo, Position, Publication

_FORM: Final = b"1"


class EnvelopeError(ValueError):
    """Bytes that are no envelope of a form this node knows."""


class _Info(msgspec.Struct, omit_defaults=True):
    user: str = msgspec.field(default="", name="u")
    client: str = msgspec.field(default="", name="c")
    conn_info: bytes | None = msgspec.field(default=None, name="i")
    chan_info: bytes | None = msgspec.field(default=None, name="t")


class _Head(msgspec.Struct, omit_defaults=True):
    time: int = msgspec.field(default=0, name="t")
    info: _Info | None = msgspec.field(default=None, name="i")
    tags: dict[str, str] | None = msgspec.field(default=None, name="g")
    kind: Literal["pub", "join", "leave", "changes"] = msgspec.field(default="pub", name="k")


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(_Head)


def encode_body(publication: Publication) -> bytes:
    """The body of a publication, without its topic and position."""
    info = publication.info
    head = _Head(
        publication.time,
        _Info(info.user, info.client, info.conn_info, info.chan_info) if info is not None else None,
        dict(publication.tags) if publication.tags is not None else None,
        publication.kind,
    )
    return b"".join((_FORM, _encoder.encode(head), b"\n", publication.raw))


def decode_body(topic: str, body: bytes, position: Position | None) -> Publication:
    """The publication of a body. Raises EnvelopeError."""
    line, newline, raw = body.partition(b"\n")
    if not newline or line[:1] != _FORM:
        raise EnvelopeError("not a publication of a form that this version knows")
    try:
        head = _decoder.decode(line[1:])
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise EnvelopeError(f"the head of a publication cannot be read: {error}") from None
    info = head.info
    return Publication(
        topic,
        raw,
        position.offset if position is not None else 0,
        position.epoch if position is not None else "",
        ClientInfo(info.user, info.client, info.conn_info, info.chan_info) if info is not None else None,
        head.tags,
        head.time,
        head.kind,
    )


def decode_message(topic: str, message: bytes) -> Publication:
    """The publication of a body with its position in front. Raises EnvelopeError."""
    place, newline, body = message.partition(b"\n")
    if not newline:
        raise EnvelopeError("not a publication")
    return decode_body(topic, body, parse_place(place))


def parse_place(place: bytes) -> Position | None:
    """Reads `offset:epoch`; None when it is empty. Raises EnvelopeError."""
    if not place:
        return None
    offset, colon, epoch = place.partition(b":")
    if not colon or not offset.isdigit():
        raise EnvelopeError("not a position")
    return Position(int(offset), epoch.decode("utf-8", "replace"))
