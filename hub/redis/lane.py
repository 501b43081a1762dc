"""Commands to Redis over one connection, those of one loop tick in one write."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from redis.asyncio.connection import Connection
from redis.exceptions import BusyLoadingError, NoScriptError, ReadOnlyError, RedisError, ResponseError

from hub.errors import BrokerError
from hub.redis.address import Address
from hub.redis.call import Argument, Call
from hub.redis.link import NO_DISK, NO_PRIMARY, is_primary
from hub.redis.place import Place
from hub.redis.script import Script

logger = logging.getLogger(__name__)
BATCH: Final = 500
"""Commands in one write at most, so that the first answers do not wait for the last commands."""
_WAIT_SHARE: Final = 0.5
"""The share of the time for a command that may be spent on waiting for replicas."""


Rest = Callable[["Lane", list[tuple[Call, ResponseError]]], None]
"""What is called after each batch, with the calls of it that Redis refused."""


def refuse(_: Lane, refused: list[tuple[Call, ResponseError]]) -> None:
    """Tells those who wait."""
    for call, error in refused:
        call.refuse(error)


class Lane:
    """Sends commands in the order in which they are given, one batch at a time, and never repeats one.

    The first command connects to the server at `place`, and so does the next one whenever the connection was lost, the
    place names another server, or the server turned out to be a replica. `scripts` are made known on each connection,
    so that those which are run need not be sent as text. A command is answered within `timeout` seconds, of which
    `connect_timeout` may go into connecting, or raises BrokerError. `rest` is called whenever a batch is done and the
    next one is not begun, with the calls that Redis refused, which it answers, or submits elsewhere.
    """

    def __init__(
        self,
        place: Place,
        scripts: Sequence[Script],
        *,
        timeout: float,
        connect_timeout: float,
        rest: Rest = refuse,
    ) -> None:
        self._place = place
        self._rest = rest
        self._refused: list[tuple[Call, ResponseError]] = []
        self._scripts = scripts
        self._timeout = timeout
        self._connect_timeout = connect_timeout
        self._address: Address | None = None
        self._connection: Connection | None = None
        self._bound: asyncio.Timeout | None = None
        self._leaving = False
        self._exchanging = False
        self._run = ""
        self._replicas = 0
        self._durable: list[tuple[Call, Any]] = []
        """Answers to those calls that replicas must have, while that is asked."""
        self._waiting: list[Call] = []
        self._task: asyncio.Task[None] | None = None
        self._closed = True

    def open(self) -> None:
        """Takes commands from now on."""
        if self._closed:
            self._closed = False
            self._place.attach(self._moved)

    async def close(self) -> None:
        """Takes no more commands; those under way fail."""
        was_open, self._closed = not self._closed, True
        task = self._task
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
        self._fail(self._waiting, "the node leaves its broker", unknown=False)
        self._waiting = []
        await self._hang_up()
        if was_open:
            await self._place.detach(self._moved)

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
        """Whether commands are under way or wait, so that `rest` is still to be called."""
        return self._exchanging or bool(self._waiting)

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
            self._exchanging = True
            try:
                await self._exchange(calls)
            except BaseException as error:
                self._fail(calls, f"a command to Redis failed: {error!r}", unknown=True)
                await self._hang_up()
                raise
            finally:
                self._exchanging = False
                refused, self._refused = self._refused, []
                self._rest(self, refused)

    def _moved(self, address: Address) -> None:
        """Leaves a server that is the primary no longer."""
        if self._address is not None and self._address.name != address.name:
            self.leave()

    def leave(self) -> None:
        """Leaves the server, even a silent one: who waits for its answer is told at once."""
        self._leaving = True
        if self._bound is not None and not self._bound.expired():
            self._bound.reschedule(asyncio.get_running_loop().time())

    @asynccontextmanager
    async def _within(self, seconds: float) -> AsyncIterator[None]:
        """Bounds what is done with the server; it ends early when the server is to be left."""
        async with asyncio.timeout(seconds) as bound:
            self._bound = bound
            try:
                yield
            finally:
                self._bound = None

    async def _exchange(self, calls: list[Call]) -> None:
        try:
            async with self._within(self._connect_timeout):
                connection = await self._connected()
        except (RedisError, OSError) as error:
            await self._hang_up()
            self._fail(calls, f"Redis cannot be reached: {self._why(error)}", unknown=False)
            return
        try:
            async with self._within(self._timeout):
                # One that was given up must not be sent any more: its caller was told that nothing was done.
                unknown = await self._send(connection, [call for call in calls if not call.answer.done()])
                await self._send(connection, unknown, by_text=True)
        except (RedisError, OSError) as error:
            await self._hang_up()
            refused = isinstance(error, BusyLoadingError)
            self._fail(calls, f"Redis was lost: {self._why(error)}", unknown=not refused)

    def _why(self, error: Exception) -> str:
        return "another server is the primary now" if self._leaving else str(error) or "no answer"

    async def _send(self, connection: Connection, calls: list[Call], *, by_text: bool = False) -> list[Call]:
        """Sends and reads the answers; returns those calls whose script the server does not know."""
        if not calls:
            return []
        for call in calls:
            call.sent = True
        commands: list[tuple[Argument, ...]] = []
        for call in calls:
            commands += [("ASKING",)] if call.asking else []
            commands.append(call.command(self._run, self._replicas, by_text=by_text))
        if self._replicas and any(call.durable for call in calls):
            # It counts from the last write on this connection, for which a durable script makes one in any case.
            commands.append(("WAIT", self._replicas, int(self._timeout * 1000 * _WAIT_SHARE)))
        await connection.send_packed_command(connection.pack_commands(commands))
        unknown = [call for call in calls if not await self._answered(connection, call)]
        if commands[-1][0] == "WAIT":
            await self._replicated(connection)
        return unknown

    async def _replicated(self, connection: Connection) -> None:
        """Reads how many replicas have all that was done, and tells those who wait for it."""
        durable, self._durable = self._durable, []
        have = 0
        try:
            have = await connection.read_response(disable_decoding=True, timeout=math.inf)
        except ResponseError as error:
            logger.warning("Redis does not say what its replicas have: %s", error)
        for call, answer in durable:
            if have >= self._replicas:
                call.succeed(answer)
            else:
                call.fail(f"{have} of {self._replicas} replicas of Redis have it", unknown=True)

    async def _answered(self, connection: Connection, call: Call) -> bool:
        """Reads a call's answer; returns False when the server does not know its script."""
        try:
            if call.asking:
                await connection.read_response(disable_decoding=True, timeout=math.inf)
            answer = await connection.read_response(disable_decoding=True, timeout=math.inf)
            if self._replicas and call.durable:
                self._durable.append((call, answer))
            else:
                call.succeed(answer)
        except NoScriptError:
            return False
        except ResponseError as error:
            call.sent = False
            self._leaving |= _by_replica(error)
            self._refused.append((call, error))
        return True

    async def _connected(self) -> Connection:
        """The connection, opened if need be; what a server closed since is found before anything is sent on it."""
        if self._connection is not None:
            usable = self._connection.is_connected and not self._leaving
            if usable and not await self._connection.can_read():
                return self._connection
            await self._hang_up()
        self._leaving = False
        self._durable = []
        address = self._address = await self._place.find()
        self._connection = address.connection(timeout=self._timeout, connect_timeout=self._connect_timeout)
        await self._connection.connect()  # type: ignore[no-untyped-call]
        self._run = await self._prepare(self._connection, address)
        self._replicas = address.wait_replicas
        return self._connection

    async def _prepare(self, connection: Connection, address: Address) -> str:
        """Makes the scripts known and returns the id of the server's run, "" where it is not told."""
        commands: list[tuple[str, ...]] = [
            ("ROLE",) if address.primary else ("PING",),
            ("INFO", "server"),
            *(("SCRIPT", "LOAD", each.text) for each in self._scripts),
        ]
        await connection.send_packed_command(connection.pack_commands(commands))
        answers: list[Any] = []
        for _ in commands:
            try:
                answers.append(await connection.read_response(disable_decoding=True))
            except ResponseError as error:
                if not str(error).startswith(NO_DISK):
                    logger.warning("Redis does not allow what finds out about its restarts: %s", error)
                answers.append(b"")
        if address.primary and not is_primary(answers[0]):
            raise ConnectionError(f"{address.name}: {NO_PRIMARY}")
        lines = answers[1].decode("utf-8", "replace").splitlines()
        return next((line.partition(":")[2].strip() for line in lines if line.startswith("run_id:")), "")

    async def _hang_up(self) -> None:
        connection, self._connection, self._address = self._connection, None, None
        if connection is not None:
            try:
                await connection.disconnect(nowait=True)
            except (RedisError, OSError) as error:
                logger.debug("while leaving Redis: %s", error)

    @staticmethod
    def _fail(calls: list[Call], reason: str, *, unknown: bool) -> None:
        for call in calls:
            call.fail(reason, unknown=unknown)


def _by_replica(error: ResponseError) -> bool:
    """Whether a replica refused to write: Redis 6 says so in the midst of a script's error."""
    return isinstance(error, ReadOnlyError) or "READONLY" in str(error)
