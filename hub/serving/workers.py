"""Several processes on one port: each is a whole node, this is what starts, watches, replaces and stops them.

All accept connections from the same listening sockets, so the ports of one that died or hangs are served by the others.
Whichever of them is asked for the metrics, or whether it is ready, answers for all: it asks their parent.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import signal
import time
from collections.abc import Callable, Sequence
from typing import Final

from hub.metrics import WORKER_RESTARTS, WORKERS_UNREACHABLE
from hub.serving.control import FIGURES, NO, READY, YES
from hub.serving.figures import Ledger, taken
from hub.serving.line import Method
from hub.serving.listen import Ports
from hub.serving.worker import Worker

_PAUSES: Final = (0.5, 1.0, 2.0, 5.0, 10.0)
"""Seconds before a worker that died is replaced: longer, the more often one in its place died soon after its start."""
_SOON: Final = 30.0
_COUNT_EVERY: Final = 5.0
"""Seconds between two looks at what workers have counted: one that is killed takes with it what it counted since."""

_log = logging.getLogger("hub.serving")


class Workers:
    """Keeps several workers running. To be used once, within a running event loop."""

    def __init__(self, arguments: Sequence[str], ports: Ports, number: int) -> None:
        """`arguments` is the command line of a worker without the program's name."""
        self._arguments = arguments
        self._ports = ports
        self._number = number
        self._running: dict[int, Worker] = {}
        self._stopping = asyncio.Event()
        self._sockets = asyncio.Lock()
        self._all_up = False
        self._ledger = Ledger()
        self._counting = asyncio.Lock()
        self._next_count: asyncio.Task[bytes] | None = None

    async def run(self, ready: Callable[[], None]) -> int:
        """Serves until SIGTERM or SIGINT; calls `ready` once every worker accepts connections.

        Returns the exit status: 0 when all workers stopped in order, else that of the first that did not.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._signalled, number)
        closing = asyncio.create_task(self._close_when_stopping())
        looking = asyncio.create_task(self._look())
        first: list[Worker] = []
        while len(first) < self._number and not self._stopping.is_set():
            first.append(await self._start(len(first)))
        waiting = asyncio.create_task(self._wait_for_all(first, ready))
        statuses = await asyncio.gather(*(self._keep(place, worker) for place, worker in enumerate(first)))
        for task in (waiting, closing, looking):
            task.cancel()
        return next((status if status > 0 else 128 - status for status in statuses if status), 0)

    def stop(self) -> None:
        """Asks every worker to stop: in order, and when asked again quickly."""
        self._stopping.set()
        for worker in self._running.values():
            worker.signal(signal.SIGTERM)

    async def _start(self, place: int) -> Worker:
        async with self._sockets:
            ready = functools.partial(self._others_ready, place)
            methods: dict[str, Method] = {FIGURES: self._figures, READY: ready}
            worker = await Worker.start(self._arguments, self._ports, methods)
        self._running[place] = worker
        if self._stopping.is_set():
            worker.signal(signal.SIGTERM)
        return worker

    async def _close_when_stopping(self) -> None:
        """From then on the workers alone listen, so that nobody waits on a port that none of them serves any more."""
        await self._stopping.wait()
        async with self._sockets:
            self._ports.close()

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
            del self._running[place]
            self._ledger.retire(worker.figures)
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
            WORKER_RESTARTS.inc()

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(_COUNT_EVERY)
            await self._figures(b"")

    async def _figures(self, _: bytes) -> bytes:
        """The metrics of all, not older than this call. Those who call while it waits to begin share it."""
        if self._next_count is None:
            self._next_count = asyncio.create_task(self._count())
        return await asyncio.shield(self._next_count)

    async def _count(self) -> bytes:
        async with self._counting:
            self._next_count = None
            asked = [worker for worker in self._running.values() if worker.heard]
            await asyncio.gather(*(worker.count() for worker in asked))
            WORKERS_UNREACHABLE.set(sum(worker.unreachable for worker in asked))
            living = {place: worker.figures for place, worker in sorted(self._running.items())}
            ours = taken(
                family for metric in (WORKERS_UNREACHABLE, WORKER_RESTARTS) for family in metric.collect()
            )
            return self._ledger.exposition(living, ours)

    async def _others_ready(self, place: int, _: bytes) -> bytes:
        if not self._all_up:
            return NO
        others = [worker for other, worker in self._running.items() if other != place and worker.up.is_set()]
        return NO if any(await asyncio.gather(*(worker.says_no() for worker in others))) else YES

    def _signalled(self, number: signal.Signals) -> None:
        _log.info("stopping on %s", number.name)
        self.stop()
