"""Presence on NATS, common to all nodes, under one lease for each."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Mapping, Sequence
from typing import Final

from hub.errors import BrokerError
from hub.model import ClientInfo, PresenceStats
from hub.nats.address import Address
from hub.nats.jetstream import Conflict, JetStream
from hub.nats.link import Link
from hub.nats.token import token_of
from hub.presence.base import Entry, Lease, Presence
from hub.presence.nats.estate import Estate
from hub.presence.nats.lane import Clients, Lane
from hub.presence.nats.members import Change
from hub.presence.nats.plan import MAX_CHANGES
from hub.presence.nats.reader import Reader
from hub.presence.nats.records import Subjects
from hub.presence.nats.sweeper import Sweeper

TIMEOUT_SECONDS: Final = 3.0
CONNECT_SECONDS: Final = 2.0


class NatsPresence(Presence):
    """Clients of all nodes in a stream in memory; a lease lasts `lease` seconds by the clock of NATS.

    It stands on a connection of its own, made by the first call and anew by the next after it was lost. All answers
    come within a few seconds or as BrokerError. Raises HubError for a URL that cannot be used.

    Counts are exact with the change that is acknowledged, also of users who are on several nodes, and cost one request
    that NATS answers with one small message for each node on the topic. With replicas, what is read may lag behind by
    the time that a follower needs. A sweeper that dies between taking clients out and telling it tells nobody else.
    """

    shared = True

    def __init__(self, url: str, *, prefix: str, node: str, lease: float) -> None:
        self._address = Address.parse([url])
        self._servers = self._address.servers
        span = max(1, int(lease * 1000))
        subjects = Subjects(token_of(prefix))
        owner = token_of(f"{node}#{secrets.token_hex(6)}")
        self._jetstream = JetStream(
            f"{token_of(prefix)}-presence",
            subjects.all,
            {"max_msgs_per_subject": 1},
            storage="memory",
            replicas=self._address.replicas,
        )
        self._reader = Reader(self._jetstream, subjects)
        self._estate = Estate(self._jetstream, self._reader, owner, span)
        self._sweeper = Sweeper(self._jetstream, self._reader, owner, span)
        self._lane = Lane(self._change)
        self._connecting = asyncio.Lock()

    async def stop(self) -> None:
        """Ends the lease, so that others sweep what is left at once, and the connection."""
        await self._lane.close()
        link = self._jetstream.link
        if link is not None:
            with contextlib.suppress(BrokerError, Conflict):
                await self._estate.leave()
            self._jetstream.link = None
            await link.close()

    async def add(self, topic: str, info: ClientInfo) -> None:
        """Enters a client, or gives it this info."""
        await self._lane.run([Change(topic, info.client, info)])
        self._estate.late.pop((topic, info.client), None)

    async def remove(self, topic: str, client: str, user: str) -> None:  # the entry says it
        """Takes a client of this node out; an unknown one is no error."""
        await self._lane.run([Change(topic, client, None)])
        self._estate.late.pop((topic, client), None)

    async def get(self, topic: str) -> Mapping[str, ClientInfo]:
        """The clients by id."""
        await self._connected()
        return await self._reader.clients(topic)

    async def stats(self, topic: str) -> PresenceStats:
        """Counts: the sums of what each node counts."""
        await self._connected()
        found = await self._reader.counts(topic)
        return PresenceStats(sum(each.clients for each in found), sum(each.users for each in found))

    async def renew(self) -> Lease:
        """Renews the lease, in one write; any other change of this node does so too."""
        await self._lane.run([])
        lease, self._estate.lease = self._estate.lease, Lease.KEPT
        return lease

    async def restore(self, entries: Mapping[str, list[ClientInfo]]) -> list[Entry]:
        """Enters clients again, many in one write; returns those that had gone."""
        changes = [Change(topic, info.client, info) for topic, infos in entries.items() for info in infos]
        pieces = (changes[at : at + MAX_CHANGES] for at in range(0, len(changes), MAX_CHANGES))
        results = await asyncio.gather(*(self._lane.run(piece) for piece in pieces), return_exceptions=True)
        fresh: Clients = {}
        failed: BaseException | None = None
        for result in results:
            if isinstance(result, BaseException):
                failed = failed or result
            else:
                fresh |= result
        if failed is not None:
            self._estate.late |= fresh
            raise failed
        fresh |= self._come_late(changes)
        return [(topic, info) for (topic, _), info in fresh.items()]

    async def sweep(self, limit: int) -> list[Entry]:
        """Takes clients of nodes whose lease has ended out, at most `limit`, and returns them."""
        await self._connected()
        return await self._sweeper.sweep(limit)

    def _come_late(self, changes: Sequence[Change]) -> Clients:
        """Those who had gone, and came back by a call that was reported as failed."""
        late, self._estate.late = self._estate.late, {}
        return {each.key: each.info for each in changes if each.info is not None and each.key in late}

    async def _change(self, changes: list[Change]) -> Clients:
        await self._connected()
        return await self._estate.change(changes)

    async def _connected(self) -> None:
        """Returns with a connection that was open a moment ago. Raises BrokerError."""
        async with self._connecting:
            link = self._jetstream.link
            if link is not None:
                if not link.closed.is_set():
                    return
                self._jetstream.link = None
                await link.close()
            servers = list(self._servers)
            link = await Link.open(self._address, servers, within=CONNECT_SECONDS, answer=TIMEOUT_SECONDS)
            try:
                await self._jetstream.prepare(link)
            except BaseException:
                await link.close()
                raise
            self._servers = tuple(dict.fromkeys([*self._address.servers, *link.discovered]))
            self._jetstream.link = link
