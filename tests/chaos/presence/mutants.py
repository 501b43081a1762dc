"""Runs as a hub would leave them that lies about who is there: a word too many or too few, or a wrong count."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from typing import Final

from tests.chaos.presence.history import Attendance, Kind, Stay, Told

Mutant = Callable[[Attendance, random.Random], None]


def _stay(attendance: Attendance, rng: random.Random, *, gone: bool) -> Stay:
    """A stay that the hub confirmed and that has ended, or has not."""
    return rng.choice(
        [stay for stay in attendance.stays if stay.began is not None and (stay.ended is not None) == gone]
    )


def _word(attendance: Attendance, rng: random.Random, stay: Stay, kind: Kind) -> tuple[list[Told], int]:
    """Where a watcher was told of that stay."""
    told = rng.choice(list(attendance.told.values()))
    said = (kind, stay.topic, stay.client)
    return told, next(at for at, word in enumerate(told) if (word.kind, word.topic, word.client) == said)


def _again(kind: Kind) -> Mutant:
    def mutant(attendance: Attendance, rng: random.Random) -> None:
        told, at = _word(attendance, rng, _stay(attendance, rng, gone=True), kind)
        told.insert(at + 1, copy.copy(told[at]))

    return mutant


def _never(kind: Kind) -> Mutant:
    def mutant(attendance: Attendance, rng: random.Random) -> None:
        told, at = _word(attendance, rng, _stay(attendance, rng, gone=kind == "leave"), kind)
        del told[at]

    return mutant


def _living_left(attendance: Attendance, rng: random.Random) -> None:
    stay = _stay(attendance, rng, gone=False)
    told, _ = _word(attendance, rng, stay, "join")
    told.append(Told(0.0, "leave", stay.topic, stay.client))


def _left_first(attendance: Attendance, rng: random.Random) -> None:
    stay = _stay(attendance, rng, gone=True)
    told, at = _word(attendance, rng, stay, "leave")
    told.insert(0, told.pop(at))


def _stranger(attendance: Attendance, rng: random.Random) -> None:
    told = rng.choice(list(attendance.told.values()))
    told.append(Told(0.0, "join", attendance.stays[0].topic, "nobody"))


def _ghost(attendance: Attendance, rng: random.Random) -> None:
    stay = _stay(attendance, rng, gone=True)
    rng.choice([count for count in attendance.counts if count.topic == stay.topic]).clients.append(
        stay.client
    )


def _overlooked(attendance: Attendance, rng: random.Random) -> None:
    stay = _stay(attendance, rng, gone=False)
    rng.choice([count for count in attendance.counts if count.topic == stay.topic]).clients.remove(
        stay.client
    )


def _miscounted(attendance: Attendance, rng: random.Random) -> None:
    rng.choice(attendance.counts).num_clients += 1


def _users_miscounted(attendance: Attendance, rng: random.Random) -> None:
    rng.choice(attendance.counts).num_users -= 1


MUTANTS: Final[dict[str, tuple[Mutant, str]]] = {
    "a leave twice": (_again("leave"), "duplicated"),
    "a leave never": (_never("leave"), "lost"),
    "a join twice": (_again("join"), "duplicated"),
    "a join never": (_never("join"), "lost"),
    "a leave of one who is there": (_living_left, "invented"),
    "a leave before the join": (_left_first, "reordered"),
    "a join of nobody": (_stranger, "invented"),
    "a ghost": (_ghost, "invented"),
    "one overlooked": (_overlooked, "lost"),
    "miscounted": (_miscounted, "findings"),
    "users miscounted": (_users_miscounted, "findings"),
}
"""By name: what spoils a run, and what of the verdict must not stay empty."""


def mutated(attendance: Attendance, mutant: Mutant, rng: random.Random) -> Attendance:
    """A copy of a run, spoilt somewhere."""
    spoilt = copy.deepcopy(attendance)
    mutant(spoilt, rng)
    return spoilt
