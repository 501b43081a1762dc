"""What clients and backends do too fast: the rates that they are held to, and who is told when they go over one.

Each process counts for itself. There is no task and no timer behind a rate.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import Final

from hub import metrics
from hub.errors import BAD_REQUEST, ReplyError, TooManyRequests
from hub.rates import Rate, Rates

_log = logging.getLogger("hub.limits")
QUIET_SECONDS: Final = 10.0
"""How long the log says nothing more of a limit once it has said something."""
LIMITS: Final = ("commands", "publishes_per_user", "publishes_per_topic", "api_requests")
"""What is counted here, by the names of their settings."""
_SHOWN: Final = 64
"""Characters of a name in the log."""


class Meters:
    """The rates of one process, each per second and with twice as many at once, None where it is switched off."""

    def __init__(
        self,
        *,
        commands: float | None = None,
        least_burst: float = 1,
        publishes_per_user: float | None = None,
        publishes_per_topic: float | None = None,
        api_requests: float | None = None,
        clock: Callable[[], float],
    ) -> None:
        """`clock` never goes back, in seconds; `least_burst` is how many commands may come at once in any case."""
        self.clock = clock
        self.commands = None if commands is None else Rate(commands, max(_burst(commands), least_burst))
        """What each connection gets one of."""
        self._users = _keyed(publishes_per_user)
        self._topics = _keyed(publishes_per_topic)
        self._keys = _keyed(api_requests)
        for limit in LIMITS:
            metrics.LIMITED.labels(limit)  # so that it is there before the first refusal
        self._untold: dict[str, int] = {}
        self._quiet_until: dict[str, float] = {}

    def publication(self, user: str, topic: str) -> None:
        """Counts a publication of a client that may publish there; raises TooManyRequests.

        The anonymous user ("") is not one user: what stands for it are its connections.
        """
        users, topics = self._users, self._topics
        if users is None and topics is None:
            return
        now = self.clock()
        if users is not None and user and not users.take(user, now):
            raise self._too_many("publishes_per_user", user, users.wait(user, now))
        if topics is not None and not topics.take(topic, now):
            if users is not None and user:
                users.give_back(user)  # what others do on a busy topic costs the user nothing elsewhere
            raise self._too_many("publishes_per_topic", topic, topics.wait(topic, now))

    def request(self, key: str, count: int = 1) -> None:
        """Counts so many commands of the API by the key of this name; raises TooManyRequests.

        Raises ReplyError 107 for more in one request than may ever be done at once.
        """
        if self._keys is None or count < 1:
            return
        if count > self._keys.burst:
            self.over("api_requests", key)
            most = int(self._keys.burst)
            raise ReplyError(BAD_REQUEST, f"bad request: {count} commands in one request, {most} may be")
        now = self.clock()
        if not self._keys.take(key, now, count):
            raise self._too_many("api_requests", key, self._keys.wait(key, now, count))

    def unasked(self, key: str) -> None:
        """Makes up for a command that was counted and has to be asked for again."""
        if self._keys is not None:
            self._keys.give_back(key)

    def _too_many(self, limit: str, who: str, seconds: float) -> TooManyRequests:
        self.over(limit, who)
        return TooManyRequests(seconds)

    def over(self, limit: str, who: str) -> None:
        """Counts what was refused, and tells the log of it once in a while; `limit` is one of a closed set."""
        metrics.LIMITED.labels(limit).inc()
        untold, now = self._untold.get(limit, 0) + 1, self.clock()
        if now < self._quiet_until.get(limit, -math.inf):
            self._untold[limit] = untold
            return
        self._untold[limit], self._quiet_until[limit] = 0, now + QUIET_SECONDS
        _log.warning(
            "over limits.%s: %d refused since the last such line, now of %r", limit, untold, who[:_SHOWN]
        )


def _burst(per_second: float) -> float:
    return max(1.0, 2 * per_second)


def _keyed(per_second: float | None) -> Rates | None:
    return None if per_second is None else Rates(per_second, _burst(per_second))
