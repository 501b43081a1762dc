"""Where to connect to, asked anew at each connect."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from hub.redis.address import Address


class Place(Protocol):
    """A server that may move: its address is asked for whenever a connection is made."""

    @property
    def name(self) -> str:
        """What logs call it."""

    @property
    def db(self) -> int:
        """The number of its database."""

    async def find(self) -> Address:
        """Where it is now. Raises OSError when nobody can say; bounding the time is the caller's."""

    def attach(self, moved: Callable[[Address], None]) -> None:
        """Calls `moved` with the new address whenever the server is found to be another, until `detach`."""

    async def detach(self, moved: Callable[[Address], None]) -> None:
        """Ends `attach`."""
