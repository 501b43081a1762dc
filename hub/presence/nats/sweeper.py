"""Takes out the clients of owners whose lease has ended, together with other nodes that do the same.

Who finds the lease ended writes that it is taken; from then on the owner can change nothing before it has taken it
back, which stops all sweeping in its turn. A topic's clients are swept by the node whose name its tally bears, until
that node is silent for a while.
"""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
import time
from typing import Final

from hub.errors import BrokerError
from hub.nats.jetstream import Conflict, Crowded, JetStream, Stored, Write
from hub.nats.token import name_of
from hub.presence.base import Entry
from hub.presence.nats.estate import TRIES, pause
from hub.presence.nats.members import Change
from hub.presence.nats.plan import GONE_SECONDS, MAX_CHANGES, Lost, Plan, Planner
from hub.presence.nats.reader import Part, Reader
from hub.presence.nats.records import Hold, Tally, owner_of, pack, unpack

logger = logging.getLogger(__name__)
REMEMBERED_SECONDS: Final = 86_400
"""How long an owner whose clients were all swept can learn it."""
_TOPICS: Final = 150
"""Topics that are claimed together."""


class Sweeper:
    """One node's sweeping. `me` is its owner, `span` the milliseconds after which another may go on with its work."""

    def __init__(self, jetstream: JetStream, reader: Reader, me: str, span: int) -> None:
        self._jetstream = jetstream
        self._reader = reader
        self._planner = Planner(reader, me, span)
        self._me = me
        self._span = span
        self._part: Part | None = None
        self._todo: list[tuple[Stored, Tally]] = []
        self._doubt: list[Entry] = []
        self._doubted = 0.0
        self._one = asyncio.Lock()

    async def sweep(self, limit: int) -> list[Entry]:
        """Takes out about `limit` clients and returns them. Raises BrokerError when it has none to return."""
        swept: list[Entry] = []
        async with self._one:
            try:
                for attempt in range(TRIES * (1 + limit // MAX_CHANGES)):
                    if len(swept) >= limit or not await self._step(swept, limit - len(swept), attempt):
                        break
            except BrokerError as error:
                if not swept:
                    raise
                logger.warning("sweeping presence stopped: %s", error)
        return swept

    async def _step(self, swept: list[Entry], wanted: int, attempt: int) -> bool:
        """Does one thing; returns whether there may be more to do."""
        part = self._part
        try:
            if part is not None and self._doubt:
                swept += await self._resolve(part)
            elif part is not None and part.members:
                swept += await self._take_out(part, min(wanted, MAX_CHANGES))
            elif part is not None and self._todo:
                await self._begin(part, self._next(wanted))
            else:
                self._drop()
                return await self._find()
        except Lost:
            self._drop()
        except (Conflict, Crowded):
            await asyncio.sleep(pause(attempt))
            await self._look(part)
        return True

    async def _look(self, part: Part | None) -> None:
        """After others were faster: goes on unless the owner is back."""
        if part is None:
            return
        found = await self._reader.hold(part.owner)
        if found is None or unpack(found.data, Hold).state != "taken":
            self._drop()
            return
        part.sequence = found.sequence
        part.tallies.clear()

    def _drop(self) -> None:
        self._part = None
        self._todo = []
        self._doubt = []

    async def _take_out(self, part: Part, limit: int) -> list[Entry]:
        entries = part.members.first(limit)
        plan = await self._planner.plan(part, [Change(topic, info.client, None) for topic, info in entries])
        self._doubt, self._doubted = entries, time.monotonic()
        try:
            await self._write(part, plan)
        except (Conflict, Crowded):
            self._doubt = []
            raise
        self._doubt = []
        return entries

    async def _write(self, part: Part, plan: Plan) -> None:
        """Stores a plan, as long as the owner has not taken its lease back."""
        taken = pack(Hold("taken", secrets.token_hex(8), 0))
        plan.writes.append(Write(self._reader.subjects.hold(part.owner), taken, None, part.sequence))
        plan.carry_out(part, await self._jetstream.write(plan.writes))

    async def _resolve(self, part: Part) -> list[Entry]:
        """Finds out which clients were taken out by a write whose answer was lost, once it can no longer come."""
        doubt, late = self._doubt, time.monotonic() - self._doubted > self._span / 1000
        await self._look(part)
        if self._part is None:
            return []
        await self._write(part, Plan())
        topics = {topic: self._reader.subjects.tally(topic, part.owner) for topic, _ in doubt}
        found = await self._reader.lasts(part, list(topics.values()))
        mine: dict[str, int] = {}
        for topic, subject in topics.items():
            data = found[subject].data if subject in found else b""
            tally = unpack(data, Tally) if data else Tally(topic, 0, 0, "" if late else self._me)
            if tally.by == self._me:
                mine[topic] = tally.clients
            else:
                part.members.forget(topic)
        await self._reader.load(part, mine)
        self._doubt = []
        return [
            (topic, info)
            for topic, info in doubt
            if topic in mine and part.members.get(topic, info.client) is None
        ]

    async def _find(self) -> bool:
        """Looks for an owner whose lease has ended, with clients whom no other node sweeps."""
        now = await self._jetstream.time()
        holds = await self._reader.holds()
        random.shuffle(holds)
        for stored in holds:
            hold, owner = unpack(stored.data, Hold), owner_of(stored.subject)
            alive = hold.state == "held" and stored.time + hold.span >= now
            if owner == self._me or alive or hold.state == "swept":
                continue
            part = Part(owner, stored.sequence)
            if hold.state != "taken":
                await self._write(part, Plan())
                logger.info("the lease of node %s has ended: its clients are let go", name_of(owner))
            tallies = await self._reader.tallies(part)
            if not tallies:
                await self._finish(part)
            self._todo = [each for each in tallies.values() if self._free(*each, now)]
            if self._todo:
                random.shuffle(self._todo)  # so that nodes get in each other's way less
                self._part = part
                return True
        return False

    def _free(self, stored: Stored, tally: Tally, now: int) -> bool:
        return tally.by in {"", self._me} or stored.time + tally.span < now

    def _next(self, wanted: int) -> list[tuple[Stored, Tally]]:
        """Topics to go on with, as many as are needed. Those that another claimed first are found again at the end."""
        chosen: list[tuple[Stored, Tally]] = []
        while self._todo and wanted > 0 and len(chosen) < _TOPICS:
            chosen.append(self._todo.pop())
            wanted -= chosen[-1][1].clients
        return chosen

    async def _begin(self, part: Part, topics: list[tuple[Stored, Tally]]) -> None:
        """Claims topics and learns who is there. Raises Conflict and BrokerError."""
        plan = Plan()
        for stored, tally in topics:
            tally.by, tally.span = self._me, self._span
            plan.tallies.append((len(plan.writes) + 1, tally))
            plan.writes.append(Write(stored.subject, pack(tally), None, stored.sequence))
        await self._write(part, plan)
        await self._reader.load(part, {tally.topic: tally.clients for _, tally in topics})
        for topic in {tally.topic for _, tally in topics if not part.members.clients(tally.topic)}:
            # Somebody deleted messages by hand: what is counted here can never be taken out.
            last, tally = part.tallies[topic]
            logger.warning("presence of topic %r has lost %d clients in the store", topic, tally.clients)
            subject = self._reader.subjects.tally(topic, part.owner)
            await self._jetstream.write([Write(subject, b"", GONE_SECONDS, last)])

    async def _finish(self, part: Part) -> None:
        """Nothing is left: for a day the owner can learn that it was swept."""
        swept = Hold("swept", secrets.token_hex(8), 0)
        subject = self._reader.subjects.hold(part.owner)
        await self._jetstream.write([Write(subject, pack(swept), REMEMBERED_SECONDS, part.sequence)])
