"""Requests to become a WebSocket (RFC 6455 §4.2): what makes one, and how those are answered that are none."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
from collections.abc import Iterable
from http import HTTPStatus
from typing import Final

_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_KEY_BYTES: Final = 16
Headers = list[tuple[bytes, bytes]]


class BadHandshake(Exception):
    """A request to upgrade that is none; `status` and `reason` answer it, with `headers`."""

    def __init__(self, status: int, reason: str, headers: Headers | None = None) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.headers = headers or []


def accept_key(method: str, version: str, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """What proves to the client that its key was understood (RFC 6455 §4.2). Raises BadHandshake."""
    if method != "GET" or version != "1.1":
        raise BadHandshake(400, "a WebSocket is opened by GET over HTTP/1.1")
    keys, versions = [], []
    for name, value in headers:
        if name == b"transfer-encoding" or (name == b"content-length" and value.strip() != b"0"):
            raise BadHandshake(400, "a handshake has no body")
        if name == b"sec-websocket-key":
            keys.append(value.strip())
        elif name == b"sec-websocket-version":
            versions.append(value.strip())
    if versions != [b"13"]:
        raise BadHandshake(
            426,
            "the version of the protocol must be 13, once",
            [(b"upgrade", b"websocket"), (b"sec-websocket-version", b"13")],
        )
    try:
        good = len(keys) == 1 and len(base64.b64decode(keys[0], validate=True)) == _KEY_BYTES
    except binascii.Error:
        good = False
    if not good:
        raise BadHandshake(400, "Sec-WebSocket-Key must be given once: 16 bytes in base64")
    return base64.b64encode(hashlib.sha1(keys[0] + _GUID, usedforsecurity=False).digest())


def refuse(transport: asyncio.Transport, status: int, headers: Headers, body: bytes) -> None:
    """Answers a handshake with an HTTP response and closes."""
    named = {bytes(name).lower() for name, _ in headers}
    if body and b"content-type" not in named:
        headers = [*headers, (b"content-type", b"text/plain; charset=utf-8")]
    if b"content-length" not in named and b"transfer-encoding" not in named:
        headers = [*headers, (b"content-length", b"%d" % len(body))]
    transport.write(response(status, headers, body))
    transport.close()


def response(status: int, headers: Headers, body: bytes) -> bytes:
    """The bytes of an HTTP response behind which the connection is closed."""
    try:
        phrase = HTTPStatus(status).phrase.encode()
    except ValueError:
        phrase = b""
    lines = [b"HTTP/1.1 %d %s" % (status, phrase)]
    lines += [bytes(name) + b": " + bytes(value) for name, value in headers]
    return b"\r\n".join([*lines, b"connection: close", b"", body])
