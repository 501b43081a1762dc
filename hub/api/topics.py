"""The curl-first API: a topic is an address; POST a body and it is published, GET reads history.

    curl -d 'hi' http://127.0.0.1:8000/api/topics/lobby
    curl 'http://127.0.0.1:8000/api/topics/lobby?limit=10'

A body that is JSON is published as it stands, any other text as a JSON string, whatever the content type says (curl
calls everything a form), except that what is declared to be JSON has to be. Whoever has an API key acts within its
scopes; everybody else is a client and needs the topic's permission, with a token or without. Errors are HTTP statuses
with a JSON body.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import msgspec
from starlette.datastructures import Headers, QueryParams
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from hub.api.body import BodyRefused, read_body
from hub.api.texts import history_query, payload_of
from hub.auth.api_keys import ApiKey, ApiKeys, presented_key
from hub.auth.bearer import presented_token
from hub.auth.origin import origin_allowed
from hub.errors import BAD_REQUEST, PERMISSION_DENIED, UNAUTHORIZED, UNRECOVERABLE, HubError, ReplyError
from hub.model import ANONYMOUS, ClientInfo, Identity
from hub.node import Node
from hub.protocol.commands import WirePublication
from hub.protocol.http import NO_STORE, Refusal, cors, preflight, refusal, refused
from hub.protocol.json_codec import encode, wire_publications
from hub.session.plain import identify

_METHODS: Final = "GET, HEAD, POST, OPTIONS"
_MAX_KEY: Final = 255


class Published(msgspec.Struct, frozen=True, omit_defaults=True):
    """The answer to a POST; offset and epoch where the topic keeps history."""

    topic: str
    offset: int = 0
    epoch: str = ""


class Kept(msgspec.Struct, frozen=True):
    """The answer to a GET; offset and epoch are the topic's newest position."""

    topic: str
    publications: list[WirePublication]
    offset: int
    epoch: str


class Caller(NamedTuple):
    """Who asks: a key, or else a client."""

    key: ApiKey | None
    identity: Identity
    client: str = ""


class Question(NamedTuple):
    """What of a request is looked at."""

    topic: str
    headers: Headers
    query: QueryParams


class TopicApi:
    """The endpoint, as an ASGI application."""

    def __init__(self, node: Node, keys: ApiKeys, body_bytes: int, allowed_origins: Sequence[str]) -> None:
        self._node = node
        self._keys = keys
        self._body_bytes = body_bytes
        self._origins = allowed_origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request; a peer that is gone before it has sent all gets no answer."""
        headers = Headers(scope=scope)
        asked = Question(scope["path_params"]["topic"], headers, QueryParams(scope["query_string"]))
        origin = headers.get("origin")
        if not origin_allowed(origin, headers.get("host"), scope["scheme"], self._origins):
            told = refused(
                PERMISSION_DENIED, 403, "this Origin may not ask; add it to server.allowed_origins"
            )
            await _refuse(told, asked.topic)(scope, receive, send)
            return
        try:
            response = await self._answer(scope, receive, asked)
        except BodyRefused as error:
            response = _refuse(refused(BAD_REQUEST, error.status, error.message), asked.topic)
        except HubError as error:
            response = _refuse(refusal(error), asked.topic)
        except ClientDisconnect:
            return
        response.headers.update(cors(origin))
        await response(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, asked: Question) -> Response:
        method = scope["method"]
        if method == "POST":
            return _json(await self._publish(scope, receive, asked))
        if method in {"GET", "HEAD"}:
            return _json(await self._history(asked))
        if method == "OPTIONS":
            return Response(status_code=204, headers=preflight(asked.headers.get("origin"), _METHODS))
        told = refused(BAD_REQUEST, 405, "POST a body to publish it, GET to read history")
        return _refuse(told, asked.topic, {"Allow": _METHODS})

    async def _publish(self, scope: Scope, receive: Receive, asked: Question) -> Published:
        caller = await self._caller(asked)
        self._demand(caller, "publish", asked.topic)
        key = asked.headers.get("idempotency-key", "")
        if len(key) > _MAX_KEY:
            raise ReplyError(
                BAD_REQUEST, f"bad request: an Idempotency-Key has at most {_MAX_KEY} characters"
            )
        if caller.key is None:
            self._node.meters.publication(caller.identity.user, asked.topic)
        raw = payload_of(
            await read_body(scope, receive, self._body_bytes), asked.headers.get("content-type", "")
        )
        identity = caller.identity
        if self._node.revocations.refuse(identity) or self._node.revocations.bar(identity.user, asked.topic):
            # A body may take its time, and what is revoked meanwhile is revoked.
            raise ReplyError(PERMISSION_DENIED)
        result = await self._node.router.publish(
            asked.topic,
            raw,
            by=caller,
            info=None if identity.anonymous else ClientInfo(identity.user, "", identity.info),
            idempotency_key=key,
        )
        at = result.position
        return Published(asked.topic) if at is None else Published(asked.topic, at.offset, at.epoch)

    async def _history(self, asked: Question) -> Kept:
        self._demand(await self._caller(asked), "history", asked.topic)
        query = history_query(asked.query, self._node.limits.history_page)
        page = await self._node.router.history(asked.topic, query)
        top = page.position
        if query.since is not None and query.since.epoch not in ("", top.epoch):
            raise ReplyError(UNRECOVERABLE, f"the topic's history began anew: its epoch is {top.epoch} now")
        return Kept(asked.topic, wire_publications(page.publications), top.offset, top.epoch)

    async def _caller(self, asked: Question) -> Caller:
        presented = presented_key(asked.headers, asked.query)
        if presented is None:
            token = presented_token(asked.headers, asked.query) or ""
            return Caller(None, await identify(self._node, token))
        key = self._keys.find(presented)
        if key is None:
            raise ReplyError(UNAUTHORIZED, "no such API key")
        self._node.meters.request(key.name)
        return Caller(key, ANONYMOUS)

    def _demand(self, caller: Caller, action: str, topic: str) -> None:
        if caller.key is not None:
            if not caller.key.may(action, topic):
                raise ReplyError(PERMISSION_DENIED, f"the API key {caller.key.name!r} has no scope for this")
            return
        try:
            self._node.demand(caller.identity, action, topic)
        except ReplyError as error:
            if error.code == PERMISSION_DENIED.number and caller.identity.anonymous:
                raise ReplyError(UNAUTHORIZED, "the topic asks for a token or an API key") from error
            raise


def _json(answer: Any) -> Response:
    # The line break is for the terminal that curl runs in.
    return Response(encode(answer) + b"\n", 200, NO_STORE, "application/json")


def _refuse(told: Refusal, topic: str, headers: dict[str, str] | None = None) -> Response:
    return Response(
        told.body(topic) + b"\n",
        told.status,
        {**NO_STORE, **told.headers, **(headers or {})},
        "application/json",
    )


def topic_routes(
    node: Node, keys: ApiKeys, *, body_bytes: int, allowed_origins: Sequence[str]
) -> list[BaseRoute]:
    """The one route; `body_bytes` bounds what is published."""
    return [Route("/api/topics/{topic:path}", TopicApi(node, keys, body_bytes, allowed_origins))]
