"""What happened in a run in which clients came and went: who was there, who was told, and what the nodes said.

All times are seconds of the driver's clock.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

Kind = Literal["join", "leave"]


class Stay(msgspec.Struct):
    """One client on one topic: each connection has a client id of its own, and subscribes to a topic once."""

    client: str
    user: str
    topic: str
    node: int
    asked: float
    began: float | None = None
    """When the hub confirmed it; None where the connection ended before it did."""
    ended: float | None = None
    """When the client left, or learnt that its connection was lost; None while it is there."""


class Told(msgspec.Struct):
    """A join or leave as a watcher was told of it."""

    at: float
    kind: Kind
    topic: str
    client: str


class Count(msgspec.Struct):
    """What a node says of a topic: `presence`, and the two numbers of `presence_stats`."""

    node: int
    topic: str
    clients: list[str]
    num_clients: int
    num_users: int


class Outage(msgspec.Struct):
    """A node that was killed, or stood still from `began` to `ended`."""

    node: int
    kind: Literal["killed", "frozen"]
    began: float
    ended: float


class Attendance(msgspec.Struct):
    """A whole run. `told` is what each watcher heard, from before anybody else came; `counts` what was said last."""

    broker: str
    seed: int
    stays: list[Stay] = []
    watchers: list[Stay] = []
    told: dict[str, list[Told]] = {}
    counts: list[Count] = []
    outages: list[Outage] = []
    faults: list[str] = []


def save(attendance: Attendance, path: Path) -> None:
    """Writes a run to a file, whose folder is made if need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.encode(attendance))
