"""One WebSocket connection: asyncio's protocol, the parser's state and the way out of a session, in one object.

In rest it has no task, no queue, no timer and no dictionary; the session is all it refers to. It is made by the
handshake (`hub.transports.opening`), which gives it to a session and goes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final, Protocol

from hub import metrics
from hub.errors import SHUTDOWN
from hub.outbox import CONGESTED_SHARE, Unit
from hub.protocol.frames import PING_FRAME, close_frame, pong_frame
from hub.transports.frame_reader import NO_STATUS, TOO_BIG, FrameError, FrameReader

CLOSE_SECONDS: Final = 5.0
"""How long a peer may take to answer a close frame, or to read what is left for it, before it is cut."""
LATE_FRAMES: Final = 256
"""Frames that are passed over behind the hub's close; then nothing more is read, until the peer is cut."""
_ABNORMAL: Final = 1006
_MAX_HEADER: Final = 14


class WayOut(Protocol):
    """What learns how fast the peer reads."""

    def lags(self, waiting: int) -> None:
        """Much waits for the peer."""

    def drained(self) -> None:
        """Little waits again."""


class Receiver(Protocol):
    """What a connection serves once the handshake is done: a session, as the connection sees it."""

    @property
    def outbox(self) -> WayOut:
        """The session's way out."""

    def receive(self, frame: bytes) -> None:
        """Takes a message."""

    def lost(self) -> None:
        """The connection is gone; may be called again."""

    def control(self) -> bool:
        """Counts a frame that is no message; False where it is one too many."""

    def end(self, code: int, reason: str) -> None:
        """Ends it by the hub's will."""


class Connection(FrameReader, asyncio.Protocol):
    """A connection that has been upgraded. Who sends before `attach` is not read from until then."""

    __slots__ = (
        "_close_timer",
        "_early",
        "_forget",
        "_late",
        "_paused",
        "_session",
        "address",
        "closing",
        "kind",
        "limit",
        "peer_code",
        "ping_owed",
        "transport",
    )

    def __init__(
        self, transport: asyncio.Transport, message_bytes: int, forget: Callable[[Connection], None]
    ) -> None:
        """`forget` is called when the connection is gone."""
        super().__init__(message_bytes)
        self.transport = transport
        self.limit = 0
        self.address: str | None = None
        """The address under which it is counted; None where it is not."""
        self.kind = 0
        """The kind of the message at hand."""
        self.closing = False
        """Whether a close frame was sent."""
        self.peer_code = _ABNORMAL
        """The code with which the peer closed."""
        self.ping_owed = False
        self._session: Receiver | None = None
        self._forget = forget
        self._early = b""
        """What came before there was anybody to take it."""
        self._paused = False
        self._late = 0
        """Frames that have come behind the hub's close."""
        self._close_timer: asyncio.TimerHandle | None = None

    @property
    def attached(self) -> bool:
        """Whether somebody has taken the connection over."""
        return self._session is not None

    def attach(self, session: Receiver, limit: int) -> None:
        """Gives the connection to a session. `limit` is what may wait for the peer, in bytes."""
        self._session = session
        self.limit = limit
        if self.transport.is_closing():
            session.lost()
        else:  # uvloop takes no limits for a connection that is gone
            high = limit // CONGESTED_SHARE
            self.transport.set_write_buffer_limits(high=high, low=high // 4)
        early, self._early = self._early, b""
        if early:
            self.data_received(early)
        self.pause_reading(False)

    # The way in

    def data_received(self, data: bytes) -> None:
        """Feeds the reader; a peer that breaks the protocol is told how, and loses the connection."""
        if self._session is None:
            self._early += data
            self.pause_reading(True)
            if len(self._early) > self.message_bytes + _MAX_HEADER:
                self.transport.abort()
            return
        try:
            self.feed(data)
        except FrameError as error:
            self._fail(error)

    def _fail(self, error: FrameError) -> None:
        """Says what was wrong and ends the connection: nothing can be read any more, not even an answer (§7.1.7)."""
        if error.code == TOO_BIG:
            metrics.LIMITED.labels("message_bytes").inc()
        self.reading_done = True
        self.close(error.code, error.reason)
        if not self.transport.is_closing():
            if self.transport.can_write_eof():
                # Closing at once would reset the connection while the peer still sends, and it would not see why.
                self.transport.write_eof()
            else:
                self.transport.close()
        self._lost()

    def on_message(self, kind: int, payload: bytes) -> None:
        """A message for the session; those that come behind our close are passed over."""
        if self.closing:
            self._pass_over()
        elif self._session is not None:
            self.kind = kind
            self._session.receive(payload)

    def _pass_over(self) -> None:
        """Takes no notice of a frame; a peer that goes on all the same would else keep the hub busy with them."""
        self._late += 1
        if self._late == LATE_FRAMES:
            self.reading_done = True
            self.pause_reading(True)

    def on_ping(self, payload: bytes) -> None:
        """Answers; a peer that pings and does not read the answers is cut."""
        if self.closing:
            self._pass_over()
            return
        if self._session is not None and not self._session.control():
            return
        if self.limit and self.buffered() > self.limit:
            self.transport.abort()
        else:
            self.transport.write(pong_frame(payload))

    def on_pong(self, payload: bytes) -> None:
        """Any pong is a sign of life; those that nobody asked for are counted."""
        if self.ping_owed:
            self.ping_owed = False
        else:
            self.on_fragment()

    def on_fragment(self) -> None:
        """Counts it."""
        if self.closing:
            self._pass_over()
        elif self._session is not None:
            self._session.control()

    def on_close(self, code: int, reason: str) -> None:
        """The peer closes, or answers our close: the server ends the connection (RFC 6455 §7.1.1)."""
        self.peer_code = code
        if not self.closing:
            self.closing = True
            self.transport.write(close_frame(code if code != NO_STATUS else 1000, ""))
        self._end_soon()
        self.transport.close()
        self._lost()

    def eof_received(self) -> None:
        """The peer sends nothing more: the connection ends."""
        self._end_soon()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        if self._close_timer is not None:
            self._close_timer.cancel()
            self._close_timer = None
        self.closing = self.reading_done = True
        self._forget(self)
        self._lost()
        self._session = None

    def pause_writing(self) -> None:
        """The buffer has grown large: notice is taken also when nothing more is written to this peer."""
        if self._session is not None:
            self._session.outbox.lags(self.buffered())

    def resume_writing(self) -> None:
        """The buffer has become small after having been congested."""
        if self._session is not None:
            self._session.outbox.drained()

    def shutdown(self) -> None:
        """The server stops. Called by uvicorn."""
        if self._session is not None and not self.closing:
            self._session.end(SHUTDOWN.number, SHUTDOWN.message)
        else:
            self.transport.abort()

    def _lost(self) -> None:
        if self._session is not None:
            self._session.lost()

    # The way out

    def write(self, unit: Unit) -> None:
        """Hands over whole frames."""
        if not self.closing:
            self.transport.write(unit)  # type: ignore[arg-type]  # frames, by the wires that connections are given

    @property
    def socket(self) -> asyncio.Transport:
        """Takes whole frames; not to be used once the session has heard that the connection closes."""
        return self.transport

    def buffered(self) -> int:
        """Bytes that the kernel has not taken yet."""
        return self.transport.get_write_buffer_size()

    def close(self, code: int, reason: str) -> None:
        """Closes after what was written; a peer that does not answer is cut after a while."""
        if self.closing or self.transport.is_closing():
            return
        self.closing = True
        self.transport.write(close_frame(code, reason))
        self.pause_reading(False)
        self._end_soon()

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
        if paused == self._paused:
            return
        self._paused = paused
        if self.transport.is_closing():
            return
        if paused:
            self.transport.pause_reading()
        else:
            self.transport.resume_reading()

    def _end_soon(self) -> None:
        if self._close_timer is None:
            loop: Any = asyncio.get_running_loop()
            self._close_timer = loop.call_later(CLOSE_SECONDS, self.transport.abort)
