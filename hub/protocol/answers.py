"""Answers to HTTP requests that need no framework: for endpoints that answer some of them without waiting."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from http import HTTPStatus
from typing import Protocol

from msgspec import Struct

RawHeaders = Sequence[tuple[bytes, bytes]]
"""Names in lower case, and values, as they came."""


class Answer(Struct, frozen=True):
    """A whole response, not to be stored by anybody; `kind` is the media type, "" without a body.

    With `retry_after` it says in how many seconds the request may be repeated.
    """

    status: int
    body: bytes = b""
    kind: str = ""
    retry_after: int = 0

    def headers(self) -> list[tuple[bytes, bytes]]:
        """Its headers."""
        found = [(b"cache-control", b"no-store"), (b"content-length", b"%d" % len(self.body))]
        if self.retry_after:
            found.append((b"retry-after", b"%d" % self.retry_after))
        return [*found, (b"content-type", self.kind.encode())] if self.kind else found

    def response(self, *, closing: bool) -> bytes:
        """What goes over an HTTP/1.1 connection, which is closed behind it or stays."""
        before, behind = _around_length(self.status, self.kind)
        close = b"connection: close\r\n" if closing else b""
        if self.retry_after:
            close += b"retry-after: %d\r\n" % self.retry_after
        return b"%b%d%b%b\r\n%b" % (before, len(self.body), behind, close, self.body)


@cache
def _around_length(status: int, kind: str) -> tuple[bytes, bytes]:
    """What stands in front of the content's length and behind it."""
    line = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n"
    behind = f"\r\ncontent-type: {kind}\r\n" if kind else "\r\n"
    return f"{line}cache-control: no-store\r\ncontent-length: ".encode(), behind.encode()


class Prompt(Protocol):
    """An endpoint that can answer some requests at once, without a task."""

    def answer_now(self, headers: RawHeaders, query: bytes, body: bytes) -> Answer | None:
        """The answer to a request that came whole; None where it has to be awaited: then nothing was done."""


class Headers:
    """Headers to be looked up by lower-case names; of several with one name the first counts.

    For the few look-ups that a request needs this costs less than a mapping of all.
    """

    __slots__ = ("_raw",)

    def __init__(self, raw: RawHeaders) -> None:
        self._raw = raw

    def get(self, name: str, default: str, /) -> str:
        """The value of a header, `default` without one."""
        wanted = name.encode()
        for each, value in self._raw:
            if each == wanted:
                return value.decode("latin-1")
        return default
