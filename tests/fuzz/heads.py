"""What the HTTP side must do with any bytes at all: handshakes, requests, and whatever only looks like them."""

from __future__ import annotations

import asyncio
import re
from functools import cache
from typing import Any, Final

from uvicorn.config import Config
from uvicorn.server import ServerState

from hub.transports.extensions import agree
from hub.transports.http_protocol import HubHttpProtocol
from hub.transports.upgrade import BadHandshake, accept_key

_STATUS: Final = re.compile(rb"\AHTTP/1\.1 (\d{3}) ")
_TURNS: Final = 12
_FINE: Final = frozenset({100, 101, 200, 204, 400, 403, 404, 414, 426, 431, 501, 505})


class Wire(asyncio.Transport):
    """A transport that leads nowhere, and keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()
        self.protocol: Any = None
        self.closed = False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return {"sockname": ("127.0.0.1", 80), "peername": ("127.0.0.1", 4_000)}.get(name, default)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol

    def write(self, data: Any) -> None:
        if not self.closed:
            self.written += data

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = True

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        """Nothing more is sent."""

    def pause_reading(self) -> None:
        """Taken note of by nobody."""

    def resume_reading(self) -> None:
        """Taken note of by nobody."""

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """There is no buffer."""

    def get_write_buffer_size(self) -> int:
        return 0


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Accepts every socket and closes it, and answers every request once it has come whole."""
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.close"})
        return
    while (message := await receive())["type"] == "http.request" and message["more_body"]:
        pass
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


class Server:
    """What uvicorn gives to each connection, once for all runs."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.faults: list[dict[str, Any]] = []
        self.loop.set_exception_handler(lambda _, context: self.faults.append(context))
        self.config = Config(application, http=HubHttpProtocol, ws="none", lifespan="off", log_config=None)
        self.config.load()

    def answer(self, pieces: list[bytes]) -> Wire:
        """Gives the pieces to a connection, one after another, and lets it do what it has to."""
        return self.loop.run_until_complete(self._answer(pieces))

    async def _answer(self, pieces: list[bytes]) -> Wire:
        state = ServerState()
        wire = Wire()
        protocol = HubHttpProtocol(config=self.config, server_state=state, app_state={}, _loop=self.loop)
        wire.protocol = protocol
        protocol.connection_made(wire)
        for piece in pieces:
            if wire.closed:
                break
            wire.protocol.data_received(piece)
            await asyncio.sleep(0)
        for _ in range(_TURNS):
            await asyncio.sleep(0)
        wire.closed = True
        wire.protocol.connection_lost(None)
        for task in list(state.tasks):
            await asyncio.wait_for(task, 1)
        for handle in (each._timer for each in state.hub_deadlines):  # type: ignore[attr-defined]
            if handle is not None:
                handle.cancel()
        return wire


@cache
def server() -> Server:
    """The one server of this process."""
    return Server()


def http_head(data: bytes) -> None:
    """The first byte says how the rest is cut; the rest is what a client sends first."""
    if not data:
        return
    step, stream = (data[0] & 0x3F) + 1, data[1:4_096]
    pieces = [stream[at : at + step] for at in range(0, len(stream), step)]
    at = server()
    first = {_status(at.answer(way)) for way in ([stream], pieces)}
    assert not at.faults, at.faults
    # Several requests in one piece may be answered by the refusal of the last of them alone.
    assert len(first) == 1 or 400 in first, f"cutting the request changes the answer: {first}"
    _handshake(stream)


def _status(wire: Wire) -> int:
    if not wire.written:
        return 0
    found = _STATUS.match(wire.written)
    assert found, f"no answer of HTTP's: {bytes(wire.written[:80])!r}"
    status = int(found[1])
    assert status in _FINE, status
    return status


def _handshake(stream: bytes) -> None:
    """The parts of the handshake that look at headers, without a parser before them."""
    headers = [
        (name.strip().lower(), value.strip())
        for name, _, value in (line.partition(b":") for line in stream.split(b"\r\n")[1:])
    ]
    try:
        assert len(accept_key("GET", "1.1", headers)) == 28
        assert sum(name == b"sec-websocket-key" for name, _ in headers) == 1
    except BadHandshake as refused:
        assert refused.status in {400, 426}, refused
    agreed = agree([*headers, (b"sec-websocket-extensions", stream)])
    if agreed is not None:
        assert 9 <= agreed.window_bits <= 15
        assert re.fullmatch(rb"[a-z_; =0-9-]+", agreed.answer), "an offer is repeated in the answer"
