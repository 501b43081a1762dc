"""Leases on NATS: one message for each, in a stream of their own, which NATS deletes when its time is over."""

from __future__ import annotations

import asyncio
import math
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from hub.errors import BrokerError
from hub.leases.base import Grant, LeaseStore
from hub.nats.address import Address
from hub.nats.jetstream import Conflict, JetStream, Write
from hub.nats.link import Link
from hub.nats.token import digest_of, token_of

TIMEOUT_SECONDS: Final = 3.0
CONNECT_SECONDS: Final = 2.0
_EVER: Final = 10 * 365 * 86_400
_GONE_SECONDS: Final = 1


class _Entry(msgspec.Struct, array_like=True):
    """Who holds a lease, and which of their grants it is."""

    owner: str
    sign: str


@dataclass(slots=True)
class _Mine:
    """A grant of this owner: its number, its sign in the message, and the sequence of the latest message."""

    number: int
    sign: str
    last: int


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(_Entry)


class NatsLeases(LeaseStore):
    """Leases by the clock of NATS, in whole seconds rounded up, on a connection of their own.

    It is made by the first call, and anew by the next after it was lost. A machine that fails may lose what NATS had
    not yet written to its disk (its `sync_interval` is two minutes): with one replica two nodes may then hold one lease
    until the term of the first is over. Raises HubError for URLs that cannot be used.
    """

    def __init__(self, urls: Sequence[str], *, prefix: str, owner: str, term: float) -> None:
        super().__init__(owner, term)
        self._address = Address.parse(urls)
        self._prefix = token_of(prefix)
        self._mark, self._closed = f"{self._prefix}.l.m", f"{self._prefix}.l.c"
        self._jetstream = JetStream(
            f"{self._prefix}-leases",
            [self._mark, self._closed, f"{self._prefix}.l.n.*"],
            {"max_msgs_per_subject": 1},
            storage=self._address.storage,
            replicas=self._address.replicas,
        )
        self._mine: dict[str, _Mine] = {}
        self._connecting = asyncio.Lock()

    async def close(self) -> None:
        """Ends the connection."""
        link, self._jetstream.link = self._jetstream.link, None
        if link is not None:
            await link.close()

    async def acquire(self, names: Sequence[str], seconds: float | None = None) -> list[Grant]:
        """Takes what is free."""
        await self._connected()
        if not await self._knows():
            return []
        length = _whole(self.term if seconds is None else seconds)
        found = await asyncio.gather(*(self._take(name, length) for name in names))
        return [grant for grant in found if grant is not None]

    async def renew(self, grants: Sequence[Grant]) -> list[Grant]:
        """Gives another term."""
        await self._connected()
        found = await asyncio.gather(*(self._prolong(grant) for grant in grants))
        return [grant for grant, still in zip(grants, found, strict=True) if still]

    async def release(self, grants: Sequence[Grant]) -> None:
        """Ends grants."""
        await self._connected()
        await asyncio.gather(*(self._end(grant) for grant in grants))

    async def _knows(self) -> bool:
        """Whether the stream has what was granted; one that is new or was emptied is closed for a term."""
        mark, closed = await asyncio.gather(
            self._jetstream.last(self._mark), self._jetstream.last(self._closed)
        )
        if mark is None:
            try:
                await self._jetstream.write(
                    [Write(self._closed, b"1", _whole(self.term)), Write(self._mark, b"1", _EVER, last=0)]
                )
            except Conflict:
                return False  # another node has just done so
        return mark is not None and closed is None

    async def _take(self, name: str, length: int) -> Grant | None:
        found = await self._jetstream.last(self._subject(name))
        if found is not None and found.data and _entry(found.data).owner != self.owner:
            return None
        sign = secrets.token_hex(8)
        last = 0 if found is None else found.sequence
        try:
            sequence = await self._write(name, sign, length, last)
        except Conflict:
            return None
        # Sequences begin anew with a new stream, which is made later than the one before.
        number = self._jetstream.created + sequence
        self._mine[name] = _Mine(number, sign, sequence)
        return Grant(name, number)

    async def _prolong(self, grant: Grant) -> bool:
        mine = self._known(grant)
        if mine is not None:
            for _ in range(2):
                try:
                    mine.last = await self._write(grant.name, mine.sign, _whole(self.term), mine.last)
                except Conflict:
                    if not await self._refresh(grant, mine):
                        break
                else:
                    return True
            self._mine.pop(grant.name, None)
        return False

    async def _end(self, grant: Grant) -> None:
        mine = self._known(grant)
        if mine is None:
            return
        self._mine.pop(grant.name, None)
        if await self._refresh(grant, mine):
            try:
                await self._jetstream.write([Write(self._subject(grant.name), b"", _GONE_SECONDS, mine.last)])
            except Conflict:
                return  # its time was over a moment ago

    async def _refresh(self, grant: Grant, mine: _Mine) -> bool:
        """Whether a grant is in force; also finds the message of a renewal whose answer was lost."""
        found = await self._jetstream.last(self._subject(grant.name))
        if found is None or not found.data or _entry(found.data).sign != mine.sign:
            return False
        mine.last = found.sequence
        return True

    def _known(self, grant: Grant) -> _Mine | None:
        mine = self._mine.get(grant.name)
        return mine if mine is not None and mine.number == grant.number else None

    async def _write(self, name: str, sign: str, length: int, last: int) -> int:
        entry = _encoder.encode(_Entry(self.owner, sign))
        return await self._jetstream.write([Write(self._subject(name), entry, length, last)])

    def _subject(self, name: str) -> str:
        return f"{self._prefix}.l.n.{digest_of(name)}"

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


def _entry(data: bytes) -> _Entry:
    try:
        return _decoder.decode(data)
    except msgspec.MsgspecError as error:
        raise BrokerError(f"a lease in NATS cannot be read: {error}") from None


def _whole(seconds: float) -> int:
    return max(1, math.ceil(seconds))
