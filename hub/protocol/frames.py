"""WebSocket frames of the server's side (RFC 6455 §5): never masked, never fragmented."""

from __future__ import annotations

import struct

PING_FRAME = b"\x89\x00"


def text_frame(payload: bytes) -> bytes:
    """One complete text frame; the payload must be UTF-8."""
    size = len(payload)
    if size < 126:
        return b"\x81%c%b" % (size, payload)
    if size < 65_536:
        return b"\x81\x7e%b%b" % (struct.pack("!H", size), payload)
    return b"\x81\x7f%b%b" % (struct.pack("!Q", size), payload)
