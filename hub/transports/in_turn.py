"""Requests that come before those ahead of them on the same connection have been answered (HTTP/1.1 pipelining).

uvicorn parses all that comes and keeps an object of some KiB for each request of 25 bytes. Here a few wait as objects
and the rest as the bytes it came in, and nothing more is read until it is their turn.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Final

from uvicorn.protocols.http.flow_control import FlowControl

from hub.transports.strict_requests import StrictRequests

WAITING: Final = 64
"""Requests that wait for answers ahead of them, beyond which nothing more is parsed."""
PIECE: Final = 4_096
"""Bytes that are parsed between two looks at how many wait."""


class HeldFlow(FlowControl):
    """Does not go on reading while it is held, whoever asks for it."""

    held = False

    def resume_reading(self) -> None:
        """Goes on, unless held."""
        if not self.held:
            super().resume_reading()


class InTurn(StrictRequests):
    """Parses no more than can be answered, and knows which request is being answered."""

    flow: HeldFlow  # type: ignore[mutable-override]  # `connection_made` is ours, and makes no other
    _running: Any = None
    """The request that is being answered; `cycle` is the last that came."""
    _kept = b""
    """What has come and is not parsed yet."""

    @abstractmethod
    def _feed(self, piece: bytes, whole: bytes, end: int) -> None:
        """Parses a piece, which ends there in the whole of what has come."""

    @abstractmethod
    def _reads_on(self) -> bool:
        """Whether more is to be parsed."""

    def _feed_in_turn(self, data: bytes) -> None:
        if len(data) <= PIECE and not self.pipeline:
            self._feed(data, data, len(data))
        else:
            at = 0
            while at < len(data) and self._reads_on():
                if len(self.pipeline) >= WAITING:
                    self._keep(data[at:])
                    return
                end = at + PIECE
                self._feed(data[at:end], data, end)
                at = end
        if self.pipeline and not self._in_body:
            # uvicorn has paused; but only who reads notices that the peer is gone.
            self.flow.resume_reading()

    def _keep(self, data: bytes) -> None:
        self._kept += data
        self.flow.pause_reading()
        self.flow.held = True

    def _go_on(self) -> None:
        data, self._kept = self._kept, b""
        if data and not self.transport.is_closing():
            self.flow.held = False
            self.flow.resume_reading()
            self.data_received(data)

    def on_response_complete(self) -> None:
        """The next one has its turn."""
        super().on_response_complete()
        if self._kept and len(self.pipeline) < WAITING:
            # Not from here, where an endpoint sends the last of its answer.
            self.loop.call_soon(self._go_on)

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def connection_lost(self, exc: Exception | None) -> None:
        """The peer is gone: the request that is being answered learns of it, and none that waits is begun."""
        running = self._running
        if running is not None and not running.response_complete:
            running.disconnected = True
            running.message_event.set()
        self.pipeline.clear()
        self._kept = b""
        super().connection_lost(exc)
