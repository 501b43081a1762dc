"""Leaves that are held back for a while after a connection was lost, because the user may be about to come back."""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from hub import metrics
from hub.model import ClientInfo
from hub.wheel import TimerWheel

MAX_HELD: Final = 50_000
"""Leaves that a node holds back at most; beyond, those that end first are told before their time."""
MAX_NAMES: Final = 8
"""Client ids under which a user can be known on a topic by coming back again and again."""


@dataclass(slots=True, eq=False)
class HeldLeave:
    """The leave of one client from one topic. `names` are earlier client ids under which it is known there too."""

    topic: str
    info: ClientInfo
    names: tuple[str, ...] = ()
    state: Literal["waiting", "due", "taken"] = "waiting"
    """`due` when the time has passed, `taken` when the user came back and nothing is to be told."""
    gone: bool = False
    """Whether presence no longer has the client: before, its leave must not be told."""

    def passes_to(self, info: ClientInfo) -> bool:
        """Whether a client can take the place of this one unnoticed: it looks the same, and has room for the names."""
        same = (info.conn_info, info.chan_info) == (self.info.conn_info, self.info.chan_info)
        return same and len(self.names) < MAX_NAMES


class Grace:
    """The held leaves of one node. `end` is called with each whose time has passed; it must not raise."""

    def __init__(self, wheel: TimerWheel, end: Callable[[HeldLeave], None], *, most: int = MAX_HELD) -> None:
        self._wheel = wheel
        self._end = end
        self._most = most
        self._ends: list[tuple[float, int, HeldLeave]] = []
        self._numbers = itertools.count()
        self._users: dict[tuple[str, str], deque[HeldLeave]] = {}
        self._armed = float("inf")

    def hold(self, leave: HeldLeave, seconds: float) -> None:
        """Holds a leave back; it ends at most a quarter of a second late."""
        self._users.setdefault((leave.topic, leave.info.user), deque()).append(leave)
        metrics.HELD_LEAVES.inc()
        heapq.heappush(self._ends, (self._wheel.clock() + seconds, next(self._numbers), leave))
        while len(self._ends) > self._most:
            self._end_first()
        self._arm()

    def take(self, topic: str, user: str) -> HeldLeave | None:
        """Takes back the leave of a user that has been held longest; whoever takes it sets what becomes of it."""
        leaves = self._users.get((topic, user))
        if leaves is None:
            return None
        leave = leaves[0]
        self._forget(leave)
        return leave

    def drop(self, leave: HeldLeave) -> None:
        """Nobody is to take this one's place any more, and it is not to be told; one that has ended is no error."""
        if leave.state == "waiting":
            leave.state = "due"
            self._forget(leave)

    def release(self) -> None:
        """Ends all that are held, now."""
        while self._ends:
            self._end_first()

    def beat(self, now: float) -> None:
        """Ends those whose time has passed."""
        self._armed = float("inf")
        while self._ends and self._ends[0][0] <= now:
            self._end_first()
        self._arm()

    def _arm(self) -> None:
        if self._ends and self._ends[0][0] < self._armed:
            self._armed = self._ends[0][0]
            self._wheel.add(self, self._armed)

    def _end_first(self) -> None:
        _, _, leave = heapq.heappop(self._ends)
        if leave.state == "waiting":
            self._forget(leave)
            self._end(leave)

    def _forget(self, leave: HeldLeave) -> None:
        key = (leave.topic, leave.info.user)
        leaves = self._users[key]
        leaves.remove(leave)
        if not leaves:
            del self._users[key]
        metrics.HELD_LEAVES.dec()
