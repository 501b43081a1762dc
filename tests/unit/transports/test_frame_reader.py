"""Frames of clients: whole messages out of any pieces, and every breach of RFC 6455 found as soon as it shows."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.exceptions import PayloadTooBig, ProtocolError
from websockets.frames import Frame, Opcode
from websockets.protocol import Protocol, Side, State

from hub.transports.frame_reader import BINARY, TEXT, FrameError, FrameReader

LIMIT = 1_000


class Recorder(FrameReader):
    """Writes down what it is called with."""

    def __init__(self, limit: int = LIMIT) -> None:
        super().__init__(limit)
        self.seen: list[tuple[object, ...]] = []

    def on_message(self, kind: int, payload: bytes) -> None:
        self.seen.append((kind, payload))

    def on_ping(self, payload: bytes) -> None:
        self.seen.append(("ping", payload))

    def on_pong(self, payload: bytes) -> None:
        self.seen.append(("pong", payload))

    def on_close(self, code: int, reason: str) -> None:
        self.seen.append(("close", code, reason))


def frame(
    kind: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0, mask: bytes | None = None
) -> bytes:
    """A frame of a client."""
    mask = os.urandom(4) if mask is None else mask
    size = len(payload)
    if size < 126:
        length = bytes([0x80 | size])
    elif size < 65_536:
        length = bytes([0x80 | 126]) + size.to_bytes(2, "big")
    else:
        length = bytes([0x80 | 127]) + size.to_bytes(8, "big")
    masked = bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))
    return bytes([(0x80 if fin else 0) | rsv << 4 | kind]) + length + mask + masked


def read(*pieces: bytes, limit: int = LIMIT) -> list[tuple[object, ...]]:
    recorder = Recorder(limit)
    for piece in pieces:
        recorder.feed(piece)
    return recorder.seen


def refusal(*pieces: bytes, limit: int = LIMIT) -> int:
    with pytest.raises(FrameError) as refused:
        read(*pieces, limit=limit)
    return refused.value.code


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65_535, 65_536, 70_000])
def test_messages_of_every_length_arrive_whole(size: int) -> None:
    payload = os.urandom(size)
    assert read(frame(BINARY, payload), limit=100_000) == [(BINARY, payload)]
    text = b"x" * size
    assert read(frame(TEXT, text), limit=100_000) == [(TEXT, text)]


def test_many_frames_that_came_together_are_all_read() -> None:
    assert read(frame(TEXT, b"one") + frame(9, b"?") + frame(10, b"!") + frame(BINARY, b"two")) == [
        (TEXT, b"one"),
        ("ping", b"?"),
        ("pong", b"!"),
        (BINARY, b"two"),
    ]


def test_byte_by_byte_is_as_good_as_at_once() -> None:
    stream = frame(TEXT, "größe".encode()) + frame(BINARY, bytes(300)) + frame(8, b"\x03\xe8bye")
    assert read(*(stream[at : at + 1] for at in range(len(stream)))) == read(stream)


def test_fragments_make_one_message_and_control_frames_come_between() -> None:
    stream = frame(TEXT, b"a", fin=False) + frame(9, b"p") + frame(0, b"b", fin=False) + frame(0, b"c")
    assert read(stream + frame(TEXT, b"d")) == [("ping", b"p"), (TEXT, b"abc"), (TEXT, b"d")]


def test_a_character_may_be_split_over_fragments() -> None:
    euro = "€".encode()
    assert read(frame(TEXT, euro[:1], fin=False) + frame(0, euro[1:])) == [(TEXT, euro)]


BROKEN = [
    ("no mask", bytes([0x81, 0x01]) + b"x", 1002),
    ("a reserved bit", frame(TEXT, b"x", rsv=4), 1002),
    ("an unknown kind", frame(3, b"x"), 1002),
    ("an unknown control frame", frame(11), 1002),
    ("a fragmented ping", frame(9, b"", fin=False), 1002),
    ("a long ping", frame(9, bytes(126)), 1002),
    ("a continuation of nothing", frame(0, b"x"), 1002),
    ("a message in a message", frame(TEXT, b"x", fin=False) + frame(TEXT, b"y"), 1002),
    ("a long form of a short length", b"\x81\xfe\x00\x05" + bytes(9), 1002),
    ("a very long form of a short length", b"\x81\xff" + (200).to_bytes(8, "big") + bytes(204), 1002),
    ("a length with the highest bit", b"\x82\xff\xff" + bytes(7), 1002),
    ("a close frame of one byte", frame(8, b"\x03"), 1002),
    ("a close code below 1000", frame(8, (999).to_bytes(2, "big")), 1002),
    ("a close code for nobody to send", frame(8, (1005).to_bytes(2, "big")), 1002),
    ("a close code above 4999", frame(8, (5000).to_bytes(2, "big")), 1002),
    ("a close reason that is not text", frame(8, b"\x03\xe8\xff"), 1007),
    ("a text that is not UTF-8", frame(TEXT, b"\xff"), 1007),
    ("a text that ends within a character", frame(TEXT, b"a", fin=False) + frame(0, b"\xe2\x82"), 1007),
    ("too much at once", frame(BINARY, bytes(LIMIT + 1)), 1009),
    ("too much in fragments", frame(BINARY, bytes(LIMIT), fin=False) + frame(0, b"x"), 1009),
]


@pytest.mark.parametrize(
    ("stream", "code"), [pytest.param(stream, code, id=what) for what, stream, code in BROKEN]
)
def test_what_breaks_the_protocol_is_refused(stream: bytes, code: int) -> None:
    assert refusal(stream) == code
    assert refusal(*(stream[at : at + 1] for at in range(len(stream)))) == code


def test_what_is_announced_too_large_is_refused_before_any_of_it_comes() -> None:
    assert refusal(b"\x82\xff" + (1 << 40).to_bytes(8, "big")) == 1009
    assert refusal(b"\x82\xfe\x04\x00") == 1009


def test_a_text_that_cannot_become_valid_is_refused_at_once() -> None:
    assert refusal(frame(TEXT, b"\xff", fin=False)) == 1007


def test_nothing_is_read_after_a_close_frame() -> None:
    assert read(frame(8) + frame(TEXT, b"late") + b"\xff\xff\xff") == [("close", 1005, "")]


def test_endless_empty_fragments_take_no_memory() -> None:
    recorder = Recorder()
    recorder.feed(frame(TEXT, b"x", fin=False))
    empty = frame(0, b"", fin=False)
    for _ in range(1_000):
        recorder.feed(empty)
    assert recorder._message == b"x"
    assert recorder.seen == []


def test_a_large_message_in_small_pieces_is_not_copied_with_each_of_them() -> None:
    stream = frame(BINARY, bytes(100_000), mask=bytes(4))
    recorder = Recorder(200_000)
    recorder.feed(stream[:1_000])
    body = recorder._body
    for at in range(1_000, len(stream), 1_000):
        assert recorder._body is body
        recorder.feed(stream[at : at + 1_000])
    assert recorder.seen == [(BINARY, bytes(100_000))]


frames = st.builds(
    frame,
    st.sampled_from([0, 1, 1, 1, 2, 2, 3, 8, 9, 10, 15]),
    st.one_of(st.binary(max_size=12), st.text(max_size=8).map(str.encode), st.just(b"\x03\xe8")),
    fin=st.sampled_from([True, True, False]),
    rsv=st.sampled_from([0, 0, 0, 0, 1, 4]),
    mask=st.binary(min_size=4, max_size=4),
)


def oracle(stream: bytes) -> tuple[list[tuple[object, ...]], int]:
    """What the websockets library makes of a stream, and the code with which it refuses it (0 when it does not)."""
    protocol = Protocol(Side.SERVER, state=State.OPEN, max_size=LIMIT)
    protocol.receive_data(stream)
    seen: list[tuple[object, ...]] = []
    parts: list[bytes] = []
    kind = 0
    for event in protocol.events_received():
        assert isinstance(event, Frame)
        if event.opcode is Opcode.CLOSE:
            code = int.from_bytes(event.data[:2], "big") if event.data else 1005
            seen.append(("close", code, bytes(event.data[2:]).decode()))
        elif event.opcode in (Opcode.PING, Opcode.PONG):
            seen.append((event.opcode.name.lower(), bytes(event.data)))
        else:
            kind = event.opcode or kind
            parts.append(bytes(event.data))
            if event.fin:
                payload, parts = b"".join(parts), []
                try:
                    payload.decode() if kind == TEXT else None
                except UnicodeDecodeError:
                    return seen, 1007
                seen.append((int(kind), payload))
    error = protocol.parser_exc
    if isinstance(error, PayloadTooBig):
        return seen, 1009
    if isinstance(error, UnicodeDecodeError):
        return seen, 1007
    return seen, 1002 if isinstance(error, ProtocolError) else 0


@given(st.lists(frames, max_size=6), st.data())
def test_it_reads_as_another_implementation_does_in_any_pieces(
    stream: list[bytes], data: st.DataObject
) -> None:
    whole = b"".join(stream)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=8)))
    recorder, code = Recorder(), 0
    try:
        for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True):
            recorder.feed(whole[start:end])
    except FrameError as error:
        code = error.code
    seen, expected = oracle(whole)
    assert recorder.seen[: len(seen)] == seen
    # A text that cannot become valid is found earlier here, and of two faults in a close frame another first.
    if 1007 not in (code, expected):
        assert (recorder.seen, code) == (seen, expected)
