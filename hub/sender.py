"""Publications on their way to the broker, and those that wait for it on topics with `publish_wait`.

Elsewhere a publish is handed to the broker once and fails as fast as that does. Here one that the broker did not take
waits in the node, without being acknowledged, and is sent again until it is stored or its time is over. What may have
been stored is repeated with the same idempotency key, so that it is stored once however often it is sent.
"""

from __future__ import annotations

import asyncio
import logging
import random
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from itertools import islice
from typing import Final

from hub import metrics
from hub.broker.base import Outgoing, PublishResult
from hub.errors import BrokerError
from hub.tasks import Tasks

_log = logging.getLogger("hub.sender")
MAX_COUNT: Final = 10_000
"""Publications that may wait in a node; beyond, a publish is refused at once."""
MAX_BYTES: Final = 16 * 1024 * 1024
MAX_UNDER_WAY: Final = 50_000
"""Publications handed to the broker whose outcome is not known yet; beyond, a publish is refused at once."""
MAX_UNDER_WAY_BYTES: Final = 64 * 1024 * 1024
OVERHEAD: Final = 400
"""Bytes that a waiting publication counts beside its payload."""
TOPICS_AT_ONCE: Final = 64
TOGETHER: Final = 64
"""Publications of a topic that are sent at the same time once one has shown that the broker is back."""
PAUSE_SECONDS: Final = 0.05
MAX_PAUSE_SECONDS: Final = 0.5
REMEMBER_SECONDS: Final = 60.0
"""How much longer than a publication may wait the broker remembers a key of the node's own."""

Publish = Callable[[Outgoing], Awaitable[PublishResult]]
PublishNow = Callable[[Outgoing], PublishResult | None]
"""Publishes without waiting; None, and nothing done, where the broker has to be waited for."""


@dataclass(slots=True, eq=False)
class _Waiting:
    """A publication that waits, one of `others` on its topic.

    `unknown` once an attempt may have stored it, `late` once it is not to be tried again.
    """

    outgoing: Outgoing
    answer: asyncio.Future[PublishResult]
    unknown: bool
    others: dict[_Waiting, None]
    under_way: bool = False
    late: bool = False

    @property
    def size(self) -> int:
        return len(self.outgoing.publication.raw) + OVERHEAD

    def fail(self, message: str, *, lasting: bool = False) -> None:
        if not self.answer.done():
            self.answer.set_exception(BrokerError(message, unknown=self.unknown, lasting=lasting))


class Sender:
    """Hands publications to the broker. Those of a topic that wait go first, in the order in which they came.

    A publisher that awaits each outcome thereby keeps its order. Of those that publish at the same time without
    waiting for one another, the order is the one in which the broker takes them.
    """

    def __init__(self, tasks: Tasks, *, max_count: int = MAX_COUNT, max_bytes: int = MAX_BYTES) -> None:
        self._tasks = tasks
        self._max_count = max_count
        self._max_bytes = max_bytes
        self._broker: Publish
        self._broker_now: PublishNow = _never
        self._own_keys = True
        self._topics: dict[str, dict[_Waiting, None]] = {}
        self._slots = asyncio.Semaphore(TOPICS_AT_ONCE)
        self._closed = False
        self.count = 0
        """Publications that wait now."""
        self.bytes = 0
        self.under_way = 0
        """Publications that the broker has, and has not answered."""
        self.under_way_bytes = 0

    def attach(self, publish: Publish, *, own_keys: bool, now: PublishNow | None = None) -> None:
        """Sets the ways to the broker, once; without `own_keys` a publish there never ends in doubt."""
        self._broker = publish
        self._broker_now = now or _never
        self._own_keys = own_keys

    def send_now(self, outgoing: Outgoing, wait: float) -> PublishResult | None:
        """As `send`, without waiting; None, and nothing done, where `send` has to be awaited instead.

        That is so with most brokers, behind publications of the topic that wait, and when this one may wait and the
        broker refused it. Raises BrokerError.
        """
        if self._topics and outgoing.publication.topic in self._topics:
            return None
        try:
            return self._broker_now(outgoing)
        except BrokerError as error:
            if wait > 0 and not error.unknown:
                return None
            metrics.PUBLISH_FAILURES.labels("unknown" if error.unknown else "refused").inc()
            raise

    async def send(self, outgoing: Outgoing, wait: float) -> PublishResult:
        """Returns once it is stored, `wait` seconds later at the latest and the time of one attempt (3 s).

        Raises BrokerError, see its `unknown`: otherwise nothing was stored, and nothing will be.
        """
        try:
            if wait <= 0 or self._closed:
                return await self._publish(outgoing)
            return await self._patiently(outgoing, wait)
        except BrokerError as error:
            metrics.PUBLISH_FAILURES.labels("unknown" if error.unknown else "refused").inc()
            raise

    async def _publish(self, outgoing: Outgoing) -> PublishResult:
        size = len(outgoing.publication.raw) + OVERHEAD
        if self.under_way >= MAX_UNDER_WAY or self.under_way_bytes + size > MAX_UNDER_WAY_BYTES:
            metrics.PUBLISH_OVERFLOWS.inc()
            raise BrokerError("the broker is slow: as many publications as may be under way are")
        self.under_way += 1
        self.under_way_bytes += size
        try:
            return await self._broker(outgoing)
        finally:
            self.under_way -= 1
            self.under_way_bytes -= size

    def close(self) -> None:
        """From here on nothing waits; what does is refused, or told to be unknown where it is."""
        self._closed = True
        for waiting in [each for topic in self._topics.values() for each in topic]:
            if not waiting.under_way:
                waiting.fail("the node stops before its broker is back")
            waiting.late = True

    async def _patiently(self, outgoing: Outgoing, wait: float) -> PublishResult:
        deadline = asyncio.get_running_loop().time() + wait
        own_key = self._own_keys and not outgoing.idempotency_key
        if own_key:
            outgoing.idempotency_key = f"hub:{uuid.uuid4().hex}"
            outgoing.idempotency_ttl = wait + REMEMBER_SECONDS
        unknown = False
        if outgoing.publication.topic not in self._topics:
            try:
                return await self._publish(outgoing)
            except BrokerError as error:
                if error.lasting:
                    raise
                unknown = error.unknown
        result = await self._wait(outgoing, deadline, unknown=unknown)
        # By a key that nobody else has, a publication can only have been mistaken for itself.
        return PublishResult(result.position) if own_key else result

    async def _wait(self, outgoing: Outgoing, deadline: float, *, unknown: bool) -> PublishResult:
        waiting = self._enter(outgoing, unknown=unknown)
        try:
            async with asyncio.timeout_at(deadline):
                return await asyncio.shield(waiting.answer)
        except TimeoutError:
            waiting.late = True
            if not waiting.under_way:
                waiting.fail("the broker was away for longer than the topic's publish_wait")
            return await waiting.answer
        finally:
            self._leave(waiting)
            waiting.answer.cancel()

    def _enter(self, outgoing: Outgoing, *, unknown: bool) -> _Waiting:
        topic = outgoing.publication.topic
        others = self._topics.get(topic, {})
        waiting = _Waiting(outgoing, asyncio.get_running_loop().create_future(), unknown, others)
        if self.count >= self._max_count or self.bytes + waiting.size > self._max_bytes:
            metrics.PUBLISH_OVERFLOWS.inc()
            raise BrokerError("as many publications as may wait for the broker wait already", unknown=unknown)
        self.count += 1
        self.bytes += waiting.size
        metrics.PUBLISH_WAITING.inc()
        others[waiting] = None
        if topic not in self._topics:
            self._topics[topic] = others
            emptying = self._tasks.spawn(self._empty(topic, others), f"publications that wait on {topic}")
            emptying.add_done_callback(lambda _: self._abandon(topic, others))
        return waiting

    def _leave(self, waiting: _Waiting) -> None:
        if waiting in waiting.others:
            del waiting.others[waiting]
            self.count -= 1
            self.bytes -= waiting.size
            metrics.PUBLISH_WAITING.dec()

    def _abandon(self, topic: str, waiting: dict[_Waiting, None]) -> None:
        """Fails what waits when nobody empties the topic any more; after a good end there is nothing to do."""
        if self._topics.get(topic) is waiting:
            del self._topics[topic]
            for each in waiting:
                each.fail("the node stops before its broker is back")

    async def _empty(self, topic: str, waiting: dict[_Waiting, None]) -> None:
        """Sends what waits on a topic until nothing does; one alone finds out whether the broker is back."""
        pause, together = PAUSE_SECONDS, 1
        while waiting:
            async with self._slots:
                tried = await asyncio.gather(*map(self._try, list(islice(waiting, together))))
            if all(tried):
                pause, together = PAUSE_SECONDS, TOGETHER
            else:
                together = 1
                await asyncio.sleep(pause * random.uniform(0.5, 1))  # noqa: S311 - spreads topics and nodes
                pause = min(MAX_PAUSE_SECONDS, pause * 2)
        del self._topics[topic]

    async def _try(self, waiting: _Waiting) -> bool:
        """Sends one; False when it is to be tried again. What was given up meanwhile must not be sent any more."""
        if waiting.answer.done():
            self._leave(waiting)
            return True
        waiting.under_way = True
        try:
            result = await self._publish(waiting.outgoing)
        except BrokerError as error:
            waiting.unknown = waiting.unknown or error.unknown
            if not (error.lasting or waiting.late):
                return False
            waiting.fail(str(error), lasting=error.lasting)
        except asyncio.CancelledError:
            waiting.unknown = True
            raise
        except Exception:  # noqa: BLE001 - whatever it is, it must not keep back those behind it
            _log.exception("a publication that waited failed in an unforeseen way")
            waiting.unknown = True
            waiting.fail("a publication failed in an unforeseen way")
        else:
            if not waiting.answer.done():
                waiting.answer.set_result(result)
        finally:
            waiting.under_way = False
        self._leave(waiting)
        return True


def _never(_: Outgoing) -> PublishResult | None:
    return None
