"""Keeps the lease under which a node's clients are present, and lets those of nodes that are gone go.

Nobody is said to have left because a store was away: all leases end then, though all nodes live. So a node sweeps only
once it has itself renewed without failure for as long as a lease lasts, by when every other node that lives has too.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from hub.errors import BrokerError
from hub.model import ClientInfo
from hub.presence.amends import Amends
from hub.presence.base import LEASE_SECONDS, Entry, Lease
from hub.tasks import Tasks

_log = logging.getLogger("hub.presence")
RENEWALS: Final = 4
"""Renewals within a lease: two may fail, and the lease still holds."""
LOOKS: Final = 10
"""Looks within a lease at whether there is something to restore or to sweep."""
PIECE: Final = 500
"""Clients that are swept, and said to have left, before anything else of this node has its turn."""

Told = Callable[[list[Entry]], None]
"""Tells topics of clients that have left, or are back."""


class PresenceKeeper:
    """Renews a node's lease, restores its clients after the lease was lost, and sweeps those of others.

    `clients` gives all clients of this node that are present, by topic. `left` is given clients of nodes that are gone,
    `joined` those of this node that had been said to be gone and are not. `mended` counts how often the connection to
    the broker was mended: the server behind it may then be another, which never saw the latest changes. `lease` is in
    seconds of `clock`. A store that no other node shares is left alone.
    """

    def __init__(
        self,
        presence: Amends,
        *,
        clients: Callable[[], Mapping[str, list[ClientInfo]]],
        left: Told,
        joined: Told,
        mended: Callable[[], int],
        clock: Callable[[], float],
        lease: float = LEASE_SECONDS,
    ) -> None:
        self._presence = presence
        self._clients = clients
        self._left = left
        self._joined = joined
        self._mended = mended
        self._clock = clock
        self._lease = lease
        self._tasks = Tasks()
        self._seen = mended()
        self._renewed = -lease
        self._since: float | None = None
        self._away = False
        self._owed: Lease | None = None
        self._again: tuple[float, Lease] | None = None
        self._entering = False
        presence.in_doubt = self._in_doubt

    async def start(self) -> None:
        """Renews and tends from now on, where the store is shared."""
        if self._presence.shared:
            self._tasks.spawn(self._every(self._lease / RENEWALS, self.renew), "renewal of presence")
            self._tasks.spawn(self._every(self._lease / LOOKS, self.tend), "upkeep of presence")

    async def stop(self) -> None:
        """Ends both; the lease is the store's to end."""
        await self._tasks.cancel()

    @property
    def steady(self) -> bool:
        """Whether it has renewed without failure for a whole lease, so that it may judge others."""
        now = self._clock()
        return (
            self._since is not None
            and now - self._since >= self._lease
            and now - self._renewed <= self._lease / 2
        )

    @property
    def _halted(self) -> bool:
        """Whether it is so late with a renewal that did not fail that it must have stood still."""
        return self._since is not None and self._clock() - self._renewed > self._lease / 2

    def _in_doubt(self) -> bool:
        """Whether clients of this node may have been said to have left, and it is not known yet who."""
        return self._presence.shared and (self._halted or self._owed is Lease.TAKEN or self._entering)

    async def renew(self) -> None:
        """Renews the lease once, and notes what has to be restored."""
        try:
            fate = await self._presence.renew()
        except BrokerError as error:
            self._fail(error)
            return
        if self._away:
            _log.warning("presence is renewed again")
        self._away = False
        now = self._clock()
        # One that was halted is late without having failed: its clock goes on, and others may have been halted with it.
        if fate is not Lease.KEPT or self._since is None or now - self._renewed > self._lease / 2:
            self._since = now
        self._renewed = now
        if fate is not Lease.KEPT:
            self._owe(fate)
        mended = self._mended()
        if mended != self._seen:
            self._seen = mended
            self._owe(Lease.LOST)

    async def tend(self) -> None:
        """Makes changes good that failed, restores what is owed, and sweeps if it may.

        One that was halted learns first what became of its lease: what it restored before that would no longer be seen
        to have been taken.
        """
        if self._since is None or self._halted:
            return
        try:
            await self._presence.settle()
            if self._owed is not None:
                await self._restore()
            elif self._again is not None and self._clock() >= self._again[0]:
                await self._restore_again()
            await self._sweep()
        except BrokerError as error:
            _log.info("presence could not be brought up to date yet: %s", error)

    def _fail(self, error: BrokerError) -> None:
        if not self._away:
            _log.warning("presence could not be renewed: %s", error)
        self._away = True
        self._since = None
        # What was being changed meanwhile may or may not have been.
        self._owe(Lease.LOST)

    def _owe(self, fate: Lease) -> None:
        """Those of a lease that was taken were said to have left: that is owed before all."""
        if self._owed is not Lease.TAKEN:
            self._owed = fate

    async def _restore(self) -> None:
        owed, self._owed = self._owed, None
        if owed is None:
            return
        try:
            await self._enter(owed)
        except BaseException:
            self._owe(owed)
            raise
        # A client that was just subscribing was entered under the former lease, and was not among the node's own yet.
        self._again = (self._clock() + self._lease / 2, owed)

    async def _restore_again(self) -> None:
        if self._again is not None:
            await self._enter(self._again[1])
            self._again = None

    async def _enter(self, fate: Lease) -> None:
        self._entering = fate is Lease.TAKEN
        try:
            entries = {topic: list(infos) for topic, infos in self._clients().items()}
            if self._entering:
                # They leave again at once, but so it shows who of them were taken out before.
                for topic, info in self._presence.parting():
                    entries.setdefault(topic, []).append(info)
            gone = await self._presence.restore(entries)
            if self._entering and gone:
                self._tell(gone)
        finally:
            self._entering = False

    def _tell(self, gone: list[Entry]) -> None:
        """Clients of this node were said to have left: those that are here are said to be back."""
        self._presence.swept(gone)
        # Those who have left meanwhile were said to have.
        clients = self._clients()
        here = {topic: {info.client for info in clients.get(topic, ())} for topic, _ in gone}
        back = [(topic, info) for topic, info in gone if info.client in here[topic]]
        _log.warning("this node was taken for gone: %d subscriptions are said to be back", len(back))
        self._joined(back)

    async def _sweep(self) -> None:
        count = 0
        while self.steady and (gone := await self._presence.sweep(PIECE)):
            self._left(gone)
            count += len(gone)
            await asyncio.sleep(0)
        if count:
            _log.warning("%d subscriptions of nodes that are gone have ended", count)

    async def _every(self, seconds: float, step: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await step()
            except Exception:  # noqa: BLE001 - tried again at the next turn
                _log.exception("presence could not be kept, in an unforeseen way")
            await asyncio.sleep(seconds)
