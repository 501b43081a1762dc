"""This node's lease in Redis, under names that change: clients of a former name are told from those of the present."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from secrets import token_hex
from typing import Final

from hub.errors import BrokerError
from hub.presence.base import Lease
from hub.presence.redis.keys import Keys, to_bytes
from hub.presence.redis.scripts import NOTE, RENEW
from hub.redis.client import Redis

_FATES: Final = (Lease.KEPT, Lease.TAKEN, Lease.LOST)
_ATTEMPTS: Final = 3


class OwnLease:
    """The lease of one node for `seconds`. Every time that it was taken or lost, the node goes on as another owner."""

    def __init__(self, redis: Redis, keys: Keys, *, node: str, seconds: float) -> None:
        self._redis = redis
        self._keys = keys
        self._node = to_bytes(node.replace("\0", " ")[:8])
        self._seconds = seconds
        self._lock = asyncio.Lock()
        self._born = time.monotonic()
        self._untold: Lease | None = None
        self._successor = self._name()
        self.owner = self._name()
        """Under what name entries are made now."""

    async def renew(self) -> Lease:
        """Renews the lease and says what became of it. Raises BrokerError."""
        async with self._lock:
            fate = await self._renew(replace=False)
            untold, self._untold = self._untold, None
            return untold if untold and fate is Lease.KEPT else fate

    async def freshen(self) -> None:
        """Goes on as another owner unless this one is younger than a lease. Raises BrokerError."""
        async with self._lock:
            aged = time.monotonic() - self._born > self._seconds
            if aged and await self._renew(replace=True) is Lease.TAKEN:
                self._untold = Lease.TAKEN

    async def note(self, topics: Sequence[str]) -> bytes:
        """The owner under whose lease clients may now be entered on these topics. Raises BrokerError."""
        names = [to_bytes(topic) for topic in topics]
        for _ in range(_ATTEMPTS):
            owner = self.owner
            if await self._redis.run(NOTE, self._keys.leases, owner, *names):
                return owner
            async with self._lock:
                if owner == self.owner:
                    fate = await self._renew(replace=False)
                    self._untold = self._untold if fate is Lease.KEPT else fate
        raise BrokerError("Redis does not keep the lease of this node")

    async def end(self) -> None:
        """Lets the lease end now. Raises BrokerError."""
        leases = self._keys.leases[0]
        await self._redis.command(leases, "ZADD", leases, "XX", 0, self.owner)

    async def _renew(self, *, replace: bool) -> Lease:
        length = max(1, int(self._seconds * 1000))
        # The successor stays the same until an answer comes: one that was lost may have given it the lease.
        answer = await self._redis.run(
            RENEW, self._keys.leases, self.owner, self._successor, length, int(replace)
        )
        fate = _FATES[answer]
        if fate is not Lease.KEPT:
            self.owner, self._successor = self._successor, self._name()
            self._born = time.monotonic()
        return fate

    def _name(self) -> bytes:
        return self._node + b"#" + token_hex(5).encode()
