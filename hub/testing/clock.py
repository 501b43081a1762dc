"""A clock that tests move."""

from __future__ import annotations

import time
from collections.abc import Callable


class FakeClock:
    """Wall-clock and monotonic seconds that run as the real ones do, plus what they were advanced by."""

    def __init__(self) -> None:
        self._ahead = 0.0
        self._listeners: list[Callable[[], None]] = []

    def time(self) -> float:
        """Seconds since 1970."""
        return time.time() + self._ahead

    def monotonic(self) -> float:
        """Seconds since some moment."""
        return time.monotonic() + self._ahead

    def on_advance(self, listener: Callable[[], None]) -> None:
        """Calls a function after each advance."""
        self._listeners.append(listener)

    def advance(self, seconds: float) -> None:
        """Moves time on at once; what was due a quarter of a second before its end is done before this returns.

        So long are the slots in which sessions keep their deadlines (`hub.wheel`).
        """
        self._ahead += seconds
        for listener in self._listeners:
            listener()
