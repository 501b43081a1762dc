"""The leases of this node: one task asks for those that are wanted and renews those that are held."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass, field
from typing import Final

from hub import metrics
from hub.errors import BrokerError
from hub.leases.base import MAX_NAME, Grant, LeaseStore
from hub.leases.held import Hold, Lease, steady
from hub.tasks import Tasks

_log = logging.getLogger("hub.leases")
POLL_SECONDS: Final = (0.5, 1.5)
"""How long those who wait let pass before they ask again, drawn anew each time so that nodes do not ask in step."""
MARGIN: Final = 0.1
"""The share of a term by which a lease ends for its holder before it may end for the store."""
RETRY: Final = 0.1
"""The share of a term after which a renewal that failed is tried again."""
LEAVE_SECONDS: Final = 2.0
"""How long a node that leaves waits for work that was cancelled."""


def _always() -> bool:
    return True


@dataclass(slots=True, eq=False)
class _Wish:
    """Somebody who wants a lease, asked for only while `when` says so; one who is not `patient` takes a no."""

    name: str
    patient: bool
    when: Callable[[], bool] = _always
    answer: asyncio.Future[Lease | None] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


class Leases:
    """Keeps the leases of one node by a store, in one task, which sleeps while there are none."""

    def __init__(self, store: LeaseStore, *, clock: Callable[[], float] = steady) -> None:
        self._store = store
        self._clock = clock
        self._tasks = Tasks()
        self._wake = asyncio.Event()
        self._rested = asyncio.Event()
        self._wishes: list[_Wish] = []
        self._held: dict[str, Lease] = {}
        self._returned: list[Grant] = []
        self._renew_at = 0.0
        self.leaving = False
        """Whether the node takes no more leases, since it stops."""
        self._away = False

    async def start(self) -> None:
        """Begins to ask and to renew."""
        await self._store.open()
        self._tasks.spawn(self._keep(), "leases")

    async def leave(self) -> None:
        """Takes no more leases, cancels the work under those that are held, and releases them at once.

        What has not ended within two seconds is left to itself: its lease ends with its term.
        """
        self.leaving = True
        self.lose_all("the node leaves", planned=True)
        self._wake.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(LEAVE_SECONDS):
                while self._held or self._returned:
                    self._rested.clear()
                    await self._rested.wait()  # work that ends wakes its keeper
        for name in self._held:
            _log.warning("work under lease %s goes on, though the node leaves", name)

    def lose_all(self, why: str, *, planned: bool = False) -> None:
        """Cancels the work under all leases that are held."""
        for lease in list(self._held.values()):
            lease.lose(why, planned=planned)

    async def stop(self) -> None:
        """Ends everything."""
        await self._tasks.cancel()
        await self._store.close()

    def hold(self, name: str, when: Callable[[], bool] = _always) -> AbstractAsyncContextManager[Lease]:
        """Waits until this node holds a lease, and gives it back at the end of the body; see `Hold` for its loss.

        It is asked for only while `when` returns true. Who waits on a node that leaves waits until they are cancelled.
        """
        _check(name)
        return Hold[Lease](lambda: self._take(_Wish(name, True, when)), self._give_back)

    def try_hold(self, name: str) -> AbstractAsyncContextManager[Lease | None]:
        """The same without waiting for others: None when one has it, or when the store does not answer."""
        _check(name)
        return Hold["Lease | None"](lambda: self._take(_Wish(name, False)), self._give_back)

    async def claim(self, name: str, seconds: float) -> bool:
        """Whether this node may do what is done once in so many seconds; who may, may again before they are over.

        Raises BrokerError.
        """
        _check(name)
        return not self.leaving and bool(await self._store.acquire([name], seconds))

    async def _take(self, wish: _Wish) -> Lease | None:
        while True:
            self._wishes.append(wish)
            self._wake.set()
            try:
                lease = await wish.answer
            except asyncio.CancelledError:
                self._withdraw(wish)
                raise
            if lease is None or lease.held:
                return lease
            self._give_back(lease)
            wish = _Wish(wish.name, wish.patient, wish.when)

    def _withdraw(self, wish: _Wish) -> None:
        """Nobody waits any more; what was granted in this very moment goes back."""
        if wish in self._wishes:
            self._wishes.remove(wish)
        if not wish.answer.cancelled() and wish.answer.done() and (lease := wish.answer.result()) is not None:
            lease.end()
            self._give_back(lease)

    def _give_back(self, lease: Lease) -> None:
        if self._held.get(lease.name) is lease:
            del self._held[lease.name]
        self._returned.append(lease.grant)
        self._wake.set()

    async def _keep(self) -> None:
        while True:
            await self._rest()
            await self._bear(self._release)
            await asyncio.gather(self._bear(self._contend), self._bear(self._renew))
            metrics.LEASES.set(len(self._held))
            self._rested.set()

    async def _bear(self, work: Callable[[], Awaitable[None]]) -> None:
        """Nothing that a store does ends the keeping of leases."""
        try:
            await work()
        except BrokerError as error:
            _log.log(logging.DEBUG if self._away else logging.WARNING, "leases are not to be had: %s", error)
            self._away = True
        except Exception:  # noqa: BLE001 - logged, and tried again
            _log.exception("leases could not be kept, which is tried again")
            await asyncio.sleep(self._store.term * RETRY)

    async def _rest(self) -> None:
        """Waits for something to do."""
        seconds = [random.uniform(*POLL_SECONDS)] if self._wishes and not self.leaving else []  # noqa: S311
        if self._in_force():
            seconds.append(max(0.0, self._renew_at - self._clock()))
        with suppress(TimeoutError):
            async with asyncio.timeout(min(seconds, default=None)):
                await self._wake.wait()
        self._wake.clear()

    async def _release(self) -> None:
        grants, self._returned = self._returned, []
        if grants:
            await self._store.release(grants)

    async def _contend(self) -> None:
        """Asks for what is wanted and not held here already."""
        wishes = list(self._wishes)
        names = {wish.name for wish in wishes if wish.name not in self._held and wish.when()}
        asked = self._clock()
        try:
            if names and not self.leaving:
                grants = await self._store.acquire(sorted(names))
                self._away = False
                for grant in grants:
                    self._hand_out(grant, asked)
        finally:
            for wish in wishes:
                if not wish.patient and wish in self._wishes:
                    self._answer(wish, None)

    def _hand_out(self, grant: Grant, asked: float) -> None:
        """Gives a lease to who has waited longest."""
        until = asked + self._store.term * (1 - MARGIN)
        waiting = (each for each in self._wishes if each.name == grant.name and not each.answer.done())
        wish = next(waiting, None)
        if wish is None or self.leaving or self._clock() >= until:
            self._returned.append(grant)
            self._wake.set()
            return
        if not self._held:
            self._renew_at = asked + self._store.term / 3
        lease = self._held[grant.name] = Lease(grant, until, self._clock)
        self._answer(wish, lease)

    def _answer(self, wish: _Wish, lease: Lease | None) -> None:
        self._wishes.remove(wish)
        if not wish.answer.done():
            wish.answer.set_result(lease)

    def _in_force(self) -> list[Lease]:
        """What is to be renewed: also what work was cancelled under that has not ended yet, as the node leaves."""
        now = self._clock()
        return [each for each in self._held.values() if each.until > now and (self.leaving or not each.lost)]

    async def _renew(self) -> None:
        """Renews all that is held, once a third of their term has passed."""
        asked, leases = self._clock(), self._in_force()
        if not leases or asked < self._renew_at:
            return
        self._renew_at = asked + self._store.term * RETRY
        kept = await self._store.renew([lease.grant for lease in leases])
        self._away = False
        self._renew_at = asked + self._store.term / 3
        for lease in leases:
            if lease.grant in kept:
                lease.prolong(asked + self._store.term * (1 - MARGIN))
            elif self._held.get(lease.name) is lease:
                lease.lose("the store no longer knows it, or gave it to another node")


def _check(name: str) -> None:
    if not 0 < len(name) <= MAX_NAME:
        raise ValueError(f"the name of a lease has 1 to {MAX_NAME} characters")
