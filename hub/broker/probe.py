"""Whether what a node sends to itself through its broker comes back."""

from __future__ import annotations

from collections.abc import Callable


class Probe:
    """Keeps count of probes, sent `every` seconds; one must be back within `grace` seconds."""

    def __init__(self, every: float, grace: float, clock: Callable[[], float]) -> None:
        self.every = every
        self._grace = grace
        self._clock = clock
        self._number = 0
        self._missing_since: float | None = None
        self._returned_at: float | None = None

    @property
    def fresh(self) -> bool:
        """Whether one came back within the grace."""
        return self._returned_at is not None and self._clock() - self._returned_at <= self._grace

    @property
    def lost(self) -> bool:
        """Whether for longer than the grace none of those sent came back."""
        return self._missing_since is not None and self._clock() - self._missing_since > self._grace

    def next(self) -> bytes:
        """The payload of the next probe, which is missing from now on."""
        self._number += 1
        if self._missing_since is None:
            self._missing_since = self._clock()
        return b"%d" % self._number

    def returned(self, raw: bytes) -> None:
        """Notes that the probe with this payload came back; one sent after it may still be under way."""
        self._returned_at = self._clock()
        self._missing_since = None if raw == b"%d" % self._number else self._returned_at

    def forget(self) -> None:
        """Expects none of those sent until now: there is a reason for their loss."""
        self._missing_since = None
