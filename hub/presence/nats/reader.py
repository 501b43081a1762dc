"""Reads many messages in one request, and never what is older than the reader's own last write."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from hub.errors import BrokerError
from hub.model import ClientInfo
from hub.nats.jetstream import JetStream, Stored
from hub.nats.link import TooMany
from hub.presence.nats.members import Change, Members
from hub.presence.nats.records import DEPTH, SHARDS, Client, Subjects, Tally, topic_of, unpack

_TRIES: Final = 8
_WAIT_SECONDS: Final = 0.01
_TOGETHER: Final = 900
"""Entries of several topics that are read by one request; NATS gives 1024."""


@dataclass(slots=True)
class Part:
    """What is known of an owner's messages; `sequence` is that of its lease, 0 when there is none."""

    owner: str
    sequence: int = 0
    members: Members = field(default_factory=Members)
    tallies: dict[str, tuple[int, Tally]] = field(default_factory=dict)
    """Counts by topic, with the sequence of the message."""


class Reader:
    """Reads the stream of presence. Everything may raise BrokerError."""

    def __init__(self, jetstream: JetStream, subjects: Subjects) -> None:
        self._jetstream = jetstream
        self.subjects = subjects

    async def lasts(self, part: Part, filters: Sequence[str]) -> dict[str, Stored]:
        """Messages by subject, of a moment after the owner's lease was written; raises TooMany above 1023.

        A replica that lags behind the leader shows an older lease, and is asked again.
        """
        hold = self.subjects.hold(part.owner)
        for attempt in range(_TRIES):
            found = {each.subject: each for each in await self._jetstream.lasts([*filters, hold])}
            seen = found.pop(hold, None)
            if seen is None or seen.sequence >= part.sequence:
                return found
            await asyncio.sleep(_WAIT_SECONDS * 2**attempt)
        raise BrokerError("NATS does not show what it has stored")

    async def hold(self, owner: str) -> Stored | None:
        """An owner's lease as the stream's leader knows it."""
        found = await self._jetstream.last(self.subjects.hold(owner))
        return found if found is not None and found.data else None

    async def holds(self) -> list[Stored]:
        """The leases of all owners."""
        return [each for each in await self._jetstream.lasts([self.subjects.hold()]) if each.data]

    async def counts(self, topic: str) -> list[Tally]:
        """The counts of all owners on a topic."""
        found = await self._jetstream.lasts([self.subjects.tally(topic)])
        return [unpack(each.data, Tally) for each in found if each.data]

    async def clients(self, topic: str) -> Mapping[str, ClientInfo]:
        """All clients of a topic by id."""

        async def ask(shards: Sequence[str]) -> list[Stored]:
            return await self._jetstream.lasts([self.subjects.clients(topic, None, shards)])

        infos = (unpack(each.data, Client).info for each in await _pieces(ask) if each.data)
        return {info.client: info for info in infos}

    async def tallies(self, part: Part) -> dict[str, tuple[Stored, Tally]]:
        """The counts of an owner by topic, with their messages."""

        async def ask(shards: Sequence[str]) -> list[Stored]:
            return list((await self.lasts(part, [self.subjects.tallies(part.owner, shards)])).values())

        found = [(each, unpack(each.data, Tally)) for each in await _pieces(ask) if each.data]
        return {tally.topic: (stored, tally) for stored, tally in found}

    async def load(self, part: Part, topics: Mapping[str, int]) -> None:
        """Learns the clients of an owner on topics on which it has about so many."""
        group: list[str] = []
        size = 0
        for topic, clients in topics.items():
            if group and (size + clients > _TOGETHER or len(group) >= _TOGETHER):
                await self._load(part, group)
                group, size = [], 0
            group.append(topic)
            size += clients
        if group:
            await self._load(part, group)

    async def _load(self, part: Part, topics: Sequence[str]) -> None:
        async def ask(shards: Sequence[str]) -> list[Stored]:
            filters = [self.subjects.clients(topic, part.owner, shards) for topic in topics]
            return list((await self.lasts(part, filters)).values())

        found = await _pieces(ask)
        for topic in topics:
            part.members.forget(topic)
        for each in found:
            if each.data:
                info = unpack(each.data, Client).info
                part.members.apply(Change(topic_of(each.subject), info.client, info))


async def _pieces(
    ask: Callable[[Sequence[str]], Awaitable[list[Stored]]], shards: Sequence[str] = ()
) -> list[Stored]:
    """What `ask` finds, in as many pieces as needed, one after another: other calls get their turn between them."""
    try:
        return await ask(shards)
    except TooMany:
        if len(shards) == DEPTH:
            raise
    return [each for shard in SHARDS for each in await _pieces(ask, (*shards, shard))]
