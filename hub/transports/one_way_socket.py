"""The one-way client protocol over WebSocket: `/connection/uni_websocket`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from starlette.types import Receive, Scope, Send

from hub.errors import Disconnect
from hub.node import Node
from hub.protocol.json_codec import decode_connect
from hub.protocol.wires import ONE_WAY_TEXT, one_way_frames
from hub.session.one_way import OneWaySession
from hub.transports.asgi import AsgiTransport
from hub.transports.handshake import Handshake
from hub.transports.opening import connection_of

NAME: Final = "uni_websocket"


class OneWaySocket:
    """The endpoint, an ASGI application for a WebSocketRoute.

    The connect request is the first frame, or stands in the query as `cf_connect`; one that cannot be read there is
    answered with 400.
    """

    def __init__(self, node: Node, allowed_origins: Sequence[str]) -> None:
        self._node = node
        self._origins = allowed_origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Accepts the socket and gives it a session; detached where the server is the hub's own."""
        handshake = Handshake(scope, receive, send)
        if not await handshake.admitted(self._origins, draining=self._node.draining):
            return
        request = handshake.query.get("cf_connect", "").encode("utf-8", "replace")
        if request and not _readable(request):
            await handshake.refuse(400, "cf_connect is no connect request: a JSON object, URL-encoded")
            return
        subprotocol = handshake.subprotocol()
        brought = handshake.brought(self._origins, asked=bool(self._node.table.connect))
        connection = connection_of(scope)
        if connection is not None:
            await handshake.accept(subprotocol)
            session = OneWaySession(
                self._node, connection, one_way_frames(connection.window_bits), NAME, brought=brought
            )
            # Before frames can come, the first of which would otherwise be taken for the request.
            _connect(session, request)
            connection.attach(session, self._node.limits.queue_bytes)
            return
        websocket = handshake.websocket()
        await websocket.accept(subprotocol)
        transport = AsgiTransport(websocket)
        session = OneWaySession(self._node, transport, ONE_WAY_TEXT, NAME, brought=brought)
        _connect(session, request)
        await transport.serve(session)


def _readable(request: bytes) -> bool:
    try:
        decode_connect(request)
    except Disconnect:
        return False
    return True


def _connect(session: OneWaySession, request: bytes) -> None:
    if request:
        session.receive(request)
