"""Reading what NATS keeps of a topic."""

from __future__ import annotations

import asyncio
from typing import Final

from hub.broker.envelope import EnvelopeError
from hub.broker.nats.plan import current
from hub.broker.nats.publisher import ttl_of
from hub.broker.nats.state import TopicState, pack, publications, unpack
from hub.broker.nats.subjects import Subjects
from hub.broker.nats.topics import Known, Topics
from hub.errors import BrokerError
from hub.model import HistoryPage, HistoryQuery, Publication
from hub.nats.jetstream import Conflict, JetStream, Write

_TRIES: Final = 5
_LAG_SECONDS: Final = 0.05


class History:
    """Answers queries: the position as the stream's leader knows it, publications from whichever server is near."""

    def __init__(self, jetstream: JetStream, topics: Topics, subjects: Subjects) -> None:
        self._jetstream = jetstream
        self._topics = topics
        self._subjects = subjects

    async def read(self, topic: str, query: HistoryQuery) -> HistoryPage:
        """Reads kept publications and the top position. Raises BrokerError."""
        state = TopicState("", 0)
        found: list[Publication] = []
        for _ in range(_TRIES):
            known, state = await self._state(topic)
            since = query.since
            wanted = since is None or since.epoch in ("", state.epoch)
            if not query.limit or not wanted or state.lowest >= state.top:
                return HistoryPage([], state.position)
            low = state.lowest if since is None or query.reverse else max(state.lowest, since.offset)
            found, complete = await self._after(topic, known, state, low)
            if complete:
                break
            await asyncio.sleep(_LAG_SECONDS)
        return HistoryPage(_cut(found, query), state.position)

    async def remove(self, topic: str) -> None:
        """Forgets the kept publications; epoch and top stay. Raises BrokerError."""
        while True:
            known = await self._topics.load(topic)
            state = current(known.state, self._jetstream.now).following()
            state.floor, state.marks = state.top, []
            try:
                sequence = await self._write(topic, known, state)
            except Conflict:
                continue
            await self._jetstream.purge(self._subjects.kept(topic), sequence)
            return

    async def forget(self, topic: str, sequence: int) -> None:
        """As `remove`, if `sequence` is still the topic's last message: all that it keeps has expired."""
        known = self._topics.known(topic)
        if known is None or known.sequence != sequence or known.state is None:
            return
        state = known.state.following()
        state.floor, state.marks = state.top, []
        try:
            written = await self._write(topic, known, state)
        except Conflict:
            return
        await self._jetstream.purge(self._subjects.kept(topic), written)

    async def _state(self, topic: str) -> tuple[Known, TopicState]:
        """The state in force, written down if it is new."""
        while True:
            known = await self._topics.load(topic)
            state = current(known.state, self._jetstream.now)
            if state is known.state and not known.stale:
                return known, state
            try:
                sequence = await self._write(topic, known, state)
            except Conflict:
                continue
            return Known(sequence, state), state

    async def _write(self, topic: str, known: Known, state: TopicState) -> int:
        ttl = ttl_of(state, self._jetstream.now)
        write = Write(self._subjects.kept(topic), pack(state, []), ttl, known.sequence)
        sequence = await self._jetstream.write([write])
        self._topics.learn(topic, sequence, state)
        return sequence

    async def _after(
        self, topic: str, known: Known, state: TopicState, low: int
    ) -> tuple[list[Publication], bool]:
        """Unexpired publications after an offset up to the top, without a hole; and whether none is missing."""
        messages = [(state, known.bodies)]
        if low < state.top - sum(entry.offset > 0 for entry in state.entries):
            start = state.start(low)
            stored = await self._jetstream.read(self._subjects.kept(topic), start, known.sequence - 1)
            try:
                messages = [*(unpack(each.data) for each in stored), *messages]
            except EnvelopeError as error:
                raise BrokerError(f"the history of topic {topic!r} cannot be read: {error}") from None
        return _suffix(topic, messages, state, low, self._jetstream.now)


def _suffix(
    topic: str, messages: list[tuple[TopicState, bytes]], top: TopicState, low: int, now: int
) -> tuple[list[Publication], bool]:
    found: list[tuple[Publication, int]] = []
    for state, bodies in messages:
        if state.epoch != top.epoch:
            continue
        try:
            placed = publications(topic, state, bodies)
        except EnvelopeError as error:
            raise BrokerError(f"the history of topic {topic!r} cannot be read: {error}") from None
        expiries = (entry.expires for entry in state.entries)
        found += [
            (each, expires)
            for each, expires in zip(placed, expiries, strict=True)
            if low < each.offset <= top.top
        ]
    at = len(found)
    offset = top.top
    while at and found[at - 1][0].offset == offset:
        at -= 1
        offset -= 1
    complete = offset == low
    while at < len(found) and found[at][1] <= now:
        at += 1
    return [each for each, _ in found[at:]], complete


def _cut(found: list[Publication], query: HistoryQuery) -> list[Publication]:
    """The part of the kept publications that the query asks for, in its order."""
    since, limit = query.since, query.limit or 0
    if since is not None:
        found = [
            each
            for each in found
            if (each.offset < since.offset if query.reverse else each.offset > since.offset)
        ]
    if query.reverse:
        found = found[::-1]
    return found[:limit] if limit > 0 else found
