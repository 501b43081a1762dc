"""Subscribers of one topic who are sent its publications in another form than they were published.

Those with equal tags filters get the same selection, and those who want differences get the same differences, so that
either is made once for all of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final, Generic, Protocol, TypeVar

from hub.model import Publication
from hub.outbox import Wire
from hub.protocol.deltas import Deltas, whole
from hub.tags import TagFilter

_ASKED_AT_ONCE: Final = 1_000
"""Publications that filters are asked about before others may have the loop, some 1 ms."""


class Viewer(Protocol):
    """A subscriber as its form is concerned; one with a filter wants no differences."""

    wire: Wire
    delta: bool
    filter: TagFilter | None


V = TypeVar("V", bound=Viewer)


@dataclass(frozen=True, slots=True)
class Share(Generic[V]):
    """What some subscribers are sent: `told` is the form of `published`."""

    wire: Wire
    told: list[Publication]
    published: list[Publication]
    members: list[V]


class Views(Generic[V]):
    """The filters and differences of one topic on this node.

    A newcomer that wants differences is first sent a whole payload and has what all others have from then on, so that
    nothing needs to be known of any one subscriber.
    """

    __slots__ = ("_base", "_deltas", "_filtered", "_newcomers", "_settled")

    def __init__(self, deltas: Deltas) -> None:
        self._deltas = deltas
        self._filtered: dict[TagFilter, dict[Wire, set[V]]] = {}
        self._newcomers: dict[Wire, set[V]] = {}
        self._settled: dict[Wire, set[V]] = {}
        self._base: Publication | None = None
        """The publication that all of the settled were sent last."""

    def add(self, viewer: V) -> None:
        """Takes a subscriber in; what was published before must have been sent already."""
        wanted = viewer.filter
        groups = self._newcomers if wanted is None else self._filtered.setdefault(wanted, {})
        groups.setdefault(viewer.wire, set()).add(viewer)

    def discard(self, viewer: V) -> None:
        """Takes a subscriber out; an unknown one is no error."""
        if viewer.filter is None:
            _discard(self._newcomers, viewer)
            _discard(self._settled, viewer)
            if not self._settled:
                self._base = None
            return
        groups = self._filtered.get(viewer.filter, {})
        _discard(groups, viewer)
        if not groups:
            self._filtered.pop(viewer.filter, None)

    def viewers(self) -> list[V]:
        """All of them, as a copy."""
        every = (*self._filtered.values(), self._newcomers, self._settled)
        return [viewer for groups in every for group in groups.values() for viewer in group]

    @property
    def empty(self) -> bool:
        """Whether there is none."""
        return not (self._filtered or self._newcomers or self._settled)

    def count(self) -> int:
        """How many there are."""
        every = (*self._filtered.values(), self._newcomers, self._settled)
        return sum(len(group) for groups in every for group in groups.values())

    def shares(self, published: list[Publication]) -> Iterator[Share[V] | None]:
        """Who is sent what of a turn's publications, and None now and then for a pause where that is much to find out.

        Nobody may be added before it has been read to its end; then they count as sent.
        """
        yield from self._selections(published)
        yield from self._differences(published)

    def _selections(self, published: list[Publication]) -> Iterator[Share[V] | None]:
        """Filters that select the same of a turn share it, however differently they are written."""
        waiting = iter(list(self._filtered.items()))
        while some := list(islice(waiting, max(1, _ASKED_AT_ONCE // len(published)))):
            found: dict[tuple[Wire, tuple[int, ...]], Share[V]] = {}
            for each, groups in some:
                chosen = tuple(
                    index for index, publication in enumerate(published) if each.admits(publication)
                )
                if not chosen:
                    continue
                for wire, group in groups.items():
                    share = found.get((wire, chosen))
                    if share is None:
                        told = [published[index] for index in chosen]
                        share = found[wire, chosen] = Share(wire, told, told, [])
                    share.members.extend(group)
            yield None
            yield from found.values()

    def _differences(self, published: list[Publication]) -> Iterator[Share[V]]:
        if not (self._settled or self._newcomers):
            return
        told = self._deltas.chain(published, self._base)
        for wire, group in list(self._settled.items()):
            yield Share(wire, told, published, list(group))
        first = next((index for index, found in enumerate(published) if found.kind == "pub"), None)
        if first is not None and self._newcomers:
            told = told.copy()
            told[first] = whole(published[first])
        for wire, group in list(self._newcomers.items()):
            yield Share(wire, told, published, list(group))
        if first is not None:
            self._settle()
            self._base = next(found for found in reversed(published) if found.kind == "pub")

    def _settle(self) -> None:
        for wire, group in self._newcomers.items():
            self._settled.setdefault(wire, set()).update(group)
        self._newcomers = {}


def _discard(groups: dict[Wire, set[V]], viewer: V) -> None:
    group = groups.get(viewer.wire)
    if group is not None:
        group.discard(viewer)
        if not group:
            del groups[viewer.wire]
