"""Requests that come before those ahead of them on the same connection have been answered (HTTP/1.1 pipelining).

uvicorn parses all that comes and keeps an object of some KiB for each request of 25 bytes. Here a few wait as objects
and the rest as the bytes it came in, and nothing more is read until it is their turn.
"""

from __future__ import annotations

import asyncio
import sys
from abc import abstractmethod
from fcntl import ioctl
from termios import TIOCOUTQ
from typing import Any, Final

from uvicorn.protocols.http.flow_control import FlowControl

from hub import metrics
from hub.transports.deadlines import Deadlines
from hub.transports.strict_requests import StrictRequests

WAITING: Final = 64
"""Requests that wait for answers ahead of them, beyond which nothing more is parsed."""
PIECE: Final = 4_096
"""Bytes that are parsed between two looks at how many wait."""


class HeldFlow(FlowControl):
    """Does not go on reading while it is held, whoever asks for it, and gives up a peer that takes no answer."""

    def __init__(self, transport: asyncio.Transport, deadlines: Deadlines) -> None:
        """`deadlines` tell how long a peer may take nothing of what waits for it."""
        super().__init__(transport)
        self.held = False
        self._deadlines = deadlines
        self._pauses = 0
        self._left = 0
        """Bytes that waited for the peer at the last look."""

    def resume_reading(self) -> None:
        """Goes on, unless held."""
        if not self.held:
            super().resume_reading()

    def pause_writing(self) -> None:
        """Much waits for the peer."""
        super().pause_writing()
        self._pauses += 1
        self._left = self._waiting()
        self._deadlines.add(self, self._pauses)

    def overdue(self, number: int) -> None:
        """The peer has had its time; it gets as much again if it has taken something."""
        if not self.write_paused or number != self._pauses:
            return
        left = self._waiting()
        if left < self._left:
            self._left = left
            self._deadlines.add(self, number)
        else:
            metrics.LIMITED.labels("answer_seconds").inc()
            self._transport.abort()

    def _waiting(self) -> int:
        """Bytes that the peer has not taken; the kernel's too, for it takes more of ours in large lumps only."""
        try:
            kernel = ioctl(self._transport.get_extra_info("socket").fileno(), TIOCOUTQ, bytes(4))
        except OSError:
            kernel = b""  # a system that does not tell
        return self._transport.get_write_buffer_size() + int.from_bytes(kernel, sys.byteorder)


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

    def _last_to_answer(self) -> Any:
        """The last request that is answered, when nothing is read on: one whose body is not whole is given up."""
        if self._in_body:
            self.pipeline.popleft()
        return self.pipeline[0][0] if self.pipeline else self._running

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
