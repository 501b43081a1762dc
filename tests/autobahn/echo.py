"""What the Autobahn test suite talks to: the hub's connections sending back what they get.

`/detached` is answered by an object attached to the connection, as sessions are, `/asgi` by an ordinary endpoint.
Both agree to compress. Run by `scripts/autobahn`: python -m tests.autobahn.echo PORT [asyncio | uvloop].
"""

from __future__ import annotations

import sys

import uvicorn
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from hub.protocol.deflate import shared_text_frame
from hub.protocol.frames import binary_frame, text_frame
from hub.transports.connection import Connection
from hub.transports.frame_reader import TEXT
from hub.transports.http_protocol import HubHttpProtocol
from hub.transports.opening import connection_of

MESSAGE_BYTES = 32 * 1_048_576


class Echo:
    """Sends each message back."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @property
    def outbox(self) -> Echo:
        """Nothing needs to know how fast the peer reads."""
        return self

    def lags(self, waiting: int) -> None:
        """Nothing to do."""

    def drained(self) -> None:
        """Nothing to do."""

    def receive(self, frame: bytes) -> None:
        """Sends it back."""
        if self._connection.kind != TEXT:
            self._connection.write(binary_frame(frame))
        elif self._connection.window_bits:
            self._connection.write(shared_text_frame(frame, self._connection.window_bits))
        else:
            self._connection.write(text_frame(frame))

    def lost(self) -> None:
        """Nothing to do."""

    def end(self, code: int, reason: str) -> None:
        """Closes."""
        self._connection.close(code, reason)


async def detached(websocket: WebSocket) -> None:
    """Accepts and leaves the rest to an Echo."""
    await websocket.accept()
    connection = connection_of(websocket.scope)
    assert connection is not None
    connection.attach(Echo(connection), 2 * MESSAGE_BYTES)


async def asgi(websocket: WebSocket) -> None:
    """Receives and sends."""
    await websocket.accept()
    try:
        while True:
            message = await websocket.receive()
            if message["type"] == "websocket.disconnect":
                return
            if message.get("text") is not None:
                await websocket.send_text(message["text"])
            else:
                await websocket.send_bytes(message["bytes"])
    except WebSocketDisconnect:
        return


def main(port: int, loop: str = "auto") -> None:
    """Serves until it is ended."""
    app = Starlette(routes=[WebSocketRoute("/detached", detached), WebSocketRoute("/asgi", asgi)])
    uvicorn.run(
        app,
        port=port,
        loop=loop,
        http=HubHttpProtocol,
        ws="none",
        ws_max_size=MESSAGE_BYTES,
        ws_per_message_deflate=True,
        lifespan="off",
        log_level="warning",
    )


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:])
