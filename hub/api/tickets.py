"""One-time tickets: `POST /api/ticket`, for what can say who it is in nothing but a URL.

A page asks with its user's token, or with the cookie of a site whose users a connect handler knows; a backend asks with
an API key that has the scope `ticket`, for the user that the body names. The answer is `{"ticket", "expires_in"}`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from starlette.datastructures import Headers, QueryParams
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from hub.api.body import BodyRefused, read_body
from hub.auth import claims as read
from hub.auth.api_keys import ApiKeys, presented_key
from hub.auth.bearer import presented_token
from hub.auth.origin import canonical, origin_allowed
from hub.auth.requests import by_name, client_request
from hub.errors import (
    BAD_REQUEST,
    PERMISSION_DENIED,
    SHUTDOWN,
    UNAUTHORIZED,
    Disconnect,
    HubError,
    InvalidToken,
    ReplyError,
)
from hub.model import ANONYMOUS, Identity
from hub.node import Node
from hub.protocol.http import NO_STORE, Refusal, cors, preflight, refusal, refused
from hub.protocol.json_codec import encode
from hub.session.introduction import introduce
from hub.session.plain import identify
from hub.tickets import TICKET_SECONDS

PATH: Final = "/api/ticket"
SCOPE: Final = "ticket"
"""What an API key needs."""
BODY_BYTES: Final = 8_192
"""As long as a token may be: what a backend says in its place."""
SESSION_SECONDS: Final = 3_600
"""How long a session lasts for which a backend names no end."""
_METHODS: Final = "POST, OPTIONS"


class TicketRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a backend asks for: a ticket for a user with some claims, to be used by pages of an origin alone."""

    user: str
    claims: dict[str, Any] = {}
    origin: str = ""


class Ticket(msgspec.Struct, frozen=True):
    """The answer: what goes into `?ticket=`, and for how many seconds it is good."""

    ticket: str
    expires_in: int = TICKET_SECONDS


class TicketDesk:
    """The endpoint, as an ASGI application."""

    def __init__(self, node: Node, keys: ApiKeys, allowed_origins: Sequence[str]) -> None:
        self._node = node
        self._keys = keys
        self._origins = allowed_origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request; a peer that is gone before it has sent all gets no answer."""
        headers = Headers(scope=scope)
        origin = headers.get("origin")
        if not origin_allowed(origin, headers.get("host"), scope["scheme"], self._origins):
            told = refused(
                PERMISSION_DENIED, 403, "this Origin may not ask; add it to server.allowed_origins"
            )
            await _refuse(told)(scope, receive, send)
            return
        try:
            response = await self._answer(scope, receive, headers)
        except BodyRefused as error:
            response = _refuse(refused(BAD_REQUEST, error.status, error.message))
        except HubError as error:
            response = _refuse(refusal(error))
        except ClientDisconnect:
            return
        # Only where a cookie says anything a page may send it along.
        response.headers.update(cors(origin, cookies=by_name(scope, self._origins)))
        await response(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, headers: Headers) -> Response:
        if scope["method"] == "OPTIONS":
            return Response(status_code=204, headers=preflight(headers.get("origin"), _METHODS))
        if scope["method"] != "POST":
            return _refuse(refused(BAD_REQUEST, 405, "ask for a ticket with POST"), {"Allow": _METHODS})
        if self._node.draining:
            # It would be the ticket of a node that nobody can ask any more.
            raise Disconnect(SHUTDOWN)
        query = QueryParams(scope["query_string"])
        key = presented_key(headers, query)
        if key is None:
            identity = await self._client(scope, presented_token(headers, query) or "")
            ticket = self._node.tickets.issue(identity, headers.get("origin", ""))
        else:
            self._demand(key)
            wanted = _wanted(await read_body(scope, receive, BODY_BYTES))
            ticket = self._node.tickets.issue(_vouched(wanted, self._node.clock()), _bound(wanted))
        return Response(encode(Ticket(ticket)) + b"\n", 200, NO_STORE, "application/json")

    async def _client(self, scope: Scope, token: str) -> Identity:
        """Who asks, by token, or by what a connect handler makes of the request."""
        identity = ANONYMOUS
        if token:
            identity = await identify(self._node, token)
        elif self._node.table.connect:
            request = client_request(scope, self._origins)
            identity = (
                await introduce(self._node.table, self._node.clock(), ANONYMOUS, "", request)
            ).identity
        if identity.anonymous:
            raise ReplyError(UNAUTHORIZED, "this asks for a user's token or an API key")
        return identity

    def _demand(self, presented: str) -> None:
        key = self._keys.find(presented)
        if key is None:
            raise ReplyError(UNAUTHORIZED, "no such API key")
        if not key.may(SCOPE):
            raise ReplyError(PERMISSION_DENIED, f"the API key {key.name!r} has no scope for this")
        self._node.meters.request(key.name)


def _wanted(body: bytes) -> TicketRequest:
    try:
        return msgspec.convert(read.read_object(body, "the body"), TicketRequest)
    except (InvalidToken, msgspec.ValidationError) as error:
        raise ReplyError(BAD_REQUEST, f"bad request: {error}") from None


def _bound(wanted: TicketRequest) -> str:
    """The origin whose pages alone may use the ticket, as their browsers will write it; "" for any."""
    found = canonical(wanted.origin) if wanted.origin else ""
    if found is None:
        raise ReplyError(
            BAD_REQUEST, "bad request: `origin` is of the form https://app.example.com, with no path"
        )
    return found


def _vouched(wanted: TicketRequest, now: float) -> Identity:
    """Whom a backend vouches for, as if a token had said so that was made now."""
    claims = {"iat": int(now), "exp": int(now) + SESSION_SECONDS, **wanted.claims, "sub": wanted.user}
    try:
        ends = read.ending(claims)
        times = (read.seconds(claims, "exp"), ends)
        starts = read.seconds(claims, "nbf") or 0.0
        identity = read.bearer(claims, read.string(claims, "sub"), ends, read.ClaimNames())
    except InvalidToken as error:
        raise ReplyError(BAD_REQUEST, f"bad request: {error}") from None
    if identity.anonymous or "channel" in claims or wanted.claims.get("sub", wanted.user) != wanted.user:
        raise ReplyError(
            BAD_REQUEST, "bad request: a ticket is for one user, who has a name, and for no topic"
        )
    if any(time is not None and time <= now for time in times):
        raise ReplyError(BAD_REQUEST, "bad request: `exp` or `expire_at` has passed")
    if starts > now + TICKET_SECONDS:
        raise ReplyError(BAD_REQUEST, "bad request: `nbf` lies in the future")
    return identity


def _refuse(told: Refusal, headers: dict[str, str] | None = None) -> Response:
    return Response(
        told.body() + b"\n", told.status, {**NO_STORE, **told.headers, **(headers or {})}, "application/json"
    )


def ticket_routes(node: Node, keys: ApiKeys, allowed_origins: Sequence[str]) -> list[BaseRoute]:
    """The one route."""
    return [Route(PATH, TicketDesk(node, keys, allowed_origins))]
