"""The server API: `POST /api/<method>` for backends, with an API key, in the shapes that existing clients know.

A wrong key is 401 with nothing else, a body that is no such request 400; all other errors are answers: HTTP 200 with
`{"error": {"code", "message"}}`. With `X-Centrifugo-Error-Mode: transport` they get a status of their own.

What can be answered without waiting for anything is, by `answer_now`, whether the server asks for it ahead of ASGI or
not; the rest is awaited.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import msgspec
from starlette.datastructures import QueryParams
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from hub.api.asking import answer_other_nodes
from hub.api.body import BodyRefused, read_body
from hub.api.desk import Desk, told
from hub.api.methods import METHODS, Method
from hub.auth.api_keys import ApiKey, ApiKeys, presented_key
from hub.errors import OUTCOME_UNKNOWN, HubError, ReplyError, TooManyRequests
from hub.node import Node
from hub.protocol.answers import Answer, Headers, RawHeaders
from hub.protocol.http import retry_after
from hub.protocol.json_codec import encode

_log = logging.getLogger("hub.api")
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
_UNAUTHORIZED: Final = Answer(401)


class _Asker(NamedTuple):
    """Who asks, and whether errors are to be told by the status."""

    key: ApiKey
    bare: bool


class ApiMethod:
    """The endpoint of one method, as an ASGI application that can also answer at once."""

    def __init__(self, name: str, method: Method, desk: Desk, keys: ApiKeys, body_bytes: int) -> None:
        self.prompt = method.now is not None
        """Whether there are requests that `answer_now` answers."""
        self._method = method
        self._desk = desk
        self._keys = keys
        self._body_bytes = body_bytes
        self._plain = name in _PLAIN

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request; a peer that is gone before it has sent all gets no answer."""
        try:
            answer = await self._answer(scope, receive)
        except ClientDisconnect:
            return
        await send({"type": "http.response.start", "status": answer.status, "headers": answer.headers()})
        await send({"type": "http.response.body", "body": answer.body})

    def answer_now(self, headers: RawHeaders, query: bytes, body: bytes) -> Answer | None:
        """The answer to a request that came whole; None where it has to be awaited: then nothing was done."""
        if len(body) > self._body_bytes or not self._desk.node.router.prompt:
            return None
        asker = self._asker(headers, query)
        if asker is None:
            return _UNAUTHORIZED
        refused = self._counted(asker)
        if refused is not None:
            return refused
        request = self._decoded(body)
        if isinstance(request, Answer):
            return request
        answer = self._called_now(asker, request)
        if answer is None:
            self._desk.node.meters.unasked(asker.key.name)
        return answer

    async def _answer(self, scope: Scope, receive: Receive) -> Answer:
        asker = self._asker(scope["headers"], scope["query_string"])
        if asker is None:
            return _UNAUTHORIZED
        refused = self._counted(asker)
        if refused is not None:
            return refused
        try:
            request = self._decoded(await read_body(scope, receive, self._body_bytes))
        except BodyRefused as error:
            return _text(error.status, error.message)
        if isinstance(request, Answer):
            return request
        return self._called_now(asker, request) or await self._called(asker, request)

    def _asker(self, headers: RawHeaders, query: bytes) -> _Asker | None:
        found = Headers(headers)
        parameters: Mapping[str, str] = QueryParams(query) if query else {}
        key = self._keys.find(presented_key(found, parameters))
        return None if key is None else _Asker(key, found.get("x-centrifugo-error-mode", "") == "transport")

    def _counted(self, asker: _Asker) -> Answer | None:
        """Counts a request; the answer to one that is too many."""
        try:
            self._desk.node.meters.request(asker.key.name)
        except ReplyError as error:
            return _failed(error, asker)
        return None

    def _decoded(self, body: bytes) -> Any:
        """The request, or the answer to what is none."""
        try:
            # Payloads are taken as they stand, so nothing later would notice bytes that are no UTF-8.
            if not body.isascii():
                body.decode()
            return self._method.decode(body or b"{}")
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            return _text(400, f"Bad Request: {error}")

    def _called_now(self, asker: _Asker, request: Any) -> Answer | None:
        if self._method.now is None or not self._desk.node.router.prompt:
            return None
        try:
            result = self._method.now(self._desk, asker.key, request)
            return None if result is None else self._result(result)
        except Exception as error:  # noqa: BLE001 - see there
            return _failed(error, asker)

    async def _called(self, asker: _Asker, request: Any) -> Answer:
        try:
            return self._result(await self._method.call(self._desk, asker.key, request))
        except Exception as error:  # noqa: BLE001 - see there
            return _failed(error, asker)

    def _result(self, result: Any) -> Answer:
        return _json(result if self._plain else {"result": result})


def _failed(error: Exception, asker: _Asker) -> Answer:
    """The answer to what went wrong; what nobody has foreseen is told to the log only."""
    if not isinstance(error, HubError):
        _log.error("a call of the API failed", exc_info=error)
        return _text(500, "Internal Server Error")
    refused = told(error)
    if isinstance(error, TooManyRequests):
        return Answer(429, encode({"error": refused}), "application/json", retry_after(error))
    if asker.bare:
        return _json(refused, _TRANSPORT_STATUSES.get(refused["code"], 400))
    return _json({"error": refused})


def _json(value: Any, status: int = 200) -> Answer:
    return Answer(status, encode(value), "application/json")


def _text(status: int, message: str) -> Answer:
    return Answer(status, message.encode(), "text/plain; charset=utf-8")


def server_api(node: Node, keys: ApiKeys, *, body_bytes: int, history_page: int) -> dict[str, ApiMethod]:
    """The endpoints of all methods by path.

    `body_bytes` bounds a request, `history_page` the publications of one reply.
    """
    desk = Desk(node, history_page)
    answer_other_nodes(desk)
    return {
        f"/api/{name}": ApiMethod(name, method, desk, keys, body_bytes) for name, method in METHODS.items()
    }
