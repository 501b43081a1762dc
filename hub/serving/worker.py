"""One worker process, seen by its parent."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import subprocess
from collections.abc import Mapping, Sequence
from typing import Final

from hub.serving.control import ANSWER_WITHIN, COUNTED, FIGURES, READY, UP, YES
from hub.serving.figures import Figures, unpacked
from hub.serving.inherit import Inheritance, command, numbers_of
from hub.serving.line import Line, Method, Silent
from hub.serving.listen import Ports

_LAST_WORDS: Final = 1.0
"""Seconds in which what a worker said before its end is read."""


class Worker:
    """A process on sockets that its parent has opened. To be made by `start`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.figures: Figures = []
        """What it was heard to count last."""
        self.up = asyncio.Event()
        """Set once it accepts connections."""
        self._line: Line
        self._asked: asyncio.Task[bool] | None = None

    @classmethod
    async def start(cls, arguments: Sequence[str], ports: Ports, methods: Mapping[str, Method]) -> Worker:
        """Starts a process with copies of the sockets; signals of the terminal reach it through its parent only.

        `methods` are what it may ask of its parent.
        """
        ours, theirs = socket.socketpair()
        given = Inheritance(numbers_of(ports.public), numbers_of(ports.internal), control=theirs.fileno())
        with theirs:
            worker = cls(
                await asyncio.create_subprocess_exec(
                    *command(arguments, given),
                    stdin=subprocess.DEVNULL,
                    pass_fds=(*given.public, *given.internal, theirs.fileno()),
                    start_new_session=True,
                )
            )
        told = {UP: worker._hear_up, COUNTED: worker._hear_figures}
        worker._line = await Line.open(ours, {**methods, **told})
        return worker

    async def ready(self) -> bool:
        """Waits until the worker accepts connections; false when it ends before."""
        waiting = [asyncio.ensure_future(event.wait()) for event in (self.up, self._line.closed)]
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in waiting:
                each.cancel()
        return self.up.is_set()

    @property
    def heard(self) -> bool:
        """Whether it has begun to talk, so that it can be asked."""
        return self._line.heard

    @property
    def unreachable(self) -> bool:
        """Whether it runs, but did not answer the last question in time."""
        return self._line.silent and not self._line.closed.is_set()

    async def count(self) -> None:
        """Asks the worker for its figures; those of before stand when it does not answer in time."""
        with contextlib.suppress(Silent):
            self.figures = unpacked(await self._line.ask(FIGURES, ANSWER_WITHIN))

    async def says_no(self) -> bool:
        """Whether the worker answers in time that it is not ready; all who ask meanwhile share one answer."""
        if (
            self._asked is None or self._asked.done()
        ):  # anybody may ask, and an answer costs a look at the database
            self._asked = asyncio.create_task(self._ask_ready())
        return await asyncio.shield(self._asked)

    async def _ask_ready(self) -> bool:
        try:
            return await self._line.ask(READY, ANSWER_WITHIN) != YES
        except Silent:
            return False

    async def ended(self) -> int:
        """Waits for the worker's end, hears its last words, and returns its exit status."""
        status = await self.process.wait()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LAST_WORDS):
                await self._line.closed.wait()
        await self._line.close()
        return status

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal, if there is still somebody to get it."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)

    async def _hear_up(self, _: bytes) -> bytes:
        self.up.set()
        return b""

    async def _hear_figures(self, body: bytes) -> bytes:
        self.figures = unpacked(body)
        return b""
