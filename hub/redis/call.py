"""A command on its way to Redis, and who waits for its answer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from redis.exceptions import ResponseError

from hub.errors import BrokerError
from hub.redis.script import Script

Argument = str | bytes | int


class Refused(BrokerError):
    """Redis answered a command with an error, having done nothing; `text` is its answer without a known first word."""

    def __init__(self, text: str) -> None:
        super().__init__(f"Redis refused a command: {text}")
        self.text = text


def _future() -> asyncio.Future[Any]:
    return asyncio.get_running_loop().create_future()


@dataclass(slots=True, eq=False)
class Call:
    """A command, or a script with its keys and arguments. `slot` is where a cluster keeps its keys.

    `asking` lets a server that is being given the slot carry it out; `hops` counts how often it was sent on. `sent`
    says that it may have been done.
    """

    script: Script | None
    keys: Sequence[Argument]
    arguments: Sequence[Argument]
    slot: int = -1
    asking: bool = False
    hops: int = 0
    sent: bool = False
    answer: asyncio.Future[Any] = field(default_factory=_future)

    @property
    def durable(self) -> bool:
        """Whether it is done only once replicas have it, where that is wanted."""
        return self.script is not None and self.script.durable

    def command(self, run: str, *, by_text: bool = False) -> tuple[Argument, ...]:
        """What is sent to a server whose run has this id."""
        if self.script is None:
            return tuple(self.arguments)
        name, code = ("EVAL", self.script.text) if by_text else ("EVALSHA", self.script.sha)
        before = (name, code, len(self.keys), *self.keys)
        return (*before, run, *self.arguments) if self.script.with_run else (*before, *self.arguments)

    async def answered(self, within: float) -> Any:
        """Waits for the answer, so many seconds at most. Raises BrokerError."""
        try:
            async with asyncio.timeout(within):
                return await self.answer
        except TimeoutError:
            raise BrokerError(f"Redis did not answer within {within:g} s", unknown=self.sent) from None

    def succeed(self, answer: Any) -> None:
        """Gives the answer to who waits."""
        if not self.answer.done():
            self.answer.set_result(answer)

    def refuse(self, error: ResponseError) -> None:
        """Redis has not done it."""
        if not self.answer.done():
            self.answer.set_exception(Refused(str(error)))

    def fail(self, reason: str, *, unknown: bool) -> None:
        """It got no answer; `unknown` says that once sent it may have been done."""
        if not self.answer.done():
            self.answer.set_exception(BrokerError(reason, unknown=unknown and self.sent))
