"""What a message of a topic's stored subject says: the topic's state after it, and the publications it brings.

The last message of the subject is the truth about the topic. Each message is one line of JSON, the state, and then the
bodies of its publications one after another.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from hub.broker.envelope import EnvelopeError, decode_body
from hub.broker.epochs import new_epoch
from hub.model import Position, Publication

DEFAULT_META_TTL: Final = 30 * 86_400_000
"""Milliseconds for which positions and versions are kept where the topic's options do not say."""
MARK_SPACING: Final = 64
"""Publications between two marks at least."""


class Entry(msgspec.Struct, array_like=True):
    """One publication of the message: bytes of its body, its offset (0: it is not kept), when it expires (ms)."""

    size: int
    offset: int = 0
    expires: int = 0


class Mark(msgspec.Struct, array_like=True):
    """Publications after `offset` lie behind `sequence` of the stream; written down at `time` (ms)."""

    offset: int
    sequence: int
    time: int


class TopicState(msgspec.Struct, omit_defaults=True):
    """A topic after a message. Times are milliseconds since 1970 by the clock of NATS.

    Readable are the publications of this epoch after `floor`, the last `size` of them. `marks` spare reading from the
    beginning, and say what can be deleted.
    """

    epoch: str = msgspec.field(name="e")
    expires: int = msgspec.field(name="x")
    top: int = msgspec.field(default=0, name="o")
    floor: int = msgspec.field(default=0, name="f")
    size: int = msgspec.field(default=0, name="s")
    version: int = msgspec.field(default=0, name="v")
    version_epoch: str = msgspec.field(default="", name="w")
    marks: list[Mark] = msgspec.field(default_factory=list, name="k")
    entries: list[Entry] = msgspec.field(default_factory=list, name="n")

    @property
    def position(self) -> Position:
        """The top position."""
        return Position(self.top, self.epoch)

    @property
    def lowest(self) -> int:
        """The offset after which publications are readable, unless they expired."""
        return max(self.floor, self.top - self.size)

    def start(self, offset: int) -> int:
        """A sequence of the stream from which on all publications after an offset lie."""
        return max((mark.sequence for mark in self.marks if mark.offset <= offset), default=0) + 1

    def following(self) -> TopicState:
        """A copy to be written next, without publications yet."""
        return msgspec.structs.replace(self, marks=list(self.marks), entries=[])


def fresh_state(now: int) -> TopicState:
    """The state of a topic of which nothing is known (any more)."""
    return TopicState(new_epoch(), now + DEFAULT_META_TTL)


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(TopicState)


def pack(state: TopicState, bodies: Sequence[bytes]) -> bytes:
    """The message of a state and the bodies of its entries."""
    return b"".join((_encoder.encode(state), b"\n", *bodies))


def unpack(message: bytes) -> tuple[TopicState, bytes]:
    """State, and all bodies in one. Raises EnvelopeError."""
    line, newline, bodies = message.partition(b"\n")
    try:
        state = _decoder.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise EnvelopeError(f"the state of a topic cannot be read: {error}") from None
    if not newline or sum(entry.size for entry in state.entries) != len(bodies):
        raise EnvelopeError("the publications of a message do not fill it")
    return state, bodies


def publications(topic: str, state: TopicState, bodies: bytes) -> list[Publication]:
    """The publications of a message, with their positions. Raises EnvelopeError."""
    found, at = [], 0
    for entry in state.entries:
        position = Position(entry.offset, state.epoch) if entry.offset else None
        found.append(decode_body(topic, bodies[at : at + entry.size], position))
        at += entry.size
    return found
