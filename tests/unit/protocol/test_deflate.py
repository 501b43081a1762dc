"""Compressed messages: as the RFC writes them, bounded while they are inflated, and shared where it pays."""

from __future__ import annotations

import json
import os
import random
import tracemalloc
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Frame, Opcode

from hub.model import Publication
from hub.protocol.deflate import (
    COMPRESS_BYTES,
    MIN_WINDOW_BITS,
    WINDOW_BITS,
    InflateError,
    InflatesTooLargeError,
    deflate,
    inflate,
    shared_text_frame,
)
from hub.protocol.frames import text_frame
from hub.protocol.wires import JSON_FRAMES, PLAIN_FRAMES, JsonFrames, json_frames, plain_frames

LIMIT = 65_536
EXAMPLES = [
    ("one block (§7.2.3.1)", "f248cdc9c90700"),
    ("no compression (§7.2.3.3)", "000500faff48656c6c6f00"),
    ("a final block (§7.2.3.4)", "f348cdc9c9070000"),
    ("a final block that ends with what is not sent", "01"),
    ("two blocks (§7.2.3.5)", "f24805000000ffffcac9c90700"),
]


def dashboard(seed: int, panels: int) -> bytes:
    """JSON as dashboards publish it: the same words, other figures."""
    figures = random.Random(seed)
    return json.dumps(
        [
            {"name": f"service-{number}", "rate": figures.random() * 1e3, "errors": figures.randint(0, 9)}
            for number in range(panels)
        ]
    ).encode()


@pytest.mark.parametrize(("form", "hexadecimal"), EXAMPLES)
def test_the_examples_of_the_rfc_are_read(form: str, hexadecimal: str) -> None:
    assert inflate(bytes.fromhex(hexadecimal), LIMIT) == (b"" if hexadecimal == "01" else b"Hello")


def test_an_empty_message_is_one_byte() -> None:
    assert inflate(b"\x00", LIMIT) == b""
    assert inflate(deflate(b"", WINDOW_BITS), LIMIT) == b""


@given(st.binary(max_size=3_000), st.integers(MIN_WINDOW_BITS, 15))
def test_what_is_compressed_is_read_again_with_no_larger_window(message: bytes, bits: int) -> None:
    small = deflate(message, bits)
    assert inflate(small, 3_000) == message
    assert zlib.decompressobj(-bits).decompress(small + b"\x00\x00\xff\xff") == message


@pytest.mark.parametrize("bits", range(MIN_WINDOW_BITS, 16))
@pytest.mark.parametrize("size", [10_000, 65_536, 200_000])
def test_large_messages_keep_within_the_window(size: int, bits: int) -> None:
    message = dashboard(bits, size // 60)
    small = deflate(message, bits)
    assert len(small) < len(message) // 2
    assert zlib.decompressobj(-bits).decompress(small + b"\x00\x00\xff\xff") == message


@pytest.mark.parametrize("limit", [1, 1_000, 65_536])
def test_a_bomb_is_refused_and_never_unpacked(limit: int) -> None:
    bomb = deflate(bytes(100_000_000), 15)
    assert len(bomb) < 500_000
    tracemalloc.start()
    try:
        with pytest.raises(InflatesTooLargeError):
            inflate(bomb, limit)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # The compressed form, its copy with the tail, what zlib has not read, and what it may make of it.
    assert peak < 3 * len(bomb) + 4 * limit + 10_000


def test_the_limit_itself_is_allowed() -> None:
    for size in (999, 1_000):
        assert len(inflate(deflate(bytes(size), 12), 1_000)) == size
    with pytest.raises(InflatesTooLargeError):
        inflate(deflate(bytes(1_001), 12), 1_000)


@pytest.mark.parametrize(
    "data", [b"\xff\xff\xff\xff", b"\x06", b"Hello", deflate(b"x" * 99, 12)[:-3] + b"\xff"]
)
def test_what_is_no_compressed_message_is_refused(data: bytes) -> None:
    with pytest.raises(InflateError):
        inflate(data, LIMIT)


def test_nothing_stands_behind_the_end_of_a_message() -> None:
    final = bytes.fromhex("f348cdc9c90700")
    assert inflate(final, LIMIT) == b"Hello"
    for behind in (final, b"\x03\x00" * 1_000, b"x"):
        with pytest.raises(InflateError):
            inflate(final + behind, LIMIT)


@given(st.text(max_size=2_000))
def test_a_shared_frame_is_read_by_another_implementation_and_is_never_larger(text: str) -> None:
    message = text.encode()
    frame = shared_text_frame(message, 15)
    assert len(frame) <= len(text_frame(message))
    assert _by_websockets(frame) == message


def test_short_and_incompressible_texts_stay_as_they_are() -> None:
    short = b"a" * (COMPRESS_BYTES - 1)
    assert shared_text_frame(short, 12) == text_frame(short)
    noise = os.urandom(4_000)
    assert shared_text_frame(noise, 12) == text_frame(noise)
    long = b"a" * COMPRESS_BYTES
    assert shared_text_frame(long, 12)[0] == 0xC1


def test_peers_share_a_wire_unless_their_windows_are_small() -> None:
    assert json_frames(0) is JSON_FRAMES
    assert plain_frames(0) is PLAIN_FRAMES
    assert len({json_frames(bits) for bits in range(9, 16)}) == 4
    assert len({plain_frames(bits) for bits in range(9, 16)}) == 4
    assert json_frames(12) is json_frames(15)


@pytest.mark.parametrize("wire", [json_frames(15), json_frames(9)])
def test_what_is_shared_is_compressed_and_what_is_a_sessions_own_is_not(wire: JsonFrames) -> None:
    pieces = [wire.publication("t", Publication("t", dashboard(seed, 20))) for seed in range(3)]
    assert wire.join(pieces) == JSON_FRAMES.join(pieces) == text_frame(b"\n".join(pieces))
    shared = wire.share(pieces)
    assert shared[0] == 0xC1
    assert len(shared) < len(wire.join(pieces)) // 2
    assert _by_websockets(shared) == b"\n".join(pieces)
    assert JSON_FRAMES.share(pieces) == JSON_FRAMES.join(pieces)
    one = Publication("t", dashboard(1, 20))
    assert wire.alone("t", one) == wire.share([wire.publication("t", one)])


@pytest.mark.parametrize("bits", [9, 12])
def test_frames_of_a_plain_socket_are_compressed_one_by_one(bits: int) -> None:
    wire = plain_frames(bits)
    payloads = [dashboard(1, 20), b"1", dashboard(2, 20)]
    pieces = [wire.publication("t", Publication("t", payload)) for payload in payloads]
    told = [piece for piece in pieces if piece is not None]
    assert told == payloads
    assert wire.join(told) == PLAIN_FRAMES.join(told) == b"".join(map(text_frame, payloads))
    assert wire.share(told) == b"".join(shared_text_frame(payload, bits) for payload in payloads)
    assert len(wire.share(told)) < len(wire.join(told)) // 2
    assert wire.publication("t", Publication("t", b"{}", kind="join")) is None
    for each in (wire, PLAIN_FRAMES):
        assert each.alone("t", Publication("t", b"{}", kind="join")) is None
        assert each.alone("t", Publication("t", payloads[0])) == each.share(payloads[:1])


def _by_websockets(frame: bytes) -> bytes:
    """The text of a server's frame as the websockets library reads it."""
    second = frame[1]
    start = 2 if second < 126 else 4 if second == 126 else 10
    size = second if second < 126 else int.from_bytes(frame[2:start], "big")
    assert len(frame) == start + size
    read = Frame(Opcode.TEXT, frame[start:], fin=True, rsv1=bool(frame[0] & 0x40))
    extension = PerMessageDeflate(True, True, 15, 15)
    return bytes(extension.decode(read).data) if read.rsv1 else bytes(read.data)
