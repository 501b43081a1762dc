"""Leases of a single process, kept in its memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from hub.leases.base import Grant, LeaseStore


@dataclass(slots=True)
class Shelf:
    """What is held: by name, the owner, the grant's number and when it ends. `last` is the latest number given out."""

    held: dict[str, tuple[str, int, float]] = field(default_factory=dict)
    last: int = 0


class MemoryLeases(LeaseStore):
    """Leases by `clock`, on a shelf that stores of one process may share. It ends with its holders."""

    def __init__(
        self, owner: str, term: float, clock: Callable[[], float], shelf: Shelf | None = None
    ) -> None:
        super().__init__(owner, term)
        self._clock = clock
        self._shelf = Shelf() if shelf is None else shelf

    async def acquire(self, names: Sequence[str], seconds: float | None = None) -> list[Grant]:
        """Takes what is free."""
        shelf, now = self._shelf, self._clock()
        grants = []
        for name in names:
            owner, _, until = shelf.held.get(name, ("", 0, 0.0))
            if until > now and owner != self.owner:
                continue
            shelf.last += 1
            shelf.held[name] = self.owner, shelf.last, now + (self.term if seconds is None else seconds)
            grants.append(Grant(name, shelf.last))
        return grants

    async def renew(self, grants: Sequence[Grant]) -> list[Grant]:
        """Gives another term."""
        found = [grant for grant in grants if self._in_force(grant)]
        for grant in found:
            self._shelf.held[grant.name] = self.owner, grant.number, self._clock() + self.term
        return found

    async def release(self, grants: Sequence[Grant]) -> None:
        """Ends grants."""
        for grant in grants:
            if self._in_force(grant):
                del self._shelf.held[grant.name]

    def _in_force(self, grant: Grant) -> bool:
        owner, number, until = self._shelf.held.get(grant.name, ("", 0, 0.0))
        return owner == self.owner and number == grant.number and until > self._clock()
