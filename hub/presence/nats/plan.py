"""Which messages a change of an owner's clients takes, so that all counts stay exact.

An entry for each client; for each user of a topic the owners that have clients of it, the first of which counts the
user; for each owner and topic a tally of its clients and of the users that it counts. Counts are the sums of the
tallies. All messages of a change are stored together or not at all, and only if what they were reckoned from still
holds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from hub.model import ClientInfo
from hub.nats.jetstream import Write
from hub.presence.nats.members import Change, Key
from hub.presence.nats.reader import Part, Reader
from hub.presence.nats.records import Owners, Tally, kept, pack, unpack

MAX_CHANGES: Final = 190
"""Each takes at most five messages, and NATS stores at most 1000 together."""
GONE_SECONDS: Final = 1
"""How long the message lives that takes another's place when it goes."""
Users = Counter[tuple[str, str]]
"""By topic and user, or by topic and owner."""


class Lost(Exception):  # no error: another is responsible
    """The owner's clients, or those of a topic, are no longer this node's to change."""


@dataclass(slots=True)
class Plan:
    """Messages to be stored, and what is true afterwards."""

    writes: list[Write] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    fresh: dict[Key, ClientInfo] = field(default_factory=dict)
    """Clients that come and were not there."""
    tallies: list[tuple[int, Tally]] = field(default_factory=list)
    """New counts, with their message's place among the writes."""

    def carry_out(self, part: Part, sequence: int) -> None:
        """What is known of the owner after the messages were stored, the last of them, its lease, as `sequence`."""
        part.sequence = sequence
        for change in self.changes:
            part.members.apply(change)
        for place, tally in self.tallies:
            if tally.clients or tally.users:
                part.tallies[tally.topic] = (sequence - len(self.writes) + place, tally)
            else:
                part.tallies.pop(tally.topic, None)


class Planner:
    """Plans changes of one owner's clients; `by` sweeps them, for `span` ms more with each plan; "" is the owner."""

    def __init__(self, reader: Reader, by: str = "", span: int = 0) -> None:
        self._reader = reader
        self._subjects = reader.subjects
        self._by = by
        self._span = span

    async def plan(self, part: Part, changes: Iterable[Change]) -> Plan:
        """The messages of changes, of one client the last one. Raises Lost and BrokerError."""
        plan = Plan()
        users: Users = Counter()
        for change in {each.key: each for each in changes}.values():
            before = part.members.get(change.topic, change.client)
            if before == change.info:
                continue
            if before is not None:
                users[change.topic, before.user] -= 1
            if change.info is not None:
                users[change.topic, change.info.user] += 1
                if before is None:
                    plan.fresh[change.key] = change.info
            plan.changes.append(change)
            plan.writes.append(self._entry(part, change))
        await self._count(part, plan, users)
        return plan

    def _entry(self, part: Part, change: Change) -> Write:
        subject = self._subjects.client(change.topic, part.owner, change.client)
        if change.info is None:
            return Write(subject, b"", GONE_SECONDS)
        return Write(subject, pack(kept(change.info)), None)

    async def _count(self, part: Part, plan: Plan, users: Users) -> None:
        clients: Counter[str] = Counter({change.topic: 0 for change in plan.changes})
        for (topic, _), more in users.items():
            clients[topic] += more
        moved = {
            (topic, user): more > 0
            for (topic, user), more in users.items()
            if more and (not (had := part.members.of_user(topic, user)) or not had + more)
        }
        unknown = [topic for topic in clients if topic not in part.tallies]
        subjects = {key: self._subjects.user(*key) for key in moved}
        found = await self._found(part, [*subjects.values(), *self._tallies(part.owner, unknown)])
        counted: Users = Counter()
        for key, comes in moved.items():
            last, data = found.get(subjects[key], (0, b""))
            names = unpack(data, Owners).names if data else []
            after = [name for name in names if name != part.owner] + [part.owner] * comes
            plan.writes.append(_write(subjects[key], Owners(after) if after else None, last))
            counted.subtract((key[0], name) for name in names[:1])
            counted.update((key[0], name) for name in after[:1])
        await self._tally(part, plan, clients, counted, found)

    async def _tally(
        self,
        part: Part,
        plan: Plan,
        clients: Counter[str],
        counted: Users,
        found: dict[str, tuple[int, bytes]],
    ) -> None:
        others = [key for key, more in counted.items() if more and key[1] != part.owner]
        if others:
            found |= await self._found(part, [self._subjects.tally(*key) for key in others])
        for topic, more in clients.items():
            subject = self._subjects.tally(topic, part.owner)
            last, tally = part.tallies.get(topic) or _tally(topic, found.get(subject, (0, b"")))
            if self._by and tally.by != self._by:
                raise Lost
            after = part.members.clients(topic) + more
            tally = Tally(topic, after, tally.users + counted[topic, part.owner], self._by, self._span)
            plan.tallies.append((len(plan.writes) + 1, tally))
            plan.writes.append(_write(subject, tally if tally.clients or tally.users else None, last))
        for topic, owner in others:
            subject = self._subjects.tally(topic, owner)
            last, tally = _tally(topic, found.get(subject, (0, b"")))
            tally.users += counted[topic, owner]
            plan.writes.append(_write(subject, tally, last))

    def _tallies(self, owner: str, topics: Iterable[str]) -> list[str]:
        return [self._subjects.tally(topic, owner) for topic in topics]

    async def _found(self, part: Part, subjects: list[str]) -> dict[str, tuple[int, bytes]]:
        if not subjects:
            return {}
        found = await self._reader.lasts(part, subjects)
        return {subject: (each.sequence, each.data) for subject, each in found.items()}


def _tally(topic: str, found: tuple[int, bytes]) -> tuple[int, Tally]:
    last, data = found
    return last, unpack(data, Tally) if data else Tally(topic, 0, 0)


def _write(subject: str, record: Owners | Tally | None, last: int) -> Write:
    if record is None:
        return Write(subject, b"", GONE_SECONDS, last)
    return Write(subject, pack(record), None, last)
