"""How connections over a limit are turned away: by an HTTP status, before they are accepted, for next to nothing."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle
from typing import Any, Final

from starlette.types import ASGIApp, Receive, Scope, Send

from hub.admission import ADDRESS, HANDSHAKES, PROCESS, Addresses, Admission, Bound
from hub.protocol.json_codec import encode
from hub.transports.handshake import Handshake
from hub.transports.opening import connection_of
from hub.transports.upgrade import response


def _responses(bound: Bound) -> Iterator[bytes]:
    body = encode({"error": {"code": bound.status, "message": bound.message}})
    same = [
        (b"cache-control", b"no-store"),
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
    ]
    return cycle(
        [
            response(bound.status, [(b"retry-after", b"%d" % seconds), *same], body)
            for seconds in bound.retry_after
        ]
    )


_RESPONSES: Final = {bound: _responses(bound) for bound in (PROCESS, ADDRESS, HANDSHAKES)}
_SECONDS: Final = {bound: cycle(bound.retry_after) for bound in (PROCESS, ADDRESS, HANDSHAKES)}


def turning_away(bound: Bound) -> bytes:
    """The whole response to a handshake that this bound refuses, ready to be written."""
    return next(_RESPONSES[bound])


def retry_after(bound: Bound) -> int:
    """Seconds after which whoever is refused is asked to come back."""
    return next(_SECONDS[bound])


def address_of(scope: Any, addresses: Addresses) -> str:
    """Under which address a request counts, as the server has found out its client."""
    client = scope.get("client")
    forwarded = any(name == b"x-forwarded-for" for name, _ in scope["headers"])
    return addresses.of(client[0] if client else None, forwarded=forwarded)


class Admit:
    """Pure ASGI middleware that counts WebSockets, for as long as their endpoint runs, where the server does not.

    The hub's own protocol counts the connections themselves, and refuses before there is an ASGI scope.
    """

    def __init__(self, app: ASGIApp, admission: Admission) -> None:
        self._app = app
        self._admission = admission

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes on what may come in."""
        if scope["type"] != "websocket" or connection_of(scope) is not None:
            await self._app(scope, receive, send)
            return
        with self._admission.entered(address_of(scope, self._admission.addresses)) as bound:
            if bound is None:
                await self._app(scope, receive, send)
            else:
                headers = {"Retry-After": str(retry_after(bound)), "Cache-Control": "no-store"}
                await Handshake(scope, receive, send).refuse(bound.status, bound.message, headers)
