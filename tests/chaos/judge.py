"""The judge: from what was sent, seen and told, to what was lost without a word, came twice or came out of order.

A pure function of a history. It believes no one witness: publishers' acknowledgements, every subscriber's deliveries
and what the hub kept must agree on which publication has which place.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field

from tests.chaos.history import Ended, History, Place, Received, Sent, Subscribed

MAX_FINDINGS = 20


@dataclass(slots=True)
class Verdict:
    """The counts of a run; `lost`, `duplicated`, `reordered` and `invented` must be 0, and `findings` empty.

    `received` and `told` count pairs of a subscriber and an acknowledged publication that was sent after it had
    subscribed: it got it, or it was told that it could not have followed. `tellings` counts the words themselves.
    `invented` counts deliveries of what was never sent, or was told not to have been done.
    """

    acked: int = 0
    failed: int = 0
    unknown: int = 0
    received: int = 0
    lost: int = 0
    duplicated: int = 0
    reordered: int = 0
    told: int = 0
    tellings: int = 0
    invented: int = 0
    findings: list[str] = field(default_factory=list)

    @property
    def honest(self) -> bool:
        """Whether the hub kept its promise."""
        return not (self.lost or self.duplicated or self.reordered or self.invented or self.findings)

    def note(self, finding: str) -> None:
        """Adds a sentence for people, unless there are many already."""
        if len(self.findings) < MAX_FINDINGS:
            self.findings.append(finding)


@dataclass(slots=True)
class Stretch:
    """A part of one subscriber's way on which it was never told that something is missing: so nothing may be."""

    epoch: str
    start: int
    claimed: int
    arrivals: list[Received] = field(default_factory=list)

    @property
    def top(self) -> int:
        """How far the subscriber believes to have come."""
        return max([self.claimed, *(arrival.offset for arrival in self.arrivals)])


def judge(history: History) -> Verdict:
    """What a run comes to."""
    verdict = Verdict()
    for each in history.sent:
        setattr(verdict, each.outcome, getattr(verdict, each.outcome) + 1)
    ways = {name: _way(name, log, history, verdict) for name, log in history.logs.items()}
    places = _agree(history, ways, verdict)
    sent = {each.number: each for each in history.sent}
    _check_stored(history, verdict)
    _check_order(places, sent, verdict)
    for name, way in ways.items():
        for stretch in way:
            _check_stretch(name, stretch, verdict)
        _check_numbers(name, way, sent, verdict)
        _count(history, name, way, verdict)
    return verdict


def check_whole(history: History, verdict: Verdict) -> None:
    """Where publishers insist and nothing of the broker's memory is lost, the hub holds each number, and once."""
    held = Counter(number for _, number in history.kept)
    for sent in history.sent:
        if sent.outcome != "acked":
            verdict.note(f"{sent.number} was never acknowledged, although its publisher insisted")
        if not held[sent.number]:
            verdict.lost += 1
            verdict.note(f"{sent.number} is not kept, although its publisher insisted")
        elif held[sent.number] > 1:
            verdict.duplicated += held[sent.number] - 1
            verdict.note(f"{sent.number} is kept {held[sent.number]} times")


def _way(
    name: str, log: list[Subscribed | Received | Ended], history: History, verdict: Verdict
) -> list[Stretch]:
    """A subscriber's log as stretches, the last one reaching to where the hub stands at the end."""
    way: list[Stretch] = []
    for event in log:
        if isinstance(event, Subscribed):
            _resume(name, way, event, verdict)
        elif isinstance(event, Received):
            _arrive(name, way, event, verdict)
        elif event.final:
            verdict.note(f"{name} was sent away for good: {event.why}")
    epoch, top = history.top
    if not way:
        verdict.lost += max(1, top)
        verdict.note(f"{name} never got a subscription")
    elif way[-1].epoch != epoch:
        verdict.lost += max(1, top)
        verdict.note(f"{name} ended in epoch {way[-1].epoch} at {way[-1].top}; the hub is at {epoch} {top}")
    else:
        way[-1].claimed = max(way[-1].claimed, top)
    return way


def _resume(name: str, way: list[Stretch], event: Subscribed, verdict: Verdict) -> None:
    if event.recovered and way and way[-1].epoch == event.epoch:
        way[-1].claimed = max(way[-1].claimed, event.offset)
        return
    if event.recovered and way:
        verdict.lost += 1
        verdict.note(f"{name} was said to be recovered from epoch {way[-1].epoch} into {event.epoch}")
    elif way:
        verdict.tellings += 1
    way.append(Stretch(event.epoch, event.offset, event.offset))


def _arrive(name: str, way: list[Stretch], event: Received, verdict: Verdict) -> None:
    if not way:
        verdict.note(f"{name} received {event.number} before it was subscribed")
        way.append(Stretch(event.epoch, event.offset - 1, event.offset - 1))
    elif way[-1].epoch != event.epoch:
        verdict.lost += 1
        verdict.note(
            f"{name} received {event.number} of epoch {event.epoch} in epoch {way[-1].epoch}, untold"
        )
        way.append(Stretch(event.epoch, event.offset - 1, event.offset - 1))
    way[-1].arrivals.append(event)


def _agree(history: History, ways: dict[str, list[Stretch]], verdict: Verdict) -> dict[Place, int]:
    """Which number has which place, by all witnesses; who contradicts an earlier one has got the wrong publication."""
    places: dict[Place, int] = {}
    for sent in history.sent:
        if (
            sent.outcome == "acked"
            and places.setdefault((sent.epoch, sent.offset), sent.number) != sent.number
        ):
            verdict.lost += 1
            verdict.note(f"{sent.number} was acknowledged at the place of {places[sent.epoch, sent.offset]}")
    for offset, number in history.kept:
        if places.setdefault((history.top[0], offset), number) != number:
            verdict.lost += 1
            verdict.note(f"the hub keeps {number} at {offset} in place of {places[history.top[0], offset]}")
    for name, way in ways.items():
        got = {(arrival.epoch, arrival.number) for stretch in way for arrival in stretch.arrivals}
        for arrival in (arrival for stretch in way for arrival in stretch.arrivals):
            known = places.setdefault((arrival.epoch, arrival.offset), arrival.number)
            if known != arrival.number:
                verdict.note(f"{name} got {arrival.number} at {arrival.offset}, where {known} belongs")
                if (arrival.epoch, known) in got:
                    verdict.reordered += 1
                else:
                    verdict.lost += 1
    return places


def _check_stored(history: History, verdict: Verdict) -> None:
    """What is still within the hub's memory and was acknowledged must be there."""
    kept = dict(history.kept)
    oldest = min(kept, default=history.top[1] + 1)
    for sent in history.sent:
        if sent.outcome != "acked" or sent.epoch != history.top[0]:
            continue
        if sent.offset > history.top[1] or (sent.offset >= oldest and sent.offset not in kept):
            verdict.lost += 1
            verdict.note(f"{sent.number} was acknowledged at {sent.offset} and is not kept")


def _check_order(places: dict[Place, int], sent: dict[int, Sent], verdict: Verdict) -> None:
    """What was sent after another had been acknowledged stands behind it."""
    epochs: dict[str, list[tuple[int, Sent]]] = defaultdict(list)
    for (epoch, offset), number in places.items():
        if number in sent:
            epochs[epoch].append((offset, sent[number]))
    for found in epochs.values():
        earliest_ack = float("inf")
        for offset, each in sorted(found, key=lambda pair: -pair[0]):
            if each.started > earliest_ack:
                verdict.reordered += 1
                verdict.note(f"{each.number} stands at {offset}, before one acknowledged before it was sent")
            if each.outcome == "acked":
                earliest_ack = min(earliest_ack, each.ended)


def _check_stretch(name: str, stretch: Stretch, verdict: Verdict) -> None:
    """Within a stretch every offset arrives once, in order."""
    seen: set[int] = set()
    high = stretch.start
    for arrival in stretch.arrivals:
        if arrival.offset in seen or arrival.offset <= stretch.start:
            verdict.duplicated += 1
            verdict.note(f"{name} received offset {arrival.offset} of {stretch.epoch} again")
        elif arrival.offset < high:
            verdict.reordered += 1
            verdict.note(f"{name} received offset {arrival.offset} of {stretch.epoch} after {high}")
        seen.add(arrival.offset)
        high = max(high, arrival.offset)
    missing = [offset for offset in range(stretch.start + 1, stretch.top + 1) if offset not in seen]
    if missing:
        verdict.lost += len(missing)
        verdict.note(f"{name} never received offsets {missing[:5]} of {stretch.epoch}, {len(missing)} in all")


def _check_numbers(name: str, way: list[Stretch], sent: dict[int, Sent], verdict: Verdict) -> None:
    """A publication comes twice only where its publisher sent it again and the hub had lost its memory meanwhile."""
    found: dict[int, set[Place]] = defaultdict(set)
    for stretch in way:
        for arrival in stretch.arrivals:
            found[arrival.number].add((arrival.epoch, arrival.offset))
    for number, places in found.items():
        origin = sent.get(number)
        if origin is None or origin.outcome == "failed":
            verdict.invented += 1
            verdict.note(f"{name} received {number}, which {'failed' if origin else 'nobody sent'}")
        elif len(places) > 1 and not (
            origin.attempts > 1 and len({epoch for epoch, _ in places}) == len(places)
        ):
            verdict.duplicated += len(places) - 1
            verdict.note(f"{name} received {number} at {sorted(places)}")


def _count(history: History, name: str, way: list[Stretch], verdict: Verdict) -> None:
    log = history.logs[name]
    joined = next((event.at for event in log if isinstance(event, Subscribed)), float("inf"))
    got = {arrival.number for stretch in way for arrival in stretch.arrivals}
    for sent in history.sent:
        if sent.outcome != "acked":
            continue
        if sent.number in got:
            verdict.received += 1
        elif sent.started > joined and not _walked(way, sent):
            verdict.told += 1


def _walked(way: list[Stretch], sent: Sent) -> bool:
    return any(stretch.epoch == sent.epoch and stretch.start < sent.offset <= stretch.top for stretch in way)
