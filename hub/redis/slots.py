"""Which node of a Redis Cluster serves which slot, as one of its nodes sees it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from redis.crc import key_slot

from hub.redis.hosts import Node

SLOTS: Final = 16384
ASK: Final = (("CLUSTER", "SLOTS"), ("CLUSTER", "INFO"), ("CLUSTER", "NODES"))
"""What a node is asked for its view; INFO and NODES may be refused."""
_MOVING: Final = re.compile(rb"\[(\d+)-[<>]-")


def slot_of(key: bytes) -> int:
    """The slot of a key or channel: of what stands in its first braces, if anything does."""
    return key_slot(key)


@dataclass(slots=True)
class View:
    """What a node of a cluster knows of it.

    `sound` says that it sees most of the others; of two sound views the one of the higher `epoch` is newer. `moving`
    are the slots that this node gives away or receives.
    """

    owners: list[Node | None]
    replicas: set[Node] = field(default_factory=set)
    epoch: int = 0
    sound: bool = True
    moving: set[int] = field(default_factory=set)


def read_view(asked: Node, slots: Any, info: Any, nodes: Any) -> View:
    """Reads a node's answers to `ASK`; for one that it refused it may be given None. Raises ValueError."""
    view = View([None] * SLOTS)
    try:
        for first, last, primary, *replicas in slots:
            view.owners[first : last + 1] = [_node(asked, primary)] * (last + 1 - first)
            view.replicas.update(_node(asked, each) for each in replicas)
    except (TypeError, ValueError, IndexError) as error:
        raise ValueError(f"the slots of the cluster cannot be read: {error}") from None
    if isinstance(info, bytes):
        view.sound = b"cluster_state:ok" in info
        epoch = re.search(rb"cluster_current_epoch:(\d+)", info)
        view.epoch = int(epoch[1]) if epoch else 0
    if isinstance(nodes, bytes):
        own = [line for line in nodes.splitlines() if b"myself" in line]
        view.moving = {int(slot) for line in own for slot in _MOVING.findall(line)}
    return view


def best(views: Sequence[View]) -> View | None:
    """The newest of the views, None of none."""
    return max(views, key=lambda view: (view.sound, view.epoch), default=None)


def target(asked: Node, host: str, port: int) -> Node:
    """Where an answer of a node points to; a node may leave its own host out."""
    return (asked[0] if host in {"", "?"} else host), port


def _node(asked: Node, entry: Any) -> Node:
    host, port = entry[0], entry[1]
    return target(asked, host.decode() if host else "", int(port))
