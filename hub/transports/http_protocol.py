"""uvicorn's HTTP protocol, taught to open WebSockets by itself, and to refuse what takes too long or too much.

The request is parsed once: what httptools found goes into the scope, and the socket to a `Connection`. After that
nothing of the HTTP side is left. It builds on internals of uvicorn 0.54, which is why the dependency is pinned.
"""

from __future__ import annotations

from asyncio import AbstractEventLoop, BaseTransport
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import unquote

import httptools
from uvicorn.config import Config
from uvicorn.server import ServerState

from hub import metrics
from hub.admission import Admission
from hub.protocol.answers import Answer, Prompt
from hub.transports.admitting import turning_away
from hub.transports.connection import Connection
from hub.transports.deadlines import Deadlines
from hub.transports.extensions import agree
from hub.transports.in_turn import HeldFlow, InTurn
from hub.transports.opening import Opening
from hub.transports.strict_requests import HEADER_BYTES, BadRequest
from hub.transports.upgrade import BadHandshake, accept_key, refuse

HEADER_SECONDS: Final = 10.0
"""How long a client may take to send the headers of a request, or an endpoint to answer a handshake."""
BODY_SECONDS: Final = 40.0
"""How long a body may take; a little longer than the API waits, whose answer says more."""
ANSWER_SECONDS: Final = 30.0
"""How long a client may take nothing of an answer that waits for it."""
CHUNK_BYTES: Final = 65_536
"""Bytes that may come round the chunks of a body, beyond eight for each byte in them."""
UNREAD_BYTES: Final = 16 * 1024 * 1024
"""Bytes that may come of a body after the answer, which the client might not see if it were cut while it sends."""
AT_ONCE: Final = 64
"""Requests of one connection that are answered before others have their turn."""


class HubHttpProtocol(InTurn):
    """One HTTP connection, until it becomes a WebSocket."""

    _forget: Callable[[Connection], None]
    """Takes a connection out of the server's, and of those that are counted; one object for all of them."""
    _admission: Admission | None
    """Says which connections may come in; None where all may."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: AbstractEventLoop | None = None,
    ) -> None:
        shared = getattr(server_state, "hub_shared", None)
        if shared is None:
            # What uvicorn works out for each connection is the same for all of a server, but for these two.
            super().__init__(config, server_state, app_state, _loop)
            shared = server_state.hub_shared = {  # type: ignore[attr-defined]
                name: value for name, value in vars(self).items() if name not in {"parser", "pipeline"}
            }
            shared["_admission"] = getattr(config.app, "admission", None)
            shared["_forget"] = _forgetting(server_state.connections, shared["_admission"])
        self.__dict__.update(shared)
        self.parser = httptools.HttpRequestParser(self)
        # As uvicorn does it: a request behind one that closes is answered.
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self.pipeline = deque()
        self._clear()
        self._deadlines, self._body_deadlines, self._answer_deadlines = _deadlines(server_state)
        self._requests = 0
        """How many requests had whole headers."""
        self._watched = -1
        """The number of the request for whose headers there is a deadline."""
        self._rest = b""
        self._upgrading: bool | None = None
        """Whether the request asks for a WebSocket; None until its headers have come whole."""
        self._prompt: Mapping[bytes, Prompt] = getattr(config.app, "prompt", {})
        self._asked: Prompt | None = None
        """The endpoint that may answer the request under way at once."""
        self._body = b""
        """What has come of the body of that request."""
        self._turn = 0
        """Requests answered at once since bytes came."""
        self._deaf = False
        """Whether nothing more is read: a request was refused, and the connection ends with the answers before it."""
        self._body_watched = 0
        """The number of the request for whose body there is a deadline."""
        self._taken = 0
        """Bytes of the body that have come, and..."""
        self._round = 0
        """...those that came round them: sizes and extensions of chunks, and fields behind the last."""
        self._unread = 0
        """Bytes that came of a body whose request had been answered."""

    def connection_made(self, transport: Any) -> None:
        """Begins to wait for a request.

        Unlike uvicorn's it takes the addresses from the transport, without a socket object and its system calls.
        """
        self.connections.add(self)
        self.transport = transport
        self.flow = HeldFlow(transport, self._answer_deadlines)
        self.server = _address(transport, "sockname")
        self.client = _address(transport, "peername")  # type: ignore[assignment]  # None as port: a Unix socket
        self.scheme = "https" if transport.get_extra_info("sslcontext") else "http"
        self._watch()

    def data_received(self, data: bytes) -> None:
        """Takes what has come."""
        if self._deaf:
            return
        if self.flow.held:
            self._keep(data)
            return
        self._unset_keepalive_if_required()
        self._turn = 0
        self._feed_in_turn(data)

    def _reads_on(self) -> bool:
        return not self._deaf

    def _feed(self, piece: bytes, whole: bytes, end: int) -> None:
        """Feeds the parser."""
        requests, taken = self._requests, self._taken
        self._size = len(piece)
        try:
            self.parser.feed_data(piece)
        except httptools.HttpParserUpgrade as upgrade:
            if self._should_upgrade() and self._in_headers:
                self._rest = piece[upgrade.args[0] :] + whole[end:]
                self.handle_websocket_upgrade()
            else:
                # To another protocol, or before earlier requests were answered: those are, and nothing is read on.
                self._deaf = True
                self.cycle.keep_alive = False
            return
        except httptools.HttpParserError as error:
            self._give_up(error)
            return
        if self._asked is not None:
            self._await()
        if self._in_body:
            around = len(piece) - (self._taken - taken) if requests == self._requests else 0
            self._heed_body(around, len(piece))
        elif requests == self._requests:
            self._heed_head(len(piece))

    def _heed_head(self, size: int) -> None:
        """Sees to it that a head comes in time, and that there is an end of it, also behind requests under way."""
        self._heading += size
        if self._in_headers:
            self._watch()
        if self._heading > HEADER_BYTES:
            _over("headers")
            self._break(431, b"the headers of the request are too long\n")

    def _give_up(self, error: Exception) -> None:
        """Refuses the request that is being read."""
        found = error.__context__
        if isinstance(found, BadRequest):
            if found.status in (414, 431):
                _over("headers")
            self._break(found.status, f"{found.reason}\n".encode())
        else:
            self.logger.warning("Invalid HTTP request received.")
            self._break(400, b"Invalid HTTP request received.")

    def _break(self, status: int, told: bytes) -> None:
        """Refuses the request that is being read, behind the answers to those before it; none is read after it."""
        self._deaf = True
        cycle = self.cycle
        if self._in_headers or (self._in_body and not self.pipeline):
            started = cycle is not None and cycle.response_started and not cycle.response_complete
            if cycle is not None and not cycle.response_complete:
                cycle.disconnected = True
                cycle.message_event.set()
            if started:
                self.transport.close()
            else:
                refuse(self.transport, status, [], told)
        else:
            self._last_to_answer().keep_alive = False

    def _heed_body(self, around: int, size: int) -> None:
        """Sees to it that a body comes in time, and that there is an end of it, before the answer and after it.

        Of what has come now, `around` bytes are not the body's.
        """
        if self._body_watched < self._requests:
            self._body_watched = self._requests
            self._body_deadlines.add(self, -self._requests)
            self._round = self._unread = 0
        if self.cycle.response_complete:
            self._unread += size
            if self._unread > UNREAD_BYTES:
                _over("body_bytes")
                self._deaf = True
                self.transport.abort()
                return
        self._round += around
        if self._round > CHUNK_BYTES + 8 * self._taken:
            _over("body_bytes")
            self._break(400, b"there is more round the chunks of the body than in them\n")

    def _should_upgrade_to_ws(self) -> bool:
        """It needs no class of uvicorn's for that."""
        return True

    def on_message_begin(self) -> None:
        """A request begins."""
        self._upgrading = None
        self._taken = 0
        super().on_message_begin()

    def _should_upgrade(self) -> bool:
        """Asked several times of each request."""
        if self._upgrading is None:
            self._upgrading = super()._should_upgrade()
        return self._upgrading

    @property
    def _in_headers(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def on_headers_complete(self) -> None:
        """The headers have come whole."""
        self.check_head()
        self._requests += 1
        self._heading = 0
        self._in_body = True
        asked = self._prompt.get(self.url.partition(b"?")[0])
        if asked is not None and self._free:
            self._asked = asked
        else:
            super().on_headers_complete()

    @property
    def _free(self) -> bool:
        """Whether the request whose headers have come may be answered at once; else ASGI knows what to do with it."""
        return (
            self._turn < AT_ONCE
            and self._in_headers
            and self.parser.get_method() == b"POST"
            and not (self.expect_100_continue or self.flow.write_paused or self.parser.should_upgrade())
        )

    def on_body(self, body: bytes) -> None:
        """A piece of a body has come."""
        self._taken += len(body)
        if self._asked is None:
            super().on_body(body)
        else:
            self._body += body

    def on_message_complete(self) -> None:
        """A request has come whole."""
        self._in_body = False
        if self._asked is not None:
            query = self.url.partition(b"?")[2]
            answer = self._asked.answer_now(self.headers, query, self._body)
            if answer is not None:
                self._answer(answer)
                return
            self._await()
        super().on_message_complete()

    def _answer(self, answer: Answer) -> None:
        self._asked, self._body = None, b""
        self._turn += 1
        closing = self.parser.get_http_version() == "1.0" or not self.parser.should_keep_alive()
        self.transport.write(answer.response(closing=closing))
        if closing:
            self.transport.close()
        self.on_response_complete()

    def _await(self) -> None:
        """Hands the request to ASGI, with what has come of its body."""
        body, self._asked, self._body = self._body, None, b""
        super().on_headers_complete()
        if body:
            super().on_body(body)

    def handle_websocket_upgrade(self) -> None:
        """Gives the socket to a connection, and runs the endpoint that decides about it."""
        transport, request = self.transport, self.scope
        self.parser = None  # type: ignore[assignment]  # it refers back to this object
        self._deaf = True
        address = None
        if self._admission is not None:
            address = self._counted_as(self._admission)
            bound = self._admission.enter(address)
            if bound is not None:
                transport.write(turning_away(bound))
                transport.close()
                return
        self.connections.discard(self)
        connections: Any = self.connections
        connection = Connection(transport, self.config.ws_max_size, self._forget)
        connection.address = address
        connections.add(connection)
        transport.set_protocol(connection)
        try:
            key = accept_key(request["method"], request["http_version"], request["headers"])
            scope = self._websocket_scope()
        except BadHandshake as bad:
            refuse(transport, bad.status, bad.headers, f"{bad.reason}\n".encode())
            return
        agreed = agree(request["headers"]) if self.config.ws_per_message_deflate else None
        if agreed is not None:
            connection.window_bits = agreed.window_bits
        extension = b"" if agreed is None else agreed.answer
        opening = Opening(self.app, scope, connection, key, extension)
        self._deadlines.add(opening)
        opening.start(self.loop, self.tasks)
        if self._rest:
            connection.data_received(self._rest)

    def _websocket_scope(self) -> dict[str, Any]:
        """As ASGI has it. Raises BadHandshake."""
        try:
            url = httptools.parse_url(self.url)
            path = url.path.decode("ascii")
        except (httptools.HttpParserInvalidURLError, AttributeError, ValueError):
            raise BadHandshake(400, "the target of the request is no path") from None
        offered = [value for name, value in self.headers if name == b"sec-websocket-protocol"]
        scope: dict[str, Any] = self.scope  # type: ignore[assignment]
        scope["type"] = "websocket"
        scope["asgi"] = {"version": self.asgi_version, "spec_version": "2.4"}
        scope["scheme"] = "wss" if self.scheme == "https" else "ws"
        scope["path"] = self.root_path + (unquote(path) if "%" in path else path)
        scope["raw_path"] = self.root_path.encode("ascii") + url.path
        scope["query_string"] = url.query or b""
        scope["subprotocols"] = _subprotocols(offered) if offered else []
        return scope

    def _counted_as(self, admission: Admission) -> str:
        """The address under which this connection counts, of whoever uvicorn's proxy handling will find behind it."""
        host = self.client[0] if self.client else None
        told = [value for name, value in self.headers if name == b"x-forwarded-for"]
        proxies = getattr(self.app, "trusted_hosts", None)
        if told and proxies is not None and host in proxies:
            host = proxies.get_trusted_client_address(b", ".join(told).decode("latin-1"))[0] or host
        return admission.addresses.of(host, forwarded=bool(told))

    def _watch(self) -> None:
        if self._watched < self._requests:
            self._watched = self._requests
            self._deadlines.add(self, self._requests)

    def overdue(self, number: int) -> None:
        """Headers have not come in time or, with a number below 0, a body.

        A connection in reserve is closed without a word.
        """
        if self._requests != abs(number) or self.parser is None or self.transport.is_closing():
            return
        if number < 0:
            self._body_overdue(number)
        elif self._heading:
            _over("header_seconds")
            refuse(self.transport, 408, [], b"the headers of the request did not come in time\n")
        else:
            self.transport.close()

    def _body_overdue(self, number: int) -> None:
        if not self._in_body or self._deaf:
            return
        if self.flow.read_paused:
            self._body_deadlines.add(self, number)  # it is the endpoint that does not read on
        else:
            _over("body_seconds")
            self._break(408, b"the body of the request did not come in time\n")


def _deadlines(server_state: Any) -> tuple[Deadlines, Deadlines, Deadlines]:
    """Those of a server, in whose event loop they count: for headers, bodies and answers that nobody takes."""
    found = getattr(server_state, "hub_deadlines", None)
    if found is None:
        seconds = (HEADER_SECONDS, BODY_SECONDS, ANSWER_SECONDS)
        found = server_state.hub_deadlines = tuple(map(Deadlines, seconds))
    return found


def _over(limit: str) -> None:
    metrics.LIMITED.labels(limit).inc()


def _forgetting(connections: set[Any], admission: Admission | None) -> Callable[[Connection], None]:
    def forget(connection: Connection) -> None:
        connections.discard(connection)
        if admission is not None and connection.address is not None:
            admission.leave(connection.address)

    return forget


def _address(transport: BaseTransport, name: str) -> tuple[str, int | None] | None:
    """One end of a connection as ASGI has it: host and port, or the path of a Unix socket and None."""
    found = transport.get_extra_info(name)
    if isinstance(found, tuple):
        return str(found[0]), int(found[1])
    return (found, None) if isinstance(found, str) and found else None


def _subprotocols(offered: list[bytes]) -> list[str]:
    # Old Python SDKs send the header empty.
    tokens = b",".join(offered).decode("latin-1").split(",")
    return [token.strip() for token in tokens if token.strip()]
