"""Plain WebSocket paths onto topics: each path free, each topic declared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from hub.errors import TopicError
from hub.loader.declarant import Declarant
from hub.loader.topics import DeclaredTopics
from hub.settings.problem import ConfigCode, Fault
from hub.settings.reserved import reserved_path
from hub.settings.topic import SocketSettings
from hub.topics import fill

_SAMPLE: Final = {"connection": "c0", "user": "u0"}
"""Stands in for what only a connection knows, to see whether any pattern could match."""


def socket_topics(
    sockets: Mapping[str, SocketSettings], operator: Declarant, topics: DeclaredTopics
) -> Mapping[str, str]:
    """Topic templates by path; reports paths that the hub uses itself, and topics that nobody declares."""
    for path, socket in sockets.items():
        loc = ("sockets", path)
        own = reserved_path(path)
        if own is not None:
            remedy = "Choose another path, such as /ws/name."
            fault = Fault(ConfigCode.RESERVED_NAME, f"{own} is the hub's own", remedy)
            operator.say(loc, fault, at_key=True)
        unfit = _unfit(socket.topic, topics)
        if unfit is not None:
            operator.say((*loc, "topic"), unfit)
    return {path: socket.topic for path, socket in sockets.items()}


def _unfit(topic: str, topics: DeclaredTopics) -> Fault | None:
    try:
        return topics.unfit(fill(topic, _SAMPLE))
    except TopicError as error:
        remedy = "A socket's topic may hold {connection} and {user}, and no other placeholder."
        return Fault(ConfigCode.BAD_PATTERN, str(error), remedy)
