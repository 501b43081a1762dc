"""One entry of hostile input sent over a real socket, and what the hub makes of it, in two words."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

from tests.fuzz.hostile_entries import Entry, frame, head

HUNG: Final = "nothing"
PROBE: Final = 424_242
"""The id of a good command behind the hostile ones."""
_PROBE_COMMAND: Final = {"id": PROBE, "publish": {"channel": "open:probe", "data": 1}}
_STATUS: Final = re.compile(rb"\AHTTP/1\.[01] (\d{3}) ")
_WAIT: Final = 8.0
_PATIENCE: Final = 16.0
_HTTP_SECONDS: Final = 5.0
_PIECES_AT_ONCE: Final = 50


class Answers:
    """What has come from the hub, read as far as it goes."""

    def __init__(self) -> None:
        self.rest = b""
        self.status = 0
        self.error = 0
        """The code of the first reply that is an error."""
        self.code: int | None = None
        """The code of the close frame; 1005 for one without."""
        self.ended = False
        self.probed = False
        self.connected = False
        self.pongs = 0
        self.pings = 0
        """Pings of the protocol that nobody has answered."""

    def feed(self, data: bytes) -> None:
        """Takes bytes; b"" is the end."""
        self.ended = self.ended or not data
        self.rest += data
        if not self.status:
            front, end, rest = self.rest.partition(b"\r\n\r\n")
            found = _STATUS.match(front)
            if not end or not found:
                return
            self.status, self.rest = int(found[1]), rest
        if self.status == 101:
            for first, payload in self._frames():
                self._take(first & 0x0F, payload)

    def _frames(self) -> Iterator[tuple[int, bytes]]:
        while len(self.rest) >= 2:
            size, begin = self.rest[1] & 0x7F, 2
            if size >= 126:
                begin = 4 if size == 126 else 10
                size = int.from_bytes(self.rest[2:begin], "big")
            if len(self.rest) < max(begin + size, begin):
                return
            first, payload = self.rest[0], self.rest[begin : begin + size]
            self.rest = self.rest[begin + size :]
            yield first, payload

    def _take(self, kind: int, payload: bytes) -> None:
        if kind == 8:
            self.code = int.from_bytes(payload[:2], "big") if payload else 1005
        elif kind == 10:
            self.pongs += 1
            self.probed = self.probed or payload == b"probe"
        elif kind == 1:
            for line in payload.splitlines():
                with suppress(ValueError, RecursionError):  # a text of anybody's may come on a plain socket
                    self._reply(json.loads(line))

    def _reply(self, told: object) -> None:
        if not isinstance(told, dict):
            return
        self.pings += not told
        error = told.get("error")
        if isinstance(error, dict) and not self.error:
            self.error = error["code"]
        self.connected = self.connected or "connect" in told
        self.probed = self.probed or told.get("id") == PROBE

    def outcome(self) -> str | None:
        """What has become of it, once that is clear."""
        if self.status not in {0, 101}:
            return f"http {self.status}"
        if self.code is not None:
            return f"close {self.code}"
        if self.ended:
            return "gone"
        if not self.probed:
            return None
        return f"reply {self.error}" if self.error else "served"


class Client:
    """A socket to the hub that reads all the time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.answers = Answers()
        self._reader = reader
        self._writer = writer
        self._came = asyncio.Event()
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        data = b"-"
        while data:
            try:
                data = await self._reader.read(65_536)
            except OSError:
                data = b""
            self.answers.feed(data)
            self._came.set()

    async def until(self, condition: object, seconds: float) -> bool:
        """Waits until the condition holds, or the hub has ended the connection; False when the time is over."""
        assert callable(condition)
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not (condition() or self.answers.ended):
                    self._came.clear()
                    await self._came.wait()
        return bool(condition())

    async def send(self, data: bytes, pieces: int = 0) -> None:
        """Sends, as far as the hub takes it."""
        step = pieces or max(1, len(data))
        with suppress(OSError):
            for number, at in enumerate(range(0, len(data), step)):
                if self._writer.is_closing():
                    return
                self._writer.write(data[at : at + step])
                if pieces and number % _PIECES_AT_ONCE == 0:
                    await asyncio.sleep(0.001)
            await self._writer.drain()

    def end(self) -> None:
        """Says that nothing more comes."""
        with suppress(OSError):
            self._writer.write_eof()

    async def leave(self) -> None:
        """Lets go of the socket."""
        self._reading.cancel()
        self._writer.transport.abort()
        with suppress(asyncio.CancelledError):
            await self._reading


async def begun(port: int, begin: str, *, path: str, token: str = "", deflate: bool = False) -> Client | None:
    """A client of which the hub knows so much; None when the hub did not let it begin."""
    client = Client(*await asyncio.open_connection("127.0.0.1", port))
    if begin == "nothing":
        return client
    asked = {"Sec-WebSocket-Extensions": "permessage-deflate"} if deflate else {}
    await client.send(head({"path": path, **asked}))
    good = await client.until(lambda: client.answers.status, _HTTP_SECONDS) and client.answers.status == 101
    if good and begin == "connected":
        connect = {"id": 1, "connect": {"token": token} if token else {}}
        await client.send(frame(0x81, json.dumps(connect).encode()))
        good = await client.until(lambda: client.answers.connected, _HTTP_SECONDS)
    if not good:
        await client.leave()
        return None
    return client


async def tried(entry: Entry, port: int) -> str:
    """What the hub made of one entry."""
    client = await begun(port, entry.begin, path=entry.path, token=entry.token, deflate=entry.deflate)
    if client is None:
        return "no beginning"
    try:
        await client.send(entry.data, entry.pieces)
        if entry.end:
            client.end()
        elif entry.alone:
            await client.until(lambda: client.answers.error, _WAIT)
            client.answers.probed = client.answers.error > 0
        elif not entry.slow and await client.until(lambda: client.answers.status, _HTTP_SECONDS):
            await client.send(_probe(entry))
        answers = client.answers
        await client.until(lambda: answers.outcome() is not None, _PATIENCE if entry.slow else _WAIT)
        return answers.outcome() or HUNG
    finally:
        await client.leave()


def _probe(entry: Entry) -> bytes:
    """Something good, to which there has to be an answer."""
    ping = frame(0x89, b"probe")
    if entry.begin == "plain" or b" /ws/" in entry.data[:16]:
        return ping
    command = {"id": PROBE, "connect": {}} if entry.begin == "nothing" else _PROBE_COMMAND
    # Commands are answered in their order, and a ping ahead of them.
    return frame(0x81, json.dumps(command).encode())
