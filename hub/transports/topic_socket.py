"""The plain socket: `/ws/{topic}` and the aliases of `sockets:`, for clients that speak no protocol.

A frame sent is a publication, a frame received is a publication's payload. What is wrong is told by the close code,
which only a connection that was accepted can show, so it is accepted first.
"""

from __future__ import annotations

from collections.abc import Sequence

from starlette.websockets import WebSocket

from hub.errors import BrokerError, Disconnect
from hub.node import Node
from hub.protocol.wires import PLAIN_TEXT, plain_frames
from hub.session.plain import PlainSession
from hub.transports.asgi import AsgiTransport
from hub.transports.handshake import admitted, handshake_token
from hub.transports.opening import connection_of


class TopicSocket:
    """The endpoint for one topic template, or for the topic in the path when there is none."""

    def __init__(self, node: Node, allowed_origins: Sequence[str], template: str | None = None) -> None:
        self._node = node
        self._origins = allowed_origins
        self._template = template

    async def __call__(self, websocket: WebSocket) -> None:
        """Accepts the socket, subscribes it to its topic, and hands frames both ways."""
        if not await admitted(websocket, self._origins, draining=self._node.draining):
            return
        await websocket.accept()
        token = handshake_token(websocket)
        connection = connection_of(websocket.scope)
        if connection is not None:
            session = PlainSession(self._node, connection, plain_frames(connection.window_bits), "plain")
            await self._open(session, websocket, token)
            connection.attach(session, self._node.limits.queue_bytes)
            return
        transport = AsgiTransport(websocket)
        session = PlainSession(self._node, transport, PLAIN_TEXT, "plain")
        await self._open(session, websocket, token)
        await transport.serve(session)

    async def _open(self, session: PlainSession, websocket: WebSocket, token: str) -> None:
        try:
            if self._template is None:
                established = await session.open_topic(websocket.path_params["topic"], token)
            else:
                established = await session.open(self._template, token)
        except Disconnect as disconnect:
            if isinstance(disconnect.__cause__, BrokerError):
                # A plain WebSocket does not come back by itself, so it is not sent away for what passes.
                session.open_later()
            else:
                session.end(disconnect.code, disconnect.reason)
            return
        session.joined(established)
