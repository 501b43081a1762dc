"""The client protocol over WebSocket: `/connection/websocket`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from starlette.types import Receive, Scope, Send

from hub.node import Node
from hub.protocol.wires import JSON_TEXT, json_frames
from hub.session.client import ClientSession
from hub.session.methods import METHODS
from hub.transports.asgi import AsgiTransport
from hub.transports.handshake import Handshake
from hub.transports.opening import connection_of

SUBPROTOCOL: Final = "centrifuge-json"


class ClientSocket:
    """The endpoint, an ASGI application for a WebSocketRoute."""

    def __init__(self, node: Node, allowed_origins: Sequence[str]) -> None:
        self._node = node
        self._origins = allowed_origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Accepts the socket and gives it a session; detached where the server is the hub's own."""
        handshake = Handshake(scope, receive, send)
        if not await handshake.admitted(self._origins, draining=self._node.draining):
            return
        subprotocol = handshake.subprotocol(SUBPROTOCOL)
        brought = handshake.brought(self._origins, asked=bool(self._node.table.connect))
        frame_ping = handshake.query.get("cf_ws_frame_ping_pong") == "true"
        connection = connection_of(scope)
        if connection is not None:
            await handshake.accept(subprotocol)
            wire = json_frames(connection.window_bits)
            session = ClientSession(
                self._node, connection, wire, "websocket", METHODS, brought=brought, frame_ping=frame_ping
            )
            connection.attach(session, self._node.limits.queue_bytes)
            return
        websocket = handshake.websocket()
        await websocket.accept(subprotocol)
        transport = AsgiTransport(websocket)
        session = ClientSession(
            self._node, transport, JSON_TEXT, "websocket", METHODS, brought=brought, frame_ping=frame_ping
        )
        await transport.serve(session)
