"""Publishing to PostgreSQL: what is published while a batch is under way becomes the next one, as one transaction."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from time import monotonic
from typing import Any, Final

from hub.broker.base import Outgoing, PublishResult
from hub.broker.envelope import encode_body
from hub.broker.epochs import new_epoch
from hub.broker.postgres.schema import Schema
from hub.errors import BrokerError
from hub.model import Position
from hub.postgres import Link, Pool, Refused

logger = logging.getLogger(__name__)
DEFAULT_META_TTL: Final = 30 * 86_400.0
"""Seconds for which positions and versions are kept where the topic's options do not say."""
MAX_SECONDS: Final = 100 * 365 * 86_400.0
BATCH: Final = 500
BATCH_BYTES: Final = 4 * 1024 * 1024
RING_SECONDS: Final = 0.005
"""Under load other nodes are rung no more often than this."""
_TRIES: Final = 3
_AGAIN: Final = {"40P01", "40001"}
"""Deadlock and serialization failure: nothing was done, and trying again helps."""
_MAX_KEY: Final = 500
_PUBLISH: Final = """
SELECT * FROM @publish@($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
"""


@dataclass(slots=True, eq=False)
class _Call:
    """A publication in its stored form, and who waits for its result."""

    topic: bytes
    body: bytes
    message: Outgoing
    answer: asyncio.Future[PublishResult]
    sent: bool = False


class Lane:
    """Sends batches one after the other and never repeats one whose outcome is unknown.

    A publish is answered within `timeout` seconds, or raises BrokerError. `on_stored` is called after each batch, and
    all nodes are rung soon after.
    """

    def __init__(self, schema: Schema, pool: Pool, on_stored: Callable[[], None], *, timeout: float) -> None:
        self.pids: set[int] = set()
        """Numbers of the connections that rang; this node need not listen to itself."""
        self._schema = schema
        self._pool = pool
        self._on_stored = on_stored
        self._timeout = timeout
        self._statement = schema.names.fill(_PUBLISH)
        self._waiting: list[_Call] = []
        self._task: asyncio.Task[None] | None = None
        self._closed = True
        self._owed = False
        self._rang = 0.0

    def open(self) -> None:
        """Takes publications from now on."""
        self._closed = False

    async def close(self) -> None:
        """Takes no more; those under way fail."""
        self._closed = True
        task = self._task
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
        self._fail(self._waiting, BrokerError("the node leaves its broker"))
        self._waiting = []

    async def publish(self, topic: str, message: Outgoing) -> PublishResult:
        """Stores and sends. Raises BrokerError."""
        if self._closed:
            raise BrokerError("the node is not connected to its broker")
        call = _Call(
            topic.encode("utf-8", "surrogatepass"),
            encode_body(message.publication),
            message,
            asyncio.get_running_loop().create_future(),
        )
        self._waiting.append(call)
        self._run()
        try:
            async with asyncio.timeout(self._timeout):
                return await call.answer
        except TimeoutError:
            raise BrokerError(
                f"PostgreSQL did not answer within {self._timeout:g} s", unknown=call.sent
            ) from None

    async def store(self, link: Link, messages: Sequence[Outgoing], claim: list[int]) -> None:
        """Publishes what rows of the outbox say, and takes these away with the same act. Raises BrokerError."""
        topics = [each.publication.topic.encode() for each in messages]
        bodies = [encode_body(each.publication) for each in messages]
        await self._store(link, topics, bodies, messages, claim)
        self._stored()
        self._run()

    def _run(self) -> None:
        if self._task is None and not self._closed:
            self._task = asyncio.create_task(self._flush(), name="postgresql publishes")
            self._task.add_done_callback(self._flushed)

    def _flushed(self, task: asyncio.Task[None]) -> None:
        self._task = None
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("publishing to PostgreSQL failed in an unforeseen way", exc_info=error)
        if self._waiting:
            self._run()

    async def _flush(self) -> None:
        while self._waiting or self._owed:
            calls = self._next()
            try:
                async with self._pool.link() as link:
                    if calls:
                        await self._exchange(link, calls)
                    if self._owed and not (self._waiting and monotonic() - self._rang < RING_SECONDS):
                        await self._ring(link)
            except BrokerError as error:
                self._fail(calls, error)
                self._owed = False
            except BaseException:
                self._fail(calls, BrokerError("a publish was cut off", unknown=True))
                raise

    def _next(self) -> list[_Call]:
        """The next batch, bounded in number and bytes; what was given up meanwhile is not sent any more."""
        calls: list[_Call] = []
        size = 0
        taken = 0
        for call in self._waiting:
            if calls and (len(calls) >= BATCH or size + len(call.body) > BATCH_BYTES):
                break
            taken += 1
            if not call.answer.done():
                calls.append(call)
                size += len(call.body)
        del self._waiting[:taken]
        return calls

    async def _exchange(self, link: Link, calls: list[_Call]) -> None:
        calls = [
            call for call in calls if not call.answer.done()
        ]  # some may have waited for the connection in vain
        if not calls:
            return
        for call in calls:
            call.sent = True
        found = await self._store(
            link,
            [call.topic for call in calls],
            [call.body for call in calls],
            [call.message for call in calls],
            None,
        )
        for call, offset, epoch, suppressed in zip(
            calls, found["offsets"], found["epochs"], found["suppressed"], strict=True
        ):
            if not call.answer.done():
                position = Position(offset, epoch) if offset is not None else None
                call.answer.set_result(PublishResult(position, suppressed=suppressed))
        self._stored()

    async def _store(
        self,
        link: Link,
        topics: list[bytes],
        bodies: list[bytes],
        messages: Sequence[Outgoing],
        claim: list[int] | None,
    ) -> Any:
        columns = _columns(messages)
        for left in range(_TRIES - 1, -1, -1):
            try:
                return await link.row(
                    self._statement,
                    self._schema.run,
                    new_epoch(),
                    DEFAULT_META_TTL,
                    topics,
                    bodies,
                    *columns,
                    claim,
                )
            except Refused as error:
                if error.code not in _AGAIN or not left:
                    raise
        raise BrokerError("PostgreSQL took no publication")

    def _stored(self) -> None:
        self._owed = True
        self._on_stored()

    async def _ring(self, link: Link) -> None:
        """A transaction of its own, which waits for no disk: while it commits, no other that rings can."""
        self._owed = False
        self._rang = monotonic()
        self.pids = {link.pid}
        try:
            await link.fetch("SELECT pg_notify($1, '')", self._schema.names.channel)
        except BrokerError as error:
            logger.debug("other nodes were not rung and will look by themselves: %s", error)

    @staticmethod
    def _fail(calls: Sequence[_Call], error: BrokerError) -> None:
        for call in calls:
            if not call.answer.done():
                call.answer.set_exception(BrokerError(str(error), unknown=error.unknown and call.sent))


def _columns(messages: Sequence[Outgoing]) -> list[list[Any]]:
    """Sizes, ttls, meta ttls, keys and for how long they are remembered, versions and their epochs."""
    columns: list[list[Any]] = [[] for _ in range(7)]
    for message in messages:
        options = message.history
        row = (
            max(0, min(options.size, 2**31)) if options else None,
            _seconds(options.ttl) if options else None,
            _seconds(max(options.meta_ttl, options.ttl)) if options else None,
            _key(message.idempotency_key),
            _seconds(message.idempotency_ttl),
            str(max(0, message.version)),
            message.version_epoch.encode("utf-8", "surrogatepass"),
        )
        for column, value in zip(columns, row, strict=True):
            column.append(value)
    return columns


def _seconds(seconds: float) -> float:
    return max(0.001, min(float(seconds), MAX_SECONDS))


def _key(key: str) -> bytes | None:
    """A key as it is stored: what an index cannot hold is replaced by its hash, which no shorter key looks like."""
    found = key.encode("utf-8", "surrogatepass")
    if len(found) > _MAX_KEY:
        return b"\x00" + blake2b(found, digest_size=32).digest() + b"\x00" * (_MAX_KEY - 33)
    return found or None
