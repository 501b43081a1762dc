"""Reading what a topic keeps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from hub.broker.envelope import EnvelopeError, decode_body
from hub.broker.epochs import new_epoch
from hub.broker.postgres.lane import DEFAULT_META_TTL
from hub.broker.postgres.schema import Schema
from hub.errors import BrokerError
from hub.model import HistoryPage, HistoryQuery, Position
from hub.postgres import Pool

_MAX_OFFSET: Final = 2**62
# What may be read begins with the first publication from `first` on that has not expired. Later ones are kept whatever
# their own time is, so that no hole comes to be.
_READ: Final = """
SELECT t.top, t.epoch, h.at_offset, h.body
FROM @topic@ t LEFT JOIN LATERAL (
  SELECT p.at_offset, p.body FROM @publication@ p
  WHERE p.stream = t.stream AND p.at_offset > $3 AND p.at_offset < $4 AND ($5 = '' OR $5 = t.epoch)
    AND p.at_offset >= (
      SELECT q.at_offset FROM @publication@ q
      WHERE q.stream = t.stream AND q.at_offset >= t.first AND q.expires > now() ORDER BY q.at_offset LIMIT 1)
  ORDER BY p.at_offset {order} LIMIT $6
) h ON true
WHERE t.name = $1 AND t.run = $2 AND t.expires > now()
ORDER BY h.at_offset {order}
"""
_TOPS: Final = """
SELECT name, top, epoch FROM @topic@ WHERE name = ANY($1) AND run = $2 AND expires > now()
"""
_OPEN: Final = "SELECT FROM @lock@($1, $2, $3, $4)"
_REMOVE: Final = """
UPDATE @topic@ SET first = top + 1, due = now() WHERE name = $1
"""


class Archive:
    """Histories and positions. Every method raises BrokerError when PostgreSQL is away."""

    def __init__(self, schema: Schema, pool: Pool) -> None:
        self._schema = schema
        self._pool = pool
        self._forward, self._backward = (
            schema.names.fill(_READ.format(order=order)) for order in ("ASC", "DESC")
        )
        self._tops = schema.names.fill(_TOPS)
        self._open = schema.names.fill(_OPEN)
        self._remove = schema.names.fill(_REMOVE)

    async def history(self, topic: str, query: HistoryQuery) -> HistoryPage:
        """Reads kept publications and the top position, as one snapshot."""
        name = topic.encode("utf-8", "surrogatepass")
        above, below, count = _range(query)
        wanted = query.since.epoch if query.since is not None else ""
        statement = self._backward if query.reverse else self._forward
        async with self._pool.link() as link:
            for _ in range(3):
                rows = await link.fetch(statement, name, self._schema.run, above, below, wanted, count)
                if rows:
                    break
                await link.fetch(self._open, name, self._schema.run, new_epoch(), DEFAULT_META_TTL)
        if not rows:
            raise BrokerError(f"the position of topic {topic!r} was lost while it was read")
        position = Position(rows[0]["top"], rows[0]["epoch"])
        try:
            return HistoryPage(
                [
                    decode_body(topic, row["body"], Position(row["at_offset"], position.epoch))
                    for row in rows
                    if row["at_offset"] is not None
                ],
                position,
            )
        except EnvelopeError as error:
            raise BrokerError(f"the history of topic {topic!r} cannot be read: {error}") from None

    async def positions(self, topics: Sequence[str]) -> dict[str, Position]:
        """The top positions of those topics that have one, by one statement."""
        names = {topic.encode("utf-8", "surrogatepass"): topic for topic in topics}
        rows = await self._pool.fetch(self._tops, list(names), self._schema.run)
        return {names[row["name"]]: Position(row["top"], row["epoch"]) for row in rows}

    async def remove(self, topic: str) -> None:
        """Lets nobody read what is kept until now; the trimming job deletes it."""
        await self._pool.fetch(self._remove, topic.encode("utf-8", "surrogatepass"))


def _range(query: HistoryQuery) -> tuple[int, int, int | None]:
    """The offsets between which to read, both exclusive, and how many at most."""
    if not query.limit:
        return 0, 0, 0
    count = query.limit if query.limit > 0 else None
    if query.since is None:
        return -1, _MAX_OFFSET, count
    since = max(0, min(query.since.offset, _MAX_OFFSET))
    return (-1, since, count) if query.reverse else (since, _MAX_OFFSET, count)
