"""What one flush of a topic writes to all its subscribers, so that it can be written a slice at a time."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final, Generic, Protocol, TypeVar

from hub import metrics
from hub.model import Publication
from hub.outbox import Outbox, Unit

WRITE_BYTES: Final = 16_384
"""Bytes that are written in about the time that a write takes anyway."""
_ENCODED_PER_WRITE: Final = 8
"""Publications that are encoded in about the time of one write."""
_PAUSE: Final = 50


class Member(Protocol):
    """A subscriber, as far as it is written to."""

    @property
    def outbox(self) -> Outbox:
        """Its way out."""

    @property
    def gone(self) -> bool:
        """Whether it has left, and is to get nothing more."""

    def deliver(self, units: list[Unit], publications: list[Publication]) -> None:
        """Writes, or holds back while the client is congested."""


M = TypeVar("M", bound=Member)


@dataclass(frozen=True, slots=True)
class Part(Generic[M]):
    """Members who are sent the same: `units` are the form of `publications`."""

    units: list[Unit]
    publications: list[Publication]
    members: Collection[M]


def write_each(members: Iterable[M], unit: Unit) -> tuple[int, int]:
    """Writes a unit to members; returns how many there were, and to how many of them it was written.

    Nearly all of a hub's time is spent here, so it calls a socket itself where nothing stands in the way.
    """
    seen = reached = 0
    for member in members:
        seen += 1
        if member.gone:
            continue
        reached += 1
        outbox = member.outbox
        socket = outbox.direct
        if socket is None or socket.get_write_buffer_size():
            outbox.write(unit)
        else:
            socket.write(unit)  # type: ignore[arg-type]  # frames, by the wires that sockets are given
    return seen, reached


class Wave(Generic[M]):
    """Parts on their way to their members, in order. `done` once all was written."""

    __slots__ = ("_drops", "_part", "_parts", "_rest", "_unit", "done")

    def __init__(self, parts: Iterator[Part[M] | None], *, drops: bool) -> None:
        """Each part is asked for when those before it were written; None asks for a pause.

        With `drops` members hold publications back while they are congested.
        """
        self._parts = parts
        self._drops = drops
        self._part: Part[M] | None = None
        self._unit = 0
        self._rest: Iterator[M] = iter(())
        """Members who have yet to be written the unit, or all units where they may be dropped."""
        self.done = False

    def write(self, allowance: int) -> int:
        """Does as much as so many writes take, or a little more; returns what is left of the allowance."""
        while allowance > 0 and not self.done:
            allowance -= self._advance() if self._part is None else self._write(self._part, allowance)
        return max(allowance, 0)

    def finish(self) -> None:
        """Writes all of it now."""
        while not self.done:
            self.write(1_000_000)

    def _advance(self) -> int:
        try:
            part = next(self._parts)
        except StopIteration:
            self.done = True
            return 0
        if part is None:
            return _PAUSE
        if part.units:
            self._part, self._unit, self._rest = part, 0, iter(part.members)
        return 1 + len(part.publications) // _ENCODED_PER_WRITE

    def _write(self, part: Part[M], allowance: int) -> int:
        """Writes to some members; one that fails is passed over, since the iterator is already past it."""
        units = part.units if self._drops else part.units[self._unit : self._unit + 1]
        weight = sum(1 + len(unit) // WRITE_BYTES for unit in units)
        wanted = max(1, allowance // weight)
        some = islice(self._rest, wanted)
        seen, reached = _deliver_each(some, units, part) if self._drops else write_each(some, units[0])
        if self._unit == 0:
            metrics.DELIVERIES.inc(reached * len(part.publications))
        if seen < wanted:
            self._next_unit(part)
        return seen * weight

    def _next_unit(self, part: Part[M]) -> None:
        self._unit += 1
        if self._drops or self._unit == len(part.units):
            self._part = None
        else:
            self._rest = iter(part.members)


def _deliver_each(members: Iterable[M], units: list[Unit], part: Part[M]) -> tuple[int, int]:
    seen = reached = 0
    for member in members:
        seen += 1
        if not member.gone:
            reached += 1
            member.deliver(units, part.publications)
    return seen, reached
