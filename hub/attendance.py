"""Who is told that a client has come or gone, and when: joins and leaves without a storm, and without a flicker.

A join on a topic of a thousand is a thousand frames, and a thousand joins are a million. So the joins and leaves of one
topic are gathered, longer where there are more to tell, and leave this node as one message, which every node writes to
each of its subscribers as one frame. And where a topic has a grace, the leave of a client whose connection was lost is
held back: a user who comes back in time is never seen to have been away.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from typing import Any, Final

from hub import metrics
from hub.broker.changes import ChangeKind, encode_change
from hub.errors import BrokerError
from hub.gathering import MAX_CHANGES, Gathering, Room
from hub.grace import Grace, HeldLeave
from hub.handlers import HandlerTable
from hub.model import ClientInfo
from hub.outbox import Tick
from hub.tasks import Tasks
from hub.wheel import TimerWheel

_log = logging.getLogger("hub.attendance")
WINDOWS: Final = ((1_000, 1.0), (50, 0.2))
"""Above so many subscribers on this node, joins and leaves are gathered for so many seconds.

Nobody follows single names in a list of fifty, but a fifth of a second is still at once; and above a thousand the
frames would be the node's main work, so that each subscriber gets one in a second.
"""
SETTLE_SECONDS: Final = 3.0
"""Seconds for which the broker must have been back before anything is told: longer than it takes any node to find it.

Joins and leaves have no position: a node that came back after they were sent would never know of them.
"""
CLOSE_SECONDS: Final = 2.0

Announce = Callable[[str, bytes], Awaitable[None]]
"""Sends the joins and leaves of a topic to all nodes; raises BrokerError."""


def _later(seconds: float, call: Callable[[], None]) -> asyncio.TimerHandle:
    return asyncio.get_running_loop().call_later(seconds, call)


class Attendance:
    """Tells topics of joins and leaves. Of one client they are told in order, whatever the broker does meanwhile.

    What finds the broker away waits and is told when it is back, perhaps twice if the broker was lost while it took
    it; what finds no room (`gathering.MAX_WAITING`) is dropped, counted and logged.
    """

    def __init__(
        self,
        announce: Announce,
        subscribers: Callable[[str], int],
        *,
        table: HandlerTable,
        tick: Tick,
        wheel: TimerWheel,
        ready: Callable[[], bool],
        mended: Callable[[], int],
        later: Callable[[float, Callable[[], None]], Any] = _later,
        room: Room | None = None,
        grace: int | None = None,
    ) -> None:
        """`subscribers` says how many a topic has here, `ready` whether the broker answers.

        `mended` counts, from 0, how often the connection to it was mended. `later` calls a function after so many
        seconds. `grace` bounds the held leaves.
        """
        self._announce = announce
        self._subscribers = subscribers
        self._table = table
        self._tick = tick
        self._link_up = ready
        self._mended = mended
        self._seen = 0
        self._noticed = 0
        self._wheel = wheel
        self._later = later
        self._room = room or Room()
        self._grace = Grace(wheel, self._end) if grace is None else Grace(wheel, self._end, most=grace)
        self._tasks = Tasks()
        self._topics: dict[str, Gathering] = {}
        self._stalled: list[Gathering] = []
        self._closing = False
        self._closed = False
        self._refusing = False

    def watch(self) -> None:
        """Begins to take notice of a link that is mended while nobody comes or goes: who does later need not wait."""
        self._wheel.add(self, self._wheel.clock() + SETTLE_SECONDS)

    def beat(self, now: float) -> None:
        """Looks whether the link has been up, and the same, since the last beat."""
        mended = self._mended()
        if not self._stalled and mended == self._noticed and self._link_up():
            self._seen = mended
        self._noticed = mended
        self._wheel.add(self, now + SETTLE_SECONDS)

    # What happened

    def joined(self, topic: str, info: ClientInfo) -> tuple[str, ...]:
        """A client of this node is now present; what is written to it before this is called comes before its join.

        Nothing is told when its user's leave was held back: then the earlier client ids are returned under which the
        user is known, to be given to `left`.
        """
        held = self._grace.take(topic, info.user) if info.user else None
        if held is None:
            self._change("join", topic, info)
            return ()
        if held.passes_to(info):
            held.state = "taken"
            return tuple(name for name in (*held.names, held.info.client) if name != info.client)
        # Others must learn what is new about the user, who in between must not seem to be away.
        self._change("join", topic, info)
        self._end(held)
        return ()

    def hold(
        self, topic: str, info: ClientInfo, names: tuple[str, ...] = (), *, seconds: float
    ) -> HeldLeave | None:
        """The connection of a client was lost: its leave is not told for so long. None where it is not to be held.

        Called at once; `left` follows, with what this returned.
        """
        if self._closing or not info.user or seconds <= 0:
            return None
        held = HeldLeave(topic, info, names)
        self._grace.hold(held, seconds)
        return held

    def left(
        self, topic: str, info: ClientInfo, names: tuple[str, ...] = (), held: HeldLeave | None = None
    ) -> None:
        """A client is no longer present. `names` are those that its join returned, each of which leaves with it."""
        if held is not None:
            held.gone = True
            if held.state != "due":
                return
        for name in (*names, info.client):
            self._change("leave", topic, replace(info, client=name))

    def swept(
        self, topic: str, info: ClientInfo, names: tuple[str, ...] = (), held: HeldLeave | None = None
    ) -> None:
        """As `left`, but others have said so already, this node having stood still: of the client, not of its `names`.

        It is said once more only behind a join that is about to be sent again, because its answer was not heard.
        """
        if held is not None:
            self._grace.drop(held)
        for name in names:
            self._change("leave", topic, replace(info, client=name))
        gathering = self._topics.get(topic)
        if gathering is None or gathering.cancel("join", info.client):
            return
        if any(info.client.encode() in message.raw for message in gathering.messages):
            self._change("leave", topic, info)

    def joined_many(self, entries: Iterable[tuple[str, ClientInfo]]) -> None:
        """Clients are present again who had been said to be gone; tells the topics that want it."""
        for topic, info in self._wanted(entries):
            self._change("join", topic, info)

    def left_many(self, entries: Iterable[tuple[str, ClientInfo]]) -> None:
        """Clients of whichever node are no longer present; tells the topics that want it."""
        for topic, info in self._wanted(entries):
            self._change("leave", topic, info)

    async def close(self) -> None:
        """Tells all that is held back or gathered, as far as the broker takes it within two seconds."""
        self._closing = True
        self._grace.release()
        for gathering in list(self._topics.values()):
            gathering.flush()
        self._go_on()
        await self._tasks.settle(CLOSE_SECONDS)
        await self._tasks.cancel()
        if self._room.count:
            metrics.DROPPED.labels("attendance").inc(self._room.count)
            _log.warning("%d joins and leaves were not told: the node stops", self._room.count)
        for gathering in self._topics.values():
            gathering.clear()
        self._topics.clear()
        self._stalled.clear()
        self._closed = True

    def _wanted(self, entries: Iterable[tuple[str, ClientInfo]]) -> Iterable[tuple[str, ClientInfo]]:
        wanted: dict[str, bool] = {}
        for topic, info in entries:
            if topic not in wanted:
                found = self._table.find(topic)
                wanted[topic] = found is not None and found[0].options.join_leave
            if wanted[topic]:
                yield topic, info

    def _end(self, held: HeldLeave) -> None:
        """The user did not come back in time."""
        held.state = "due"
        if held.gone:
            self.left(held.topic, held.info, held.names)

    # Gathering

    def _change(self, kind: ChangeKind, topic: str, info: ClientInfo) -> None:
        if self._closed:
            metrics.DROPPED.labels("attendance").inc()
            return
        gathering = self._topics.get(topic)
        if gathering is None:
            gathering = self._topics[topic] = Gathering(topic, self._room, self._ready)
        elif kind == "leave" and gathering.cancel("join", info.client):
            return
        try:
            encoded = encode_change(kind, info)
        except UnicodeEncodeError:
            encoded = b""
        if not encoded or not gathering.put(kind, info.client, encoded):
            self._refuse(kind, topic)
        self._open_window(gathering)

    def _refuse(self, kind: ChangeKind, topic: str) -> None:
        metrics.DROPPED.labels("attendance").inc()
        if not self._refusing:
            self._refusing = True
            _log.error("a %s on %r, and perhaps more, cannot be told: too many wait, or no text", kind, topic)

    def _open_window(self, gathering: Gathering) -> None:
        if self._closing or len(gathering) >= MAX_CHANGES:
            gathering.flush()
        elif not gathering.waits:
            gathering.waits = True
            window = self._window(gathering.topic)
            if window:
                gathering.timer = self._later(window, gathering.flush)
            else:
                self._tick.mark(gathering)

    def _window(self, topic: str) -> float:
        subscribers = self._subscribers(topic)
        return next((seconds for above, seconds in WINDOWS if subscribers > above), 0.0)

    # Sending

    def _ready(self, gathering: Gathering) -> None:
        gathering.due = True
        if not gathering.busy:
            gathering.busy = True
            self._tasks.spawn(self._work(gathering), f"joins and leaves of {gathering.topic}")

    async def _work(self, gathering: Gathering) -> None:
        if await self._send(gathering):
            self._rest(gathering)
        else:
            self._stall(gathering)

    async def _send(self, gathering: Gathering) -> bool:
        """Sends what may be sent, one message after the other, so that their order holds; False without a broker."""
        while self._settled:
            if gathering.due:
                gathering.pack()
            if not gathering.messages:
                return True
            try:
                await self._announce(gathering.topic, gathering.messages[0].raw)
                metrics.ANNOUNCEMENTS.inc()
            except Exception as error:  # noqa: BLE001 - what one message meets must not hold up the others
                if isinstance(error, BrokerError) and not error.lasting:
                    _log.info("joins and leaves on %r wait for the broker: %s", gathering.topic, error)
                    return False
                _log.error("joins and leaves on %r cannot be told", gathering.topic, exc_info=error)
                metrics.DROPPED.labels("attendance").inc(gathering.messages[0].count)
            gathering.sent()
        return False

    @property
    def _settled(self) -> bool:
        """Whether nothing waits for the broker, and its connection was not mended meanwhile."""
        return self._closing or not (self._stalled or self._mended() != self._seen)

    def _rest(self, gathering: Gathering) -> None:
        gathering.busy = False
        if gathering.empty:
            self._topics.pop(gathering.topic, None)
        if not self._room.count:
            self._refusing = False

    def _stall(self, gathering: Gathering) -> None:
        self._stalled.append(gathering)
        if len(self._stalled) == 1 and not self._closing:
            self._seen = self._mended()
            self._later(SETTLE_SECONDS, self._look_again)

    def _look_again(self) -> None:
        if self._link_up() and self._mended() == self._seen:
            self._go_on()
        elif self._stalled:
            self._seen = self._mended()
            self._later(SETTLE_SECONDS, self._look_again)

    def _go_on(self) -> None:
        stalled, self._stalled = self._stalled, []
        for gathering in stalled:
            self._tasks.spawn(self._work(gathering), f"joins and leaves of {gathering.topic}")
