"""The server API: `POST /api/<method>` for backends, with an API key, in the shapes that existing clients know.

A wrong key is 401 with nothing else, a body that is no such request 400; all other errors are answers: HTTP 200 with
`{"error": {"code", "message"}}`. With `X-Centrifugo-Error-Mode: transport` they get a status of their own.

The routes stand one by one, so that what is not offered falls through to a 404 and plugins can have other names.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from starlette.datastructures import Headers, QueryParams
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from hub.api.asking import answer_other_nodes
from hub.api.body import BodyRefused, read_body
from hub.api.desk import Desk, told
from hub.api.methods import METHODS, Method
from hub.auth.api_keys import ApiKey, ApiKeys, presented_key
from hub.errors import OUTCOME_UNKNOWN, HubError
from hub.node import Node
from hub.protocol.http import NO_STORE
from hub.protocol.json_codec import encode

_TRANSPORT_STATUSES: Final = {
    100: 500,
    101: 401,
    102: 404,
    103: 403,
    104: 404,
    111: 429,
    112: 416,
    113: 409,
    OUTCOME_UNKNOWN.number: 504,
}
_PLAIN: Final = frozenset({"batch"})
"""Methods whose result is the whole answer."""


class ApiMethod:
    """The endpoint of one method, as an ASGI application."""

    def __init__(self, name: str, method: Method, desk: Desk, keys: ApiKeys, body_bytes: int) -> None:
        self._name = name
        self._method = method
        self._desk = desk
        self._keys = keys
        self._body_bytes = body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request; a peer that is gone before it has sent all gets no answer."""
        try:
            response = await self._answer(scope, receive)
        except ClientDisconnect:
            return
        await response(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive) -> Response:
        headers = Headers(scope=scope)
        key = self._keys.find(presented_key(headers, QueryParams(scope["query_string"])))
        if key is None:
            return Response(status_code=401, headers=NO_STORE)
        try:
            body = await read_body(scope, receive, self._body_bytes)
            request = self._decode(body)
        except BodyRefused as refused:
            return _text(refused.status, refused.message)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            return _text(400, f"Bad Request: {error}")
        return await self._call(key, request, bare=headers.get("x-centrifugo-error-mode") == "transport")

    def _decode(self, body: bytes) -> Any:
        # Payloads are taken as they stand, so nothing later would notice bytes that are no UTF-8.
        if not body.isascii():
            body.decode()
        return self._method.decode(body or b"{}")

    async def _call(self, key: ApiKey, request: Any, *, bare: bool) -> Response:
        try:
            result = await self._method.call(self._desk, key, request)
        except HubError as error:
            refused = told(error)
            return _json(refused, _transport_status(refused["code"])) if bare else _json({"error": refused})
        return _json(result if self._name in _PLAIN else {"result": result})


def _transport_status(code: int) -> int:
    return _TRANSPORT_STATUSES.get(code, 400)


def _json(value: Any, status: int = 200) -> Response:
    return Response(encode(value), status, NO_STORE, "application/json")


def _text(status: int, message: str) -> Response:
    return Response(message, status, NO_STORE, "text/plain")


def server_routes(node: Node, keys: ApiKeys, *, body_bytes: int, history_page: int) -> list[BaseRoute]:
    """The routes of all methods. `body_bytes` bounds a request, `history_page` the publications of one reply."""
    desk = Desk(node, history_page)
    answer_other_nodes(desk)
    return [
        Route(f"/api/{name}", ApiMethod(name, method, desk, keys, body_bytes), methods=["POST"])
        for name, method in METHODS.items()
    ]
