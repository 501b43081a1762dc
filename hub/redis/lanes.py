"""Which lane carries a command: one server needs one, a cluster one for each of its primaries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from hub.redis.call import Argument
from hub.redis.lane import Lane
from hub.redis.place import Place
from hub.redis.script import Script


class Lanes(Protocol):
    """Takes commands with the key that routes them. Commands of a key are sent in the order in which they came."""

    def open(self) -> None:
        """Takes commands from now on."""

    async def close(self) -> None:
        """Takes no more; those under way fail."""

    async def command(self, key: bytes, arguments: Sequence[Argument]) -> Any:
        """The answer to a command. Raises BrokerError."""

    async def run(
        self, key: bytes, script: Script, keys: Sequence[bytes], arguments: Sequence[Argument]
    ) -> Any:
        """The answer of a script. Raises BrokerError."""


class OneLane:
    """All commands go to the one server at a place."""

    def __init__(
        self, place: Place, scripts: Sequence[Script], *, timeout: float, connect_timeout: float
    ) -> None:
        self._lane = Lane(place, scripts, timeout=timeout, connect_timeout=connect_timeout)

    def open(self) -> None:
        """Takes commands from now on."""
        self._lane.open()

    async def close(self) -> None:
        """Takes no more; those under way fail."""
        await self._lane.close()

    async def command(self, key: bytes, arguments: Sequence[Argument]) -> Any:
        """The answer to a command. Raises BrokerError."""
        return await self._lane.command(*arguments)

    async def run(
        self, key: bytes, script: Script, keys: Sequence[bytes], arguments: Sequence[Argument]
    ) -> Any:
        """The answer of a script. Raises BrokerError."""
        return await self._lane.run(script, keys, *arguments)
