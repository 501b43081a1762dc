"""Publishing to NATS: the publishes of one topic one after another, those that come meanwhile together."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from typing import Final

import msgspec

from hub.broker.base import Outgoing, PublishResult
from hub.broker.envelope import encode_body
from hub.broker.nats.group import Group
from hub.broker.nats.plan import Call, Plan, Remembered, make_plan
from hub.broker.nats.state import TopicState, pack
from hub.broker.nats.subjects import Subjects
from hub.broker.nats.topics import Known, Topics
from hub.errors import BrokerError
from hub.nats.jetstream import Conflict, JetStream, Write

logger = logging.getLogger(__name__)
MAX_CALLS: Final = 200
"""Publications in one message at most."""
MAX_BYTES: Final = 128 * 1024
"""Bytes in one message at most, unless a single publication is larger."""
_SLACK: Final = 1024
"""Room for the state in front of the publications, beside what each entry takes."""
_ENTRY: Final = 48
_encoder = msgspec.json.Encoder()


class Publisher:
    """Gives publications their positions by optimistic writing.

    A message is stored only if the last one of its topic is still that from which its offsets were counted; when
    another node was faster, they are counted anew. A publish is answered within `timeout` seconds or raises
    BrokerError, `unknown` if it may have been stored.
    """

    def __init__(
        self,
        jetstream: JetStream,
        topics: Topics,
        subjects: Subjects,
        *,
        timeout: float,
        stored: Callable[[str, int, Plan], None],
    ) -> None:
        self._jetstream = jetstream
        self._group = Group(jetstream)
        self._topics = topics
        self._subjects = subjects
        self._timeout = timeout
        self._stored = stored
        self._lanes: dict[str, list[Call]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        """Ends what is under way."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        await self._group.close()

    async def publish(self, topic: str, message: Outgoing) -> PublishResult:
        """Stores and sends as one act; what has nothing to be stored is only sent."""
        body = encode_body(message.publication)
        link = self._jetstream.link
        if link is None:
            raise BrokerError("the node is not connected to its broker")
        if len(body) + _SLACK > link.max_message:
            raise BrokerError(
                f"the publication is larger than NATS takes, which is {link.max_message - _SLACK} bytes",
                lasting=True,
            )
        if message.history is None and not message.idempotency_key and message.version <= 0:
            await link.send(self._subjects.live(topic), b"\n" + body)
            return PublishResult()
        call = Call(message, body, asyncio.get_running_loop().create_future())
        self._enqueue(topic, call)
        try:
            async with asyncio.timeout(self._timeout):
                return await call.answer
        except TimeoutError:
            raise BrokerError(f"NATS did not answer within {self._timeout:g} s", unknown=call.sent) from None

    def _enqueue(self, topic: str, call: Call) -> None:
        waiting = self._lanes.get(topic)
        if waiting is not None:
            waiting.append(call)
            return
        self._lanes[topic] = [call]
        task = asyncio.create_task(self._run(topic), name=f"nats publish {topic!r}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, topic: str) -> None:
        waiting = self._lanes[topic]
        calls: list[Call] = []
        reason: str | BrokerError = "the node leaves its broker"
        try:
            while waiting:
                calls = _take(waiting)
                try:
                    await self._settle(topic, calls)
                except BrokerError as error:
                    self._topics.doubt(topic)
                    _fail(calls, error)
        except Exception as error:
            reason = f"a publish failed in an unforeseen way: {error!r}"
            logger.exception("publishes on topic %r failed in an unforeseen way", topic)
        finally:
            del self._lanes[topic]
            if waiting or not all(call.answer.done() for call in calls):
                self._topics.doubt(topic)
            _fail([*calls, *waiting], BrokerError(str(reason), unknown=True))

    async def _settle(self, topic: str, calls: list[Call]) -> None:
        """Stores the publishes and answers them. Raises BrokerError when that did not succeed."""
        remembered: dict[str, Remembered] = {}
        sequences: dict[str, int] = {}
        known = self._topics.known(topic)
        sure = False
        while True:
            calls = [call for call in calls if not call.answer.done()]
            if not calls:
                return
            if known is None or (known.stale and not sure):
                known, sure = await self._topics.load(topic), True
            plan = make_plan(known.state, known.sequence, calls, remembered, self._jetstream.now)
            if plan.bodies:
                try:
                    await self._write(topic, known, plan, calls, sequences)
                except Conflict:
                    known, sure = None, False
                    await self._look_up(topic, calls, remembered, sequences)
                    await asyncio.sleep(random.uniform(0, 0.003))  # noqa: S311  # parts nodes, guards nothing
                    continue
            elif not sure:  # what another node stored meanwhile may say otherwise
                known = None
                continue
            for call, result in zip(calls, plan.results, strict=True):
                if not call.answer.done():
                    call.answer.set_result(result)
            return

    async def _look_up(
        self, topic: str, calls: list[Call], remembered: dict[str, Remembered], sequences: dict[str, int]
    ) -> None:
        """Learns what the keys of these publishes are remembered by."""
        keys = list({call.message.idempotency_key for call in calls} - {""})
        for key, (sequence, result) in zip(
            keys, await asyncio.gather(*(self._topics.remembered(topic, key) for key in keys)), strict=True
        ):
            sequences[key] = sequence
            if result is not None:
                remembered[key] = result

    async def _write(
        self, topic: str, known: Known, plan: Plan, calls: list[Call], sequences: dict[str, int]
    ) -> None:
        now = self._jetstream.now
        writes = [
            Write(
                self._subjects.result(topic, key),
                _encoder.encode(result),
                _seconds(result.expires - now),
                sequences.get(key, 0),
            )
            for key, result in plan.remember.items()
        ]
        packed = pack(plan.state, plan.bodies)
        writes.append(Write(self._subjects.kept(topic), packed, ttl_of(plan.state, now), known.sequence))
        for call in calls:
            call.sent = True
        try:
            sequence = await self._group.write(writes)
        except Conflict:
            for call in calls:
                call.sent = False
            raise
        self._topics.learn(topic, sequence, plan.state, packed.partition(b"\n")[2])
        self._stored(topic, sequence, plan)


def ttl_of(state: TopicState, now: int) -> int:
    """Whole seconds after which NATS may delete a message with this state."""
    return _seconds(state.expires - now)


def _seconds(milliseconds: int) -> int:
    return max(1, -(-milliseconds // 1000))


def _take(waiting: list[Call]) -> list[Call]:
    """Takes from the front what goes into one message; what was given up meanwhile is dropped, as it was not sent."""
    taken: list[Call] = []
    size = 0
    while waiting and len(taken) < MAX_CALLS:
        if waiting[0].answer.done():
            waiting.pop(0)
            continue
        size += len(waiting[0].body) + _ENTRY
        if taken and size > MAX_BYTES:
            break
        taken.append(waiting.pop(0))
    return taken


def _fail(calls: list[Call], error: BrokerError) -> None:
    for call in calls:
        if not call.answer.done():
            call.answer.set_exception(BrokerError(str(error), unknown=error.unknown and call.sent))
