"""What every WebSocket endpoint does first: who may connect from where, and with which token."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.responses import JSONResponse
from starlette.websockets import WebSocket

from hub.auth.bearer import presented_token
from hub.auth.origin import origin_allowed


async def admitted(websocket: WebSocket, allowed_origins: Sequence[str], *, draining: bool) -> bool:
    """Whether the handshake may go on; when not, it has been answered with 403 or 503 and a JSON body."""
    if draining:
        await _refuse(websocket, 503, "the node is stopping; connect again", {"Retry-After": "1"})
        return False
    headers = websocket.headers
    # From the scope, since Starlette's `url` puts the whole address together to take it apart again.
    secure = "https" if websocket.scope.get("scheme") == "wss" else "http"
    if origin_allowed(headers.get("origin"), headers.get("host"), secure, allowed_origins):
        return True
    await _refuse(websocket, 403, "this Origin may not connect; add it to server.allowed_origins", {})
    return False


async def _refuse(websocket: WebSocket, status: int, message: str, headers: dict[str, str]) -> None:
    body = {"error": {"code": status, "message": message}}
    if "websocket.http.response" in (websocket.scope.get("extensions") or {}):
        await websocket.send_denial_response(JSONResponse(body, status, headers))
    else:
        await websocket.close(1008, message)


def handshake_token(websocket: WebSocket) -> str:
    """The client token that the handshake brings, "" when none: `?token=`, or `Authorization: Bearer`."""
    return presented_token(websocket.headers, websocket.query_params) or ""
