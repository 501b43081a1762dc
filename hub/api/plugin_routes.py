"""A plugin's own routes: mounted under `/api/<plugin>`, each request with a Context that knows who asks.

Whoever has an API key needs a scope of the plugin's name; everybody else is a client, with a token or without, and the
route decides what they may do. What a route raises is answered with the hub's errors in JSON.
"""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass
from logging import Logger
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match, Mount, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hub.auth.api_keys import ApiKeys, presented_key
from hub.auth.bearer import presented_token
from hub.errors import (
    INTERNAL,
    PERMISSION_DENIED,
    TOKEN_EXPIRED,
    UNAUTHORIZED,
    ExpiredToken,
    HubError,
    InvalidToken,
    ReplyError,
    StoreError,
)
from hub.model import ANONYMOUS, Identity
from hub.node import Node
from hub.plugin import Context
from hub.protocol.http import NO_STORE, Refusal, refusal, refused


@dataclass(frozen=True, slots=True)
class PluginSeat:
    """Whose routes they are: the plugin's name, its settings object and its logger."""

    name: str
    settings: Any
    log: Logger


class PluginContext:
    """Middleware that puts a Context into the scope of a plugin's requests, and answers what its routes raise."""

    def __init__(
        self, app: ASGIApp, node: Node, keys: ApiKeys, plugin: PluginSeat, routes: Sequence[BaseRoute]
    ) -> None:
        self._app = app
        self._routes = routes
        self._node = node
        self._keys = keys
        self._plugin = plugin

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request; once the route has begun its answer, what it raises is the server's to deal with."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = False

        async def watched(message: Message) -> None:
            nonlocal begun
            begun = True
            if message["type"] == "http.response.start":
                # What one user may see is nothing for a cache, unless the route says otherwise.
                MutableHeaders(scope=message).setdefault("Cache-Control", "no-store")
            await send(message)

        try:
            scope["hub.context"] = await self._context(Request(scope))
            await self._app(scope, receive, watched)
        except HTTPException as error:
            if error.status_code == 405:
                error.headers = {**(error.headers or {}), "Allow": self._allowed(scope)}
            raise
        except ClientDisconnect:
            return
        except Exception as error:
            if begun:
                raise
            await _answer(self._refusal(error, scope))(scope, receive, send)

    def _allowed(self, scope: Scope) -> str:
        """The methods of all routes at the path; a router tells those of the first alone."""
        matching = (route for route in self._routes if route.matches(scope)[0] is not Match.NONE)
        methods = {method for route in matching if isinstance(route, Route) for method in route.methods or ()}
        return ", ".join(sorted(methods))

    async def _context(self, request: Request) -> Context[Any]:
        plugin = self._plugin
        services = self._node.table.services
        if services is None:
            raise RuntimeError("the hub has not been built: there are no services")
        key = self._key(presented_key(request.headers, request.query_params))
        identity = await self._identify(presented_token(request.headers, request.query_params) or "")
        return Context(plugin.name, services, plugin.log, plugin.settings, identity=identity, api_key=key)

    def _key(self, presented: str | None) -> str:
        if presented is None:
            return ""
        key = self._keys.find(presented)
        if key is None:
            raise ReplyError(UNAUTHORIZED, "no such API key")
        if not key.may(self._plugin.name):
            text = f"the API key {key.name!r} has no scope {self._plugin.name!r}"
            raise ReplyError(PERMISSION_DENIED, text)
        self._node.meters.request(key.name)
        return key.name

    async def _identify(self, token: str) -> Identity:
        if not token:
            return ANONYMOUS
        if self._node.verifier is None:
            raise ReplyError(UNAUTHORIZED, "the token cannot be verified: no key is configured")
        try:
            return await self._node.identified(token)
        except ExpiredToken as error:
            raise ReplyError(TOKEN_EXPIRED) from error
        except InvalidToken as error:
            raise ReplyError(UNAUTHORIZED, "invalid token") from error

    def _refusal(self, error: Exception, scope: MutableMapping[str, Any]) -> Refusal:
        context: Context[Any] | None = scope.get("hub.context")
        if isinstance(error, StoreError) or not isinstance(error, HubError):
            self._plugin.log.error("%s %s failed", scope["method"], scope["path"], exc_info=error)
        if not isinstance(error, HubError):
            return refused(INTERNAL, 500)
        if isinstance(error, ReplyError) and error.code == INTERNAL.number:
            return refused(INTERNAL, 503, error.message)
        nameless = context is not None and context.identity.anonymous and not context.api_key
        if isinstance(error, ReplyError) and error.code == PERMISSION_DENIED.number and nameless:
            return refused(UNAUTHORIZED, 401, "this asks for a token or an API key")
        return refusal(error)


def _answer(told: Refusal) -> Response:
    return Response(told.body(), told.status, {**NO_STORE, **told.headers}, "application/json")


class _PluginMount(Mount):
    """Answers at its bare path too: the redirect to a path with a slash costs a POST its answer in most clients."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        if scope["type"] != "http" or scope["path"] != scope.get("root_path", "") + self.path:
            return super().matches(scope)
        path = f"{scope['path']}/"
        match, child = super().matches({**scope, "path": path})
        return match, {**child, "path": path}


def mount(
    path: str, routes: Sequence[BaseRoute], node: Node, keys: ApiKeys, plugin: PluginSeat, body_bytes: int
) -> Mount:
    """A plugin's routes as one Mount; a route `/` is at `path` itself."""
    middleware = [Middleware(PluginContext, node=node, keys=keys, plugin=plugin, routes=routes)]
    return _PluginMount(
        path, routes=routes, middleware=middleware, max_body_size=body_bytes, name=plugin.name
    )
