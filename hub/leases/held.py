"""A lease in the hands of the work that runs under it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final, Generic, TypeVar

from hub import metrics
from hub.errors import LeaseLost
from hub.leases.base import Grant

HeldT_co = TypeVar("HeldT_co", bound="Lease | None", covariant=True)
_CLOCK: Final[int] = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def steady() -> float:
    """Seconds that never go back and, where the system has such a clock, go on while the machine sleeps."""
    return time.clock_gettime(_CLOCK)


class Lease:
    """A lease that this node holds until a moment of `clock`, which its keeper moves on.

    `lose` ends it for good; the task that works under it is then cancelled.
    """

    __slots__ = ("_alarm", "_clock", "_task", "grant", "lost", "until", "why")

    def __init__(self, grant: Grant, until: float, clock: Callable[[], float]) -> None:
        self.grant = grant
        self.until = until
        self.lost = False
        self.why = ""
        self._clock = clock
        self._task: asyncio.Task[Any] | None = None
        self._alarm = asyncio.get_running_loop().call_later(max(0.0, until - clock()), self._ring)

    @property
    def name(self) -> str:
        """Which lease it is."""
        return self.grant.name

    @property
    def number(self) -> int:
        """Greater than that of every holder before."""
        return self.grant.number

    @property
    def held(self) -> bool:
        """Whether this node holds it at this moment, by its own clock."""
        return not self.lost and self._clock() < self.until

    def prolong(self, until: float) -> None:
        """Moves its end; one that was lost stays so."""
        if not self.lost:
            self.until = until

    def lose(self, why: str, *, planned: bool = False) -> None:
        """Ends it, and cancels the work under it. Not to be called by that work itself."""
        if self.lost:
            return
        self.lost, self.why = True, why
        self._alarm.cancel()
        if not planned:
            metrics.LEASES_LOST.inc()
        if self._task is not None:
            self._task.cancel()

    def begin(self, task: asyncio.Task[Any]) -> None:
        """From here on `task` works under it."""
        self._task = task

    def end(self) -> None:
        """The work is over; nothing is cancelled any more."""
        self._task = None
        self._alarm.cancel()

    def _ring(self) -> None:
        left = self.until - self._clock()
        if left <= 0:
            self.lose("its term ended before the store renewed it")
        else:
            self._alarm = asyncio.get_running_loop().call_later(left, self._ring)


class Hold(Generic[HeldT_co]):
    """`async with` over a lease that `take` brings, or None; `give_back` gets it when the work is over.

    When the lease is lost meanwhile, the task is cancelled, once, and the CancelledError that leaves the body becomes
    LeaseLost, as asyncio.timeout makes it TimeoutError: what else cancels the task still cancels it.
    """

    def __init__(self, take: Callable[[], Any], give_back: Callable[[Lease], None]) -> None:
        self._take = take
        self._give_back = give_back
        self._lease: Lease | None = None
        self._task: asyncio.Task[Any] | None = None
        self._cancelling = 0

    async def __aenter__(self) -> HeldT_co:
        """Waits for the lease."""
        self._task = asyncio.current_task()
        if self._task is None:
            raise RuntimeError("a lease is held by a task")
        found = self._lease = await self._take()
        if found is not None:
            self._cancelling = self._task.cancelling()
            found.begin(self._task)
        return found  # type: ignore[no-any-return]

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Gives it back. Raises LeaseLost."""
        lease, task = self._lease, self._task
        if lease is None or task is None:
            return
        lost = lease.lost
        lease.end()
        self._give_back(lease)
        if lost and task.uncancel() <= self._cancelling and isinstance(error, asyncio.CancelledError):
            raise LeaseLost(f"lease {lease.name!r} was lost: {lease.why}") from error
