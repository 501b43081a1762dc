"""The bytes that wait for all clients of a node together, and who has to go when they are too many."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

from hub import metrics
from hub.wheel import TimerWheel

RELIEVED: Final = 0.9
"""The part of the limit that may still wait after the slowest were sent away, to keep some distance."""
RECOUNT_SECONDS: Final = 5.0


class Transport(Protocol):
    """What is asked of a way out."""

    def buffered(self) -> int:
        """Bytes that wait on it."""

    def abort(self) -> None:
        """Ends it at once, and lets go of what waits."""


class Laggard(Protocol):
    """The way out of a session on which bytes wait."""

    @property
    def transport(self) -> Transport:
        """Where they wait."""

    @property
    def on_slow(self) -> Callable[[], None] | None:
        """Ends the session as too slow; None when it has been ended."""


class QueueBudget:
    """Watches over what waits on all ways out of a node.

    Ways out tell what waits on them when it is not nothing, which is rare: most clients read as fast as they are sent
    to. When more than `limit` bytes wait, connections that are being closed are cut; if that is not enough, the
    sessions for which most waits are ended as too slow, until nine tenths of the limit are left.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.total = 0
        """Bytes that were told of and not seen to be gone; exact after each `recount`."""
        self._told: dict[Laggard, int] = {}
        self._wheel: TimerWheel

    def watch(self, wheel: TimerWheel) -> None:
        """Counts anew every few seconds from now on, since nobody tells of a session's end."""
        self._wheel = wheel
        wheel.add(self, wheel.clock() + RECOUNT_SECONDS)

    def beat(self, now: float) -> None:
        """Counts anew."""
        self.recount()
        self._wheel.add(self, now + RECOUNT_SECONDS)

    def note(self, laggard: Laggard, waiting: int) -> None:
        """Takes notice of what waits on one way out; ends sessions, this one perhaps, when it is too much in all."""
        self.total += waiting - self._told.get(laggard, 0)
        self._told[laggard] = waiting
        if self.total > self.limit:
            self._relieve()

    def forget(self, laggard: Laggard) -> None:
        """Nothing waits on it any more."""
        self.total -= self._told.pop(laggard, 0)

    def recount(self) -> None:
        """Looks at all that were told of."""
        told = ((laggard, laggard.transport.buffered()) for laggard in self._told)
        self._told = {laggard: waiting for laggard, waiting in told if waiting}
        self.total = sum(self._told.values())

    def _relieve(self) -> None:
        self.recount()
        for laggard in [laggard for laggard in self._told if laggard.on_slow is None]:
            laggard.transport.abort()
            self.forget(laggard)
        excess = self.total - int(self.limit * RELIEVED)
        if self.total <= self.limit:
            return
        for laggard, waiting in sorted(self._told.items(), key=lambda item: -item[1]):
            if excess <= 0:
                return
            excess -= waiting
            if laggard.on_slow is not None:
                metrics.SLOW.labels("node").inc()
                laggard.on_slow()
