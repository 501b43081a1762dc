"""What storing some publishes on one topic means: arithmetic from the state before to the message to be written."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from hub.broker.base import Outgoing, PublishResult
from hub.broker.nats.state import DEFAULT_META_TTL, MARK_SPACING, Entry, Mark, TopicState, fresh_state
from hub.model import HistoryOptions, Position


@dataclass(slots=True, eq=False)
class Call:
    """A publish on its way: the body, and who waits for its result. `sent` once it may have been stored."""

    message: Outgoing
    body: bytes
    answer: asyncio.Future[PublishResult]
    sent: bool = False


class Remembered(msgspec.Struct, array_like=True):
    """What became of a publish with a key: its position (offset 0: none), and when that is forgotten (ms)."""

    offset: int
    epoch: str
    expires: int

    @property
    def result(self) -> PublishResult:
        """The answer to a second publish with the key."""
        return PublishResult(Position(self.offset, self.epoch) if self.offset else None, suppressed=True)


@dataclass(slots=True)
class Plan:
    """The state to be written with the bodies of its entries, the results to remember by key, and all results.

    With nothing to write, neither `bodies` nor `remember`, the results hold as they are. `purge` is the sequence
    before which nothing of the topic is needed any more, 0 when that is not worth a request.
    """

    state: TopicState
    bodies: list[bytes] = field(default_factory=list)
    results: list[PublishResult] = field(default_factory=list)
    remember: dict[str, Remembered] = field(default_factory=dict)
    purge: int = 0


def current(state: TopicState | None, now: int) -> TopicState:
    """The state in force: a new one where there is none or its time is over."""
    return state if state is not None and state.expires > now else fresh_state(now)


def make_plan(
    state: TopicState | None,
    sequence: int,
    calls: Sequence[Call],
    remembered: dict[str, Remembered],
    now: int,
) -> Plan:
    """Places the publishes one after another behind the state, which is that of the message `sequence`."""
    before = current(state, now)
    if before is not state:
        before.expires = now
    plan = Plan(before.following())
    for call in calls:
        plan.results.append(_place(plan, call, remembered, now))
    if plan.state.top > before.top:
        _mark(plan, before.top, sequence, calls, now)
    return plan


def _place(plan: Plan, call: Call, remembered: dict[str, Remembered], now: int) -> PublishResult:
    message, state = call.message, plan.state
    key = message.idempotency_key
    known = plan.remember.get(key) or remembered.get(key) if key else None
    if known is not None and known.expires > now:
        return known.result
    if message.version > 0:
        if state.version_epoch == message.version_epoch and state.version >= message.version:
            return PublishResult(state.position if message.history else None, suppressed=True)
        state.version, state.version_epoch = message.version, message.version_epoch
    position = _append(state, call.body, message.history, now)
    plan.bodies.append(call.body)
    if key:
        expires = now + max(1, int(message.idempotency_ttl * 1000))
        plan.remember[key] = Remembered(
            *((position.offset, position.epoch) if position else (0, "")), expires
        )
    return PublishResult(position)


def _append(state: TopicState, body: bytes, options: HistoryOptions | None, now: int) -> Position | None:
    """Adds an entry. The state never expires before one that was written earlier, which would come to light again."""
    if options is None:
        state.entries.append(Entry(len(body)))
        state.expires = max(state.expires, now + DEFAULT_META_TTL)
        return None
    state.top += 1
    state.size = max(0, options.size)
    ttl = max(1, int(options.ttl * 1000))
    state.entries.append(Entry(len(body), state.top, now + ttl))
    state.expires = max(state.expires, now + max(ttl, int(options.meta_ttl * 1000)))
    return state.position


def _mark(plan: Plan, top: int, sequence: int, calls: Sequence[Call], now: int) -> None:
    """Writes down where the stream stands every so often, and finds what no longer needs to be there."""
    state = plan.state
    marks = state.marks
    ttl = max(call.message.history.ttl for call in calls if call.message.history is not None) * 1000
    spacing = max(MARK_SPACING, state.size // 4)
    if sequence and (
        not marks or top - marks[-1].offset >= spacing or now - marks[-1].time >= max(ttl / 4, 1000)
    ):
        marks.append(Mark(top, sequence, now))
    passed = [mark for mark in marks if mark.offset <= state.top - state.size or mark.time + ttl < now]
    if len(passed) > 1:
        plan.purge = passed[-1].sequence + 1
        state.floor = max(state.floor, passed[-1].offset)
        del marks[: len(passed) - 1]
