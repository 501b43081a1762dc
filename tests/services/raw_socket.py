"""A client made of a socket and nothing else: it sends what no library would, and stops reading when it likes."""

from __future__ import annotations

import base64
import json
import os
import socket
import ssl
import struct
from typing import Any, Self
from urllib.parse import urlsplit


def handshake(host: str, path: str, *, key: str | None = None, **headers: str) -> bytes:
    """A request to open a WebSocket; headers that are given replace those that it needs, empty ones leave them out."""
    lines = {
        "Host": host,
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": key or base64.b64encode(os.urandom(16)).decode(),
        "Sec-WebSocket-Version": "13",
    }
    lines.update({name.replace("_", "-"): value for name, value in headers.items()})
    text = "".join(f"{name}: {value}\r\n" for name, value in lines.items() if value)
    return f"GET {path} HTTP/1.1\r\n{text}\r\n".encode()


def frame(kind: int, payload: bytes = b"", *, fin: bool = True) -> bytes:
    """A frame of a client, with a mask of zeros."""
    size = len(payload)
    if size < 126:
        length = bytes([0x80 | size])
    elif size < 65_536:
        length = bytes([0xFE]) + size.to_bytes(2, "big")
    else:
        length = bytes([0xFF]) + size.to_bytes(8, "big")
    return bytes([(0x80 if fin else 0) | kind]) + length + bytes(4) + payload


def command(message: dict[str, Any]) -> bytes:
    """A command of the client protocol as a frame."""
    return frame(1, json.dumps(message).encode())


class RawSocket:
    """A TCP connection to a server named by its URL. Reading waits 10 s at most."""

    def __init__(
        self, url: str, *, receive_buffer: int | None = None, tls: ssl.SSLContext | None = None
    ) -> None:
        parts = urlsplit(url)
        self.host = parts.netloc
        self._socket = socket.socket()
        if receive_buffer is not None:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self._socket.settimeout(10)
        self._socket.connect((parts.hostname, parts.port))
        if tls is not None:
            self._socket = tls.wrap_socket(self._socket, server_hostname=parts.hostname)
        self._rest = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, data: bytes) -> None:
        """Sends bytes as they are."""
        self._socket.sendall(data)

    def open(self, path: str, *, behind: bytes = b"", **headers: str) -> None:
        """Opens a WebSocket; `behind` goes into the same segment as the request."""
        self.send(handshake(self.host, path, **headers) + behind)
        head = self.until(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101"), head

    def until(self, mark: bytes) -> bytes:
        """Reads up to a mark and returns what came with it; what lies behind is for the next read."""
        while mark not in self._rest:
            data = self._socket.recv(65_536)
            assert data, f"the connection ended behind {self._rest[-200:]!r}"
            self._rest += data
        found, _, self._rest = self._rest.partition(mark)
        return found + mark

    def frame(self) -> tuple[int, bytes]:
        """Reads one frame of the server's: its first byte without FIN, and its payload."""
        first, second = self._take(2)
        size = second
        if size > 125:
            size = int.from_bytes(self._take(2 if size == 126 else 8), "big")
        return first & 0x7F, self._take(size)

    def rest(self) -> bytes:
        """Reads to the end of the connection, however it ends."""
        try:
            while data := self._socket.recv(65_536):
                self._rest += data
        except ConnectionResetError:
            pass
        return self._rest

    def reset(self) -> None:
        """Cuts the connection without a word: what the peer still writes is answered by a reset."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()

    def finish_sending(self) -> None:
        """Sends nothing more."""
        self._socket.shutdown(socket.SHUT_WR)

    def _take(self, count: int) -> bytes:
        while len(self._rest) < count:
            data = self._socket.recv(65_536)
            assert data, "the connection ended within a frame"
            self._rest += data
        found, self._rest = self._rest[:count], self._rest[count:]
        return found
