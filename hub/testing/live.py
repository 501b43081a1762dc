"""A whole hub behind a real port, in a thread of its own, for clients that know nothing of tests."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from hub.app import Hub, create_app
from hub.serving.server import make_server
from hub.testing import configuration

T = TypeVar("T")


class LiveHub:
    """Runs a hub from a configuration mapping or file for the length of a `with`, on a free port of 127.0.0.1.

    `port` may be given so that a hub can be stopped and another started in its place. `detached=False` serves
    WebSockets through plain ASGI, as other servers do.
    """

    def __init__(
        self,
        config: Mapping[str, Any] | Path | None = None,
        *,
        port: int = 0,
        dev_page: bool = False,
        detached: bool = True,
    ) -> None:
        self.blueprint = configuration.blueprint(config)
        self.hub: Hub
        self.port = port
        self._dev_page = dev_page
        self._detached = detached
        self._loop: asyncio.AbstractEventLoop
        self._stop: Callable[[], None]
        self._failure: BaseException | None = None
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="live hub", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._ready.wait(20) or self._failure is not None:
            raise RuntimeError("the hub did not start") from self._failure
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop)
        self._thread.join(20)
        if self._thread.is_alive():
            raise RuntimeError("the hub did not stop within 20 s")

    @property
    def url(self) -> str:
        """`http://127.0.0.1:port`."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def ws_url(self) -> str:
        """`ws://127.0.0.1:port`."""
        return f"ws://127.0.0.1:{self.port}"

    @property
    def api_key(self) -> str:
        """A key of the server API, when the configuration is a mapping."""
        return configuration.API_KEY

    def token(self, user: str, **claims: Any) -> str:
        """A token for a user, good for an hour unless `exp` is given."""
        return configuration.token(self.blueprint, user, time.time(), **claims)

    def call(self, work: Callable[[Hub], Coroutine[Any, Any, T]]) -> T:
        """Runs something in the hub's own event loop and returns its result."""
        return asyncio.run_coroutine_threadsafe(work(self.hub), self._loop).result(10)

    def cut_all(self) -> None:
        """Cuts the connection of every session, as a broken network does."""

        async def cut(hub: Hub) -> None:
            for member in hub.node.sessions:
                member.outbox.transport.transport.abort()  # type: ignore[attr-defined]

        self.call(cut)

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:  # noqa: BLE001 - handed to the thread that waits
            self._failure = error
            self._ready.set()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.hub = Hub(self.blueprint, migrate=True)
        listener = socket.create_server(("127.0.0.1", self.port))
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # as `hub.serving.listen` does
        self.port = listener.getsockname()[1]
        server = make_server(create_app(self.hub, dev_page=self._dev_page), self.hub)
        if not self._detached:
            server.config.http, server.config.ws = "httptools", "websockets-sansio"
        self._stop = lambda: setattr(server, "should_exit", True)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        starting = asyncio.create_task(server.ready.wait())
        await asyncio.wait((serving, starting), return_when=asyncio.FIRST_COMPLETED)
        starting.cancel()
        if server.ready.is_set():
            self._ready.set()
        await serving
