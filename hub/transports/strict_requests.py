"""The head of an HTTP request: what the parser lets through and two servers in a row might understand differently.

The parser (llhttp, in its strict form) refuses by itself what is ambiguous about lengths, line ends and characters.
"""

from __future__ import annotations

from typing import Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEADER_BYTES: Final = 65_536
"""Bytes of a request's line and headers."""
LINE_BYTES: Final = 8_192
"""Bytes of the request's target, and of one header field."""
FIELDS: Final = 100
"""Header fields of a request."""
_ONE_HOST: Final = "a request names one Host"
_HEEDED: Final = frozenset({b"expect", b"host", b"transfer-encoding"})


class BadRequest(Exception):
    """A request that the parser lets through and that is refused all the same, with a status."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class StrictRequests(HttpToolsProtocol):
    """Raises BadRequest from callbacks of the parser, which hands it on as the context of an error of its own."""

    _hosts: int
    _coded: bool
    _heading: int
    """Bytes that came of the headers under way, in earlier reads,..."""
    _size: int
    """...and in this one."""
    _in_body: bool
    """Whether the headers of a request have come, and not yet all of its body."""

    def _clear(self) -> None:
        self._heading = self._size = self._hosts = 0
        self._coded = self._in_body = False

    def on_message_begin(self) -> None:
        """A request begins."""
        self._hosts = 0
        self._coded = False
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header field has come, or one behind a body, which nothing reads."""
        headers = self.headers
        if len(name) + len(value) > LINE_BYTES or len(headers) >= FIELDS:
            raise BadRequest(431, f"a request has up to {FIELDS} header fields of up to {LINE_BYTES} bytes")
        if self._in_body:
            return
        name = name.lower()
        if name in _HEEDED:
            self._heed(name, value)
        headers.append((name, value))

    def _heed(self, name: bytes, value: bytes) -> None:
        if name == b"host":
            self._hosts += 1
        elif name == b"transfer-encoding":
            self._coded = True
            if value.strip().lower() != b"chunked":
                raise BadRequest(501, "the only transfer coding is chunked")
        elif value.lower() == b"100-continue":
            self.expect_100_continue = True

    def _check_older(self, version: str) -> None:
        if version != "1.0":
            raise BadRequest(505, "the hub speaks HTTP/1.1")
        if self._hosts > 1:
            raise BadRequest(400, _ONE_HOST)
        if self._coded:
            raise BadRequest(400, "chunks need HTTP/1.1")

    def check_head(self) -> None:
        """Looks at the whole head; raises BadRequest."""
        version = self.parser.get_http_version()
        if version != "1.1":
            self._check_older(version)
        elif self._hosts != 1:
            raise BadRequest(400, _ONE_HOST)
        if len(self.url) > LINE_BYTES:
            raise BadRequest(414, f"the target of a request has up to {LINE_BYTES} bytes")
        if self._heading + self._size > HEADER_BYTES:
            size = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
            if size > HEADER_BYTES:
                raise BadRequest(431, "the headers of the request are too long")
