"""What waits to be written to one session, and how it is written.

On the fast path there is no queue of the hub's own: bytes go to the transport at the end of the loop's turn, and the
transport's buffer, guarded by number, is all that may wait. A guard costs nothing measurable (2.69 against 2.67 µs for
a write), while awaiting a slow reader starves everybody else.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Final, Protocol

from hub import metrics
from hub.budget import QueueBudget
from hub.model import Publication

Unit = bytes | tuple[bytes, ...]
"""What a wire joins pieces into and its transports write: opaque to everybody between."""

CONGESTED_SHARE = 4
"""The part of its limit above which a client counts as congested; transports must report when it has drained."""

MAX_JOINED = 65_536
"""Bytes that are joined into one write at most, so that a burst does not become one huge frame."""

AT_ONCE: Final = 1_000
"""Shared writes that are made in one turn of the loop at most, some 10 ms; beyond, they are made in slices."""
SMALLEST_SLICE: Final = 100
"""Writes in a turn of the loop while others leave it idle: a command takes several turns to be answered."""
LARGEST_SLICE: Final = 500
WRITE_SECONDS: Final = 25e-6
"""What a write takes at most, more or less; only to tell the time that others took from that of a slice."""


class Wire(Protocol):
    """How publications look to one kind of client, and how pieces become what its transport writes.

    One object per kind, shared by all its sessions: the router encodes once for each wire, not for each subscriber.
    """

    def publication(self, topic: str, publication: Publication) -> bytes | None:
        """One publication as a piece; None when this kind of client is told nothing of it."""

    def join(self, pieces: list[bytes]) -> Unit:
        """Several pieces of one session's own as what its transport writes at once."""

    def share(self, pieces: list[bytes]) -> Unit:
        """The same for what many transports write: made once, so that it may take longer and become smaller."""

    def alone(self, topic: str, publication: Publication) -> Unit | None:
        """One publication, shared: what `share` makes of it, in one step for the case that is met most."""

    @property
    def separator(self) -> bytes:
        """What stands between two units of bytes that are written as one; units that are tuples need nothing."""


class Socket(Protocol):
    """A socket that takes bytes; asyncio's transports are."""

    def write(self, data: bytes, /) -> None:
        """Writes, now or when the peer's kernel has room."""

    def get_write_buffer_size(self) -> int:
        """Bytes that the kernel has not taken yet."""


class Transport(Protocol):
    """A way out for bytes; writing never blocks and never raises, reading belongs to the endpoint."""

    @property
    def socket(self) -> Socket | None:
        """Where units go as they are; None where the transport does something with them first."""

    def write(self, unit: Unit) -> None:
        """Hands bytes to the connection; without effect once it is closed."""

    def buffered(self) -> int:
        """Bytes handed over that the peer's kernel has not taken yet."""

    def close(self, code: int, reason: str) -> None:
        """Ends the connection after what was written; without effect once it is closed."""

    def abort(self) -> None:
        """Ends the connection at once; what was written and not taken is let go."""

    def ping(self) -> bool:
        """Asks the peer for a sign of life beneath the protocol; False when the last one was never answered."""

    def pause_reading(self, paused: bool) -> None:
        """Stops or goes on taking bytes from the peer."""


class Flushable(Protocol):
    """Something with bytes or publications gathered during this turn of the loop."""

    def flush(self) -> None:
        """Writes what was gathered."""


class Spreading(Protocol):
    """Something with so much to write that it is written in slices."""

    def write_some(self, allowance: int) -> int:
        """Does as much as so many writes take; returns what is left of the allowance, nothing if there is more."""


class Tick:
    """Gathers what has something to flush, and flushes all of it once at the end of the loop's turn.

    What one session alone is told waits a turn longer: what it published is back from a broker in this process by
    then, so that reply and publication cost one write.

    What would hold up the loop is written in slices instead, one in each turn: other clients wait for a slice and not
    for the whole. A slice grows while others keep the loop busy, so that a busy node still gets its large topics out.
    """

    __slots__ = (
        "_at_once",
        "_began",
        "_call_soon",
        "_clock",
        "_due",
        "_left",
        "_marked",
        "_own",
        "_scheduled",
        "_slice",
        "_smallest",
        "_spreading",
        "waiting",
    )

    def __init__(
        self,
        call_soon: Callable[..., object],
        clock: Callable[[], float] = monotonic,
        *,
        at_once: int = AT_ONCE,
        smallest_slice: int = SMALLEST_SLICE,
    ) -> None:
        self._call_soon = call_soon
        self._clock = clock
        self._at_once = at_once
        self._smallest = smallest_slice
        self._marked: list[Flushable] = []
        self._own: list[Flushable] = []
        self._due: list[Flushable] = []
        """What has waited its turn."""
        self._scheduled = False
        self._left = at_once
        self._spreading: dict[Spreading, None] = {}
        self._slice = smallest_slice
        self._began = 0.0
        """When the last slice began."""
        self.waiting = 0
        """Bytes of publications that wait for their slices, as those who spread them count them."""

    def mark(self, item: Flushable) -> None:
        """Asks for one flush; the item marks itself once per turn."""
        if not self._scheduled and not self._due:
            self._scheduled = True
            self._call_soon(self._run)
        self._marked.append(item)

    def mark_own(self, item: Flushable) -> None:
        """The same for what one session alone is told."""
        if self._spreading:
            # Amid slices every turn is long, so that waiting for another one would cost more than a write.
            self._put_due([item])
            return
        if not self._own:
            self._call_soon(self._wait)
        self._own.append(item)

    def _wait(self) -> None:
        own, self._own = self._own, []
        self._put_due(own)

    def _put_due(self, items: list[Flushable]) -> None:
        if not self._due:
            self._call_soon(self._run_own)
        self._due += items

    def take(self, writes: int) -> bool:
        """Whether so many writes may be made at once in this turn, beside those that were taken before."""
        if writes > self._left:
            return False
        self._left -= writes
        return True

    def spread(self, item: Spreading) -> None:
        """Has an item written in slices from the next turn on; it takes turns with others."""
        if not self._spreading:
            self._began, self._slice = self._clock(), self._smallest
            self._call_soon(self._write_slice)
        self._spreading[item] = None

    def _run(self) -> None:
        self._scheduled = False
        self._left = self._at_once // 4 if self._spreading else self._at_once
        marked, self._marked = self._marked, []
        for item in marked:
            item.flush()

    def _run_own(self) -> None:
        if not self._scheduled:
            # Another run may have been in this turn already, which is not to become twice as long.
            self._left = self._at_once // 4
        # Topics first: they write to a session what it alone is told, and their own behind it.
        marked, self._marked = self._marked, []
        for item in marked:
            item.flush()
        due, self._due = self._due, []
        for item in due:
            item.flush()

    def _write_slice(self) -> None:
        allowance = self._next_slice()
        try:
            while allowance > 0 and self._spreading:
                item = next(iter(self._spreading))
                # It goes to the end of the line before it writes: there it stays, should that fail.
                del self._spreading[item]
                self._spreading[item] = None
                allowance = item.write_some(allowance)
                if allowance > 0:
                    del self._spreading[item]
        finally:
            if self._spreading:
                self._call_soon(self._write_slice)

    def _next_slice(self) -> int:
        """About as long as others have had the loop since the last slice began, within bounds."""
        now = self._clock()
        others = now - self._began - self._slice * WRITE_SECONDS
        self._began = now
        self._slice = min(max(int(others / WRITE_SECONDS), self._smallest), LARGEST_SLICE)
        return self._slice


class Delayed(Protocol):
    """Something that holds back publications while a client reads too slowly."""

    def release(self) -> None:
        """The client has caught up."""


class Outbox:
    """The way out of one session: gathers its replies, lets shared publications pass, and watches how much waits."""

    __slots__ = (
        "_budget",
        "_delayed",
        "_lagging",
        "_pieces",
        "_tick",
        "closed",
        "direct",
        "limit",
        "on_slow",
        "transport",
        "wire",
    )

    def __init__(
        self,
        transport: Transport,
        wire: Wire,
        tick: Tick,
        limit: int,
        on_slow: Callable[[], None] | None = None,
        budget: QueueBudget | None = None,
    ) -> None:
        """`limit` is in bytes; `on_slow` is called when more than that waits, or too much for the node in all."""
        self.transport = transport
        self.wire = wire
        self.limit = limit
        self.on_slow = on_slow
        self.closed = False
        self.direct = transport.socket
        """Where whoever writes to many may write a unit himself as long as nothing waits there; None while there is
        more to it, and `write` is to be called. In a loop over subscribers a call less is a tenth of all Python."""
        self._tick = tick
        self._pieces: list[bytes] = []
        self._delayed: list[Delayed] | None = None
        self._budget = budget
        self._lagging = False

    @property
    def congested(self) -> bool:
        """Whether so much waits that topics which may drop should hold back: a quarter of the limit."""
        return self.transport.buffered() > self.limit // CONGESTED_SHARE

    def delay(self, item: Delayed) -> None:
        """Asks for one release, once the client has caught up."""
        self._delayed = self._delayed or []
        self._delayed.append(item)

    def lags(self, waiting: int) -> None:
        """Tells the node that bytes wait; called by the transport too, when its buffer has grown large."""
        self._lagging = True
        self.direct = None
        if self._budget is not None:
            self._budget.note(self, waiting)

    def drained(self) -> None:
        """Called by the transport when its buffer has become small after having been congested."""
        delayed, self._delayed = self._delayed or (), None
        for item in delayed:
            item.release()

    def push(self, piece: bytes) -> None:
        """Adds a piece for this session alone; it leaves at the end of the turn, in order."""
        if self.closed:
            return
        if not self._pieces:
            self.direct = None
            self._tick.mark_own(self)
        self._pieces.append(piece)

    def flush(self) -> None:
        """Writes the gathered pieces now."""
        if self._pieces and not self.closed:
            self.write(self.wire.join(self._own()))

    def write(self, unit: Unit) -> None:
        """Writes what was joined for many, after the session's own pieces."""
        if self._pieces:
            unit = self._behind_own(unit)
        if self.closed:
            return
        # Looked at before and not after, so that one reply that is larger than the limit can still be sent.
        waiting = self.transport.buffered()
        if waiting:
            if waiting > self.limit and self.on_slow is not None:
                metrics.SLOW.labels("client").inc()
                self.on_slow()
                return
            self.lags(waiting)
            if self.closed:
                return
        elif self._lagging:
            self._lagging = False
            self.direct = self.transport.socket
            if self._budget is not None:
                self._budget.forget(self)
        self.transport.write(unit)

    def _own(self) -> list[bytes]:
        """The session's own pieces, which are gathered no more."""
        pieces, self._pieces = self._pieces, []
        if not self._lagging:
            self.direct = self.transport.socket
        return pieces

    def _behind_own(self, unit: Unit) -> Unit:
        """The session's own pieces and the unit as one, as long as that is not much; else writes the pieces now."""
        if sum(map(len, self._pieces)) + len(unit) > MAX_JOINED:
            self.flush()
            return unit
        own = self.wire.join(self._own())
        if isinstance(own, tuple) or isinstance(unit, tuple):
            return (*own, *unit)
        return b"%b%b%b" % (own, self.wire.separator, unit)

    def close(self, code: int, reason: str, *, drop: bool = False) -> None:
        """Ends the connection, after the session's own pieces or, with `drop`, without them."""
        if self.closed:
            return
        self.on_slow = None
        if drop:
            self._pieces.clear()
        self.flush()
        self.shut()
        self.transport.close(code, reason)

    def shut(self) -> None:
        """Lets nothing more out."""
        self.closed = True
        self.direct = None
