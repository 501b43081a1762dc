"""Reading a request's body within bounds of size and time."""

from __future__ import annotations

import asyncio
from typing import Final

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope

from hub import metrics

BODY_SECONDS: Final = 30.0
"""How long a body may take to arrive; it holds a connection and its bytes until then."""


class BodyRefused(Exception):
    """The body cannot be taken; `status` is 413 (more than `limit` bytes) or 408 (too slow)."""

    def __init__(self, status: int, message: str) -> None:
        self.status = status
        self.message = message
        super().__init__(message)


async def read_body(scope: Scope, receive: Receive, limit: int, *, seconds: float = BODY_SECONDS) -> bytes:
    """The whole body, of at most `limit` bytes. Raises BodyRefused, and ClientDisconnect when the peer is gone."""
    declared = Headers(scope=scope).get("content-length", "")
    if declared.isdecimal() and int(declared) > limit:
        raise _too_large(limit)
    body = bytearray()
    try:
        async with asyncio.timeout(seconds):
            while await _more(body, receive):
                if len(body) > limit:
                    raise _too_large(limit)
    except TimeoutError as error:
        metrics.LIMITED.labels("body_seconds").inc()
        raise BodyRefused(408, f"the body did not arrive within {seconds:g} seconds") from error
    if len(body) > limit:
        raise _too_large(limit)
    return bytes(body)


async def _more(body: bytearray, receive: Receive) -> bool:
    message = await receive()
    if message["type"] == "http.disconnect":
        raise ClientDisconnect
    body += message.get("body", b"")
    return bool(message.get("more_body", False))


def _too_large(limit: int) -> BodyRefused:
    metrics.LIMITED.labels("body_bytes").inc()
    return BodyRefused(413, f"the body has more than {limit} bytes")
