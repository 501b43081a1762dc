"""Topics and sockets in as little Python as can be: what is left for everything else that a hub does.

One protocol object for each connection, frames parsed by hand, what a turn of the loop brings joined once for each
topic. There is no handshake worth the name, no limit, no history, nobody is asked for anything: a floor, no server.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import sys
from typing import cast

import uvloop
from websockets.speedups import apply_mask

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_TOPICS: dict[bytes, Topic] = {}


class Topic:
    """Who listens, and what this turn of the loop brought."""

    __slots__ = ("members", "pending")

    def __init__(self) -> None:
        self.members: set[asyncio.Transport] = set()
        self.pending: list[bytes] = []

    def publish(self, frame: bytes) -> None:
        """Takes a whole frame."""
        if not self.pending:
            asyncio.get_running_loop().call_soon(self._flush)
        self.pending.append(frame)

    def _flush(self) -> None:
        joined, self.pending = b"".join(self.pending), []
        for transport in self.members:
            transport.write(joined)


class Connection(asyncio.Protocol):
    """A client; its path is its topic, and what it sends is published there."""

    __slots__ = ("buffer", "topic", "transport")

    def __init__(self) -> None:
        self.topic: Topic | None = None
        self.buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Waits for the handshake."""
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Reads a handshake, then frames of text."""
        data = self.buffer + data if self.buffer else data
        if self.topic is None:
            self._shake(data)
            return
        at, size = 0, len(data)
        while size - at >= 6:
            length, start = data[at + 1] & 0x7F, at + 2
            if length == 126:
                length, start = int.from_bytes(data[start : start + 2], "big"), start + 2
            end = start + 4 + length
            if end > size:
                break
            if data[at] & 0x0F == 1:
                payload = apply_mask(data[start + 4 : end], data[start : start + 4])
                head = bytes((0x81, length)) if length < 126 else b"\x81\x7e" + length.to_bytes(2, "big")
                self.topic.publish(head + payload)
            elif data[at] & 0x0F == 8:
                self.transport.close()
            at = end
        self.buffer = data[at:]

    def connection_lost(self, exc: Exception | None) -> None:
        """Leaves the topic."""
        if self.topic is not None:
            self.topic.members.discard(self.transport)

    def _shake(self, data: bytes) -> None:
        if not data.endswith(b"\r\n\r\n"):
            self.buffer = data
            return
        self.buffer = b""
        path = data.split(b" ", 2)[1]
        key = data.lower().index(b"sec-websocket-key:") + 18
        digest = hashlib.sha1(data[key : data.index(b"\r", key)].strip() + _GUID).digest()  # noqa: S324 (RFC 6455)
        self.transport.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: %s\r\n\r\n" % base64.b64encode(digest)
        )
        self.topic = _TOPICS.setdefault(path, Topic())
        self.topic.members.add(self.transport)


async def main() -> None:
    """Serves until it is ended."""
    server = await asyncio.get_running_loop().create_server(
        Connection, "127.0.0.1", int(sys.argv[1]), backlog=2048
    )
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
