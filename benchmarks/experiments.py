"""Ways of doing what the hub does, side by side: what was tried for the hot path, small enough to be run again.

    python benchmarks/experiments.py [--sockets 500] [--publications 20] [--rounds 5]

Writing: one process writes 132 bytes to each of many sockets on loopback, another one reads them and lets go of them.
The figures are CPU time of the writer, user and system, for each delivery; all ways take turns, the medians of all
rounds are shown. Making: the same work within one process, the shortest of all rounds.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import gc
import json
import os
import select
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import msgspec
import uvloop
from broadcaster import Broadcast

from hub.protocol.deflate import shared_text_frame
from hub.protocol.frames import text_frame

FRAME: Final = text_frame(b"x" * 128)
BURST: Final = 10
WARMING: Final = 20
DELAY: Final = 0.005
CALLS: Final = 20_000
PAYLOAD: Final = Path(__file__).with_name("payloads") / "dashboard.json"
C: Final = """
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>
void to_all(const int *sockets, int count, const char *bytes, long size) {
    for (int i = 0; i < count; i++) send(sockets[i], bytes, size, MSG_DONTWAIT | MSG_NOSIGNAL);
}
void nothing(int count) { while (count--) syscall(SYS_getppid); }
"""


def compiled() -> Any:
    """The loop in C, None where there is no compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        source, library = Path(folder) / "loop.c", Path(folder) / "loop.so"
        source.write_text(C)
        subprocess.run([compiler, "-O2", "-shared", "-fPIC", "-o", library, source], check=True)
        return ctypes.CDLL(str(library))


def read_all(port: int, count: int) -> None:
    """The other process: opens so many sockets, and reads until the writer closes them."""
    poll, sockets = select.epoll(), {}
    for _ in range(count):
        each = socket.create_connection(("127.0.0.1", port))
        each.setblocking(False)
        sockets[each.fileno()] = each
        poll.register(each.fileno(), select.EPOLLIN)
    while sockets:
        for number, _ in poll.poll():
            with suppress(BlockingIOError):
                if not sockets[number].recv(1 << 16):
                    sockets.pop(number).close()


class Peer(asyncio.Protocol):
    """A client as a server sees it, with what uvicorn's protocols keep for `await send()`."""

    def __init__(self, peers: list[Peer]) -> None:
        self._peers = peers
        self.writable = asyncio.Event()
        self.writable.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Joins the others."""
        self.transport = cast(asyncio.Transport, transport)
        self.number: int = transport.get_extra_info("socket").fileno()
        self._peers.append(self)

    async def send(self, data: bytes) -> None:
        """Writes, and waits while the buffer is full, which it never is here."""
        self.transport.write(data)
        await self.writable.wait()


class Writers:
    """The ways to write one frame, or a burst of them, to all peers. Each returns once all of it was written."""

    def __init__(self, peers: list[Peer], library: Any) -> None:
        self.peers = peers
        self._library = library
        self._transports = [peer.transport for peer in peers]
        self._numbers = [peer.number for peer in peers]
        self._array = (ctypes.c_int * len(peers))(*self._numbers)
        self._tasks: list[asyncio.Task[None]] = []
        self._left = 0
        self._queues: list[asyncio.Queue[bytes]] = []
        self._many = Broadcast("memory://")
        self._one = Broadcast("memory://")

    async def open(self) -> None:
        """Starts the tasks of those ways that have some."""
        await self._many.connect()
        await self._one.connect()
        for peer in self.peers:
            queue: asyncio.Queue[bytes] = asyncio.Queue()
            self._queues.append(queue)
            self._tasks.append(asyncio.create_task(self._drain(queue, peer)))
            self._tasks.append(asyncio.create_task(self._listen(peer)))
        self._tasks.append(asyncio.create_task(self._pump()))
        await asyncio.sleep(0.1)

    async def close(self) -> None:
        """Ends them, and the connections."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._many.disconnect()
        await self._one.disconnect()
        for transport in self._transports:
            transport.close()
        await asyncio.sleep(0.1)

    async def _drain(self, queue: asyncio.Queue[bytes], peer: Peer) -> None:
        while True:
            await peer.send(await queue.get())
            self._left -= 1

    async def _listen(self, peer: Peer) -> None:
        async with self._many.subscribe("topic") as subscriber:
            while True:
                await peer.send(cast(Any, await subscriber.get()).message)
                self._left -= 1

    async def _pump(self) -> None:
        async with self._one.subscribe("topic") as subscriber:
            while True:
                self._to_all(cast(Any, await subscriber.get()).message)
                self._left = 0

    async def _all_written(self) -> None:
        while self._left > 0:  # noqa: ASYNC110 - an event would be a part of what is measured
            await asyncio.sleep(0)

    def _to_all(self, data: bytes) -> None:
        for transport in self._transports:
            transport.write(data)

    async def transport(self) -> None:
        """A loop over transports."""
        self._to_all(FRAME)

    async def guarded(self) -> None:
        """The same, asking each first how much waits there."""
        for transport in self._transports:
            if not transport.get_write_buffer_size():
                transport.write(FRAME)

    async def descriptors(self) -> None:
        """Past the transport, to its descriptor."""
        for number in self._numbers:
            os.write(number, FRAME)

    async def in_c(self) -> None:
        """The same loop in C."""
        self._library.to_all(self._array, len(self._numbers), FRAME, len(FRAME))

    async def awaited(self) -> None:
        """`await` for each send, one after another."""
        for peer in self.peers:
            await peer.send(FRAME)

    async def gathered(self) -> None:
        """A task for each send."""
        await asyncio.gather(*(peer.send(FRAME) for peer in self.peers))

    async def queues(self) -> None:
        """A queue and a writer task for each client."""
        self._left = len(self._queues)
        for queue in self._queues:
            queue.put_nowait(FRAME)
        await self._all_written()

    async def many_subscribers(self) -> None:
        """A subscription with broadcaster for each client."""
        self._left = len(self.peers)
        await self._many.publish("topic", FRAME)
        await self._all_written()

    async def one_pump(self) -> None:
        """One subscription with broadcaster for the topic, and a loop over transports."""
        self._left = 1
        await self._one.publish("topic", FRAME)
        await self._all_written()

    async def burst_alone(self) -> None:
        """Publications of one turn of the loop, each written by itself."""
        for _ in range(BURST):
            self._to_all(FRAME)

    async def burst_joined(self) -> None:
        """The same, joined and written once."""
        self._to_all(FRAME * BURST)

    async def spaced(self) -> None:
        """Publications half a millisecond apart, each in its turn of the loop."""
        for _ in range(BURST):
            self._to_all(FRAME)
            await asyncio.sleep(DELAY / BURST)

    async def spaced_joined(self) -> None:
        """The same, gathered for 5 ms and written once."""
        for _ in range(BURST):
            await asyncio.sleep(DELAY / BURST)
        self._to_all(FRAME * BURST)


Way = Callable[[Writers], Awaitable[None]]
WAYS: Final[dict[str, tuple[Way, int]]] = {
    "loop over `transport.write`": (Writers.transport, 1),
    "the same, asking for the buffer's size before": (Writers.guarded, 1),
    "`os.write` to the descriptor": (Writers.descriptors, 1),
    "loop of `send` in C": (Writers.in_c, 1),
    "`await send()` for each": (Writers.awaited, 1),
    "`gather`: a task for each send": (Writers.gathered, 1),
    "a queue and a task for each client": (Writers.queues, 1),
    "broadcaster, a subscription for each client": (Writers.many_subscribers, 1),
    "broadcaster, one pump for the topic": (Writers.one_pump, 1),
    "10 at once, each alone": (Writers.burst_alone, BURST),
    "10 at once, joined": (Writers.burst_joined, BURST),
    "10 in 5 ms, each in its turn": (Writers.spaced, BURST),
    "10 in 5 ms, joined after 5 ms": (Writers.spaced_joined, BURST),
}
Found = dict[tuple[str, str], list[float]]


async def write(loop: str, turn: int, sockets: int, publications: int, library: Any, found: Found) -> None:
    """One round of all ways on one event loop; adds the seconds for each delivery."""
    peers: list[Peer] = []
    server = await asyncio.get_running_loop().create_server(
        lambda: Peer(peers), "127.0.0.1", 0, backlog=sockets
    )
    port = str(server.sockets[0].getsockname()[1])
    reader = await asyncio.create_subprocess_exec(
        sys.executable, __file__, "--read", port, "--sockets", str(sockets)
    )
    try:
        async with asyncio.timeout(30):
            while len(peers) < sockets:  # noqa: ASYNC110 - not a part of what is measured
                await asyncio.sleep(0.01)
        writers = Writers(peers, library)
        await writers.open()
        ways = list(WAYS.items())
        for _ in range(WARMING):
            await writers.transport()
            await asyncio.sleep(0.01)
        # In another order in each round: what comes first pays for what was done before.
        for name, (way, burst) in ways[turn % len(ways) :] + ways[: turn % len(ways)]:
            if way is Writers.in_c and library is None:
                continue
            took = 0.0
            for _ in range(publications):
                await asyncio.sleep(0.01)
                begun = time.process_time()
                await way(writers)
                await asyncio.sleep(0)  # what a way leaves for the next turns is a part of it
                await asyncio.sleep(0)
                took += time.process_time() - begun
            found.setdefault((name, loop), []).append(took / publications / sockets / burst)
        await writers.close()
    finally:
        server.close()
        async with asyncio.timeout(30):
            await reader.wait()


@dataclass
class Record:
    """A publication as a dataclass."""

    topic: str
    raw: bytes
    offset: int = 0
    epoch: str = ""


@dataclass(slots=True, frozen=True)
class FrozenRecord:
    """The same, with slots and frozen."""

    topic: str
    raw: bytes
    offset: int = 0
    epoch: str = ""


class Struct(msgspec.Struct, gc=False):
    """The same as a struct of which the garbage collector knows nothing."""

    topic: str
    raw: bytes
    offset: int = 0
    epoch: str = ""


async def handled() -> None:
    """What has nothing to wait for."""


async def making(library: Any) -> dict[str, float]:
    """One round; seconds for each call."""
    raw = PAYLOAD.read_text().strip().replace("{r}", "123").replace("{mark}", "1").encode()
    value, context = json.loads(raw), zlib.compressobj(6, zlib.DEFLATED, -12, 5)
    envelope = {"push": {"channel": "topic", "pub": {"data": value, "offset": 7}}}
    splice = b'{"push":{"channel":"%b","pub":{"data":%b,"offset":%d}}}'

    def begun() -> None:
        with suppress(StopIteration):
            handled().send(None)

    def with_context() -> None:
        context.compress(raw)
        context.flush(zlib.Z_SYNC_FLUSH)

    calls: dict[str, Callable[[], object]] = {
        "a frame handled in a coroutine begun without a task": begun,
        "a publication as a dataclass": lambda: Record("topic", raw, 7, "epoch"),
        "as a frozen dataclass with slots": lambda: FrozenRecord("topic", raw, 7, "epoch"),
        "as a struct": lambda: Struct("topic", raw, 7, "epoch"),
        "envelope by `json.dumps`": lambda: json.dumps(envelope),
        "envelope by msgspec": lambda: msgspec.json.encode(envelope),
        "envelope around the payload as it came": lambda: splice % (b"topic", raw, 7),
        "compressed for one connection, with its context": with_context,
        "compressed for all": lambda: shared_text_frame(raw, 12),
    }
    found = {name: timed(call) for name, call in calls.items()}
    before = time.process_time()
    for _ in range(CALLS):
        await asyncio.create_task(handled())
    found["a frame handled in a task of its own"] = (time.process_time() - before) / CALLS
    if library is not None:
        before = time.process_time()
        library.nothing(CALLS)
        found["a system call that does nothing"] = (time.process_time() - before) / CALLS
    return found


def timed(call: Callable[[], object]) -> float:
    """Seconds for a call."""
    count = CALLS // 20
    before = time.process_time()
    for _ in range(count):
        call()
    return (time.process_time() - before) / count


def main() -> None:
    """Measures, and prints two tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--sockets", type=int, default=500)
    parser.add_argument("--publications", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--read", type=int, default=0, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.read:
        read_all(given.read, given.sockets)
        return
    library = compiled()
    loops = {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}
    found: Found = {}
    made: dict[str, list[float]] = {}
    for turn in range(given.rounds):
        for name, factory in loops.items():
            gc.collect()
            with asyncio.Runner(loop_factory=factory) as runner:
                runner.run(write(name, turn * 3, given.sockets, given.publications, library, found))
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            for step, seconds in runner.run(making(library)).items():
                made.setdefault(step, []).append(seconds)
    base = statistics.median(found["loop over `transport.write`", "uvloop"])
    print("| writing, µs of CPU for each delivery | uvloop | to the loop | asyncio | to the loop |")
    print("| --- | --- | --- | --- | --- |")
    for way in WAYS:
        cells = []
        for loop in loops:
            median = statistics.median(found.get((way, loop), [float("nan")]))
            cells += [f"{median * 1e6:.1f}", f"{median / base:.2f}"]
        print(f"| {way} | {' | '.join(cells)} |")
    print("\n| making | µs |\n| --- | --- |")
    for step, values in made.items():
        print(f"| {step} | {min(values) * 1e6:.2f} |")


if __name__ == "__main__":
    main()
