"""Spares everybody the wait for a server that is away: after some failures in a row, one trial now and then."""

from __future__ import annotations

from typing import Final

FAILURES: Final = 5
"""Failures in a row after which a server counts as away."""
PAUSE_SECONDS: Final = 5.0
"""How long nobody asks it then, before one may try."""


class Breaker:
    """The state of one server. Times are a monotonic clock's seconds."""

    __slots__ = ("_failures", "_trying", "_until")

    def __init__(self) -> None:
        self._failures = 0
        self._until: float | None = None
        self._trying = False

    def away(self, now: float) -> bool:
        """Whether a request would be refused now."""
        return self._until is not None and (now < self._until or self._trying)

    def admit(self, now: float) -> bool:
        """Whether a request may be made; whoever is told so says how it went, by one of the other methods."""
        if self.away(now):
            return False
        self._trying = self._until is not None
        return True

    def succeeded(self) -> None:
        """The server answered."""
        self._failures, self._until, self._trying = 0, None, False

    def failed(self, now: float) -> bool:
        """The server did not answer; true when it counts as away only from now on."""
        self._failures += 1
        self._trying = False
        if self._failures < FAILURES:
            return False
        news = self._until is None
        self._until = now + PAUSE_SECONDS
        return news

    def abandoned(self) -> None:
        """The request was given up before anybody could know."""
        self._trying = False
