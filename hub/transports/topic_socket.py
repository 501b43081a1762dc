"""The plain socket: `/ws/{topic}` and the aliases of `sockets:`, for clients that speak no protocol.

A frame sent is a publication, a frame received is a publication's payload. What is wrong is told by the close code,
which only a connection that was accepted can show, so it is accepted first.
"""

from __future__ import annotations

from collections.abc import Sequence

from starlette.types import Receive, Scope, Send

from hub.credentials import Credentials
from hub.errors import BrokerError, Disconnect
from hub.node import Node
from hub.protocol.wires import PLAIN_TEXT, plain_frames
from hub.session.plain import PlainSession
from hub.transports.asgi import AsgiTransport
from hub.transports.handshake import Handshake
from hub.transports.opening import connection_of


class TopicSocket:
    """The endpoint, an ASGI application, for one topic template, or for the topic in the path when there is none."""

    def __init__(self, node: Node, allowed_origins: Sequence[str], template: str | None = None) -> None:
        self._node = node
        self._origins = allowed_origins
        self._template = template

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Accepts the socket, subscribes it to its topic, and hands frames both ways."""
        handshake = Handshake(scope, receive, send)
        if not await handshake.admitted(self._origins, draining=self._node.draining):
            return
        subprotocol = handshake.subprotocol()
        brought = handshake.brought(self._origins, asked=bool(self._node.table.connect))
        connection = connection_of(scope)
        if connection is not None:
            await handshake.accept(subprotocol)
            session = PlainSession(self._node, connection, plain_frames(connection.window_bits), "plain")
            await self._open(session, scope, brought)
            connection.attach(session, self._node.limits.queue_bytes)
            return
        websocket = handshake.websocket()
        await websocket.accept(subprotocol)
        transport = AsgiTransport(websocket)
        session = PlainSession(self._node, transport, PLAIN_TEXT, "plain")
        await self._open(session, scope, brought)
        await transport.serve(session)

    async def _open(self, session: PlainSession, scope: Scope, brought: Credentials) -> None:
        try:
            if self._template is None:
                established = await session.open_topic(scope["path_params"]["topic"], brought)
            else:
                established = await session.open(self._template, brought)
        except Disconnect as disconnect:
            if isinstance(disconnect.__cause__, BrokerError):
                # A plain WebSocket does not come back by itself, so it is not sent away for what passes.
                session.open_later()
            else:
                session.end(disconnect.code, disconnect.reason)
            return
        session.joined(established)
