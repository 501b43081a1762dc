"""How often something may happen: a steady rate with room for bursts.

The algorithm is the generic cell rate algorithm (ITU-T I.371, annex A) in its form with a virtual time: one number says
when the bucket would be full again, so that nothing has to run between two events.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

MAX_KEYS: Final = 20_000


class Rate:
    """At most `burst` events at once and `per_second` in the long run."""

    __slots__ = ("_full", "_interval", "_room")

    def __init__(self, per_second: float, burst: float) -> None:
        """Both are above 0, `burst` at least 1."""
        self._interval = 1.0 / per_second
        self._room = burst * self._interval
        self._full = 0.0
        """The time at which the whole burst is there again."""

    def take(self, now: float, count: float = 1.0) -> bool:
        """Whether `count` events may happen at `now`, in seconds that never go back; refused ones cost nothing."""
        full = self._full
        if full < now:  # noqa: PLR1730 - half the time of max()
            full = now
        full += count * self._interval
        if full - now > self._room + 1e-9:
            return False
        self._full = full
        return True

    def give_back(self, count: float = 1.0) -> None:
        """Makes up for `count` events that were taken and did not happen."""
        self._full -= count * self._interval

    def fresh(self) -> Rate:
        """One of the same kind with its whole burst; it takes less memory than one made anew."""
        other = Rate.__new__(Rate)
        other._interval, other._room, other._full = self._interval, self._room, 0.0  # noqa: SLF001 - its own kind
        return other

    def wait(self, now: float, count: float = 1.0) -> float:
        """Seconds until `count` events may happen; 0 when they may now."""
        return max(0.0, max(self._full, now) + count * self._interval - self._room - now)

    def idle(self, now: float) -> bool:
        """Whether the whole burst is there, so that a fresh one would behave alike."""
        return self._full <= now


class Rates:
    """A rate for each key (a user, a topic, an address), for the 20,000 keys used last.

    What is forgotten has a fresh burst when it comes back: who could make so many keys is bounded by other limits.
    """

    def __init__(self, per_second: float, burst: float) -> None:
        self.burst = burst
        self._kind = Rate(per_second, burst)
        self._rates: OrderedDict[str, Rate] = OrderedDict()

    def take(self, key: str, now: float, count: float = 1.0) -> bool:
        """Whether `count` events of this key may happen at `now`."""
        rate = self._rates.get(key)
        if rate is None:
            rate = self._rates[key] = self._kind.fresh()
            if len(self._rates) > MAX_KEYS:
                self._rates.popitem(last=False)
        else:
            self._rates.move_to_end(key)
        return rate.take(now, count)

    def wait(self, key: str, now: float, count: float = 1.0) -> float:
        """Seconds until `count` events of this key may happen; 0 when they may now."""
        return self._rates.get(key, self._kind).wait(now, count)

    def give_back(self, key: str, count: float = 1.0) -> None:
        """Makes up for `count` events of this key that were taken and did not happen."""
        rate = self._rates.get(key)
        if rate is not None:
            rate.give_back(count)

    def __len__(self) -> int:
        return len(self._rates)
