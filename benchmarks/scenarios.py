"""What is measured: the load of each scenario, and who cannot carry it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

from benchmarks.contenders import Contender

CHANNELS: Final = frozenset({"channels", "channels-redis"})
SLOW: Final = CHANNELS | {"socketio"}
BESIDE_SLOW: Final = frozenset({"broadcaster", "ws"})
"""They are measured at the full rate; beside the slow ones the hub, the article and Centrifugo give the scale."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """One load: arguments of the load generator, how many times the asked duration it takes, and who is left out."""

    name: str
    title: str
    arguments: tuple[str, ...]
    kind: Literal["fanout", "idle", "handshakes"] = "fanout"
    without: frozenset[str] = frozenset()
    stretch: int = 1

    def takes(self, contender: Contender) -> bool:
        """Whether this contender is measured under this load."""
        return contender.name not in self.without


def _load(conns: int, topics: int, rate: int, burst: int = 1) -> tuple[str, ...]:
    return ("-conns", str(conns), "-topics", str(topics), "-rate", str(rate), "-burst", str(burst))


ALL: Final = (
    Scenario(
        "broadcast",
        "Broadcast, 1 topic x 1,000 subscribers, 128 bytes, 20 publications/s",
        _load(1000, 1, 20),
        without=SLOW,
    ),
    Scenario(
        "bursts",
        "Bursts of 10, 500 publications/s, 1,000 subscribers",
        _load(1000, 1, 500, 10),
        without=SLOW,
    ),
    Scenario(
        "rooms",
        "Rooms, 100 topics x 10 subscribers, 500 publications/s",
        _load(1000, 100, 500),
        without=CHANNELS,
    ),
    Scenario(
        "echo",
        "Echo through a topic of one's own, 200 clients, 2,000 messages/s",
        _load(200, 200, 2000),
        without=CHANNELS,
    ),
    Scenario(
        "broadcast-slowly",
        "Broadcast as slowly as all can follow, 1 publication/s",
        _load(1000, 1, 1),
        without=BESIDE_SLOW,
        stretch=2,
    ),
    Scenario(
        "rooms-slowly",
        "Rooms as slowly as all can follow, 20 publications/s",
        _load(1000, 100, 20),
        without=BESIDE_SLOW,
        stretch=2,
    ),
    Scenario(
        "idle",
        "Memory, 5,000 idle connections",
        ("-mode", "idle", "-conns", "5000"),
        "idle",
    ),
    Scenario(
        "handshakes",
        "Handshakes, 16 at a time, with subscription; a fresh token each in the client protocol",
        ("-mode", "handshake", "-parallel", "16"),
        "handshakes",
    ),
)


def chosen(names: Iterable[str]) -> tuple[Scenario, ...]:
    """Returns the scenarios of these names in the order of the tables; all without names.

    Raises ValueError for a name that nobody has.
    """
    wanted = set(names)
    if unknown := wanted - {each.name for each in ALL}:
        raise ValueError(
            f"no scenario {', '.join(sorted(unknown))}; there are {', '.join(each.name for each in ALL)}"
        )
    return tuple(each for each in ALL if not wanted or each.name in wanted)
