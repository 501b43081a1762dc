"""The Lua scripts of presence, and how they are sent to Redis: in order, those of one loop tick together."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha1
from importlib.resources import files
from typing import Any, Final

from redis.asyncio import Redis
from redis.exceptions import NoScriptError, RedisError

from hub.errors import BrokerError

BATCH: Final = 500


@dataclass(frozen=True, slots=True)
class Script:
    """A script's text and the name by which Redis knows it once it has seen it."""

    text: str
    sha: str


def _read(name: str) -> Script:
    folder = files(__package__) / "lua"
    text = (folder / "members.lua").read_text("utf-8") + (folder / f"{name}.lua").read_text("utf-8")
    return Script(text, sha1(text.encode(), usedforsecurity=False).hexdigest())


KEEP: Final = _read("keep")
REMOVE: Final = _read("remove")
GET: Final = _read("get")
STATS: Final = _read("stats")


@dataclass(slots=True, eq=False)
class _Call:
    script: Script
    keys: Sequence[bytes]
    arguments: Sequence[str | bytes | int]
    answer: asyncio.Future[Any]


class ScriptRunner:
    """Runs scripts in the order in which they are given, one pipeline at a time.

    A client that leaves while leases are renewed must not be entered again by the renewal: order matters.
    """

    def __init__(self, client: Redis, timeout: float) -> None:
        self._client = client
        self._timeout = timeout
        self._waiting: list[_Call] = []
        self._task: asyncio.Task[None] | None = None

    async def run(self, script: Script, keys: Sequence[bytes], *arguments: str | bytes | int) -> Any:
        """The script's answer. Raises BrokerError when Redis is away, silent for the timeout, or refuses."""
        call = _Call(script, keys, arguments, asyncio.get_running_loop().create_future())
        self._waiting.append(call)
        if self._task is None:
            self._start()
        return await call.answer

    async def close(self) -> None:
        """Waits for what is under way, which is bounded by the timeout."""
        while self._task is not None:
            await asyncio.wait([self._task])
            await asyncio.sleep(0)

    def _start(self) -> None:
        self._task = asyncio.create_task(self._flush(), name="presence commands")
        self._task.add_done_callback(self._flushed)

    def _flushed(self, _: asyncio.Task[None]) -> None:
        self._task = None
        if self._waiting:
            self._start()

    async def _flush(self) -> None:
        calls, self._waiting = self._waiting[:BATCH], self._waiting[BATCH:]
        reason = "the presence store was left"
        try:
            async with asyncio.timeout(self._timeout):
                unknown = await self._send(calls)
                await self._send(unknown, by_text=True)
        except (RedisError, OSError) as error:
            reason = f"Redis cannot be reached: {error or 'no answer'}"
        finally:
            for call in calls:
                if not call.answer.done():
                    call.answer.set_exception(BrokerError(reason, unknown=True))

    async def _send(self, calls: list[_Call], *, by_text: bool = False) -> list[_Call]:
        """Sends and answers the calls; returns those whose script the server does not know."""
        if not calls:
            return []
        pipeline = self._client.pipeline(transaction=False)
        for call in calls:
            name, code = ("EVAL", call.script.text) if by_text else ("EVALSHA", call.script.sha)
            pipeline.execute_command(name, code, len(call.keys), *call.keys, *call.arguments)
        unknown = []
        for call, answer in zip(calls, await pipeline.execute(raise_on_error=False), strict=True):
            if isinstance(answer, NoScriptError):
                unknown.append(call)
            elif not call.answer.done() and isinstance(answer, Exception):
                call.answer.set_exception(BrokerError(f"Redis refused a command: {answer}"))
            elif not call.answer.done():
                call.answer.set_result(answer)
        return unknown
