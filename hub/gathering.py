"""Joins and leaves of one topic that wait to be told, and the messages that they leave in."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from hub import metrics
from hub.broker.changes import ChangeKind, encode_changes

MAX_CHANGES: Final = 500
"""Joins and leaves in one message at most; when so many wait, they are sent before their time."""
MAX_BYTES: Final = 65_536
"""Bytes of them in one message, but for a single one that is larger."""
MAX_WAITING: Final = 200_000
"""Joins and leaves that may wait on a node while its broker is away: several times the sockets that it can have."""
MAX_WAITING_BYTES: Final = 64 * 1024 * 1024
OVERHEAD: Final = 250
"""Bytes that one takes beside its encoded form while it waits."""


class Room:
    """How much of all topics waits on this node, against its bounds."""

    def __init__(self, *, count: int = MAX_WAITING, size: int = MAX_WAITING_BYTES) -> None:
        """Bounds in number and in bytes."""
        self.count = 0
        self._size = 0
        self._most = count
        self._most_bytes = size

    def take(self, encoded: bytes) -> bool:
        """Takes one in, unless there is no room."""
        size = self._size + len(encoded) + OVERHEAD
        if self.count >= self._most or size > self._most_bytes:
            return False
        self.count += 1
        self._size = size
        metrics.CHANGES_WAITING.inc()
        return True

    def give(self, count: int, size: int) -> None:
        """So many, of so many encoded bytes together, no longer wait."""
        self.count -= count
        self._size -= size + count * OVERHEAD
        metrics.CHANGES_WAITING.dec(count)


@dataclass(frozen=True, slots=True)
class Message:
    """Some joins and leaves as one payload. `size` is that of their encoded forms."""

    raw: bytes
    count: int
    size: int


class Gathering:
    """What one topic is still to be told, in the order in which it happened.

    `ready` is called when the window has ended. `busy` while somebody sends, or will.
    """

    __slots__ = ("_changes", "_ready", "_room", "busy", "due", "messages", "timer", "topic", "waits")

    def __init__(self, topic: str, room: Room, ready: Callable[[Gathering], None]) -> None:
        self.topic = topic
        self.busy = False
        self.due = False
        """Whether what was gathered may be sent."""
        self.waits = False
        """Whether a window, or this turn of the loop, has yet to end."""
        self.timer: asyncio.TimerHandle | None = None
        self.messages: deque[Message] = deque()
        self._changes: OrderedDict[tuple[ChangeKind, str], bytes] = OrderedDict()
        self._room = room
        self._ready = ready

    def __len__(self) -> int:
        return len(self._changes)

    @property
    def empty(self) -> bool:
        """Whether there is nothing to tell, now or soon."""
        return not (self._changes or self.messages or self.waits)

    def put(self, kind: ChangeKind, client: str, encoded: bytes) -> bool:
        """Adds one, behind an earlier one of the client; False when there is no room."""
        self.cancel(kind, client)
        if not self._room.take(encoded):
            return False
        self._changes[kind, client] = encoded
        return True

    def cancel(self, kind: ChangeKind, client: str) -> bool:
        """Takes one back that has not been sent; False when there is none."""
        encoded = self._changes.pop((kind, client), None)
        if encoded is None:
            return False
        self._room.give(1, len(encoded))
        return True

    def flush(self) -> None:
        """The window, or the turn of the loop, has ended."""
        self.end_window()
        self._ready(self)

    def end_window(self) -> None:
        """Nothing is waited for any more."""
        self.waits = False
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None

    def pack(self) -> None:
        """Makes messages of what was gathered."""
        self.due = False
        changes: list[bytes] = []
        size = 0
        while self._changes:
            _, encoded = self._changes.popitem(last=False)
            if changes and (len(changes) >= MAX_CHANGES or size + len(encoded) + 1 > MAX_BYTES):
                self._add(changes, size)
                changes, size = [], 0
            changes.append(encoded)
            size += len(encoded) + 1
        if changes:
            self._add(changes, size)

    def sent(self) -> None:
        """The first message was sent, or given up."""
        message = self.messages.popleft()
        self._room.give(message.count, message.size)

    def clear(self) -> None:
        """Forgets all of it."""
        self.end_window()
        self.pack()
        while self.messages:
            self.sent()

    def _add(self, changes: list[bytes], size: int) -> None:
        self.messages.append(Message(encode_changes(changes), len(changes), size - len(changes)))
