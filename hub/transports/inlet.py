"""Messages of a connection for an endpoint that receives them one by one, as ASGI has it."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

from hub.transports.connection import Connection
from hub.transports.frame_reader import TEXT


class Inlet:
    """Takes a connection's messages for an endpoint that receives them one by one; the peer waits for the endpoint."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._messages: deque[dict[str, Any]] = deque()
        self._changed = asyncio.Event()
        self._gone = False
        self._writable = asyncio.Event()
        self._writable.set()

    @property
    def outbox(self) -> Inlet:
        """It is its own way out."""
        return self

    def lags(self, waiting: int) -> None:
        """`send` waits from now on."""
        self._writable.clear()

    def drained(self) -> None:
        """`send` goes on."""
        self._writable.set()

    def receive(self, frame: bytes) -> None:
        """Takes a message, and none more until it has been received."""
        told: dict[str, Any] = {"type": "websocket.receive"}
        if self._connection.kind == TEXT:
            told["text"] = frame.decode()
        else:
            told["bytes"] = frame
        self._messages.append(told)
        self._connection.pause_reading(True)
        self._changed.set()

    def control(self) -> bool:
        """Ordinary endpoints have no limit."""
        return True

    def lost(self) -> None:
        """The connection is gone."""
        self._gone = True
        self._writable.set()
        self._changed.set()

    def end(self, code: int, reason: str) -> None:
        """The server stops."""
        self._connection.close(1012, "")
        self.lost()

    async def writable(self) -> None:
        """Returns once the peer reads."""
        await self._writable.wait()

    async def next(self) -> dict[str, Any]:
        """The next message, or the end."""
        while True:
            if self._messages:
                if len(self._messages) == 1 and not self._gone:
                    self._connection.pause_reading(False)
                return self._messages.popleft()
            if self._gone:
                return {"type": "websocket.disconnect", "code": self._connection.peer_code}
            self._changed.clear()
            await self._changed.wait()
