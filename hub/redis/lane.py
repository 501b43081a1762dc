"""Commands to Redis over one connection, those of one loop tick in one write."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from redis.asyncio.connection import Connection
from redis.exceptions import BusyLoadingError, NoScriptError, RedisError, ResponseError

from hub.errors import BrokerError
from hub.redis.script import Script

logger = logging.getLogger(__name__)
Argument = str | bytes | int
BATCH: Final = 500
"""Commands in one write at most, so that the first answers do not wait for the last commands."""


@dataclass(slots=True, eq=False)
class _Call:
    """A command, or a script with its keys and arguments, and who waits for the answer."""

    script: Script | None
    keys: Sequence[Argument]
    arguments: Sequence[Argument]
    answer: asyncio.Future[Any]
    sent: bool = False

    def command(self, run: str, *, by_text: bool = False) -> tuple[Argument, ...]:
        if self.script is None:
            return tuple(self.arguments)
        name, code = ("EVAL", self.script.text) if by_text else ("EVALSHA", self.script.sha)
        before = (name, code, len(self.keys), *self.keys)
        return (*before, run, *self.arguments) if self.script.with_run else (*before, *self.arguments)


class Refused(BrokerError):
    """Redis answered a command with an error, having done nothing; `text` is its answer, such as `MOVED 7 host:1`."""

    def __init__(self, text: str) -> None:
        super().__init__(f"Redis refused a command: {text}")
        self.text = text


class Lane:
    """Sends commands in the order in which they are given, one batch at a time, and never repeats one.

    `connect` makes a connection, which is opened by the first command, and anew after it was lost; `scripts` are made
    known on it, so that those which are run need not be sent as text. A command is answered within `timeout` seconds,
    of which `connect_timeout` may go into connecting, or raises BrokerError.
    """

    def __init__(
        self,
        connect: Callable[[], Connection],
        scripts: Sequence[Script],
        *,
        timeout: float,
        connect_timeout: float,
    ) -> None:
        self._connect = connect
        self._scripts = scripts
        self._timeout = timeout
        self._connect_timeout = connect_timeout
        self._connection: Connection | None = None
        self._run = ""
        self._waiting: list[_Call] = []
        self._task: asyncio.Task[None] | None = None
        self._closed = True

    def open(self) -> None:
        """Takes commands from now on."""
        self._closed = False

    async def close(self) -> None:
        """Takes no more commands; those under way fail."""
        self._closed = True
        task = self._task
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
        self._fail(self._waiting, "the node leaves its broker", unknown=False)
        self._waiting = []
        await self._hang_up()

    async def command(self, *arguments: Argument) -> Any:
        """The answer to a command. Raises BrokerError."""
        return await self._call(None, (), arguments)

    async def run(self, script: Script, keys: Sequence[Argument], *arguments: Argument) -> Any:
        """The answer of a script. Raises BrokerError."""
        return await self._call(script, keys, arguments)

    async def _call(
        self, script: Script | None, keys: Sequence[Argument], arguments: Sequence[Argument]
    ) -> Any:
        if self._closed:
            raise BrokerError("the node is not connected to its broker")
        call = _Call(script, keys, arguments, asyncio.get_running_loop().create_future())
        self._waiting.append(call)
        if self._task is None:
            self._task = asyncio.create_task(self._flush(), name="redis commands")
            self._task.add_done_callback(self._flushed)
        try:
            async with asyncio.timeout(self._timeout):
                return await call.answer
        except TimeoutError:
            raise BrokerError(f"Redis did not answer within {self._timeout:g} s", unknown=call.sent) from None

    def _flushed(self, task: asyncio.Task[None]) -> None:
        self._task = None
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("commands to Redis failed in an unforeseen way", exc_info=error)
        if self._waiting and not self._closed:
            self._task = asyncio.create_task(self._flush(), name="redis commands")
            self._task.add_done_callback(self._flushed)

    async def _flush(self) -> None:
        while self._waiting:
            calls, self._waiting = self._waiting[:BATCH], self._waiting[BATCH:]
            try:
                await self._exchange(calls)
            except BaseException as error:
                self._fail(calls, f"a command to Redis failed: {error!r}", unknown=True)
                await self._hang_up()
                raise

    async def _exchange(self, calls: list[_Call]) -> None:
        try:
            async with asyncio.timeout(self._connect_timeout):
                connection = await self._connected()
        except (RedisError, OSError) as error:
            await self._hang_up()
            self._fail(calls, f"Redis cannot be reached: {error or 'no answer'}", unknown=False)
            return
        try:
            async with asyncio.timeout(self._timeout):
                # One that was given up must not be sent any more: its caller was told that nothing was done.
                unknown = await self._send(connection, [call for call in calls if not call.answer.done()])
                await self._send(connection, unknown, by_text=True)
        except (RedisError, OSError) as error:
            await self._hang_up()
            refused = isinstance(error, BusyLoadingError)
            self._fail(calls, f"Redis was lost: {error or 'no answer'}", unknown=not refused)

    async def _send(
        self, connection: Connection, calls: list[_Call], *, by_text: bool = False
    ) -> list[_Call]:
        """Sends and reads the answers; returns those calls whose script the server does not know."""
        if not calls:
            return []
        for call in calls:
            call.sent = True
        await connection.send_packed_command(
            connection.pack_commands([call.command(self._run, by_text=by_text) for call in calls])
        )
        unknown = []
        for call in calls:
            try:
                answer = await connection.read_response(disable_decoding=True, timeout=math.inf)
            except NoScriptError:
                unknown.append(call)
            except ResponseError as error:
                if not call.answer.done():
                    call.answer.set_exception(Refused(str(error)))
            else:
                if not call.answer.done():
                    call.answer.set_result(answer)
        return unknown

    async def _connected(self) -> Connection:
        """The connection, opened if need be; what a server closed since is found before anything is sent on it."""
        if self._connection is not None:
            if self._connection.is_connected and not await self._connection.can_read():
                return self._connection
            await self._hang_up()
        self._connection = self._connect()
        await self._connection.connect()  # type: ignore[no-untyped-call]
        self._run = await self._prepare(self._connection)
        return self._connection

    async def _prepare(self, connection: Connection) -> str:
        """Makes the scripts known and returns the id of the server's run, "" where it is not told."""
        commands: list[tuple[str, ...]] = [
            ("INFO", "server"),
            *(("SCRIPT", "LOAD", each.text) for each in self._scripts),
        ]
        await connection.send_packed_command(connection.pack_commands(commands))
        answers: list[Any] = []
        for _ in commands:
            try:
                answers.append(await connection.read_response(disable_decoding=True))
            except ResponseError as error:
                logger.warning("Redis does not allow what finds out about its restarts: %s", error)
                answers.append(b"")
        lines = answers[0].decode("utf-8", "replace").splitlines()
        return next((line.partition(":")[2].strip() for line in lines if line.startswith("run_id:")), "")

    async def _hang_up(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                await connection.disconnect(nowait=True)
            except (RedisError, OSError) as error:
                logger.debug("while leaving Redis: %s", error)

    @staticmethod
    def _fail(calls: list[_Call], reason: str, *, unknown: bool) -> None:
        for call in calls:
            if not call.answer.done():
                call.answer.set_exception(BrokerError(reason, unknown=unknown and call.sent))
