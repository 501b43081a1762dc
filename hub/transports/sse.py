"""Event streams: `GET /sse/{topic}` for EventSource and `curl -N`.

Each publication is an event whose id is its position, so a browser that comes back with `Last-Event-ID` gets what it
missed. Where that cannot be had it is told so, before anything else, by an event `unrecovered`. The hub's own end of
a stream is told by an event `disconnect`. What is refused is refused by HTTP status before the stream begins; but an
EventSource gives up for good on a status, so to one that is refused for a while only, the refusal is such an event.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Final

from starlette.datastructures import Headers, QueryParams
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from hub.auth.bearer import presented_token
from hub.auth.origin import origin_allowed
from hub.errors import (
    BAD_REQUEST,
    PERMISSION_DENIED,
    SHUTDOWN,
    SLOW,
    SOCKET_TOO_SLOW,
    WRITE_ERROR,
    Disconnect,
)
from hub.model import Position
from hub.node import Node
from hub.outbox import MAX_JOINED, Unit
from hub.protocol.http import NO_STORE, Refusal, cors, preflight, refusal, refused
from hub.protocol.json_codec import encode
from hub.protocol.wires import EVENT_STREAM
from hub.session.base import Established
from hub.session.plain import PlainSession

WRITE_SECONDS: Final = 15.0
"""How long the server may take to accept a piece; a peer that reads nothing for so long is given up."""
RETRY_SECONDS: Final = (1.0, 3.0)
"""Between these a browser is told to wait before it comes back, so that not all come back at once."""
_METHODS: Final = "GET, OPTIONS"
_PING: Final = b": ping\n\n"
_MAX_OFFSET: Final = 2**63 - 1
_HEADERS: Final = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "private, no-cache, no-store, must-revalidate, max-age=0",
    "Pragma": "no-cache",
    "X-Accel-Buffering": "no",
}


class EventTransport:
    """Gathers what a session writes until the response's own task has sent it."""

    def __init__(self) -> None:
        self._pieces: deque[bytes] = deque()
        self._waiting = 0
        self._sending = 0
        self._end: bytes | None = None
        self._gone = False
        self._wake = asyncio.Event()

    def write(self, unit: Unit) -> None:
        """Queues one or several events."""
        if self._end is not None or self._gone:
            return
        piece = unit if isinstance(unit, bytes) else b"".join(unit)
        self._pieces.append(piece)
        self._waiting += len(piece)
        self._wake.set()

    def buffered(self) -> int:
        """Bytes that the server has not taken yet."""
        return self._waiting + self._sending

    def close(self, code: int, reason: str) -> None:
        """Ends the stream after what is queued, or at once where that was too much, and says why."""
        if self._end is None:
            if code in {SLOW.number, SOCKET_TOO_SLOW.number}:
                self._pieces.clear()
                self._waiting = 0
            self._end = _event("disconnect", {"code": code, "reason": reason})
            self._wake.set()

    def ping(self) -> bool:
        """Sends a comment where nothing else waits; a peer that is gone is noticed elsewhere."""
        if not self._pieces:
            self.write(_PING)
        return True

    def pause_reading(self, paused: bool) -> None:
        """A stream has nothing to read."""

    def abandon(self) -> None:
        """The peer is gone; what is queued goes nowhere."""
        self._gone = True
        self._wake.set()

    async def run(self, send: Send, seconds: float) -> None:
        """Sends until the end; raises TimeoutError when the server does not accept a piece within the time."""
        while not self._gone:
            if self._pieces:
                await self._send(send, self._next(), seconds)
            elif self._end is not None:
                await self._send(send, self._end, seconds, more=False)
                return
            else:
                self._wake.clear()
                await self._wake.wait()

    def _next(self) -> bytes:
        chunk = [self._pieces.popleft()]
        size = len(chunk[0])
        while self._pieces and size + len(self._pieces[0]) <= MAX_JOINED:
            chunk.append(self._pieces.popleft())
            size += len(chunk[-1])
        self._waiting -= size
        return b"".join(chunk)

    async def _send(self, send: Send, body: bytes, seconds: float, *, more: bool = True) -> None:
        self._sending = len(body)
        async with asyncio.timeout(seconds):
            await send({"type": "http.response.body", "body": body, "more_body": more})
        self._sending = 0


class EventStreams:
    """The endpoint, as an ASGI application."""

    def __init__(
        self, node: Node, allowed_origins: Sequence[str], write_seconds: float = WRITE_SECONDS
    ) -> None:
        self._node = node
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
            await self._open(scope, receive, send, topic, headers)

    async def _open(self, scope: Scope, receive: Receive, send: Send, topic: str, headers: Headers) -> None:
        query = QueryParams(scope["query_string"])
        last = last_event_id(headers, query)
        if self._node.draining:
            await _refuse(Disconnect(SHUTDOWN), topic, headers)(scope, receive, send)
            return
        transport = EventTransport()
        session = PlainSession(self._node, transport, EVENT_STREAM, "sse")
        try:
            established = await session.open_topic(
                topic, presented_token(headers, query) or "", position_of(last)
            )
        except Disconnect as error:
            session.end(error.code, error.reason)
            await _refuse(error, topic, headers)(scope, receive, send)
            return
        finally:
            if not session.subscriptions:
                session.lost()
        start = {**_HEADERS, **cors(headers.get("origin"))}
        stream = Stream(session, transport, established, asked=bool(last))
        await stream.serve(start, receive, send, self._write_seconds)


class Stream:
    """One stream that has been established; `asked` says that the client came back from somewhere."""

    def __init__(
        self, session: PlainSession, transport: EventTransport, established: Established, *, asked: bool
    ) -> None:
        self._session = session
        self._transport = transport
        self._established = established
        self._asked = asked

    async def serve(self, headers: Mapping[str, str], receive: Receive, send: Send, seconds: float) -> None:
        """Sends the response from its first byte to its last."""
        watch = asyncio.create_task(self._watch(receive), name="event stream watch")
        try:
            async with asyncio.timeout(seconds):
                await send(_start(headers))
                opening = _retry() + self._standing()
                await send({"type": "http.response.body", "body": opening, "more_body": True})
            await self._session.joined(self._established)
            await self._transport.run(send, seconds)
        except OSError:  # a TimeoutError too
            self._session.end(WRITE_ERROR.number, WRITE_ERROR.message)
        finally:
            self._session.lost()
            watch.cancel()
            await asyncio.gather(watch, return_exceptions=True)

    async def _watch(self, receive: Receive) -> None:
        """Waits for the peer to go, which would otherwise show at the next write only."""
        while (await receive())["type"] != "http.disconnect":
            pass
        self._session.lost()
        self._transport.abandon()

    def _standing(self) -> bytes:
        """Where the client stands; its own publications, if any, wait in the transport behind this."""
        outcome = self._established.outcome
        keeps = self._established.held.rule.options.history is not None
        at = b"id: %d:%s\n" % (outcome.position.offset, outcome.position.epoch.encode()) if keeps else b""
        if not self._asked:
            return at + b"\n" if at else b""
        if outcome.recovered:
            return b""
        told = {"recovered": False, "offset": outcome.position.offset, "epoch": outcome.position.epoch}
        return at + _event("unrecovered", told)


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


def _refuse(end: Disconnect, topic: str, headers: Headers) -> Response:
    told = refusal(end)
    if told.temporary and "text/event-stream" in headers.get("accept", ""):
        body = _retry() + _event("disconnect", {"code": end.code, "reason": told.message})
        return Response(body, 200, {**_HEADERS, **cors(headers.get("origin"))})
    return _answer(told, topic, cors(headers.get("origin")))


def _answer(told: Refusal, topic: str, headers: Mapping[str, str] | None = None) -> Response:
    return Response(
        told.body(topic), told.status, {**NO_STORE, **told.headers, **(headers or {})}, "application/json"
    )


def _start(headers: Mapping[str, str]) -> dict[str, object]:
    pairs = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    return {"type": "http.response.start", "status": 200, "headers": pairs}


def _retry() -> bytes:
    return b"retry: %d\n: topichub\n\n" % int(1_000 * random.uniform(*RETRY_SECONDS))  # noqa: S311 - a spread, no secret


def _event(name: str, data: object) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (name.encode(), encode(data))


def sse_routes(node: Node, allowed_origins: Sequence[str]) -> list[BaseRoute]:
    """The one route."""
    return [Route("/sse/{topic:path}", EventStreams(node, allowed_origins))]
