"""One topic on this node while somebody here listens: its subscribers, its position, and what waits for this turn."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Final, Protocol

from hub import metrics, recovery
from hub.broker.changes import expand
from hub.broker.envelope import EnvelopeError
from hub.congestion import Waiting, waiting_room
from hub.handlers import TopicRule
from hub.model import Position, Publication, TopicOptions
from hub.outbox import MAX_JOINED, Outbox, Tick, Unit, Wire
from hub.positions import Visit
from hub.protocol.deltas import Deltas
from hub.recovery import Record, Recovered
from hub.tags import TagFilter
from hub.views import Views
from hub.wave import WRITE_BYTES, Part, Wave, write_each

_log = logging.getLogger("hub.live")
MAX_WAITING_BYTES: Final = 1_048_576
"""Bytes of publications that wait behind a topic's slices; beyond, those under way are written at once."""
MAX_WAITING_BYTES_ON_NODE: Final = 33_554_432
OVERHEAD: Final = 200
"""Bytes that a waiting publication counts beside its payload."""


class Owner(Protocol):
    """Whoever holds a subscription: a session, a plain socket, an event stream."""

    def insufficient(self, topic: str) -> None:
        """Publications of the topic were missed; the client must be told."""


class Subscription:
    """One session on one topic, as the router sees it."""

    __slots__ = ("delta", "filter", "gone", "options", "outbox", "owner", "topic", "waiting", "wire")

    def __init__(
        self,
        topic: str,
        owner: Owner,
        outbox: Outbox,
        options: TopicOptions,
        *,
        delta: bool = False,
        filter: TagFilter | None = None,  # noqa: A002 - the option's name
    ) -> None:
        """With `delta` payloads are sent as differences, with a filter only those that it admits; never both."""
        self.topic = topic
        self.gone = False
        """Whether it was taken out: it gets nothing more, also of what is under way to it."""
        self.delta = delta
        self.filter = filter
        self.owner = owner
        self.outbox = outbox
        self.options = options
        self.wire: Wire = outbox.wire
        self.waiting: Waiting | None = None
        """What waits while the client reads too slowly, on topics that drop rather than disconnect."""

    def deliver(self, units: list[Unit], publications: list[Publication]) -> None:
        """Writes, or holds back while the client is congested; only for topics that drop."""
        if self.waiting is None and not self.outbox.congested:
            for unit in units:
                self.outbox.write(unit)
            return
        if self.waiting is None:
            self.waiting = waiting_room(self.options)
            self.outbox.delay(self)
        if self.waiting is not None:
            for publication in publications:
                self.waiting.put(publication)

    def release(self) -> None:
        """The client has caught up: it gets what waits, or learns that it missed something it can recover."""
        waiting, self.waiting = self.waiting, None
        if waiting is None or self.gone:
            return
        if waiting.dropped and self.options.history is not None:
            self.owner.insufficient(self.topic)
            return
        publications = waiting.take()
        if self.delta:
            # What waited ends with the last that all others were sent, so the next difference fits.
            publications = Deltas().chain(publications)
        for unit in _joined(self.wire, self.topic, publications):
            self.outbox.write(unit)


class LiveTopic:
    """Subscribers of one topic on this node, all at the same position.

    That they share one position is what keeps the loop over them free of any arithmetic: a subscriber joins only at
    the node's position, after what lies before it was sent to it alone.
    """

    __slots__ = (
        "_arrivals",
        "_deltas",
        "_joining",
        "_pending",
        "_spreading",
        "_tick",
        "_views",
        "_waiting",
        "_wave",
        "_wave_bytes",
        "epoch",
        "groups",
        "held",
        "mend_again",
        "mending",
        "name",
        "offset",
        "opened",
        "overflow",
        "parted",
        "records",
        "rule",
        "users",
        "visit",
    )

    def __init__(self, name: str, rule: TopicRule, tick: Tick, deltas: Deltas | None = None) -> None:
        """`deltas` are those of the node."""
        self.name = name
        self.rule = rule
        self.groups: dict[Wire, set[Subscription]] = {}
        self.users = 0
        """Subscriptions held or being made."""
        self.offset = 0
        self.epoch = ""
        self.held: Record | None = Record() if rule.options.history else None
        """What arrived while the position is not known for sure; None in the normal case."""
        self.overflow = False
        self.opened = False
        self.mending = False
        self.mend_again = False
        self.visit: Visit | None = None
        self.parted: dict[Subscription, None] = {}
        """Who missed something, gets nothing more, and has yet to be told so."""
        self.records: list[Record] = []
        """What is delivered is recorded here for subscribers whose history is being read."""
        self._pending: list[Publication] = []
        """What has been accepted and has yet to be written to all."""
        self._waiting = 0
        """Bytes of that, with an overhead for each."""
        self._arrivals: dict[Subscription, int] = {}
        """Who came while something was pending or under way, and how much of what is pending is not for them."""
        self._spreading = False
        """Whether the tick writes it in slices: what is accepted meanwhile waits behind them."""
        self._wave: Wave[Subscription] | None = None
        self._wave_bytes = 0
        self._joining: list[Subscription] = []
        """Who is written to apart in the wave under way, and one of all from the next."""
        self._tick = tick
        self._deltas = Deltas() if deltas is None else deltas
        self._views: Views[Subscription] | None = None
        """Subscribers with filters or differences; None while there are none, which is the usual case."""

    @property
    def position(self) -> Position:
        """Where every subscriber here stands."""
        return Position(self.offset, self.epoch)

    @property
    def settled(self) -> bool:
        """Whether it has a position, and that is known for sure."""
        return self.opened and self.held is None and self.rule.options.history is not None

    def add(self, subscription: Subscription) -> None:
        """Lets a subscriber have what is accepted from now on, and nothing that waits from before."""
        if self._pending or self._spreading:
            self._arrivals[subscription] = len(self._pending)
        else:
            self._join(subscription)

    def _join(self, subscription: Subscription) -> None:
        if subscription.delta or subscription.filter is not None:
            self._views = self._views or Views(self._deltas)
            self._views.add(subscription)
        else:
            self.groups.setdefault(subscription.wire, set()).add(subscription)

    def part(self) -> None:
        """Parts from all subscribers, who miss something: whoever comes from now on is another case."""
        lost = self.subscribers()
        self.groups, self._views, self._arrivals, self._joining = {}, None, {}, []
        for subscription in lost:
            subscription.gone = True
        self.parted.update(dict.fromkeys(lost))

    def discard(self, subscription: Subscription) -> None:
        """Takes a subscriber out, for good; an unknown one is no error."""
        subscription.gone = True
        if self.parted:
            self.parted.pop(subscription, None)
        if self._arrivals.pop(subscription, None) is not None:
            return
        if subscription.delta or subscription.filter is not None:
            if self._views is not None:
                self._views.discard(subscription)
                self._views = None if self._views.empty else self._views
            return
        group = self.groups.get(subscription.wire)
        if group is not None:
            group.discard(subscription)
            if not group:
                del self.groups[subscription.wire]

    def subscribers(self) -> list[Subscription]:
        """All of them, as a copy."""
        found = [subscription for group in self.groups.values() for subscription in group]
        if self._views is not None:
            found += self._views.viewers()
        found += (each for each in self._joining if not each.gone)
        return [*found, *self._arrivals]

    def count(self) -> int:
        """How many subscribers there are."""
        found = len(self._arrivals) + len(self.parted)
        for group in self.groups.values():
            found += len(group)
        if self._views is not None:
            found += self._views.count()
        return found + sum(not each.gone for each in self._joining) if self._joining else found

    def recovered(self, subscription: Subscription, outcome: Recovered) -> Recovered:
        """What a subscriber just added missed, in its own form."""
        if not outcome.publications or not (subscription.delta or subscription.filter is not None):
            return outcome
        told = self._told(subscription.delta, subscription.filter, outcome.publications)
        # A client that is shown none of them need not ask for them again.
        return Recovered(outcome.recovered, outcome.position if told else self.position, told)

    def accept(self, publications: list[Publication]) -> bool:
        """Takes what the broker delivered; False when there is a gap, and what follows it is then held back."""
        if self.held is not None:
            self._hold(publications)
            return True
        for index, publication in enumerate(publications):
            offset = publication.offset
            if offset == self.offset + 1 and publication.epoch == self.epoch:
                self.offset = offset
                self._take(publication)
            elif offset == 0:
                self._take_unplaced(publication)
            elif not recovery.seen(publication, self.offset, self.epoch):
                self.held = Record()
                self._hold(publications[index:])
                return False
        return True

    def release(self, position: Position) -> bool:
        """Declares a position and lets through what was held back; False when that shows another gap."""
        held, self.held = self.held, None
        self.offset, self.epoch = position.offset, position.epoch
        overflow, self.overflow = self.overflow, False
        if overflow:
            self.held = Record()
            return False
        return self.accept(held.publications if held is not None else [])

    def hold(self) -> None:
        """Holds back what arrives from now on, until the next release."""
        if self.held is None:
            self.held = Record()

    def holds(self, publications: list[Publication]) -> bool:
        """Whether all of them have arrived and are held back."""
        waiting = self.held.publications if self.held is not None else ()
        held = {(publication.offset, publication.epoch) for publication in waiting}
        return all((publication.offset, publication.epoch) in held for publication in publications)

    def catch_up(self, publications: list[Publication]) -> bool:
        """Takes publications that history gave while the rest is held back."""
        held, self.held = self.held, None
        complete = self.accept(publications)
        self.held = held
        return complete

    def forget(self, record: Record) -> None:
        """Stops recording deliveries there."""
        self.records = [other for other in self.records if other is not record]

    def _hold(self, publications: list[Publication]) -> None:
        assert self.held is not None  # noqa: S101 - the callers' invariant
        for publication in publications:
            self.held.add(publication)
        if self.held.full:
            self.held = Record()
            self.overflow = True

    def _take_unplaced(self, publication: Publication) -> None:
        if publication.kind != "changes":
            self._take(publication)
            return
        try:
            changes = expand(publication)
        except EnvelopeError as error:
            metrics.DROPPED.labels("unreadable").inc()
            _log.error("on %r: %s", self.name, error)
            return
        for change in changes:
            self._take(change)

    def _take(self, publication: Publication) -> None:
        for record in self.records:
            record.add(publication)
        if not self._pending:
            self._tick.mark(self)
        self._pending.append(publication)
        size = len(publication.raw) + OVERHEAD
        self._waiting += size
        if self._spreading:
            self._tick.waiting += size
            if self._waiting > MAX_WAITING_BYTES or self._tick.waiting > MAX_WAITING_BYTES_ON_NODE:
                self._hurry()

    def flush(self) -> None:
        """Encodes what this turn brought once per wire, joins it, and writes it to every subscriber.

        To many it is written in slices, which the tick asks for.
        """
        if self._spreading or not self._pending:
            return
        if not self._tick.take(self.count() * (1 + self._waiting // WRITE_BYTES)):
            self._spreading = True
            self._tick.waiting += self._waiting
            self._tick.spread(self)
        elif self._views is None and not self._arrivals:
            self._write_all()
        else:
            self._begin().finish()
            self._end()

    def write_some(self, allowance: int) -> int:
        """Writes a slice, first of what is under way, then of what waits; returns what is left of the allowance."""
        while allowance > 0:
            wave = self._wave
            if wave is None:
                if not self._pending:
                    self._arrive()
                    self._spreading = False
                    return allowance
                self._wave = wave = self._begin()
            allowance = wave.write(allowance)
            if wave.done:
                self._end()
        return 0

    def _hurry(self) -> None:
        """Writes what is under way at once, since too much waits behind it."""
        if self._wave is not None:
            self._wave.finish()
            self._end()
        self._wave = self._begin()

    def _write_all(self) -> None:
        """The usual case: few subscribers, all in the same form."""
        pending, self._pending, self._waiting = self._pending, [], 0
        drops = self.rule.options.slow != "disconnect"
        for wire, group in list(self.groups.items()):
            units = _joined(wire, self.name, pending)
            metrics.DELIVERIES.inc(len(pending) * len(group))
            if not drops:
                for unit in units:
                    write_each(tuple(group), unit)
                continue
            for subscription in tuple(group):
                if not subscription.gone:
                    subscription.deliver(units, pending)

    def _begin(self) -> Wave[Subscription]:
        """Takes all that is pending. Who comes from now on is none of those to whom it is written."""
        pending, self._pending = self._pending, []
        self._wave_bytes, self._waiting = self._waiting, 0
        late: dict[_Late, list[Subscription]] = {}
        for subscription, index in self._arrivals.items():
            if index == 0:
                self._join(subscription)
                continue
            self._joining.append(subscription)
            if index < len(pending):
                form = (index, subscription.wire, subscription.delta, subscription.filter)
                late.setdefault(form, []).append(subscription)
        self._arrivals = {}
        members = [(wire, tuple(group)) for wire, group in self.groups.items()]
        return Wave(self._parts(pending, members, late), drops=self.rule.options.slow != "disconnect")

    def _end(self) -> None:
        """The wave under way was written: who came during it is now one of all."""
        self._wave = None
        if self._spreading:
            self._tick.waiting -= self._wave_bytes
        joining, self._joining = self._joining, []
        for subscription in joining:
            if not subscription.gone:
                self._join(subscription)

    def _arrive(self) -> None:
        arrivals, self._arrivals = self._arrivals, {}
        for subscription in arrivals:
            self._join(subscription)

    def _parts(
        self,
        pending: list[Publication],
        members: list[tuple[Wire, tuple[Subscription, ...]]],
        late: dict[_Late, list[Subscription]],
    ) -> Iterator[Part[Subscription] | None]:
        views = self._views
        for wire, group in members:
            yield Part(_joined(wire, self.name, pending), pending, group)
        for share in views.shares(pending) if views is not None else ():
            if share is None:
                yield None
            else:
                yield Part(_joined(share.wire, self.name, share.told), share.published, share.members)
        for (index, wire, delta, wanted), newcomers in late.items():
            told = self._told(delta, wanted, pending[index:])
            yield Part(_joined(wire, self.name, told), pending[index:] if wanted is None else told, newcomers)

    def _told(
        self, delta: bool, wanted: TagFilter | None, publications: list[Publication]
    ) -> list[Publication]:
        """The form in which a list is told to somebody who has none of what all others have."""
        if wanted is not None:
            return [publication for publication in publications if wanted.admits(publication)]
        return self._deltas.chain(publications) if delta else publications


_Late = tuple[int, Wire, bool, TagFilter | None]
"""Which part of what is pending is not for some newcomers, and the form that they want."""


def _joined(wire: Wire, topic: str, publications: list[Publication]) -> list[Unit]:
    if len(publications) == 1:
        alone = wire.alone(topic, publications[0])
        return [] if alone is None else [alone]
    units: list[Unit] = []
    pieces: list[bytes] = []
    size = 0
    for publication in publications:
        piece = wire.publication(topic, publication)
        if piece is None:
            continue
        if pieces and size + len(piece) > MAX_JOINED:
            units.append(wire.share(pieces))
            pieces, size = [], 0
        pieces.append(piece)
        size += len(piece)
    if pieces:
        units.append(wire.share(pieces))
    return units
