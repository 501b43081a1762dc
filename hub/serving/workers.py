"""Several processes on one port: each is a whole node, this is what starts, watches, replaces and stops them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from typing import Final

from hub.serving.inherit import Inheritance, command, numbers_of
from hub.serving.listen import close_all

READY: Final = b"ready\n"
_PAUSES: Final = (0.5, 1.0, 2.0, 5.0, 10.0)
"""Seconds before a worker that died is replaced: longer, the more often one in its place died soon after its start."""
_SOON: Final = 30.0

_log = logging.getLogger("hub.serving")


class Control:
    """A worker's line to its parent. When the parent is gone, however it went, `lost` is called."""

    def __init__(self, number: int, lost: Callable[[], None]) -> None:
        self._line = socket.socket(fileno=number)
        self._line.set_inheritable(False)
        self._line.setblocking(False)
        self._lost = lost
        asyncio.get_running_loop().add_reader(self._line, self._read)

    def ready(self) -> None:
        """Tells the parent that connections are accepted."""
        with contextlib.suppress(OSError):
            self._line.send(READY)

    def close(self) -> None:
        """Ends the line."""
        asyncio.get_running_loop().remove_reader(self._line)
        self._line.close()

    def _read(self) -> None:
        try:
            gone = not self._line.recv(64)
        except BlockingIOError:
            return
        except OSError:
            gone = True
        if gone:
            asyncio.get_running_loop().remove_reader(self._line)
            self._lost()


class Worker:
    """One worker process, seen by its parent."""

    def __init__(
        self, process: asyncio.subprocess.Process, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.process = process
        self._reader = reader
        self._writer = writer

    @classmethod
    async def start(
        cls, arguments: Sequence[str], public: list[socket.socket], internal: list[socket.socket]
    ) -> Worker:
        """Starts a process with copies of the sockets; signals of the terminal reach it through its parent only."""
        ours, theirs = socket.socketpair()
        given = Inheritance(numbers_of(public), numbers_of(internal), control=theirs.fileno())
        with theirs:
            reader, writer = await asyncio.open_connection(sock=ours)
            process = await asyncio.create_subprocess_exec(
                *command(arguments, given),
                stdin=subprocess.DEVNULL,
                pass_fds=(*given.public, *given.internal, theirs.fileno()),
                start_new_session=True,
            )
        return cls(process, reader, writer)

    async def ready(self) -> bool:
        """Waits until the worker accepts connections; false when it ends before."""
        try:
            return await self._reader.readline() == READY
        except OSError:
            return False

    async def ended(self) -> int:
        """Waits for the worker's end and returns its exit status."""
        status = await self.process.wait()
        self._writer.close()
        return status

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal, if there is still somebody to get it."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)


class Workers:
    """Keeps several workers running: one for each entry of `internal`, which holds its sockets of the second port.

    To be used once, within a running event loop.
    """

    def __init__(
        self, arguments: Sequence[str], public: list[socket.socket], internal: Sequence[list[socket.socket]]
    ) -> None:
        """`arguments` is the command line of a worker without the program's name."""
        self._arguments = arguments
        self._public = public
        self._internal = internal
        self._running: dict[int, Worker] = {}
        self._stopping = asyncio.Event()
        self._sockets = asyncio.Lock()
        self._all_up = False

    async def run(self, ready: Callable[[], None]) -> int:
        """Serves until SIGTERM or SIGINT; calls `ready` once every worker accepts connections.

        Returns the exit status: 0 when all workers stopped in order, else that of the first that did not.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._signalled, number)
        closing = asyncio.create_task(self._close_when_stopping())
        first: list[Worker] = []
        while len(first) < len(self._internal) and not self._stopping.is_set():
            first.append(await self._start(len(first)))
        waiting = asyncio.create_task(self._wait_for_all(first, ready))
        statuses = await asyncio.gather(*(self._keep(place, worker) for place, worker in enumerate(first)))
        waiting.cancel()
        closing.cancel()
        return next((status if status > 0 else 128 - status for status in statuses if status), 0)

    def stop(self) -> None:
        """Asks every worker to stop: in order, and when asked again quickly."""
        self._stopping.set()
        for worker in self._running.values():
            worker.signal(signal.SIGTERM)

    async def _start(self, place: int) -> Worker:
        async with self._sockets:
            worker = await Worker.start(self._arguments, self._public, self._internal[place])
        self._running[place] = worker
        if self._stopping.is_set():
            worker.signal(signal.SIGTERM)
        return worker

    async def _close_when_stopping(self) -> None:
        """From then on the workers alone listen, so that nobody waits on a port that none of them serves any more."""
        await self._stopping.wait()
        async with self._sockets:
            close_all([*self._public, *(each for place in self._internal for each in place)])

    async def _wait_for_all(self, workers: Sequence[Worker], ready: Callable[[], None]) -> None:
        if all(await asyncio.gather(*(worker.ready() for worker in workers))):
            self._all_up = True
            ready()

    async def _keep(self, place: int, worker: Worker) -> int:
        """Replaces the worker in one place when it ends, while the hub is to run; returns the last one's status."""
        soon = 0
        while True:
            began = time.monotonic()
            status = await worker.ended()
            if self._stopping.is_set():
                return 0 if status == -signal.SIGTERM else status  # too early for it to stop in order
            if not self._all_up:  # what keeps one from starting will keep the others from it too
                self.stop()
                return status or 1
            soon = soon + 1 if time.monotonic() - began < _SOON else 0
            pause = _PAUSES[min(soon, len(_PAUSES) - 1)]
            _log.error("worker %d ended with %d; another starts in %g s", worker.process.pid, status, pause)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause)
                return 0
            worker = await self._start(place)

    def _signalled(self, number: signal.Signals) -> None:
        _log.info("stopping on %s", number.name)
        self.stop()
