"""WebSocket frames of the server's side (RFC 6455 §5): never masked, never fragmented."""

from __future__ import annotations

import struct

PING_FRAME = b"\x89\x00"
_MAX_REASON = 123


def text_frame(payload: bytes) -> bytes:
    """One complete text frame; the payload must be UTF-8."""
    size = len(payload)
    if size < 126:
        return b"\x81%c%b" % (size, payload)
    if size < 65_536:
        return b"\x81\x7e%b%b" % (struct.pack("!H", size), payload)
    return b"\x81\x7f%b%b" % (struct.pack("!Q", size), payload)


def pong_frame(payload: bytes) -> bytes:
    """The answer to a ping; the payload is the ping's, of at most 125 bytes."""
    return b"\x8a%c%b" % (len(payload), payload)


def close_frame(code: int, reason: str) -> bytes:
    """A close frame; of the reason as much is sent as there is room for, 123 bytes of UTF-8."""
    text = reason.encode()
    if len(text) > _MAX_REASON:
        text = text[:_MAX_REASON].decode("utf-8", "ignore").encode()
    return b"\x88%c%b%b" % (2 + len(text), struct.pack("!H", code), text)


def binary_frame(payload: bytes) -> bytes:
    """One complete binary frame."""
    return b"\x82" + text_frame(payload)[1:]
