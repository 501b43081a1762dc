"""uvicorn's WebSocket protocol, taught to detach: no task, queue or timer per connection once a session has it.

The handshake runs through Starlette as usual, so routing, middleware and Origin checks apply. The endpoint finds the
connection in the scope's extensions, accepts, attaches a session and returns; from then on frames go straight from the
parser to the session, and the outbox writes ready-made frames straight to the transport.

This builds on internals of uvicorn 0.54, which is why the dependency is pinned to that minor version.
"""

from __future__ import annotations

from typing import Any, Final

from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.exceptions import InvalidState
from websockets.frames import Frame
from websockets.protocol import State

from hub.outbox import CONGESTED_SHARE, Unit
from hub.protocol.frames import PING_FRAME
from hub.session.base import Session

EXTENSION: Final = "hub.connection"
CLOSE_SECONDS: Final = 5.0
"""How long a peer may take to answer a close frame before the connection is cut."""


class HubWebSocketProtocol(WebSocketsSansIOProtocol):
    """One connection: parser, way out, and after `attach` the feeder of a session."""

    session: Session | None = None
    ping_owed = False

    # The way in

    def data_received(self, data: bytes) -> None:
        """Feeds the parser; an empty subprotocol header, which old Python SDKs send, is taken out first."""
        if not self.handshake_initiated:
            data = data.replace(b"sec-websocket-protocol: \r\n", b"")
        super().data_received(data)

    def handle_connect(self, event: Any) -> None:
        """Lets the endpoint find the connection. The application's task starts in a later turn of the loop."""
        super().handle_connect(event)
        if hasattr(self, "scope"):
            extensions: Any = self.scope["extensions"]
            extensions[EXTENSION] = self

    async def run_asgi(self) -> None:
        """Runs the endpoint; a connection that got a session stays open when the endpoint has returned."""
        try:
            await self.app(self.scope, self.receive, self.send)
        except ClientDisconnected:
            pass
        except Exception:
            self.logger.exception("a WebSocket endpoint failed")
            self.send_500_response()
        else:
            if not self.handshake_complete:
                self.logger.error("a WebSocket endpoint returned without an answer to the handshake")
                self.send_500_response()
        if self.session is None and self.close_timer is None:
            self.transport.close()

    def attach(self, session: Session, limit: int) -> None:
        """Gives the connection to a session, with what the client has sent already. `limit` is in bytes."""
        if self.disconnected:
            session.lost()
            return
        self.session = session
        self.stop_keepalive()
        high = limit // CONGESTED_SHARE
        self.transport.set_write_buffer_limits(high=high, low=high // 4)
        while not self.queue.empty():
            message: Any = self.queue.get_nowait()
            if message["type"] == "websocket.disconnect":
                session.lost()
            elif message["type"] == "websocket.receive":
                text = message.get("text")
                session.receive(text.encode() if text is not None else message["bytes"])
        self.pause_reading(False)

    def send_receive_event_to_app(self) -> None:
        """A whole message: to the session, or to the endpoint while there is none."""
        session = self.session
        if session is None:
            return super().send_receive_event_to_app()
        data = self.frames[0] if len(self.frames) == 1 else b"".join(self.frames)
        self.frames = []
        if self.close_sent:
            return
        if self.curr_msg_data_type == "text" and not data.isascii():
            try:
                data.decode()
            except UnicodeDecodeError:
                self.close(1007, "invalid UTF-8")
                return
        session.receive(bytes(data))

    def handle_pong(self, event: Frame) -> None:
        """Any pong is a sign of life."""
        self.ping_owed = False
        super().handle_pong(event)

    def handle_close(self, event: Frame) -> None:
        """The peer closes, or answers our close."""
        super().handle_close(event)
        self._lost()

    def handle_parser_exception(self) -> None:
        """The peer broke the protocol: it is told how, and the connection ends."""
        super().handle_parser_exception()
        self._lost()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        super().connection_lost(exc)
        self._lost()
        self.session = None

    def _lost(self) -> None:
        if self.session is not None:
            self.session.lost()

    def pause_writing(self) -> None:
        """The buffer has grown large: the node takes notice, also when nothing more is written to this client."""
        super().pause_writing()
        if self.session is not None:
            self.session.outbox.lags(self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        """The buffer has become small after having been congested."""
        super().resume_writing()
        if self.session is not None:
            self.session.outbox.drained()

    def shutdown(self) -> None:
        """The server stops; a connection that is already closing is cut, which stock uvicorn fails on."""
        if self.handshake_complete and self.conn.state is not State.OPEN:
            self.stop_keepalive()
            if self.close_timer is not None:
                self.close_timer.cancel()
                self.close_timer = None
            self.transport.abort()
            return
        if self.session is not None:
            self.session.end(3001, "shutdown")
            return
        super().shutdown()

    # The way out

    def write(self, unit: Unit) -> None:
        """Hands over whole frames."""
        if not self.close_sent:
            self.transport.write(unit)  # type: ignore[arg-type]  # frames, by the wires that this transport is given

    def buffered(self) -> int:
        """Bytes that the kernel has not taken yet."""
        return self.transport.get_write_buffer_size()

    def close(self, code: int, reason: str) -> None:
        """Closes after what was written; a peer that does not answer is cut after a while."""
        if self.close_sent or self.transport.is_closing():
            return
        try:
            self.conn.send_close(code, reason)
        except InvalidState:
            self.transport.abort()
            return
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        self.pause_reading(False)
        self.close_timer = self.loop.call_later(CLOSE_SECONDS, self.transport.abort)

    def abort(self) -> None:
        """Cuts the connection."""
        self.transport.abort()

    def ping(self) -> bool:
        """Sends a ping frame; False when the last one was never answered, and the connection is then cut."""
        if self.ping_owed:
            self.transport.abort()
            return False
        self.ping_owed = True
        self.transport.write(PING_FRAME)
        return True

    def pause_reading(self, paused: bool) -> None:
        """Stops or goes on reading from the socket."""
        if paused and not self.read_paused:
            self.read_paused = True
            self.transport.pause_reading()
        elif not paused and self.read_paused:
            self.read_paused = False
            if not self.transport.is_closing():
                self.transport.resume_reading()


def connection_of(scope: Any) -> HubWebSocketProtocol | None:
    """The connection behind a scope, when the hub's own protocol class serves it."""
    found = (scope.get("extensions") or {}).get(EXTENSION)
    return found if isinstance(found, HubWebSocketProtocol) else None
