"""The opening of a WebSocket connection as an ASGI application sees it, and what follows when nobody takes it over.

An endpoint of the hub's finds the connection in the scope's extensions, accepts, attaches a session and returns; the
connection stays and everything made for the handshake goes. Any other endpoint receives and sends as with any server.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Final

from hub import metrics
from hub.protocol.frames import binary_frame, text_frame
from hub.transports.connection import Connection
from hub.transports.inlet import Inlet
from hub.transports.upgrade import Headers, refuse

EXTENSION: Final = "hub.connection"
_log: Final = logging.getLogger("hub.transports")
_BUFFER: Final = 262_144
"""Bytes that may wait for the peer of an ordinary endpoint; at a quarter of them its `send` waits too."""


class PeerGone(OSError):
    """What `send` raises once the connection has ended; Starlette makes a WebSocketDisconnect of it."""


class Opening:
    """One handshake. `run` is a task for as long as the endpoint runs."""

    __slots__ = (
        "__weakref__",
        "_app",
        "_body",
        "_connection",
        "_denial",
        "_extension",
        "_inlet",
        "_key",
        "_scope",
        "_task",
        "_told",
        "answered",
    )

    def __init__(
        self, app: Any, scope: dict[str, Any], connection: Connection, key: bytes, extension: bytes
    ) -> None:
        """`key` is what `accept_key` gave, `extension` what was agreed on; the scope becomes this opening's."""
        self._app = app
        self._scope = scope
        self._connection = connection
        self._key = key
        self._extension = extension
        self._inlet: Inlet | None = None
        self._told = False
        self._task: asyncio.Task[None] | None = None
        self.answered = False
        """Whether the client has its answer, whichever."""
        self._denial: tuple[int, Headers] | None = None
        self._body: list[bytes] | None = None
        scope["extensions"] = {"websocket.http.response": {}, EXTENSION: connection}

    def start(self, loop: asyncio.AbstractEventLoop, tasks: set[Any]) -> None:
        """Begins `run` as a task, which is among `tasks` until it ends."""
        self._task = loop.create_task(self._among(tasks), name="websocket opening")
        tasks.add(self._task)

    async def _among(self, tasks: set[Any]) -> None:
        try:
            await self.run()
        finally:
            # A callback of the task's would take a turn of the loop, and an object, for each connection.
            tasks.discard(self._task)
            self._task = None

    async def run(self) -> None:
        """Runs the endpoint to its end; what it leaves open is closed, unless it was given to a session."""
        try:
            await self._app(self._scope, self.receive, self.send)
        except PeerGone:
            pass
        except Exception:  # noqa: BLE001 - it ends this connection and no other
            _log.exception("a WebSocket endpoint failed")
            self._fail(1011)
        else:
            if not self.answered:
                _log.error("a WebSocket endpoint returned without an answer to the handshake")
            self._fail(1000)

    def _fail(self, code: int) -> None:
        if not self.answered:
            self._refuse(500, [], b"")
        elif self._inlet is not None:
            self._connection.close(code, "")
        elif not self._connection.attached:
            self._open_inlet()
            self._connection.close(code, "")

    def overdue(self, number: int) -> None:
        """The endpoint takes too long: the client is sent away."""
        if not self.answered:
            metrics.LIMITED.labels("handshake_seconds").inc()
            self._refuse(503, [(b"retry-after", b"1")], b"the handshake took too long\n")

    async def receive(self) -> dict[str, Any]:
        """ASGI's receive."""
        if not self._told:
            self._told = True
            return {"type": "websocket.connect"}
        return await self._open_inlet().next()

    async def send(self, message: dict[str, Any]) -> None:
        """ASGI's send. Raises PeerGone."""
        if not self.answered:
            self._answer(message)
            return
        if self._connection.closing or self._connection.transport.is_closing():
            raise PeerGone
        if message["type"] == "websocket.close":
            self._open_inlet()
            self._connection.close(message.get("code") or 1000, message.get("reason") or "")
            return
        text = message.get("text")
        self._connection.write(
            text_frame(text.encode()) if text is not None else binary_frame(message["bytes"])
        )
        await self._open_inlet().writable()

    def _open_inlet(self) -> Inlet:
        if self._inlet is None:
            self._inlet = Inlet(self._connection)
            self._connection.attach(self._inlet, _BUFFER)
        return self._inlet

    def _answer(self, message: dict[str, Any]) -> None:
        kind = message["type"]
        if kind == "websocket.accept":
            self._accept(message.get("subprotocol"), message.get("headers") or [])
        elif kind == "websocket.close":
            self._refuse(403, [], b"")
        elif kind == "websocket.http.response.start":
            self._denial, self._body = (message["status"], list(message.get("headers") or [])), []
        elif kind == "websocket.http.response.body" and self._denial is not None and self._body is not None:
            self._body.append(message.get("body") or b"")
            if not message.get("more_body"):
                self._refuse(*self._denial, b"".join(self._body))

    def _accept(self, subprotocol: str | None, headers: Headers) -> None:
        lines = [
            b"HTTP/1.1 101 Switching Protocols",
            b"Upgrade: websocket",
            b"Connection: Upgrade",
            b"Sec-WebSocket-Accept: " + self._key,
        ]
        if subprotocol is not None:
            lines.append(b"Sec-WebSocket-Protocol: " + subprotocol.encode())
        if self._extension:
            lines.append(b"Sec-WebSocket-Extensions: " + self._extension)
        lines += [bytes(name) + b": " + bytes(value) for name, value in headers]
        self.answered = True
        if self._connection.transport.is_closing():
            raise PeerGone
        self._connection.transport.write(b"\r\n".join([*lines, b"", b""]))

    def _refuse(self, status: int, headers: Headers, body: bytes) -> None:
        self.answered = True
        refuse(self._connection.transport, status, headers, body)


def connection_of(scope: Any) -> Connection | None:
    """The connection behind a scope, when the hub's own protocol serves it."""
    found = (scope.get("extensions") or {}).get(EXTENSION)
    return found if isinstance(found, Connection) else None
