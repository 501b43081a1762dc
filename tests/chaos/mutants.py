"""Histories as a hub would leave them that lies: one publication dropped, doubled or swapped with its neighbour."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from itertools import pairwise
from typing import Final

from tests.chaos.history import Event, History, Received

Mutant = Callable[[list[Event], int], None]
"""Spoils a subscriber's log at the place of a publication that has another publication right behind it."""


def _drop(log: list[Event], at: int) -> None:
    del log[at]


def _double(log: list[Event], at: int) -> None:
    log.insert(at, copy.copy(log[at]))


def _double_later(log: list[Event], at: int) -> None:
    log.insert(at + 2, copy.copy(log[at]))


def _swap(log: list[Event], at: int) -> None:
    log[at], log[at + 1] = log[at + 1], log[at]


def _swap_payloads(log: list[Event], at: int) -> None:
    first, second = log[at], log[at + 1]
    assert isinstance(first, Received)
    assert isinstance(second, Received)
    log[at : at + 2] = [
        Received(first.at, first.epoch, first.offset, second.number),
        Received(second.at, second.epoch, second.offset, first.number),
    ]


def _drop_and_renumber(log: list[Event], at: int) -> None:
    """Hides a loss behind the right offset: another publication stands in the place."""
    _swap_payloads(log, at)
    del log[at + 1]


MUTANTS: Final[dict[str, tuple[Mutant, str]]] = {
    "drop": (_drop, "lost"),
    "double": (_double, "duplicated"),
    "double later": (_double_later, "duplicated"),
    "swap": (_swap, "reordered"),
    "swap payloads": (_swap_payloads, "reordered"),
    "drop and renumber": (_drop_and_renumber, "lost"),
}
"""By name: what spoils a log, and the count that must not stay 0."""


def mutated(history: History, mutant: Mutant, rng: random.Random) -> History:
    """A copy of a history with one subscriber's log spoilt somewhere."""
    spoilt = copy.deepcopy(history)
    places = [
        (log, at)
        for log in spoilt.logs.values()
        for at, (first, second) in enumerate(pairwise(log))
        if isinstance(first, Received) and isinstance(second, Received)
    ]
    mutant(*rng.choice(places))
    return spoilt
