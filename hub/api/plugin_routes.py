"""A plugin's own routes: mounted under `/api/<plugin>`, each request with a Context that knows who asks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from logging import Logger
from typing import Any

from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import BaseRoute, Mount
from starlette.types import ASGIApp, Receive, Scope, Send

from hub.auth.bearer import presented_token
from hub.errors import (
    INTERNAL,
    PERMISSION_DENIED,
    TOKEN_EXPIRED,
    TOO_MANY_REQUESTS,
    UNAUTHORIZED,
    UNKNOWN_TOPIC,
    ExpiredToken,
    InvalidToken,
    ReplyError,
    TopicError,
)
from hub.model import ANONYMOUS, Identity
from hub.node import Node
from hub.plugin import Context

@dataclass(frozen=True, slots=True)
class PluginSeat:
    """Whose routes they are: the plugin's name, its settings object and its logger."""

    name: str
    settings: Any
    log: Logger


_STATUS = {
    UNAUTHORIZED.number: 401,
    TOKEN_EXPIRED.number: 401,
    PERMISSION_DENIED.number: 403,
    UNKNOWN_TOPIC.number: 404,
    TOO_MANY_REQUESTS.number: 429,
    INTERNAL.number: 503,
}


def error_response(error: ReplyError) -> JSONResponse:
    """A refusal as HTTP: 401, 403, 404, 429, 503 where a code has its status, else 400; a plugin's 404x codes are 404."""
    status = _STATUS.get(error.code, 404 if 1_400 <= error.code < 1_500 else 400)
    headers = {"Retry-After": "1"} if error.temporary else {}
    return JSONResponse({"error": {"code": error.code, "message": error.message}}, status, headers)


class PluginContext:
    """Middleware that puts a Context into the scope of a plugin's requests, as the identity of the request's token."""

    def __init__(self, app: ASGIApp, node: Node, plugin: PluginSeat) -> None:
        self._app = app
        self._node = node
        self._plugin = plugin

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers 401 for a bad token, and otherwise lets the route decide what the identity may do."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        try:
            identity = self._identify(presented_token(request.headers, request.query_params) or "")
        except ReplyError as error:
            await error_response(error)(scope, receive, send)
            return
        plugin, services = self._plugin, self._node.table.services
        scope["hub.context"] = Context(plugin.name, services, plugin.log, plugin.settings, identity=identity)  # type: ignore[arg-type]
        try:
            await self._app(scope, receive, send)
        except ReplyError as error:
            await error_response(error)(scope, receive, send)
        except TopicError as error:
            await error_response(ReplyError(107, f"bad request: {error}"))(scope, receive, send)

    def _identify(self, token: str) -> Identity:
        if not token:
            return ANONYMOUS
        if self._node.verifier is None:
            raise ReplyError(UNAUTHORIZED, "the token cannot be verified: no key is configured")
        try:
            return self._node.verifier.verify_connection(token)
        except ExpiredToken as error:
            raise ReplyError(TOKEN_EXPIRED) from error
        except InvalidToken as error:
            raise ReplyError(UNAUTHORIZED, "invalid token") from error


def mount(path: str, routes: Sequence[BaseRoute], node: Node, plugin: PluginSeat, body_bytes: int) -> Mount:
    """A plugin's routes as one Mount."""
    middleware = [Middleware(PluginContext, node=node, plugin=plugin)]
    return Mount(path, routes=routes, middleware=middleware, max_body_size=body_bytes, name=plugin.name)
