"""Compression of messages (permessage-deflate, RFC 7692) without anything that is kept between two of them.

Nothing belongs to a connection: what is sent to many is compressed once for all of them, and a compressor or
decompressor lives as long as a call. Python's zlib cannot reset one, and makes a new one in a tenth to a half of a
microsecond: there is nothing that a pool could save.
"""

from __future__ import annotations

import zlib
from typing import Final

from hub.protocol.frames import text_frame

WINDOW_BITS: Final = 12
"""How far back frames look at most, 4 KiB: 15 bits save nothing below that, 3 % at 64 KiB, and take thrice the time."""
MIN_WINDOW_BITS: Final = 9
"""zlib has none of 8 bits."""
COMPRESS_BYTES: Final = 256
"""Shorter messages stay as they are: they lose less than a third, and a packet of the network carries them anyway."""
_THOROUGH_BYTES: Final = 65_536
_MEMORY_LEVEL: Final = 5
_TAIL: Final = b"\x00\x00\xff\xff"
"""How every flush ends; it is not sent (RFC 7692 §7.2.1)."""
_COMPRESSED: Final = 0x40
_EMPTY_BLOCK: Final = b"\x00" + _TAIL
"""What a sender puts behind a final block so that there is a tail to leave out (§7.2.3.4)."""


class InflateError(ValueError):
    """What came is not the compressed form of anything."""


class InflatesTooLargeError(InflateError):
    """What came is larger than allowed once it is decompressed."""


def deflate(message: bytes, window_bits: int) -> bytes:
    """The compressed form of a message, for a peer that looks back 2 ** `window_bits` bytes (9 to 15) or more.

    Up to 64 KiB it takes some 25 µs for each KiB; what is larger is compressed less and faster.
    """
    level = 6 if len(message) <= _THOROUGH_BYTES else 1
    stream = zlib.compressobj(level, zlib.DEFLATED, -min(window_bits, WINDOW_BITS), _MEMORY_LEVEL)
    return (stream.compress(message) + stream.flush(zlib.Z_SYNC_FLUSH)).removesuffix(_TAIL)


def inflate(data: bytes, limit: int) -> bytes:
    """A message from its compressed form; no more than `limit` bytes and one are ever produced.

    Raises InflatesTooLargeError when it would be larger, InflateError when it is no such form.
    """
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        message = stream.decompress(data + _TAIL, limit + 1)
    except zlib.error:
        raise InflateError("a message cannot be decompressed") from None
    if len(message) > limit:
        raise InflatesTooLargeError(f"a message is larger than {limit} bytes")
    if stream.eof and not _EMPTY_BLOCK.endswith(stream.unused_data):
        raise InflateError("something stands behind the end of a compressed message")
    return message


def shared_text_frame(text: bytes, window_bits: int) -> bytes:
    """A text frame for many: compressed where that makes it smaller, and it is long enough to be worth it."""
    if len(text) < COMPRESS_BYTES:
        return text_frame(text)
    small = deflate(text, window_bits)
    if len(small) >= len(text):
        return text_frame(text)
    frame = bytearray(text_frame(small))
    frame[0] |= _COMPRESSED
    return bytes(frame)
