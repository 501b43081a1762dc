"""What this node has in the store: its lease, its clients, and the certainty that both are still its own."""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import Sequence
from typing import Final

from hub.errors import BrokerError
from hub.model import ClientInfo
from hub.nats.jetstream import Conflict, Crowded, JetStream, Write
from hub.presence.base import Lease
from hub.presence.nats.members import Change, Key
from hub.presence.nats.plan import GONE_SECONDS, Plan, Planner
from hub.presence.nats.reader import Part, Reader
from hub.presence.nats.records import Hold, pack, unpack

TRIES: Final = 16
_WAIT_SECONDS: Final = 0.002
_DOUBTS: Final = 8


def pause(attempt: int) -> float:
    """Seconds to wait before another attempt, after others were faster."""
    return random.uniform(0, _WAIT_SECONDS * 2 ** min(attempt, 6))  # noqa: S311  # nobody gains by guessing it


class Estate:
    """The clients of one node.

    Every change also writes the lease, and only if that is as this node wrote it last: so it is renewed, and once
    another has taken it, nothing is changed any more before this node knows.
    """

    def __init__(self, jetstream: JetStream, reader: Reader, owner: str, lease: int) -> None:
        self.lease = Lease.LOST
        """The worst that happened to the lease since it was asked about."""
        self.late: dict[Key, ClientInfo] = {}
        """Clients that came in by a change that was reported as failed."""
        self._jetstream = jetstream
        self._reader = reader
        self._planner = Planner(reader)
        self._hold = reader.subjects.hold(owner)
        self._span = lease
        self._part = Part(owner)
        self._known = True
        self._doubts: dict[str, Plan] = {}

    async def change(self, changes: Sequence[Change]) -> dict[Key, ClientInfo]:
        """Makes changes, all or none; returns clients that were not there. Never two at once. Raises BrokerError."""
        for attempt in range(TRIES):
            await asyncio.sleep(pause(attempt) if attempt else 0)
            try:
                if not self._known:
                    await self._load()
                plan = await self._planner.plan(self._part, changes)
                await self._write(plan)
            except Conflict:
                await self._look()
            except Crowded:
                continue
            else:
                return plan.fresh
        raise BrokerError("other nodes change the same presence too fast")

    async def leave(self) -> None:
        """Ends the lease; other nodes may sweep what is left at once. Raises BrokerError and Conflict."""
        part, self._part = self._part, Part(self._part.owner)
        if part.sequence:
            left = pack(Hold("left", secrets.token_hex(8), 0)) if part.members else b""
            ttl = None if part.members else GONE_SECONDS
            await self._jetstream.write([Write(self._hold, left, ttl, part.sequence)])

    async def _write(self, plan: Plan) -> None:
        """Stores a plan and renews the lease. What becomes of it may be unknown, and shows in the lease later."""
        nonce = secrets.token_hex(8)
        held = Write(self._hold, pack(Hold("held", nonce, self._span)), None, self._part.sequence)
        plan.writes.append(held)
        try:
            sequence = await self._jetstream.write(plan.writes)
        except (Conflict, Crowded):
            raise
        except BaseException:
            if len(self._doubts) < _DOUBTS:
                self._doubts[nonce] = plan
            raise
        self._doubts.clear()
        plan.carry_out(self._part, sequence)

    async def _look(self) -> None:
        """Finds out who was faster: another with a user or a count, or one who took the lease, or this node."""
        part = self._part
        found = await self._jetstream.last(self._hold)
        hold = unpack(found.data, Hold) if found is not None and found.data else None
        if part.sequence == (found.sequence if found is not None else 0):
            part.tallies.clear()
            return
        doubt = self._doubts.get(hold.nonce) if hold is not None else None
        self._doubts.clear()
        if found is not None and doubt is not None:
            doubt.carry_out(part, found.sequence)
            self.late |= doubt.fresh
            return
        part.members.clear()
        part.tallies.clear()
        part.sequence = found.sequence if found is not None else 0
        self._known = hold is None
        if hold is None or hold.state != "held":
            self.lease = Lease.LOST if hold is None else Lease.TAKEN

    async def _load(self) -> None:
        """Takes the lease back, and learns which clients are still there. Raises Conflict and BrokerError."""
        await self._write(Plan())
        found = await self._reader.tallies(self._part)
        await self._reader.load(self._part, {topic: tally.clients for topic, (_, tally) in found.items()})
        self._known = True
