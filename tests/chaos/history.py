"""What happened in one run under faults, as its driver saw it: enough to judge, to keep in a file and to judge again.

All times are seconds of one clock, the driver's, so that "was acknowledged before that was sent" means something.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

Outcome = Literal["acked", "failed", "unknown"]
Place = tuple[str, int]
"""An epoch and an offset."""


class Sent(msgspec.Struct):
    """One numbered publication, from its first attempt to its publisher's last word on it.

    `failed` means that every attempt was told not to have been done; `unknown` that at least one may have been.
    """

    number: int
    publisher: str
    started: float
    ended: float
    outcome: Outcome
    attempts: int = 1
    epoch: str = ""
    offset: int = 0


class Subscribed(msgspec.Struct, tag_field="kind", tag="subscribed"):
    """The hub's answer to a subscribe. `recovered` promises that all after `offset` follows, and nothing is missing."""

    at: float
    epoch: str
    offset: int
    recovered: bool = False


class Received(msgspec.Struct, tag_field="kind", tag="received"):
    """A publication as it came, in the epoch that the client believed in or that it brought along."""

    at: float
    epoch: str
    offset: int
    number: int


class Ended(msgspec.Struct, tag_field="kind", tag="ended"):
    """The subscription or the connection ended: for the subscriber a reason to ask again, unless `final`."""

    at: float
    why: str
    final: bool = False


Event = Subscribed | Received | Ended


class History(msgspec.Struct):
    """A whole run. `logs` is what each subscriber saw, in its order; `kept` and `top` what the hub held at the end."""

    scenario: str
    broker: str
    seed: int
    sent: list[Sent] = []
    logs: dict[str, list[Event]] = {}
    top: Place = ("", 0)
    kept: list[tuple[int, int]] = []
    """Offset and number of each publication that the hub still held in the epoch of `top`."""
    faults: list[str] = []


def save(history: History, path: Path) -> None:
    """Writes a run to a file, whose folder is made if need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.encode(history))


def load(path: Path) -> History:
    """Reads what `save` wrote."""
    return msgspec.json.decode(path.read_bytes(), type=History)
