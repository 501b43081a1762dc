"""Who may still connect: how many connections a process holds, and how many of them come from one address.

Nothing here knows a socket. Whoever opens one enters it, and takes it out when it is gone: exactly once, however it
ends. Sessions of users are not counted here, for the node knows them (`hub.node.Registry`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final

from hub import metrics
from hub.rates import Rate

UNKNOWN: Final = ""
"""The address of a connection that counts for the process alone."""
_IPV6_BITS: Final = 64
"""Bits of a network that one subscriber is given whole."""
_LOG_EVERY: Final = 60.0
"""Seconds between two lines of the log about the same limit."""
_log: Final = logging.getLogger("hub.admission")


@dataclass(frozen=True, slots=True, eq=False)
class Bound:
    """A limit on connections: its name in the file and in metrics, and how those are answered who are beyond it."""

    setting: str
    status: int
    message: str
    retry_after: range
    """Seconds: answers take turns through them, so that those who were refused together do not come back together."""


PROCESS: Final = Bound("connections", 503, "the node holds as many connections as it may", range(2, 12))
ADDRESS: Final = Bound("connections_per_ip", 429, "too many connections from this address", range(10, 31))
HANDSHAKES: Final = Bound("handshakes", 503, "too many connect at once", range(1, 6))
USER: Final = Bound("connections_per_user", 429, "too many connections of this user", range(10, 31))


class Refusals:
    """Counts refusals, and tells the log of them: a line at the first, and then one a minute at most for each bound."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """`clock` gives seconds that never go back."""
        self._clock = clock
        bounds = (PROCESS, ADDRESS, HANDSHAKES, USER)
        self._counters = {each: metrics.LIMITED.labels(each.setting) for each in bounds}
        self._told = dict.fromkeys(bounds, (float("-inf"), 0))

    def count(self, bound: Bound) -> None:
        """Counts one."""
        self._counters[bound].inc()
        at, untold = self._told[bound]
        now = self._clock()
        if now - at < _LOG_EVERY:
            self._told[bound] = (at, untold + 1)
            return
        self._told[bound] = (now, 0)
        _log.warning(
            "limits.%s is reached; connections refused since last told: %d", bound.setting, untold + 1
        )


class Admission:
    """The connections of a process: how many there are, and from which addresses."""

    def __init__(
        self,
        *,
        connections: int | None,
        per_address: int | None,
        handshakes: int | None,
        addresses: Addresses,
        refusals: Refusals,
        clock: Callable[[], float],
    ) -> None:
        """Each bound is None where it is off; `handshakes` are a second's, and twice as many may come at once."""
        self.count = 0
        """Connections that are open."""
        self.addresses = addresses
        self._most = connections
        self._per_address = per_address
        self._held: dict[str, int] = {}
        self._rate = None if handshakes is None else Rate(handshakes, 2 * handshakes)
        self._refusals = refusals
        self._clock = clock

    def enter(self, address: str) -> Bound | None:
        """Counts a connection from an address (see `Addresses`); the bound that refuses it, or None.

        Who has entered must `leave` once.
        """
        bound = self._reached(address)
        if bound is not None:
            self._refusals.count(bound)
            return bound
        self.count += 1
        if address and self._per_address is not None:
            self._held[address] = self._held.get(address, 0) + 1
        return None

    def _reached(self, address: str) -> Bound | None:
        if self._most is not None and self.count >= self._most:
            return PROCESS
        if self._per_address is not None and self._held.get(address, 0) >= self._per_address:
            return ADDRESS
        # Last, so that whoever is refused anyway takes nothing from the others.
        if self._rate is not None and not self._rate.take(self._clock()):
            return HANDSHAKES
        return None

    def leave(self, address: str) -> None:
        """Takes out a connection that had entered from this address."""
        self.count -= 1
        rest = self._held.get(address, 0) - 1
        if rest > 0:
            self._held[address] = rest
        else:
            self._held.pop(address, None)

    @contextmanager
    def entered(self, address: str) -> Iterator[Bound | None]:
        """Counts a connection for as long as the context lasts, unless the bound that it gives refuses it."""
        bound = self.enter(address)
        try:
            yield bound
        finally:
            if bound is None:
                self.leave(address)

    @property
    def places(self) -> int:
        """From how many addresses connections are counted."""
        return len(self._held)


class Addresses:
    """Under which address connections are counted: an IPv4 address, the /64 network of an IPv6 address, or UNKNOWN."""

    def __init__(self, proxies: Sequence[str]) -> None:
        """`proxies` are addresses and networks that are believed about whose connections they pass on, or "*" for all.

        A connection that one of them makes itself is nobody's that is known.
        """
        self.everyone = "*" in proxies
        self._networks = [ip_network(each, strict=False) for each in proxies if _is_network(each)]
        self._of = lru_cache(maxsize=4_096)(self._find)

    def of(self, host: str | None, *, forwarded: bool) -> str:
        """That of a client; `forwarded` says that its request has passed a proxy.

        What comes from this machine and has passed none is no visitor.
        """
        if not host or (not forwarded and (self.everyone or host == "::1" or host.startswith(_HERE))):
            return UNKNOWN
        return self._of(host) if len(host) < _LONGEST else _NONSENSE

    def _find(self, host: str) -> str:
        try:
            found: IPv4Address | IPv6Address = ip_address(host)
        except ValueError:
            return _NONSENSE
        if any(found in network for network in self._networks):
            return UNKNOWN
        if isinstance(found, IPv6Address):
            if found.ipv4_mapped is None:
                return str(ip_network((int(found), _IPV6_BITS), strict=False))
            found = found.ipv4_mapped
        return str(found)


_NONSENSE: Final = "?"
"""Where a proxy names no address all share one."""
_LONGEST: Final = 64
_HERE: Final = ("127.", "::ffff:127.")


def _is_network(text: str) -> bool:
    try:
        ip_network(text, strict=False)
    except ValueError:
        return False
    return True
