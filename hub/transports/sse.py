"""Event streams: `GET /sse/{topic}` for EventSource and `curl -N`.

Each publication is an event whose id is its position, so a browser that comes back with `Last-Event-ID` gets what it
missed. Where that cannot be had it is told so, before anything else, by an event `unrecovered`. The hub's own end of
a stream is told by an event `disconnect`. What is refused is refused by HTTP status before the stream begins; but an
EventSource gives up for good on a status, so to one that is refused for a while only, the refusal is such an event.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from starlette.datastructures import Headers, QueryParams
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from hub.admission import Admission, Bound
from hub.auth.bearer import presented
from hub.auth.origin import origin_allowed
from hub.auth.requests import by_name, client_request, presenter
from hub.credentials import Credentials
from hub.errors import (
    BAD_REQUEST,
    CONNECTION_LIMIT,
    PERMISSION_DENIED,
    SHUTDOWN,
    TOO_MANY_REQUESTS,
    Disconnect,
)
from hub.model import Position
from hub.node import Node
from hub.protocol.http import NO_STORE, Refusal, cors, preflight, refusal, refused
from hub.protocol.wires import EVENT_STREAM
from hub.session.plain import PlainSession
from hub.transports.admitting import address_of, retry_after
from hub.transports.event_stream import EventTransport, Stream, event, retry

WRITE_SECONDS: Final = 15.0
"""How long the server may take to accept a piece; a peer that reads nothing for so long is given up."""
_METHODS: Final = "GET, OPTIONS"
_MAX_OFFSET: Final = 2**63 - 1
_HEADERS: Final = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "private, no-cache, no-store, must-revalidate, max-age=0",
    "Pragma": "no-cache",
    "X-Accel-Buffering": "no",
}


class EventStreams:
    """The endpoint, as an ASGI application."""

    def __init__(
        self,
        node: Node,
        allowed_origins: Sequence[str],
        admission: Admission,
        write_seconds: float = WRITE_SECONDS,
    ) -> None:
        self._node = node
        self._admission = admission
        self._origins = allowed_origins
        self._write_seconds = write_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Streams one topic until either side ends it."""
        headers = Headers(scope=scope)
        topic, origin = scope["path_params"]["topic"], headers.get("origin")
        if not origin_allowed(origin, headers.get("host"), scope["scheme"], self._origins):
            told = refused(
                PERMISSION_DENIED, 403, "this Origin may not connect; add it to server.allowed_origins"
            )
            await _answer(told, topic)(scope, receive, send)
        elif scope["method"] == "OPTIONS":
            await Response(status_code=204, headers=preflight(origin, _METHODS))(scope, receive, send)
        elif scope["method"] != "GET":
            told = refused(BAD_REQUEST, 405, "an event stream is read with GET")
            await _answer(told, topic, {"Allow": _METHODS, **cors(origin)})(scope, receive, send)
        else:
            with self._admission.entered(address_of(scope, self._admission.addresses)) as bound:
                if bound is None:
                    await self._open(scope, receive, send, topic, headers)
                else:
                    await _turn_away(bound, topic, headers, self._shared(scope, headers))(
                        scope, receive, send
                    )

    async def _open(self, scope: Scope, receive: Receive, send: Send, topic: str, headers: Headers) -> None:
        query = QueryParams(scope["query_string"])
        last = last_event_id(headers, query)
        shared = self._shared(scope, headers)
        if self._node.draining:
            await _refuse(Disconnect(SHUTDOWN), topic, headers, shared)(scope, receive, send)
            return
        transport = EventTransport()
        session = PlainSession(self._node, transport, EVENT_STREAM, "sse")
        try:
            brought = self._brought(scope, headers, query)
            established = await session.open_topic(topic, brought, position_of(last))
        except Disconnect as error:
            session.end(error.code, error.reason)
            await _refuse(error, topic, headers, shared)(scope, receive, send)
            return
        finally:
            if not session.subscriptions:
                session.lost()
        start = {**_HEADERS, **shared}
        stream = Stream(session, transport, established, asked=bool(last))
        await stream.serve(start, receive, send, self._write_seconds)

    def _shared(self, scope: Scope, headers: Headers) -> dict[str, str]:
        """What lets the asking page read the answer; with its visitor's cookies only where handlers look at them."""
        cookies = bool(self._node.table.connect) and by_name(scope, self._origins)
        return cors(headers.get("origin"), cookies=cookies)

    def _brought(self, scope: Scope, headers: Headers, query: QueryParams) -> Credentials:
        token, ticket = presented(headers, query)
        request = client_request(scope, self._origins) if self._node.table.connect else None
        return Credentials(token, ticket, presenter(scope) if ticket else "", request)


def last_event_id(headers: Headers, query: QueryParams) -> str:
    """Where the client says it stands, "" when it does not.

    The header goes first: a browser that reconnects keeps the query it began with.
    """
    return headers.get("last-event-id") or query.get("last_event_id") or query.get("lastEventId") or ""


def position_of(last: str) -> Position | None:
    """The position that an event id stands for; None for one that the hub never gave."""
    offset, _, epoch = last.partition(":")
    if not (offset.isascii() and offset.isdecimal() and len(offset) < 20 and int(offset) <= _MAX_OFFSET):
        return None
    return Position(int(offset), epoch)


def _refuse(end: Disconnect, topic: str, headers: Headers, shared: dict[str, str]) -> Response:
    return _say(refusal(end), end.code, topic, headers, shared)


def _turn_away(bound: Bound, topic: str, headers: Headers, shared: dict[str, str]) -> Response:
    told = refused(TOO_MANY_REQUESTS, bound.status, bound.message)
    told.headers["Retry-After"] = str(retry_after(bound))
    return _say(told, CONNECTION_LIMIT.number, topic, headers, shared)


def _say(told: Refusal, code: int, topic: str, headers: Headers, shared: dict[str, str]) -> Response:
    if told.temporary and "text/event-stream" in headers.get("accept", ""):
        wait = float(told.headers.get("Retry-After", 0))
        body = retry(wait) + event("disconnect", {"code": code, "reason": told.message})
        return Response(body, 200, {**_HEADERS, **shared})
    return _answer(told, topic, shared)


def _answer(told: Refusal, topic: str, headers: Mapping[str, str] | None = None) -> Response:
    return Response(
        told.body(topic), told.status, {**NO_STORE, **told.headers, **(headers or {})}, "application/json"
    )


def sse_routes(node: Node, allowed_origins: Sequence[str], admission: Admission) -> list[BaseRoute]:
    """The one route."""
    return [Route("/sse/{topic:path}", EventStreams(node, allowed_origins, admission))]
