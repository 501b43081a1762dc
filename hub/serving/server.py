"""uvicorn as the hub runs it: with the hub's WebSocket protocol, no surprises by default, and errors as they are."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from socket import socket
from typing import Any, Final

import uvicorn

from hub.app import Hub
from hub.settings.model import Settings
from hub.transports.connection import Connection
from hub.transports.http_protocol import HubHttpProtocol

GRACE: Final = 5
"""Seconds that requests under way may still take once the server stops."""
HURRY: Final = 2.0
"""Seconds that parts may take to stop once somebody asked a second time."""
KEEP_ALIVE: Final = 75
"""Seconds that an idle HTTP connection is kept: longer than load balancers do, so that they never meet a closed one."""


def make_server(app: Any, hub: Hub, *, grace: int = GRACE) -> NodeServer:
    """The server of the public application, which starts and stops the hub with it.

    `serve(sockets=[...])` raises what the hub's start raises; `should_exit = True` makes it stop. Signals are left
    alone: see `hub.serving.process`.
    """
    return NodeServer(_config(app, hub.blueprint.settings, grace), app.router.lifespan_context(app))


def make_internal_server(app: Any, hub: Hub, *, grace: int = GRACE) -> NodeServer:
    """The server of the internal port's application, in the same loop; the hub's life does not hang on it."""
    return NodeServer(_config(app, hub.blueprint.settings, grace), None)


def _config(app: Any, settings: Settings, grace: int) -> uvicorn.Config:
    trusted = settings.server.trusted_proxies
    return uvicorn.Config(
        app,
        loop="none",
        http=HubHttpProtocol,
        ws="none",  # the HTTP protocol opens WebSockets by itself
        ws_max_size=settings.client.message_bytes,
        ws_per_message_deflate=settings.server.compression,
        ws_ping_interval=None,  # sessions ping by themselves
        lifespan="off",  # see _Lifespan
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=bool(trusted),
        forwarded_allow_ips=trusted,
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=grace,
    )


class NodeServer(uvicorn.Server):
    """A server that leaves signals to its caller. `ready` is set once it accepts connections."""

    def __init__(
        self, config: uvicorn.Config, lifespan: AbstractAsyncContextManager[dict[str, Any]] | None
    ) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()
        self._context = lifespan

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Captures none."""
        yield

    async def startup(self, sockets: list[socket] | None = None) -> None:
        """Starts the application, then listens."""
        if self._context is not None:
            self.lifespan = _Lifespan(self._context)
        await super().startup(sockets)
        self.ready.set()

    async def shutdown(self, sockets: list[socket] | None = None) -> None:
        """Closes all connections, then stops the application: within a bounded time when it has to hurry."""
        await super().shutdown(sockets)
        if self.force_exit:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(HURRY):
                    await self.lifespan.shutdown()

    def sockets_open(self) -> int:
        """How many WebSocket connections are open or still closing."""
        return sum(isinstance(each, Connection) for each in self.server_state.connections)


class _Lifespan:
    """Starts and stops an application in the place of uvicorn's class, which makes a traceback's text of each error."""

    should_exit = False

    def __init__(self, context: AbstractAsyncContextManager[dict[str, Any]]) -> None:
        self.state: dict[str, Any] = {}
        self._context = context

    async def startup(self) -> None:
        """Raises what the application raises."""
        self.state.update(await self._context.__aenter__())

    async def shutdown(self) -> None:
        """Raises what the application raises."""
        await self._context.__aexit__(None, None, None)
