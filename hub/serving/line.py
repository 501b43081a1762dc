"""The line between a worker and its parent: either side asks the other, and neither waits for long.

It is a pair of sockets that only these two processes hold. Letters have their length in front, in four bytes.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import socket
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, Literal, Self

import msgspec

from hub.errors import HubError
from hub.tasks import Tasks

_log = logging.getLogger("hub.serving")
_WIDTH: Final = 4
_LAST_WORDS: Final = 1.0

Method = Callable[[bytes], Awaitable[bytes]]
"""Answers a letter's body. What it raises is Silent to whoever asked, and logged here."""


class Silent(HubError):
    """The other side did not answer in time, did not answer the time before, or is gone."""


class _Letter(msgspec.Struct, frozen=True, array_like=True):
    """`number` pairs an answer with its question; 0 where nobody waits for one."""

    method: str
    number: int
    body: bytes = b""
    kind: Literal["question", "answer", "failure"] = "question"


class Line:
    """One end. `methods` are what the other side may ask for, by name."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, methods: Mapping[str, Method]
    ) -> None:
        self.closed = asyncio.Event()
        """Set once the other side is gone and everything that it has said was heard."""
        self.heard = False
        """Whether the other side has said anything yet."""
        self.silent = False
        """Whether a question was not answered in time, and nothing has been heard since."""
        self._reader = reader
        self._writer = writer
        self._methods = methods
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[bytes]] = {}
        self._tasks = Tasks()
        self._tasks.spawn(self._read(), "line between worker and parent")

    @classmethod
    async def open(cls, end: socket.socket, methods: Mapping[str, Method]) -> Self:
        """Takes one of a pair of sockets."""
        end.set_inheritable(False)
        return cls(*await asyncio.open_connection(sock=end), methods)

    async def ask(self, method: str, seconds: float) -> bytes:
        """The other side's answer.

        Raises Silent after so many seconds, and from then on at once, until something is heard again: whoever asks
        for many things should not wait for the same silence each time.
        """
        if self.silent or self.closed.is_set():
            raise Silent(f"no answer to {method!r}: the other side is silent")
        number = next(self._numbers)
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        try:
            self._send(_Letter(method, number))
            async with asyncio.timeout(seconds):
                return await answer
        except TimeoutError:
            self.silent = True
            raise Silent(f"no answer to {method!r} within {seconds:g} s") from None
        finally:
            del self._waiting[number]

    def tell(self, method: str, body: bytes = b"") -> None:
        """Has the other side do something, if it is still there; nobody answers."""
        self._send(_Letter(method, 0, body))

    async def close(self) -> None:
        """Ends the line once all that was told has been sent, unless the other side does not take it."""
        self._writer.close()
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(_LAST_WORDS):
                await self._writer.wait_closed()
        await self._tasks.cancel()

    def _send(self, letter: _Letter) -> None:
        packed = msgspec.msgpack.encode(letter)
        if not self._writer.is_closing():
            self._writer.write(len(packed).to_bytes(_WIDTH) + packed)

    async def _read(self) -> None:
        try:
            while True:
                size = int.from_bytes(await self._reader.readexactly(_WIDTH))
                self._hear(msgspec.msgpack.decode(await self._reader.readexactly(size), type=_Letter))
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self._end()

    def _hear(self, letter: _Letter) -> None:
        self.heard, self.silent = True, False
        if letter.kind == "question":
            self._tasks.spawn(self._answer(letter), f"{letter.method} for the other side")
            return
        waiting = self._waiting.get(letter.number)
        if waiting is None or waiting.done():
            return
        if letter.kind == "answer":
            waiting.set_result(letter.body)
        else:
            waiting.set_exception(Silent(f"the other side could not do {letter.method!r}"))

    async def _answer(self, letter: _Letter) -> None:
        try:
            told = _Letter(
                letter.method, letter.number, await self._methods[letter.method](letter.body), "answer"
            )
        except Silent:
            told = _Letter(letter.method, letter.number, kind="failure")
        except Exception:  # noqa: BLE001 - whatever it is, the one who asked is told
            _log.exception("could not do %r for the other side of a worker's line", letter.method)
            told = _Letter(letter.method, letter.number, kind="failure")
        if letter.number:
            self._send(told)

    def _end(self) -> None:
        self.closed.set()
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(Silent("the other side is gone"))
