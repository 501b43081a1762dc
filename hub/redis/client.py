"""Commands and scripts for Redis, whatever stands behind its URL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hub.redis.call import Argument
from hub.redis.cluster import Cluster
from hub.redis.cluster_map import ClusterMap
from hub.redis.lanes import Lanes, OneLane
from hub.redis.place import Place
from hub.redis.places import place_of
from hub.redis.script import Script


class Redis:
    """One Redis for commands, over connections of its own that are made when they are needed.

    Commands are sent in the order in which they are given, those of one loop tick in one write, and none is ever
    repeated once it may have been done. All are answered within `timeout` seconds, of which `connect_timeout` may go
    into connecting, or raise BrokerError; its `unknown` says that the command may have been done all the same.
    `scripts` are those that `run` may be given. Several that are given one place rather than its URL ask together where
    its primaries are. Raises HubError for a URL that cannot be used.
    """

    def __init__(
        self,
        url: str | Place | ClusterMap,
        *,
        scripts: Sequence[Script],
        timeout: float,
        connect_timeout: float,
    ) -> None:
        self._lanes = _lanes(url, scripts, timeout, connect_timeout)

    def open(self) -> None:
        """Takes commands from now on; before that they raise BrokerError."""
        self._lanes.open()

    async def close(self) -> None:
        """Takes no more commands; those under way fail. It may be opened again."""
        await self._lanes.close()

    async def command(self, key: bytes, *arguments: Argument) -> Any:
        """The answer to a command, in bytes and integers. `key` only says where it belongs. Raises BrokerError."""
        return await self._lanes.command(key, arguments)

    async def run(self, script: Script, keys: Sequence[bytes], *arguments: Argument) -> Any:
        """The answer of a script; its keys, at least one, share a slot of a cluster. Raises BrokerError."""
        return await self._lanes.run(keys[0], script, keys, arguments)


def _lanes(
    url: str | Place | ClusterMap, scripts: Sequence[Script], timeout: float, connect_timeout: float
) -> Lanes:
    """What routes the commands of this form of URL."""
    place = place_of(url) if isinstance(url, str) else url
    if isinstance(place, ClusterMap):
        return Cluster(place, scripts, timeout=timeout, connect_timeout=connect_timeout)
    return OneLane(place, scripts, timeout=timeout, connect_timeout=connect_timeout)
