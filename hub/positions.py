"""Whether this node has what the broker has: the position of each topic is compared with the broker's now and then.

A skipped offset shows with the next publication, and a lost connection with its return. What shows in neither way is a
tail that went missing with nothing after it, or a broker that fell back to an older state of its own. So each topic
is visited twice in `every` seconds, evenly spread over time, and compared if nothing arrived since the last visit.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from hub.errors import BrokerError
from hub.model import Position
from hub.wheel import TimerWheel

COMPARE_SECONDS: Final = 40.0
BEAT_SECONDS: Final = 1.0
GRACE_SECONDS: Final = 2.0
"""How long a difference may last before it counts: what makes it may be under way."""
TOGETHER: Final = 200
"""Positions read at the same time at most."""


@dataclass(frozen=True, slots=True)
class Visit:
    """What a topic was found to be: where it stood, and for how many visits it has stood there."""

    position: Position
    quiet: int


class Compared(Protocol):
    """A topic of this node, as far as its position is concerned."""

    visit: Visit | None
    """The last one; this module's own."""

    @property
    def position(self) -> Position:
        """Where its subscribers stand."""

    @property
    def settled(self) -> bool:
        """Whether that is known, and not just being mended."""


Read = Callable[[Sequence[str]], Awaitable[dict[str, Position]]]
"""The broker's positions of topics; those that it does not tell are left out. May raise BrokerError."""


@dataclass(frozen=True, slots=True)
class _Suspect:
    top: Position
    since: float


class Comparison:
    """Compares the topics of a node, a few at each beat of the wheel.

    `topics` are those with history that somebody here listens to, `differs` is called with the name of one whose
    position differs from the broker's for longer than a moment, `spawn` runs a beat's work in the background.
    """

    def __init__(
        self,
        topics: Callable[[], Mapping[str, Compared]],
        read: Read,
        differs: Callable[[str], None],
        spawn: Callable[[Coroutine[Any, Any, None]], object],
        *,
        every: float = COMPARE_SECONDS,
        grace: float = GRACE_SECONDS,
    ) -> None:
        self._topics = topics
        self._read = read
        self._differs = differs
        self._spawn = spawn
        self._every = every
        self._grace = grace
        self._round: deque[str] = deque()
        self._suspects: dict[str, _Suspect] = {}
        self._credit = 0.0
        self._last = 0.0
        self._wheel: TimerWheel | None = None
        self._working = False

    def start(self, wheel: TimerWheel) -> None:
        """Begins to compare, for as long as the wheel turns."""
        self._wheel = wheel
        self._last = wheel.clock()
        wheel.add(self, self._last + min(BEAT_SECONDS, self._every / 4))

    def beat(self, now: float) -> None:
        """Does what is due, unless the broker has not even answered what was due before."""
        if self._wheel is not None:
            self._wheel.add(self, now + min(BEAT_SECONDS, self._every / 4))
        if not self._working:
            self._working = True
            self._spawn(self._work(now))

    async def _work(self, now: float) -> None:
        try:
            await self.turn(now)
        finally:
            self._working = False

    async def turn(self, now: float) -> None:
        """Visits those whose turn it is, compares the quiet ones, and judges those that differed before."""
        due = self._due(now)
        ripe = {
            name: suspect for name, suspect in self._suspects.items() if suspect.since + self._grace <= now
        }
        for name in ripe:
            del self._suspects[name]
        for name, top in await self._differing([name for name in due if name not in self._suspects]):
            self._suspects[name] = _Suspect(top, now)
        await self._judge(ripe)

    def _due(self, now: float) -> list[str]:
        """The quiet ones among the topics to be visited in the time since the last turn."""
        topics = self._topics()
        self._credit += max(0.0, now - self._last) * len(topics) * 2 / self._every
        self._last = now
        count = min(int(self._credit), len(topics))
        self._credit = min(self._credit - count, 1.0)
        due = []
        for _ in range(count):
            if not self._round:
                self._round.extend(topics)
            name = self._round.popleft()
            topic = topics.get(name)
            if topic is not None and topic.settled and _quiet(topic):
                due.append(name)
        return due

    async def _differing(self, names: Sequence[str]) -> list[tuple[str, Position]]:
        """Those of the topics whose position is not the broker's, with that."""
        found: list[tuple[str, Position]] = []
        for start in range(0, len(names), TOGETHER):
            found += await self._compare(names[start : start + TOGETHER])
        return found

    async def _compare(self, names: Sequence[str]) -> list[tuple[str, Position]]:
        topics = self._topics()
        before = {name: topics[name].position for name in names if name in topics}
        try:
            tops = await self._read(list(before))
        except BrokerError:
            # It is away, and when it is back each topic is compared by other means.
            return []
        topics = self._topics()
        return [
            (name, top)
            for name, top in tops.items()
            if name in topics and topics[name].settled and not agree(before[name], top, topics[name].position)
        ]

    async def _judge(self, suspects: Mapping[str, _Suspect]) -> None:
        """Tells of those that have not reached what the broker had, and of those that are still elsewhere."""
        topics = self._topics()
        elsewhere = []
        for name, suspect in suspects.items():
            topic = topics.get(name)
            if topic is None or not topic.settled:
                continue
            here, top = topic.position, suspect.top
            if here.epoch == top.epoch and here.offset < top.offset:
                self._differs(name)
            else:
                # It has caught up, or it is the broker that is behind or began anew.
                elsewhere.append(name)
        for name, top in await self._differing(elsewhere):
            topic = self._topics()[name]
            if top.epoch != topic.position.epoch or top.offset < topic.position.offset:
                self._differs(name)


def agree(before: Position, top: Position, after: Position) -> bool:
    """Whether a broker's position fits a node that stood at `before` when it was asked, at `after` when it answered."""
    if top.epoch != after.epoch:
        return False
    return (before.offset if before.epoch == top.epoch else 0) <= top.offset <= after.offset


def _quiet(topic: Compared) -> bool:
    """Notes a visit; whether to compare: at the first at which nothing has moved, and at every second from then on."""
    last = topic.visit
    quiet = last.quiet + 1 if last is not None and last.position == topic.position else 0
    topic.visit = Visit(topic.position, quiet)
    return quiet % 2 == 1
