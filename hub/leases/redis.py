"""Leases on Redis."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, TypeVar

from hub.leases.base import Grant, LeaseStore, kept
from hub.redis.client import Redis
from hub.redis.script import read_script

TIMEOUT_SECONDS: Final = 3.0
CONNECT_SECONDS: Final = 2.0
CHUNK: Final = 200
"""Leases in one run of a script at most, so that Redis is not held up."""
_ACQUIRE: Final = read_script("hub.leases", "clock", "acquire", with_run=True)
_RENEW: Final = read_script("hub.leases", "renew")

T = TypeVar("T")


class RedisLeases(LeaseStore):
    """Leases by the clock of Redis, on a connection of their own.

    After a restart and after a failover nothing is granted for a term, since Redis may not have what it granted last.
    Two nodes may hold one lease while a former primary, cut off from the others, still answers one of them. Raises
    HubError for a URL that cannot be used.
    """

    def __init__(self, url: str, *, prefix: str, owner: str, term: float) -> None:
        super().__init__(owner, term)
        self._redis = Redis(
            url, scripts=(_ACQUIRE, _RENEW), timeout=TIMEOUT_SECONDS, connect_timeout=CONNECT_SECONDS
        )
        # All in the same braces: a cluster keeps them in one place, where one mark serves all.
        self._mark = f"{prefix}:l:{{leases}}".encode()

    async def open(self) -> None:
        """Takes calls from now on."""
        self._redis.open()

    async def close(self) -> None:
        """Ends the connection."""
        await self._redis.close()

    async def acquire(self, names: Sequence[str], seconds: float | None = None) -> list[Grant]:
        """Takes what is free."""
        lengths = _ms(self.term), _ms(self.term if seconds is None else seconds)
        grants: list[Grant] = []
        for some in _chunks(names):
            keys = [self._mark, *map(self._key, some)]
            found = await self._redis.run(_ACQUIRE, keys, self.owner, *lengths)
            grants += [
                Grant(some[at - 1], number) for at, number in zip(found[::2], found[1::2], strict=True)
            ]
        return grants

    async def renew(self, grants: Sequence[Grant]) -> list[Grant]:
        """Gives another term."""
        return [
            grant
            for some in _chunks(grants)
            for grant in kept(some, await self._prolong(some, _ms(self.term)))
        ]

    async def release(self, grants: Sequence[Grant]) -> None:
        """Ends grants."""
        for some in _chunks(grants):
            await self._prolong(some, 0)

    async def _prolong(self, grants: Sequence[Grant], length: int) -> Any:
        keys = [self._key(grant.name) for grant in grants]
        return await self._redis.run(_RENEW, keys, self.owner, length, *(grant.number for grant in grants))

    def _key(self, name: str) -> bytes:
        return self._mark + b":" + name.encode("utf-8", "surrogatepass")


def _ms(seconds: float) -> int:
    return max(1, int(seconds * 1000))


def _chunks(items: Sequence[T]) -> Iterator[Sequence[T]]:
    for at in range(0, len(items), CHUNK):
        yield items[at : at + CHUNK]
