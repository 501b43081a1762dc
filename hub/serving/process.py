"""One node from its start to its stop: the public and the internal port, signals, and a stop that loses nobody.

The first SIGTERM or SIGINT stops in order: readiness turns to 503, clients are sent away in waves with a code that
means "come back", connections end, plugins and parts stop, the internal port closes last. A second signal cuts this
short, a third one kills.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import resource
import signal
from collections.abc import Callable, Coroutine, Iterator
from socket import socket
from typing import Any, Final, TypeVar

from hub.app import Hub, create_app, create_internal_app
from hub.errors import SHUTDOWN
from hub.serving.listen import Ports
from hub.serving.server import GRACE, NodeServer, make_internal_server, make_server

T = TypeVar("T")

_MOST_FILES: Final = 1_048_576
_LAST_WORDS: Final = 2.0
"""Seconds that clients may take to answer the close that they were sent."""
_LOOK: Final = 0.02

_log = logging.getLogger("hub.serving")


def run_loop(main: Coroutine[Any, Any, T]) -> T:
    """Runs a coroutine in uvloop where that is installed, else in asyncio's own loop."""
    factory: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop
    with contextlib.suppress(ImportError):
        import uvloop  # noqa: PLC0415 - there is none for every system

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(main)


def raise_file_limit() -> int:
    """Lets this process open as many files, and so connections, as it may; returns how many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST_FILES if hard == resource.RLIM_INFINITY else hard
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return wanted
    with contextlib.suppress(ValueError, OSError):  # some systems have a further bound that they do not tell
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


class NodeProcess:
    """Runs one hub on its ports. To be used once, within the event loop that runs it."""

    def __init__(self, hub: Hub, ports: Ports, *, dev_page: bool = False, grace: int = GRACE) -> None:
        """`grace` (seconds) bounds how long requests under way may take at the end."""
        self._hub = hub
        self._ports = ports
        self._public = make_server(create_app(hub, dev_page=dev_page), hub, grace=grace)
        self._internal = (
            make_internal_server(create_internal_app(hub), hub, grace=grace) if ports.internal else None
        )
        self._stopping = asyncio.Event()
        self._hurried = asyncio.Event()
        self._cut_short_by = 0

    def stop(self) -> None:
        """Asks for a stop in order; the second time, for a quick one."""
        if not self._stopping.is_set():
            self._stopping.set()
            self._ports.close()  # the servers have copies, which they close when they are done
        else:
            self._hurry()

    async def run(self, ready: Callable[[], None]) -> int:
        """Serves until it is told to stop; calls `ready` once connections are accepted.

        Returns the exit status: 0 after a stop in order, 128 and the signal's number after one that was cut short.
        Raises HubError when the hub cannot start.
        """
        with self._signals():
            if self._internal is None:
                await self._serve_public(ready)
            else:
                internal = _serve(self._internal, self._ports.internal)
                try:
                    await _first(internal, self._internal.ready)
                    await self._serve_public(ready)
                finally:
                    self._internal.should_exit = True
                    await internal
        return 128 + self._cut_short_by if self._cut_short_by else 0

    async def _serve_public(self, ready: Callable[[], None]) -> None:
        serving = _serve(self._public, self._ports.public)
        try:
            await _first(serving, self._public.ready, self._stopping)
            if not self._public.ready.is_set():
                return
            ready()
            await _first(serving, self._stopping)
            await self._drain()
        finally:
            self._public.should_exit = True
            if not self._public.ready.is_set():
                serving.cancel()
            await asyncio.wait([serving])
        serving.result()

    async def _drain(self) -> None:
        """Sends the clients away and waits until they are gone, or somebody is in a hurry."""
        draining = asyncio.ensure_future(self._gone())
        await _first(draining, self._hurried)
        draining.cancel()

    async def _gone(self) -> None:
        await self._hub.drain()
        for _ in range(int(_LAST_WORDS / _LOOK)):
            if not self._public.sockets_open():
                break
            await asyncio.sleep(_LOOK)

    def _hurry(self) -> None:
        self._hurried.set()
        for member in self._hub.node.sessions:
            member.end(SHUTDOWN.number, SHUTDOWN.message)
        for server in (self._public, self._internal):
            if server is not None:
                server.force_exit = server.should_exit = True

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        numbers = (signal.SIGTERM, signal.SIGINT)
        for number in numbers:
            loop.add_signal_handler(number, self._signalled, number)
        try:
            yield
        finally:
            for number in numbers:
                loop.remove_signal_handler(number)

    def _signalled(self, number: signal.Signals) -> None:
        if self._stopping.is_set():
            self._cut_short_by = int(number)
            for each in (signal.SIGTERM, signal.SIGINT):
                signal.signal(each, signal.SIG_DFL)  # from now on a signal kills
        else:
            _log.info("stopping on %s", number.name)
        self.stop()


def _serve(server: NodeServer, sockets: list[socket]) -> asyncio.Future[None]:
    """Serves on copies of the sockets, for the server closes what it is given."""
    return asyncio.ensure_future(server.serve(sockets=[each.dup() for each in sockets]))


async def _first(work: asyncio.Future[None], *events: asyncio.Event) -> None:
    """Waits until the work is done or one of the events has come; raises what the work raised."""
    waiting: list[asyncio.Future[Any]] = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait([work, *waiting], return_when=asyncio.FIRST_COMPLETED)
    finally:
        for each in waiting:
            each.cancel()
    if work.done():
        work.result()
