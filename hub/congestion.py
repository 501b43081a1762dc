"""What becomes of publications for a client that reads too slowly, where its topic would rather drop than disconnect.

While more than a quarter of its limit waits for the client, the topic's publications wait here instead, as
publications and not as bytes, so that newer ones may take the place of older ones. Once the client has caught up they
are written; where the topic has history and something was dropped, the client is told so instead and recovers.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from typing import Any, Final

import msgspec

from hub import metrics
from hub.model import Publication, TopicOptions

MAX_WAITING: Final = 256
"""Publications of one topic that wait for one client at most."""
MAX_WAITING_BYTES: Final = 262_144
"""Bytes of their payloads."""


class Waiting(ABC):
    """The publications of one topic that wait for one client. `dropped` counts those that gave way."""

    reason = ""

    def __init__(self) -> None:
        self.dropped = 0
        self._bytes = 0

    @abstractmethod
    def put(self, publication: Publication) -> None:
        """Adds one; others may give way to it."""

    @abstractmethod
    def take(self) -> list[Publication]:
        """What waits, in order."""

    def _full(self, count: int) -> bool:
        return count > 1 and (count > MAX_WAITING or self._bytes > MAX_WAITING_BYTES)

    def _drop(self, publication: Publication) -> None:
        self._bytes -= len(publication.raw)
        self.dropped += 1
        metrics.DROPPED.labels(self.reason).inc()


class NewestWaiting(Waiting):
    """`drop_oldest`: the newest publications wait, the oldest give way."""

    reason = "drop_oldest"

    def __init__(self) -> None:
        super().__init__()
        self._publications: deque[Publication] = deque()

    def put(self, publication: Publication) -> None:
        """Adds one behind the others."""
        self._publications.append(publication)
        self._bytes += len(publication.raw)
        while self._full(len(self._publications)):
            self._drop(self._publications.popleft())

    def take(self) -> list[Publication]:
        """All that wait."""
        return list(self._publications)


class LatestWaiting(Waiting):
    """`conflate:<field>`: of publications with the same value in a field of their payload, the latest waits."""

    reason = "conflate"

    def __init__(self, field: str) -> None:
        """`field` may be a path such as `user.id`; payloads without it count as having the same value."""
        super().__init__()
        self._path = field.split(".")
        self._publications: dict[bytes, Publication] = {}

    def put(self, publication: Publication) -> None:
        """Adds one in the place of that with the same value, behind the others."""
        key = self._key(publication)
        older = self._publications.pop(key, None)
        if older is not None:
            self._drop(older)
        self._publications[key] = publication
        self._bytes += len(publication.raw)
        while self._full(len(self._publications)):
            self._drop(self._publications.pop(next(iter(self._publications))))

    def take(self) -> list[Publication]:
        """The latest of each value."""
        return list(self._publications.values())

    def _key(self, publication: Publication) -> bytes:
        if publication.kind != "pub":
            client = publication.info.client if publication.info is not None else ""
            return f"{publication.kind}:{client}".encode()
        value: Any = publication.data
        for part in self._path:
            value = value.get(part) if isinstance(value, dict) else None
        return msgspec.json.encode(value)


def waiting_room(options: TopicOptions) -> Waiting | None:
    """Where publications of a topic wait for slow clients; None where slow clients are disconnected."""
    if options.slow == "drop_oldest":
        return NewestWaiting()
    if options.slow == "conflate":
        return LatestWaiting(options.conflate)
    return None
