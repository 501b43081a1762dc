"""What every WebSocket endpoint of the hub's does first: who may connect from where, and with which token.

The endpoints are plain ASGI applications: Starlette's WebSocket object, with headers and query as mappings of their
own, costs more than all that is asked of them here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket

from hub.auth.bearer import SUBPROTOCOL, presented
from hub.auth.origin import origin_allowed
from hub.auth.requests import client_request, presenter
from hub.credentials import NOTHING, Credentials

_READ: Final = frozenset({b"authorization", b"host", b"origin"})
_NO_QUERY: Final[Mapping[str, str]] = {}


def _upgrade_required(_: Request) -> Response:
    """Answers who asks for a WebSocket's path without asking for a WebSocket, often because of a proxy."""
    message = "a WebSocket is opened here: `Connection: Upgrade` and `Upgrade: websocket` have not come"
    headers = {"Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Connection": "close"}
    return JSONResponse({"error": {"code": 426, "message": message}}, 426, headers)


def upgrade_routes() -> list[BaseRoute]:
    """What stands behind all other routes, on the paths of WebSockets."""
    paths = ("/connection/websocket", "/connection/uni_websocket", "/ws/{topic:path}")
    return [Route(path, _upgrade_required, include_in_schema=False) for path in paths]


class Handshake:
    """One handshake: what its endpoint reads of it, and its answer."""

    __slots__ = ("_headers", "_receive", "_send", "query", "scope")

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The arguments are ASGI's."""
        self.scope = scope
        self._receive = receive
        self._send = send
        query = scope["query_string"]
        self.query: Mapping[str, str] = QueryParams(query) if query else _NO_QUERY
        self._headers: dict[str, str] = {}
        for name, value in scope["headers"]:
            # Of headers given twice the first counts, as Starlette has it.
            if name in _READ:
                self._headers.setdefault(name.decode(), value.decode("latin-1"))

    async def admitted(self, allowed_origins: Sequence[str], *, draining: bool) -> bool:
        """Whether it may go on; when not, it has been answered with 403 or 503 and a JSON body."""
        if draining:
            await self.refuse(503, "the node is stopping; connect again", {"Retry-After": "1"})
            return False
        origin = self._headers.get("origin")
        if origin is None:
            return True
        secure = "https" if self.scope.get("scheme") == "wss" else "http"
        if origin_allowed(origin, self._headers.get("host"), secure, allowed_origins):
            return True
        await self.refuse(403, "this Origin may not connect; add it to server.allowed_origins")
        return False

    async def refuse(self, status: int, message: str, headers: dict[str, str] | None = None) -> None:
        """Answers it with a status and a JSON body, where the server can do that before the socket is accepted."""
        websocket = self.websocket()
        body = {"error": {"code": status, "message": message}}
        if "websocket.http.response" in (self.scope.get("extensions") or {}):
            await websocket.send_denial_response(JSONResponse(body, status, headers))
        else:
            await websocket.close(1008, message)

    async def accept(self, subprotocol: str | None = None) -> None:
        """Accepts it."""
        await self._receive()  # ASGI begins with an event that says nothing but that
        accepted: dict[str, Any] = {"type": "websocket.accept", "subprotocol": subprotocol, "headers": []}
        await self._send(accepted)

    def websocket(self) -> WebSocket:
        """As Starlette's object; to be asked for before it is accepted, or never."""
        return WebSocket(self.scope, self._receive, self._send)

    def brought(self, allowed_origins: Sequence[str], *, asked: bool) -> Credentials:
        """What it brings to say who the client is; with the request itself where connect handlers are `asked`."""
        token, ticket = presented(self._headers, self.query, self._offered)
        if not (token or ticket or asked):
            return NOTHING
        request = client_request(self.scope, allowed_origins) if asked else None
        return Credentials(token, ticket, presenter(self.scope) if ticket else "", request)

    def subprotocol(self, *known: str) -> str | None:
        """The subprotocol to answer: `bearer` where a token was offered so, else one of the known, else None."""
        offered = self._offered
        return next((name for name in (SUBPROTOCOL, *known) if name in offered), None) if offered else None

    @property
    def _offered(self) -> Sequence[str]:
        return self.scope.get("subprotocols") or ()
