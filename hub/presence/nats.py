"""Presence on NATS, common to all nodes: one message for each client, in a stream in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

import msgspec

from hub.errors import BrokerError
from hub.model import ClientInfo, PresenceStats
from hub.nats.address import Address
from hub.nats.jetstream import JetStream, Write
from hub.nats.link import Link
from hub.nats.token import digest_of, token_of
from hub.presence.base import Presence
from hub.presence.nats_lane import Lane
from hub.presence.nats_users import Users

TIMEOUT_SECONDS: Final = 3.0
CONNECT_SECONDS: Final = 2.0
CHUNK: Final = 400
"""Messages of a renewal that are given to the lane together."""
EXACT: Final = 1000
"""Clients up to which counting reads them all."""
_ALL: Final = 2**62
_GONE_SECONDS: Final = 1


class _Entry(msgspec.Struct, array_like=True):
    """A client on a topic; `expires` in milliseconds by the clock of NATS."""

    client: str
    user: str
    expires: int
    conn_info: bytes | None = None
    chan_info: bytes | None = None


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(_Entry)


class NatsPresence(Presence):
    """Entries with leases of `lease` seconds by the clock of NATS, which deletes those whose lease has ended.

    It stands on a connection of its own, made by the first call and anew by the next after it was lost. All answers
    come within a few seconds or as BrokerError. Raises HubError for a URL that cannot be used.

    On a topic of more than 1000 clients counts are those of messages: a client that left is counted for a second or two
    more; a user who left one node and stays on another may be missing until that node renews its leases.
    """

    def __init__(self, url: str, *, prefix: str, node: str, lease: float) -> None:
        self._address = Address.parse([url])
        self._prefix = token_of(prefix)
        self._lease = max(1, int(lease * 1000))
        self._jetstream = JetStream(
            f"{self._prefix}-presence",
            [f"{self._prefix}.c.*.*", f"{self._prefix}.u.*.*"],
            {"max_msgs_per_subject": 1},
            storage="memory",
            replicas=self._address.replicas,
        )
        self._users = Users()
        self._lane = Lane(self._write)
        self._connecting = asyncio.Lock()

    async def stop(self) -> None:
        """Ends the connection; entries of other nodes stay."""
        await self._lane.close()
        link, self._jetstream.link = self._jetstream.link, None
        if link is not None:
            await link.close()

    async def add(self, topic: str, info: ClientInfo) -> None:
        """Enters a client, or renews it with this info."""
        self._users.add(topic, info)
        await self._connected()
        await self._lane.run(self._entered(topic, info))

    async def remove(self, topic: str, client: str, user: str) -> None:  # what was entered says it
        """Takes a client out; an unknown one is no error."""
        last = self._users.remove(topic, client, user)
        await self._connected()
        writes = [Write(self._client(topic, client), b"", _GONE_SECONDS)]
        writes += [Write(self._user(topic, each), b"", _GONE_SECONDS) for each in last]
        await self._lane.run(writes)

    async def keep(self, entries: Mapping[str, list[ClientInfo]]) -> None:
        """Renews leases, many in one write."""
        self._users.replace(entries)
        if not entries:
            return
        await self._connected()
        writes = [
            each for topic, infos in entries.items() for info in infos for each in self._entered(topic, info)
        ]
        await asyncio.gather(
            *(self._lane.run(writes[at : at + CHUNK]) for at in range(0, len(writes), CHUNK))
        )

    async def get(self, topic: str) -> Mapping[str, ClientInfo]:
        """The clients by id."""
        await self._connected()
        found = await self._jetstream.read(self._client(topic), 1, _ALL)
        now = self._jetstream.now
        try:
            entries = [_decoder.decode(each.data) for each in found if each.data]
        except msgspec.MsgspecError as error:
            raise BrokerError(f"the presence of topic {topic!r} cannot be read: {error}") from None
        return {
            each.client: ClientInfo(each.user, each.client, each.conn_info, each.chan_info)
            for each in entries
            if each.expires > now
        }

    async def stats(self, topic: str) -> PresenceStats:
        """Counts."""
        await self._connected()
        clients = await self._jetstream.count(self._client(topic))
        if clients > EXACT:
            return PresenceStats(clients, await self._jetstream.count(self._user(topic)))
        found = await self.get(topic)
        return PresenceStats(len(found), len({info.user for info in found.values()}))

    def _client(self, topic: str, client: str | None = None) -> str:
        return f"{self._prefix}.c.{token_of(topic)}.{'*' if client is None else digest_of(client)}"

    def _user(self, topic: str, user: str | None = None) -> str:
        return f"{self._prefix}.u.{token_of(topic)}.{'*' if user is None else digest_of(user)}"

    def _entered(self, topic: str, info: ClientInfo) -> list[Write]:
        expires = self._jetstream.now + self._lease
        entry = _Entry(info.client, info.user, expires, info.conn_info, info.chan_info)
        seconds = -(-self._lease // 1000)
        return [
            Write(self._client(topic, info.client), _encoder.encode(entry), seconds),
            Write(self._user(topic, info.user), b"1", seconds),
        ]

    async def _write(self, writes: list[Write]) -> None:
        await self._connected()
        await self._jetstream.write(writes)

    async def _connected(self) -> None:
        """Returns with a connection that was open a moment ago. Raises BrokerError."""
        async with self._connecting:
            link = self._jetstream.link
            if link is not None and not link.closed.is_set():
                return
            self._jetstream.link = None
            servers = list(self._address.servers)
            link = await Link.open(self._address, servers, within=CONNECT_SECONDS, answer=TIMEOUT_SECONDS)
            try:
                await self._jetstream.prepare(link)
            except BaseException:
                await link.close()
                raise
            self._jetstream.link = link
