"""Presence by the broker's URL: it is kept where publications are linked."""

from __future__ import annotations

import time
from collections.abc import Callable

from hub.errors import HubError
from hub.presence.base import Presence
from hub.presence.memory import MemoryPresence

SCHEMES = ("memory", "redis", "rediss")
"""The schemes of URLs that name a presence store."""


def make_presence(
    url: str, *, prefix: str, ttl: float, clock: Callable[[], float] = time.monotonic
) -> Presence:
    """The presence store that belongs to a broker's URL; leases last `ttl` seconds.

    `prefix` begins every key on a shared server; `clock` is that of a store in memory. Raises HubError when the scheme
    is unknown, the URL wrong, or a package that the store needs is not installed.
    """
    scheme = url.partition(":")[0]
    if scheme not in SCHEMES:
        raise HubError(
            f"the URL of presence must begin with one of {', '.join(f'{each}://' for each in SCHEMES)}"
        )
    if scheme == "memory":
        return MemoryPresence(ttl, clock)
    try:
        from hub.presence.redis import RedisPresence  # noqa: PLC0415  # its package is an extra
    except ModuleNotFoundError as error:
        if error.name and error.name.partition(".")[0] == "redis":
            raise HubError("package redis is missing: pip install 'topichub[redis]'") from None
        raise
    return RedisPresence(url, prefix=prefix, ttl=ttl)
