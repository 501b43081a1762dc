"""Frames of clients: whole messages out of any pieces, and every breach of RFC 6455 found as soon as it shows."""

from __future__ import annotations

import os
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.exceptions import PayloadTooBig, ProtocolError
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Frame, Opcode
from websockets.protocol import Protocol, Side, State

from hub.protocol.deflate import deflate
from hub.transports.frame_reader import BINARY, TEXT, FrameError
from tests.unit.transports.recorder import LIMIT, Recorder


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


def read(*pieces: bytes, limit: int = LIMIT, window_bits: int = 0) -> list[tuple[object, ...]]:
    recorder = Recorder(limit, window_bits)
    for piece in pieces:
        recorder.feed(piece)
    return recorder.seen


def refusal(*pieces: bytes, limit: int = LIMIT, window_bits: int = 0) -> int:
    with pytest.raises(FrameError) as refused:
        read(*pieces, limit=limit, window_bits=window_bits)
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


def test_a_close_frame_may_come_amid_a_message() -> None:
    assert read(frame(TEXT, b"a", fin=False) + frame(8)) == [("close", 1005, "")]


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


def oracle(stream: bytes, window_bits: int = 0) -> tuple[list[tuple[object, ...]], int]:
    """What the websockets library makes of a stream, and the code with which it refuses it (0 when it does not)."""
    protocol = Protocol(Side.SERVER, state=State.OPEN, max_size=LIMIT)
    if window_bits:
        protocol.extensions = [PerMessageDeflate(True, True, 15, window_bits)]
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


def closed_amid_a_message(recorder: Recorder) -> bool:
    """Whether a close frame came between fragments: RFC 6455 lets a peer do so, the library refuses it."""
    return recorder.reading_done and recorder._kind != 0


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
    # A text that cannot become valid is found earlier here.
    common = min(len(recorder.seen), len(seen)) if code == 1007 else len(seen)
    assert recorder.seen[:common] == seen[:common]
    # And of two faults in a close frame another first.
    if 1007 not in (code, expected) and not closed_amid_a_message(recorder):
        assert (recorder.seen, code) == (seen, expected)


# Compressed messages (RFC 7692)

ZIPPED = 4
"""The reserved bit of compressed messages."""


def zipped(message: bytes, kind: int = TEXT, *, cuts: tuple[int, ...] = ()) -> bytes:
    """A compressed message of a client, in fragments cut there."""
    small = deflate(message, 12)
    bounds = [0, *cuts, len(small)]
    parts = [small[start:end] for start, end in pairwise(bounds)]
    return b"".join(
        frame(0 if at else kind, part, fin=at == len(parts) - 1, rsv=0 if at else ZIPPED)
        for at, part in enumerate(parts)
    )


def test_compressed_messages_are_read_whole_and_in_fragments() -> None:
    text = "größe ".encode() * 100
    stream = zipped(text) + frame(TEXT, b"plain") + zipped(text, BINARY, cuts=(1, 2, 2, 9)) + zipped(b"")
    seen = [(TEXT, text), (TEXT, b"plain"), (BINARY, text), (TEXT, b"")]
    assert read(stream, window_bits=15) == seen
    assert read(*(stream[at : at + 1] for at in range(len(stream))), window_bits=15) == seen


def test_control_frames_come_between_the_fragments_of_a_compressed_message() -> None:
    first, second = deflate(b"x" * 200, 12)[:3], deflate(b"x" * 200, 12)[3:]
    stream = frame(TEXT, first, fin=False, rsv=ZIPPED) + frame(9, b"?") + frame(0, second)
    assert read(stream, window_bits=12) == [("ping", b"?"), (TEXT, b"x" * 200)]


BROKEN_ZIPPED = [
    ("the bit on a continuation", frame(TEXT, b"", fin=False) + frame(0, b"", rsv=ZIPPED), 1002),
    ("the bit within a compressed message", zipped(b"xyz", cuts=(1,))[:7] + frame(0, b"", rsv=ZIPPED), 1002),
    ("the bit on a ping", frame(9, b"", rsv=ZIPPED), 1002),
    ("the bit on a close frame", frame(8, b"", rsv=ZIPPED), 1002),
    ("the bit on an unknown kind", frame(3, b"", rsv=ZIPPED), 1002),
    ("another bit", frame(TEXT, b"x", rsv=2), 1002),
    ("another bit beside it", frame(TEXT, b"x", rsv=ZIPPED | 1), 1002),
    ("garbage", frame(TEXT, b"\xff\xff\xff\xff", rsv=ZIPPED), 1007),
    ("garbage in fragments", frame(TEXT, b"\xff\xff", fin=False, rsv=ZIPPED) + frame(0, b"\xff\xff"), 1007),
    ("no UTF-8 inside", zipped(b"\xff" * 40), 1007),
    ("no UTF-8 inside fragments", zipped(b"\xe2\x82" * 40, cuts=(2,)), 1007),
    ("a bomb", zipped(bytes(LIMIT + 1), BINARY), 1009),
    ("a bomb in fragments", zipped(bytes(1_000_000), BINARY, cuts=(100, 200)), 1009),
    ("too much even compressed", frame(BINARY, bytes(LIMIT * 2), rsv=ZIPPED), 1009),
]


@pytest.mark.parametrize(
    ("stream", "code"), [pytest.param(stream, code, id=what) for what, stream, code in BROKEN_ZIPPED]
)
def test_what_breaks_the_rules_of_compression_is_refused(stream: bytes, code: int) -> None:
    assert refusal(stream, window_bits=15) == code
    assert refusal(*(stream[at : at + 1] for at in range(len(stream))), window_bits=15) == code


def test_without_an_agreement_nothing_compressed_is_read() -> None:
    assert refusal(zipped(b"x" * 100)) == 1002


def test_what_compression_makes_larger_still_has_room_and_not_much_more() -> None:
    noise = os.urandom(LIMIT)
    assert len(deflate(noise, 12)) > LIMIT
    assert read(zipped(noise, BINARY), window_bits=15) == [(BINARY, noise)]
    assert read(zipped(noise, BINARY, cuts=(500,)), window_bits=15) == [(BINARY, noise)]
    slack = LIMIT + LIMIT // 16 + 64
    assert refusal(b"\xc2\xfe" + (slack + 1).to_bytes(2, "big"), window_bits=15) == 1009
    assert refusal(frame(BINARY, noise, fin=False) + frame(0, b"x"), window_bits=15) == 1009


zipped_frames = st.builds(
    lambda payload, kind, fin, cut: frame(kind, deflate(payload, 12)[: cut or None], fin=fin, rsv=ZIPPED),
    st.one_of(st.text(max_size=20).map(str.encode), st.binary(max_size=4)),
    st.sampled_from([0, 1, 1, 2, 9]),
    st.sampled_from([True, True, True, False]),
    st.sampled_from([0, 0, 0, 3]),
)


@given(st.lists(st.one_of(frames, zipped_frames), max_size=6), st.data())
def test_compressed_messages_too_read_as_another_implementation_reads_them(
    stream: list[bytes], data: st.DataObject
) -> None:
    whole = b"".join(stream)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=8)))
    recorder, code = Recorder(window_bits=15), 0
    try:
        for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True):
            recorder.feed(whole[start:end])
    except FrameError as error:
        code = error.code
    seen, expected = oracle(whole, 15)
    # A text that cannot become valid is found earlier here.
    common = min(len(recorder.seen), len(seen)) if code == 1007 else len(seen)
    assert recorder.seen[:common] == seen[:common]
    # A compressed message is looked into once it is whole here, and fragment by fragment there.
    amid = recorder._kind & 0x40 or closed_amid_a_message(recorder)
    if 1007 not in (code, expected) and not amid:
        assert (recorder.seen, code) == (seen, expected)


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 999, 1_000, 1_001, 65_535, 65_536])
@pytest.mark.parametrize("limit", [100, 1_000, 100_000])
def test_a_text_that_comes_alone_is_held_to_the_same_rules(size: int, limit: int) -> None:
    text = frame(TEXT, b"x" * size)
    if size > limit:
        assert refusal(text, limit=limit) == 1009
    else:
        assert read(text, text, limit=limit) == [(TEXT, b"x" * size)] * 2
    assert refusal(frame(TEXT, b"x" * min(size, limit - 1) + b"\xff"), limit=limit) == 1007


def test_what_only_looks_like_a_text_that_comes_alone_is_none() -> None:
    long_form_of_a_short_length = b"\x81\xfe\x00\x05" + bytes(9)
    assert refusal(long_form_of_a_short_length) == 1002
    without_mask = b"\x81\x05hello"
    assert refusal(without_mask) == 1002
    amid_a_message = frame(TEXT, b"a", fin=False)
    assert refusal(amid_a_message, frame(TEXT, b"hello")) == 1002
    late = Recorder()
    late.feed(frame(8))
    late.feed(frame(TEXT, b"hello"))
    assert late.seen == [("close", 1005, "")]
