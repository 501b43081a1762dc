"""From names to addresses, without blocking the event loop and without ever holding many threads."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

Lookup: TypeAlias = Callable[[str, int], Awaitable[list[str]]]
"""The addresses of a name, in the order in which they shall be tried; raises OSError when there are none."""

MAX_LOOKUPS: Final = 3
"""Names asked for at once. Each holds a thread of the loop's until the name server answers or is given up, and uvloop
has four in all."""


class Resolver:
    """Asks once for all who want the same name at the same time; keeps nothing, as the system's resolver does that."""

    def __init__(self, lookup: Lookup) -> None:
        self._lookup = lookup
        self._asked: dict[tuple[str, int], asyncio.Task[list[str]]] = {}
        self._room = asyncio.Semaphore(MAX_LOOKUPS)

    async def addresses(self, host: str, port: int) -> list[str]:
        """The addresses of a name; raises OSError. Whoever no longer wants to wait is simply cancelled."""
        task = self._asked.get((host, port))
        if task is None:
            task = asyncio.get_running_loop().create_task(self._ask(host, port), name=f"resolve {host}")
            self._asked[host, port] = task
            task.add_done_callback(lambda done: self._answered((host, port), done))
        return await asyncio.shield(task)

    async def _ask(self, host: str, port: int) -> list[str]:
        async with self._room:
            return await self._lookup(host, port)

    def _answered(self, name: tuple[str, int], task: asyncio.Task[list[str]]) -> None:
        del self._asked[name]
        if not task.cancelled():
            task.exception()  # seen, also where everybody who wanted it has gone

    async def close(self) -> None:
        """Gives up what is still asked for."""
        tasks = list(self._asked.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def system_lookup(host: str, port: int) -> list[str]:
    """What the system's resolver says."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))
