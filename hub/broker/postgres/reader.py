"""What is new in the database, fetched whenever somebody rings and once a second in any case.

Transactions become visible in another order than that in which they drew their numbers, so "all above the last number"
loses those that commit late. Here the reader remembers the snapshot of its last reading, that is, which transactions it
could see, and asks for the rows of all others: none is lost, none comes twice, and an open transaction delays nobody.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import Any, Final

from hub.broker.envelope import EnvelopeError, decode_body
from hub.broker.inbox import Inbox
from hub.broker.postgres.schema import Schema
from hub.errors import BrokerError
from hub.model import Position
from hub.postgres import Link

logger = logging.getLogger(__name__)
ACK_SECONDS: Final = 3.0
POLL_SECONDS: Final = 1.0
STALE_SECONDS: Final = 30.0
"""Rows are kept for longer than this; a reader that was away for less has missed nothing."""
BACKOFF_SECONDS: Final = 0.05
MAX_BACKOFF_SECONDS: Final = 2.0
PAGE: Final = 2000
PAGE_BYTES: Final = 8 * 1024 * 1024
FILTER: Final = 1000
"""Topics that are named in a query; a node with more fetches all that passes and drops what it does not want."""
_NEW: Final = """
(xid >= $1::text::xid8 OR xid = ANY ($2::text[]::xid8[])) AND seq > $3
AND ($4::text IS NULL OR pg_visible_in_snapshot(xid, $4::text::pg_snapshot))
AND ($5::bytea[] IS NULL OR topic = ANY ($5::bytea[]))
"""
_READ: Final = f"""
WITH fresh AS (
  SELECT seq, topic, at_offset, epoch, body FROM @publication@ WHERE {_NEW}
  UNION ALL
  SELECT seq, topic, NULL, NULL, body FROM @passing@ WHERE {_NEW}
), page AS (
  SELECT *, sum(octet_length(body)) OVER (ORDER BY seq) - octet_length(body) AS before, count(*) OVER () AS total
  FROM (SELECT * FROM fresh ORDER BY seq LIMIT {PAGE}) AS first
)
SELECT now.snapshot, now.at, page.seq, page.topic, page.at_offset, page.epoch, page.body, page.total
FROM (SELECT pg_current_snapshot()::text AS snapshot, extract(epoch FROM clock_timestamp())::float8 AS at) AS now
LEFT JOIN page ON page.before < {PAGE_BYTES}
ORDER BY page.seq
"""  # noqa: S608  # nothing of a user's goes into it
_NOW: Final = """
SELECT pg_current_snapshot()::text AS snapshot, extract(epoch FROM clock_timestamp())::float8 AS at
"""


@dataclass(slots=True, eq=False)
class _Want:
    """A topic that is to be subscribed. `live` once a reading that began after that has ended."""

    topic: str
    live: bool = False
    waiter: asyncio.Future[None] | None = None

    def wake(self) -> bool:
        """Tells who waits that it need not any longer; returns whether anybody did."""
        waiter, self.waiter = self.waiter, None
        if waiter is None or waiter.done():
            return False
        waiter.set_result(None)
        return True


@dataclass(frozen=True, slots=True)
class _Cursor:
    """Up to where everything was read: a snapshot, when it was taken (here and there), and the server's mark."""

    snapshot: str
    taken: float
    taken_there: float
    alive: str

    @property
    def bounds(self) -> tuple[str, list[str]]:
        """The first transaction that had not begun, and those that had not ended."""
        _, above, running = self.snapshot.split(":")
        return above, running.split(",") if running else []

    def stale(self, there: float) -> bool:
        """Whether rows may have been deleted since that were never read."""
        return max(monotonic() - self.taken, there - self.taken_there) > STALE_SECONDS


class Reader:
    """Puts what is published on the wanted topics into the inbox, and a Gap wherever something may be missing.

    After a lost connection it goes on where it was, if the server kept all that passed meanwhile; else every topic
    begins with a Gap.
    """

    def __init__(
        self, schema: Schema, inbox: Inbox, on_outbox: Callable[[], None], is_own: Callable[[int], bool]
    ) -> None:
        self.reconnects = 0
        self._schema = schema
        self._inbox = inbox
        self._on_outbox = on_outbox
        self._is_own = is_own
        self._statement = schema.names.fill(_READ)
        self._wants: dict[bytes, _Want] = {}
        self._joining = False
        self._cursor: _Cursor | None = None
        self._link: Link | None = None
        self._task: asyncio.Task[None] | None = None
        self._tried = asyncio.Event()
        self._bell = asyncio.Event()
        self._lost = False

    @property
    def connected(self) -> bool:
        """Whether the last reading succeeded."""
        return self._link is not None

    async def start(self) -> None:
        """Begins to connect, and returns when that has succeeded or failed once."""
        if self._task is None:
            self._tried.clear()
            self._task = asyncio.create_task(self._supervise(), name="postgresql reader")
        await self._tried.wait()

    async def stop(self) -> None:
        """Ends the connection; what is wanted is subscribed again by a later `start`."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
        self._tried.set()

    def ring(self) -> None:
        """Says that there is something new."""
        self._bell.set()

    async def subscribe(self, topic: str) -> None:
        """Returns when the topic is read; at once when the server is away; after 3 s without a word, all the same."""
        name = topic.encode("utf-8", "surrogatepass")
        want = self._wants.get(name)
        if want is None:
            want = self._wants[name] = _Want(topic)
            self._joining = True
            self.ring()
        if want.live or self._link is None:
            return
        waiter = want.waiter = want.waiter or asyncio.get_running_loop().create_future()
        await asyncio.wait([waiter], timeout=ACK_SECONDS)
        if not waiter.done():
            want.waiter = None
            logger.warning("PostgreSQL did not answer in time while topic %r was subscribed", topic)

    def unsubscribe(self, topic: str) -> None:
        """Lets a topic go."""
        want = self._wants.pop(topic.encode("utf-8", "surrogatepass"), None)
        if want is not None:
            want.wake()

    async def _supervise(self) -> None:
        attempts = 0
        while True:
            try:
                link = await self._schema.connect()
                try:
                    await self._serve(link)
                finally:
                    attempts = attempts if self._link is None else 0
                    link.close()
                    self._lose()
            except BrokerError as error:
                level = logging.WARNING if attempts == 0 else logging.DEBUG
                logger.log(level, "no connection to PostgreSQL at %s: %s", self._schema.server.name, error)
            except Exception:
                logger.exception("reading from PostgreSQL failed and is begun again")
            self._tried.set()
            delay = min(BACKOFF_SECONDS * 2**attempts, MAX_BACKOFF_SECONDS)
            attempts = min(attempts + 1, 10)
            await asyncio.sleep(delay * random.uniform(0.5, 1))  # noqa: S311  # spreads nodes, guards nothing

    def _lose(self) -> None:
        self._lost = self._lost or self._link is not None
        self._link = None
        self._joining = True
        for want in self._wants.values():
            want.wake()

    async def _serve(self, link: Link) -> None:
        """Reads, again and again, until the connection ends."""
        alive = await self._schema.alive(link)
        await link.listen(self._schema.names.channel, self._heard)
        await link.listen(self._schema.names.outbox_channel, lambda _: self._on_outbox())
        if self._cursor is not None and self._cursor.alive != alive:
            self._cursor = None
        while True:
            self._bell.clear()
            await self._read(link, alive)
            if self._link is None:
                self._link = link
                self._tried.set()
                self._on_outbox()
                if self._lost:
                    self._lost = False
                    self.reconnects += 1
                    logger.info("connected to PostgreSQL at %s again", self._schema.server.name)
            if not self._joining:
                await self._rest()

    async def _rest(self) -> None:
        try:
            async with asyncio.timeout(POLL_SECONDS):
                await self._bell.wait()
        except TimeoutError:
            pass

    def _heard(self, sender: int) -> None:
        if not self._is_own(sender):
            self.ring()

    async def _read(self, link: Link, alive: str) -> None:
        """Reads all that is new; topics that joined before it are live when it has ended."""
        if self._cursor is None or not await self._catch_up(link, self._cursor):
            for want in self._wants.values():
                want.live = False
            began = monotonic()
            joining = list(self._wants.items())
            self._joining = False
            now = await link.row(_NOW)
            self._cursor = _Cursor(now["snapshot"], began, now["at"], alive)
            self._join(joining)

    async def _catch_up(self, link: Link, cursor: _Cursor) -> bool:
        """Delivers all between the cursor and now, page by page; False when it came too late for that."""
        joining = (
            [(name, want) for name, want in self._wants.items() if not want.live] if self._joining else []
        )
        self._joining = False
        above, running = cursor.bounds
        names = list(self._wants) if len(self._wants) <= FILTER else None
        began, upper, seq = monotonic(), None, -1
        while True:
            rows = await link.fetch(self._statement, above, running, seq, upper, names)
            now = rows[0]
            if cursor.stale(now["at"]):
                return False
            if upper is None:
                upper, there = now["snapshot"], now["at"]
            found = rows if now["seq"] is not None else []
            for row in found:
                self._deliver(row)
            if not found or (len(found) == now["total"] and now["total"] < PAGE):
                break
            seq = found[-1]["seq"]
        self._cursor = _Cursor(upper, began, there, cursor.alive)
        self._join(joining)
        return True

    def _join(self, joining: list[tuple[bytes, _Want]]) -> None:
        """From here on these topics are delivered; one that nobody waits for has been without for a while."""
        for name, want in joining:
            if self._wants.get(name) is want:
                want.live = True
                if not want.wake():
                    self._inbox.gap(want.topic, "the connection to PostgreSQL was lost for a while")

    def _deliver(self, row: Any) -> None:
        want = self._wants.get(row["topic"])
        if want is None or not want.live:
            return
        position = Position(row["at_offset"], row["epoch"]) if row["epoch"] is not None else None
        try:
            self._inbox.put(want.topic, decode_body(want.topic, row["body"], position))
        except EnvelopeError as error:
            logger.warning("what came on topic %r is no publication: %s", want.topic, error)
            self._inbox.gap(want.topic, "a publication could not be read")
