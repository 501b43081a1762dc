"""What is measured: the load of each scenario, and who cannot carry it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

from benchmarks.contenders import Contender

Kind = Literal["fanout", "saturation", "slow", "deflate", "idle", "handshakes", "publish", "batch"]
"""How a load is carried out, and what its table shows."""

CHANNELS: Final = frozenset({"channels", "channels-redis"})
SLOW: Final = CHANNELS | {"socketio"}
FLOOR: Final = frozenset({"floor"})
BESIDE_SLOW: Final = frozenset({"broadcaster", "ws"})
"""They are measured at the full rate; beside the slow ones the hub, the article and Centrifugo give the scale."""
DEFLATE: Final = "+deflate"
"""Ends the name of a contender to which the client offers permessage-deflate."""
SLOW_READERS: Final = 3
PAYLOAD: Final = Path(__file__).parent / "payloads/dashboard.json"
KEY: Final = "a-key-for-benchmarks"
COMMAND: Final = '{"publish":{"channel":"{topic}","data":{data}}}'
"""One publication of a batch."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """One load: arguments of the load generator, how many times the asked duration it takes, and who is left out.

    `least` is the shortest duration in seconds that says anything, `pinned` gives the server one core and the client
    the others.
    """

    name: str
    title: str
    arguments: tuple[str, ...]
    kind: Kind = "fanout"
    without: frozenset[str] = frozenset()
    stretch: float = 1
    least: float = 0
    pinned: bool = False

    def seconds(self, asked: float) -> float:
        """Returns how long the load lasts when a measurement shall last so long."""
        return max(asked * self.stretch, self.least)

    def entrants(self, contenders: Sequence[Contender]) -> tuple[Contender, ...]:
        """Returns who of these is measured under this load, in order; under `deflate` each without it and with it."""
        taking = [each for each in contenders if each.base not in self.without]
        if self.kind in ("publish", "batch"):
            taking = [each for each in taking if each.api]
        if self.kind != "deflate":
            return tuple(taking)
        return tuple(
            entrant
            for each in taking
            if each.compressing is not None
            for entrant in (each, _compressing(each))
        )

    def load(self, contender: Contender) -> tuple[str, ...]:
        """Returns the load generator's arguments against this contender."""
        if self.kind == "publish":
            return (*self.arguments, *_over_http(f"{contender.api}/publish"))
        if self.kind == "batch":
            one = ("-publish-body", COMMAND, "-publish-batch", '{"commands":[{items}]}')
            return (*self.arguments, *_over_http(f"{contender.api}/batch"), *one)
        return self.arguments


def _compressing(contender: Contender) -> Contender:
    return replace(
        contender,
        name=contender.name + DEFLATE,
        title=f"{contender.title}, deflate",
        environment={**contender.environment, **(contender.compressing or {})},
        talk=(*contender.talk, "-deflate"),
    )


def _over_http(address: str) -> tuple[str, ...]:
    return ("-publish-url", address, "-publish-H", f"X-API-Key: {KEY}")


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
        "saturation",
        "Saturation, 32 publications under way, 1,000 subscribers, the server on one core and the client on the others",
        (*_load(1000, 1, 0), "-window", "32"),
        "saturation",
        SLOW,
        pinned=True,
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
        "slow-readers",
        f"Slow readers: {SLOW_READERS} of 100 connections stop reading, 8 KiB x 200 publications/s",
        (*_load(100 - SLOW_READERS, 1, 200), "-payload", "8192"),
        "slow",
        SLOW | FLOOR,
        least=8,
    ),
    Scenario(
        "deflate",
        "permessage-deflate, 200 subscribers, 20 publications/s of a dashboard's state in JSON with changing figures, "
        "about 1.3 KiB",
        (*_load(200, 1, 20), "-payload-file", str(PAYLOAD)),
        "deflate",
    ),
    Scenario(
        "idle",
        "Memory and CPU of 5,000 connections at rest",
        ("-mode", "idle", "-conns", "5000"),
        "idle",
        FLOOR,
        least=30,
    ),
    Scenario(
        "handshakes",
        "Handshakes, 16 at a time, with subscription; a fresh token each in the client protocol",
        ("-mode", "handshake", "-parallel", "16"),
        "handshakes",
        FLOOR,
    ),
    Scenario(
        "publish",
        "Publish over HTTP, 500 requests/s one after another, JSON, 1 topic with 1 subscriber",
        _load(1, 1, 500),
        "publish",
    ),
    Scenario(
        "batch",
        "Publish over HTTP in batches of 20, 1,000 publications/s, 1 topic with 1 subscriber",
        _load(1, 1, 1000, 20),
        "batch",
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
