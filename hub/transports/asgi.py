"""A transport over any ASGI server's WebSocket: the plain receive and send loop, tested and slower.

It is what runs under Starlette's TestClient and under servers other than the hub's own. One writer task per connection
takes what the session wrote, because ASGI's `send` has to be awaited; the queue is bounded by the outbox, which counts
the bytes that wait here.
"""

from __future__ import annotations

import asyncio
from collections import deque

from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from hub.errors import SLOW
from hub.outbox import Unit
from hub.session.base import Session


class AsgiTransport:
    """Writes text frames to a Starlette WebSocket that has been accepted."""

    socket = None

    def __init__(self, websocket: WebSocket) -> None:
        self._websocket = websocket
        self._texts: deque[bytes] = deque()
        self._bytes = 0
        self._session: Session | None = None
        self._closing: tuple[int, str] | None = None
        self._wake = asyncio.Event()
        self._read = asyncio.Event()
        self._read.set()

    def write(self, unit: Unit) -> None:
        """Queues one frame, or several."""
        if self._closing is not None:
            return
        for text in unit if isinstance(unit, tuple) else (unit,):
            self._texts.append(text)
            self._bytes += len(text)
        self._wake.set()

    def buffered(self) -> int:
        """Bytes that the server has not taken yet."""
        return self._bytes

    def close(self, code: int, reason: str) -> None:
        """Closes after what is queued."""
        if self._closing is None:
            self._closing = (code, reason)
            self._wake.set()

    def abort(self) -> None:
        """Lets go of what is queued and closes; how fast the peer learns it is up to the server."""
        self._bytes -= sum(map(len, self._texts))
        self._texts.clear()
        self.close(SLOW.number, SLOW.message)

    def ping(self) -> bool:
        """The server pings by itself where it can; nothing is known here."""
        return True

    def pause_reading(self, paused: bool) -> None:
        """Leaves further frames with the server."""
        if paused:
            self._read.clear()
        else:
            self._read.set()

    async def serve(self, session: Session) -> None:
        """Reads for the session and writes for it until either side ends."""
        self._session = session
        writer = asyncio.create_task(self._write_all(), name="websocket writer")
        reader = asyncio.create_task(self._read_all(session), name="websocket reader")
        try:
            await asyncio.wait((writer, reader), return_when=asyncio.FIRST_COMPLETED)
        finally:
            session.lost()
            for task in (writer, reader):
                task.cancel()
            # Not gather: cancelled from outside, it would raise a child's cancellation in the place of the caller's,
            # which the caller (an anyio cancel scope, such as the TestClient's) would not know as its own.
            await asyncio.wait((writer, reader))

    async def _write_all(self) -> None:
        try:
            while True:
                while self._texts:
                    text = self._texts.popleft()
                    await self._websocket.send_text(text.decode())
                    self._bytes -= len(text)
                if self._session is not None:
                    self._session.outbox.drained()
                if self._closing is not None:
                    await self._websocket.close(*self._closing)
                    return
                self._wake.clear()
                await self._wake.wait()
        except (WebSocketDisconnect, RuntimeError):
            # The peer is gone; the reader learns it too.
            return

    async def _read_all(self, session: Session) -> None:
        while self._websocket.client_state is not WebSocketState.DISCONNECTED:
            await self._read.wait()
            message = await self._websocket.receive()
            if message["type"] == "websocket.disconnect":
                return
            text = message.get("text")
            session.receive(
                text.encode("utf-8", "replace") if text is not None else message.get("bytes") or b""
            )
