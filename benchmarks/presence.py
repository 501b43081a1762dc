"""What presence costs on a topic of ten and on one of many, and what it costs to let a dead node's clients go.

    python benchmarks/presence.py URL [--clients 100000]

URL is a broker's, of a server that serves nothing else meanwhile: redis://127.0.0.1:6379. Calls come one after another,
in milliseconds; both nodes share one process.
"""

from __future__ import annotations

import argparse
import asyncio
import secrets
import statistics
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

from hub.model import ClientInfo
from hub.presence.base import Presence
from hub.presence.factory import make_presence

CALLS: Final = 300
AT_ONCE: Final = 10_000
PIECE: Final = 500


async def timed(what: str, call: Callable[[], Awaitable[Any]], times: int = 1) -> None:
    """Prints the median and the longest of some calls."""
    took = []
    for _ in range(times):
        began = time.perf_counter()
        await call()
        took.append((time.perf_counter() - began) * 1000)
    print(f"  {what:32} {statistics.median(took):9.2f}   longest {max(took):9.2f}")


async def topic(here: Presence, there: Presence, clients: int) -> None:
    """One topic on which `there` has clients, used by `here`."""
    name = f"bench:{clients}"
    infos = [ClientInfo(f"user-{n % (clients * 3 // 4)}", f"client-{n}", b"{}") for n in range(clients)]
    print(f"{clients} clients")
    await timed("a node enters all", lambda: there.restore({name: infos}))
    await timed("and once more", lambda: there.restore({name: infos}))
    await timed("presence_stats", lambda: here.stats(name), CALLS)
    await timed("presence", lambda: here.get(name), 5)
    numbers = iter(range(CALLS))
    await timed("a client enters", lambda: here.add(name, ClientInfo("u", f"new-{next(numbers)}")), CALLS)
    numbers = iter(range(CALLS))
    await timed("a client leaves", lambda: here.remove(name, f"new-{next(numbers)}", "u"), CALLS)
    await timed("a node renews its lease", there.renew, CALLS)


async def swept(node: Presence) -> None:
    """Lets all go whose lease has ended."""
    count, took = 0, []
    while True:
        began = time.perf_counter()
        piece = await node.sweep(PIECE)
        if not piece:
            break
        took.append((time.perf_counter() - began) * 1000)
        count += len(piece)
    print(
        f"{count} clients of a node that is gone\n  swept in {sum(took):.0f}, longest piece {max(took):.1f}"
    )


async def run(url: str, clients: int) -> None:
    """All of it."""
    prefix = f"bench{secrets.token_hex(3)}"
    here, there = (make_presence(url, prefix=prefix, node=name, lease=60) for name in ("here", "there"))
    for node in (here, there):
        await node.start()
        await node.renew()
    for size in (10, clients):
        await topic(here, there, size)

    async def at_once() -> None:
        await asyncio.gather(*(here.add("bench:new", ClientInfo("u", f"c-{n}")) for n in range(AT_ONCE)))

    await timed(f"{AT_ONCE} clients enter at once", at_once)
    await there.stop()
    await swept(here)
    await here.stop()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("url")
    parser.add_argument("--clients", type=int, default=100_000)
    options = parser.parse_args()
    asyncio.run(run(options.url, options.clients))
