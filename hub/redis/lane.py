"""Commands to Redis over one connection, those of one loop tick in one write."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Sequence
from typing import Any, Final

from redis.asyncio.connection import Connection
from redis.exceptions import BusyLoadingError, NoScriptError, RedisError, ResponseError

from hub.errors import BrokerError
from hub.redis.call import Argument, Call
from hub.redis.script import Script

logger = logging.getLogger(__name__)
BATCH: Final = 500
"""Commands in one write at most, so that the first answers do not wait for the last commands."""


Rest = Callable[["Lane", list[tuple[Call, ResponseError]]], None]
"""What is called after each batch, with the calls of it that Redis refused."""


def refuse(_: Lane, refused: list[tuple[Call, ResponseError]]) -> None:
    """Tells those who wait."""
    for call, error in refused:
        call.refuse(error)


class Lane:
    """Sends commands in the order in which they are given, one batch at a time, and never repeats one.

    `connect` makes a connection, which is opened by the first command, and anew after it was lost; `scripts` are made
    known on it, so that those which are run need not be sent as text. A command is answered within `timeout` seconds,
    of which `connect_timeout` may go into connecting, or raises BrokerError. `rest` is called whenever a batch is done
    and the next one is not begun, with the calls that Redis refused, which it answers, or submits elsewhere.
    """

    def __init__(
        self,
        connect: Callable[[], Connection],
        scripts: Sequence[Script],
        *,
        timeout: float,
        connect_timeout: float,
        rest: Rest = refuse,
    ) -> None:
        self._connect = connect
        self._rest = rest
        self._refused: list[tuple[Call, ResponseError]] = []
        self._scripts = scripts
        self._timeout = timeout
        self._connect_timeout = connect_timeout
        self._connection: Connection | None = None
        self._run = ""
        self._waiting: list[Call] = []
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
        call = Call(script, keys, arguments)
        self.submit(call)
        return await call.answered(self._timeout)

    @property
    def busy(self) -> bool:
        """Whether a batch is under way or waits."""
        return self._task is not None

    def submit(self, call: Call) -> None:
        """Takes a call behind those that wait. Raises BrokerError when no commands are taken."""
        if self._closed:
            raise BrokerError("the node is not connected to its broker")
        self._waiting.append(call)
        if self._task is None:
            self._task = asyncio.create_task(self._flush(), name="redis commands")
            self._task.add_done_callback(self._flushed)

    def withdraw(self, moved: Callable[[Call], bool]) -> list[Call]:
        """Takes back those of the waiting calls that are `moved`, in order; the batch under way stays."""
        withdrawn = [call for call in self._waiting if moved(call)]
        if withdrawn:
            self._waiting = [call for call in self._waiting if not moved(call)]
        return withdrawn

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
            finally:
                refused, self._refused = self._refused, []
                self._rest(self, refused)

    async def _exchange(self, calls: list[Call]) -> None:
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

    async def _send(self, connection: Connection, calls: list[Call], *, by_text: bool = False) -> list[Call]:
        """Sends and reads the answers; returns those calls whose script the server does not know."""
        if not calls:
            return []
        for call in calls:
            call.sent = True
        await connection.send_packed_command(
            connection.pack_commands(
                [
                    command
                    for call in calls
                    for command in (
                        *((("ASKING",),) if call.asking else ()),
                        call.command(self._run, by_text=by_text),
                    )
                ]
            )
        )
        return [call for call in calls if not await self._answered(connection, call)]

    async def _answered(self, connection: Connection, call: Call) -> bool:
        """Reads a call's answer; returns False when the server does not know its script."""
        try:
            if call.asking:
                await connection.read_response(disable_decoding=True, timeout=math.inf)
            call.succeed(await connection.read_response(disable_decoding=True, timeout=math.inf))
        except NoScriptError:
            return False
        except ResponseError as error:
            call.sent = False
            self._refused.append((call, error))
        return True

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
    def _fail(calls: list[Call], reason: str, *, unknown: bool) -> None:
        for call in calls:
            call.fail(reason, unknown=unknown)
