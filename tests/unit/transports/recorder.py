"""A frame reader that writes down what it is called with."""

from __future__ import annotations

from typing import Final

from hub.transports.frame_reader import FrameReader

LIMIT: Final = 1_000
"""Bytes of a message, unless a test says otherwise."""
Seen = list[tuple[object, ...]]


class Recorder(FrameReader):
    """`seen` has messages as (kind, payload), and control frames by their names."""

    def __init__(self, limit: int = LIMIT, window_bits: int = 0) -> None:
        super().__init__(limit)
        self.window_bits = window_bits
        self.seen: Seen = []

    def on_message(self, kind: int, payload: bytes) -> None:
        self.seen.append((kind, payload))

    def on_ping(self, payload: bytes) -> None:
        self.seen.append(("ping", payload))

    def on_pong(self, payload: bytes) -> None:
        self.seen.append(("pong", payload))

    def on_close(self, code: int, reason: str) -> None:
        self.seen.append(("close", code, reason))
