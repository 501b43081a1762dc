"""One event stream: the queue behind a session, and the response that empties it."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable, Mapping
from typing import Final

from starlette.types import Receive, Send

from hub.errors import SLOW, SOCKET_TOO_SLOW, WRITE_ERROR
from hub.outbox import MAX_JOINED, Unit
from hub.protocol.json_codec import encode
from hub.session.held import Established
from hub.session.plain import PlainSession

RETRY_SECONDS: Final = (1.0, 3.0)
"""Between these a browser is told to wait before it comes back, so that not all come back at once."""
_PING: Final = b": ping\n\n"


class EventTransport:
    """Gathers what a session writes until the response's own task has sent it."""

    socket = None

    def __init__(self) -> None:
        self._pieces: deque[bytes] = deque()
        self._waiting = 0
        self._sending = 0
        self._end: bytes | None = None
        self._gone = False
        self._wake = asyncio.Event()
        self.on_drained: Callable[[], None] | None = None
        """Called when all that was queued has been sent."""

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
            self._end = event("disconnect", {"code": code, "reason": reason})
            self._wake.set()

    def abort(self) -> None:
        """Lets go of what is queued and ends the stream."""
        self._pieces.clear()
        self._waiting = 0
        self.close(SLOW.number, SLOW.message)

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
                if self.on_drained is not None:
                    self.on_drained()
                if not self._pieces:
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
        self._transport.on_drained = self._session.outbox.drained
        watch = asyncio.create_task(self._watch(receive), name="event stream watch")
        try:
            async with asyncio.timeout(seconds):
                await send(_start(headers))
                opening = retry() + self._standing()
                await send({"type": "http.response.body", "body": opening, "more_body": True})
            self._session.joined(self._established)
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
        return at + event("unrecovered", told)


def _start(headers: Mapping[str, str]) -> dict[str, object]:
    pairs = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    return {"type": "http.response.start", "status": 200, "headers": pairs}


def retry(least: float = 0.0) -> bytes:
    """What a stream begins with: how long a browser waits before it comes back, and a comment; `least` adds seconds."""
    seconds = least + random.uniform(*RETRY_SECONDS)  # noqa: S311 - a spread, no secret
    return b"retry: %d\n: topichub\n\n" % int(1_000 * seconds)


def event(name: str, data: object) -> bytes:
    """A named event with JSON data."""
    return b"event: %s\ndata: %s\n\n" % (name.encode(), encode(data))
