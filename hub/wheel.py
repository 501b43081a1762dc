"""A timer wheel: one timer of the event loop for all sessions, in place of several for each.

Deadlines fall into slots of a quarter of a second, which is fine for pings, expiry and the like.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

RESOLUTION = 0.25
"""Seconds per slot; a beat comes at most so much after its deadline."""


class Beating(Protocol):
    """Something with deadlines."""

    def beat(self, now: float) -> None:
        """Called once per deadline that was added; must not raise and must add the next one itself."""


class TimerWheel:
    """Calls `beat` of what was added, once its deadline has passed. `clock` gives monotonic seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self._slots: dict[int, dict[Beating, None]] = {}
        self._current = int(clock() / RESOLUTION)
        self._timer: asyncio.TimerHandle | None = None

    def add(self, item: Beating, deadline: float) -> int:
        """Asks for one beat at or shortly after a moment of the clock; returns the slot, for `discard`."""
        slot = max(int(deadline / RESOLUTION) + 1, self._current + 1)
        found = self._slots.get(slot)
        if found is None:
            self._slots[slot] = {item: None}
        else:
            found[item] = None
        return slot

    def discard(self, item: Beating, slot: int) -> None:
        """Takes a beat back, and with it what keeps the item in memory; one that has been is no error."""
        found = self._slots.get(slot)
        if found is not None and item in found:
            del found[item]
            if not found:
                del self._slots[slot]

    def start(self) -> None:
        """Begins to turn in the running event loop."""
        self._timer = asyncio.get_running_loop().call_later(RESOLUTION, self._turn)

    def stop(self) -> None:
        """Stops turning; what was added stays."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def advance(self) -> None:
        """Beats everything that is due by the clock."""
        now = self.clock()
        due = int(now / RESOLUTION)
        if due - self._current > len(self._slots):
            slots = sorted(slot for slot in self._slots if slot <= due)
        else:
            slots = [slot for slot in range(self._current + 1, due + 1) if slot in self._slots]
        self._current = max(self._current, due)
        for slot in slots:
            found = self._slots.get(slot) or {}
            for item in tuple(found):
                # A beat may end other sessions, whose beats are then taken back.
                if item in found:
                    del found[item]
                    item.beat(now)
            self._slots.pop(slot, None)

    def _turn(self) -> None:
        self.start()
        self.advance()
