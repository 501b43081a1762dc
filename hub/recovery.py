"""Position arithmetic: from what a client has seen, what is kept and what arrived meanwhile, to what it must be sent.

Pure functions, and the record of what arrived meanwhile. The rule they serve: a client gets every publication after
its position exactly once and in order, or is told that it did not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from hub.model import HistoryPage, Position, Publication

MAX_RECORDED: Final = 10_000
"""Publications that are recorded while a history is read or a position learnt; beyond, it counts as a gap."""
MAX_RECORDED_BYTES: Final = 16 * 1024 * 1024
"""Bytes of their payloads."""


class Record:
    """Publications in the order in which they came, up to a bound; `full` once one found no room.

    From then on none is added. What is read from it then ends with a hole, which `merge` finds.
    """

    __slots__ = ("_bytes", "full", "publications")

    def __init__(self) -> None:
        self.publications: list[Publication] = []
        self.full = False
        self._bytes = 0

    def add(self, publication: Publication) -> None:
        """Adds one behind the others, as long as there is room."""
        self._bytes += len(publication.raw)
        if len(self.publications) >= MAX_RECORDED or self._bytes > MAX_RECORDED_BYTES:
            self.full = True
        if not self.full:
            self.publications.append(publication)


@dataclass(frozen=True, slots=True)
class Recovered:
    """The outcome of a resubscribe: `position` is what the client holds before it applies `publications`."""

    recovered: bool
    position: Position
    publications: list[Publication]


def merge(
    since: Position, page: HistoryPage, meanwhile: Sequence[Publication], live: Position, limit: int
) -> Recovered:
    """Fills the way from `since` to `live`, the place from which the node delivers to everybody.

    `page` holds kept publications after `since`, `meanwhile` what the node delivered while the page was read. Both may
    overlap each other and reach past `live`. More than `limit` publications, a hole, or another epoch (an empty one in
    `since` matches any) mean that it is not recovered.
    """
    lost = Recovered(False, live, [])
    if since.epoch not in ("", live.epoch) or page.position.epoch != live.epoch or since.offset > live.offset:
        return lost
    found = {
        publication.offset: publication
        for publication in (*page.publications, *meanwhile)
        if publication.epoch == live.epoch and since.offset < publication.offset <= live.offset
    }
    missing = live.offset - since.offset
    if len(found) != missing or missing > limit:
        return lost
    return Recovered(True, Position(since.offset, live.epoch), [found[offset] for offset in sorted(found)])


def seen(publication: Publication, offset: int, epoch: str) -> bool:
    """Whether a position already covers it."""
    return publication.offset <= offset and publication.epoch == epoch
