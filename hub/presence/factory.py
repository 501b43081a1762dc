"""Presence by the broker's URL: it is kept where publications are linked."""

from __future__ import annotations

import time
from collections.abc import Callable

from hub.presence.base import Presence
from hub.presence.memory import MemoryPresence


def make_presence(url: str, *, prefix: str, ttl: float, clock: Callable[[], float] = time.monotonic) -> Presence:
    """The presence store that belongs to a broker's URL; leases last `ttl` seconds."""
    return MemoryPresence(ttl, clock)
