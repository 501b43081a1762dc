"""The contract of a store of leases."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

TERM_SECONDS: Final = 10.0
"""How long a grant lasts unless it is renewed, and so the longest time for which nobody does a dead node's work."""
MAX_NAME: Final = 500
"""Characters in the name of a lease at most."""


@dataclass(frozen=True, slots=True)
class Grant:
    """What its owner knows of a lease: `number` is greater than that of every grant of this name before."""

    name: str
    number: int


class LeaseStore(ABC):
    """Leases of one `owner`, a node, in a store that all nodes share.

    A lease has at most one owner at a time. It ends when it is released, or `term` seconds, by the store's own clock,
    after the store granted or last renewed it. An owner that asks again for what it has gets a new grant, which puts an
    end to the former. Every method returns within a few seconds, or raises BrokerError; it is then not known what the
    store did, and a lease may have been granted of which nobody knows, until its term is over.

    The owner reckons by its own clock, from the moment before it asked: its grant ends for it before it ends for the
    store, as long as both clocks go equally fast. What a process does that was paused between a look at the clock and
    the act is not covered; the number is, for whatever compares it with the highest that it has seen.

    A store that may have forgotten what it granted gives nothing for a term, so that all former grants have ended by
    themselves: one that is new or was emptied, and one that began to run anew or took over from another, as far as it
    can tell. Such forgetting is thus no way to two owners, but these are: a store in two halves that both answer, a
    clock of the store that jumps ahead, and what each store says of itself.
    """

    def __init__(self, owner: str, term: float) -> None:
        self.owner = owner
        self.term = term

    async def open(self) -> None:
        """Takes calls from now on; whether the store can be reached shows with the first."""

    async def close(self) -> None:
        """Ends the connections. Grants stay until their terms are over."""

    @abstractmethod
    async def acquire(self, names: Sequence[str], seconds: float | None = None) -> list[Grant]:
        """Takes those leases that nobody else has, for `seconds` (None: the term), in one round trip or few."""

    @abstractmethod
    async def renew(self, grants: Sequence[Grant]) -> list[Grant]:
        """Gives grants another term from now, in one round trip or few; returns those that were still in force."""

    @abstractmethod
    async def release(self, grants: Sequence[Grant]) -> None:
        """Ends grants, in one round trip or few; those that are no longer in force are passed over."""


def kept(grants: Sequence[Grant], found: Iterable[int]) -> list[Grant]:
    """The grants at these places, counted from 1."""
    return [grants[at - 1] for at in found]
