"""Changes to presence, made in Redis in the order of their calls.

A client that leaves while its node restores all must not be entered again: order matters. So does the order of what one
change consists of: a topic is noted as a place of the owner before a client is entered there, and forgotten after the
last one was removed, for a sweep looks nowhere else. Hence one worker makes the changes, many at a time.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from hub.errors import BrokerError
from hub.model import ClientInfo
from hub.presence.redis.entry import pack
from hub.presence.redis.keys import Keys, place, to_bytes, to_text
from hub.presence.redis.lease import OwnLease
from hub.presence.redis.scripts import CHANGE
from hub.redis.client import Redis

logger = logging.getLogger(__name__)
BATCH: Final = 2_000
"""Clients of one batch: more wait for the next, so that the first answers do not wait for the last changes."""
CHUNK: Final = 200
"""Clients that one run of the script changes, or one more change: Redis is not held up for longer."""


@dataclass(slots=True, eq=False)
class _Change:
    """Clients to enter on a topic, or one to remove; `answer` is a list of clients that were not there."""

    topic: str
    enter: Sequence[ClientInfo]
    remove: str | None
    answer: asyncio.Future[list[str]]
    freshen: bool = False
    sent: bool = False


class Changes:
    """Enters and removes clients under a lease. `timeout` seconds bound what a change of one client may take."""

    def __init__(self, redis: Redis, keys: Keys, lease: OwnLease, *, timeout: float) -> None:
        self._redis = redis
        self._keys = keys
        self._lease = lease
        self._timeout = timeout
        self._waiting: list[_Change] = []
        self._new: set[tuple[str, str]] = set()
        self._task: asyncio.Task[None] | None = None

    async def enter(self, topic: str, info: ClientInfo) -> None:
        """Enters a client. Raises BrokerError."""
        await self._one(self._put(topic, [info]))

    async def remove(self, topic: str, client: str) -> None:
        """Removes a client. Raises BrokerError."""
        await self._one(self._put(topic, remove=client))

    async def enter_all(self, topics: Sequence[tuple[str, Sequence[ClientInfo]]]) -> list[tuple[str, str]]:
        """Enters clients under a young lease; returns topics and clients that were not there.

        What a call found that failed half-way is returned by the next. Raises BrokerError.
        """
        changes = [
            self._put(topic, infos[at : at + CHUNK])
            for topic, infos in topics
            for at in range(0, len(infos), CHUNK)
        ]
        if changes:
            changes[0].freshen = True
        try:
            await asyncio.gather(*(change.answer for change in changes))
        finally:
            for change in changes:
                change.answer.cancel()  # after one has failed, the others need not be tried
                if not change.answer.cancelled() and change.answer.exception() is None:
                    self._new |= {(change.topic, client) for client in change.answer.result()}
        new, self._new = self._new, set()
        return list(new)

    async def close(self) -> None:
        """Fails what is under way or waits."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        waiting, self._waiting = self._waiting, []
        _fail(waiting, BrokerError("the presence store was left"))

    def _put(self, topic: str, enter: Sequence[ClientInfo] = (), remove: str | None = None) -> _Change:
        change = _Change(topic, enter, remove, asyncio.get_running_loop().create_future())
        self._waiting.append(change)
        if self._task is None or self._task.done():
            self._begin()
        return change

    def _begin(self) -> None:
        self._task = asyncio.create_task(self._work(), name="presence changes")
        self._task.add_done_callback(self._worked)

    async def _one(self, change: _Change) -> None:
        try:
            async with asyncio.timeout(self._timeout):
                await change.answer
        except TimeoutError:
            reason = f"Redis did not answer within {self._timeout:g} s"
            raise BrokerError(reason, unknown=change.sent) from None

    def _worked(self, task: asyncio.Task[None]) -> None:
        if task.cancelled() or (error := task.exception()) is None:
            return
        logger.error("presence could not be changed, in an unforeseen way", exc_info=error)
        if self._waiting and self._task is task:
            self._begin()

    async def _work(self) -> None:
        while self._waiting:
            batch = self._batch()
            try:
                await self._make(batch)
            except BrokerError as error:
                _fail(batch, error)
            except BaseException:
                _fail(batch, BrokerError("the presence store was left", unknown=True))
                raise

    def _batch(self) -> list[_Change]:
        """The next changes, without those that were given up."""
        size, count = 0, 0
        for change in self._waiting:
            count += 1
            size += max(1, len(change.enter))
            if size >= BATCH:
                break
        taken, self._waiting = self._waiting[:count], self._waiting[count:]
        return [change for change in taken if not change.answer.done()]

    async def _make(self, batch: list[_Change]) -> None:
        if any(change.freshen for change in batch):
            await self._lease.freshen()
        entering = dict.fromkeys(change.topic for change in batch if change.enter)
        owner = await self._lease.note(list(entering)) if entering else self._lease.owner
        runs = list(_runs(batch))
        answers = await asyncio.gather(*(self._run(owner, run) for run in runs))
        # What counts is how many the last run of a topic left.
        left = {run[0].topic: answer for run, answer in zip(runs, answers, strict=True)}
        empty = [place(owner, topic) for topic, answer in left.items() if answer == 0]
        if empty:
            await self._forget(empty)

    async def _run(self, owner: bytes, run: list[_Change]) -> int | None:
        """Makes changes to one topic and answers them; returns how many clients of the owner are left there."""
        pairs: list[bytes] = []
        for change in run:
            change.sent = True
            for info in change.enter:
                pairs += (to_bytes(info.client), pack(owner, info))
            if change.remove is not None:
                pairs += (to_bytes(change.remove), b"")
        try:
            keys = self._keys.topic(run[0].topic)
            left, found = await self._redis.run(CHANGE, keys, owner, *pairs)
        except BrokerError as error:
            for change in run:
                change.sent = error.unknown
            _fail(run, error)
            return None
        new = {to_text(client) for client in found}
        for change in run:
            if not change.answer.done():
                change.answer.set_result([info.client for info in change.enter if info.client in new])
        return int(left)

    async def _forget(self, places: list[bytes]) -> None:
        try:
            await self._redis.command(self._keys.places, "ZREM", self._keys.places, *places)
        except BrokerError as error:
            # A sweep looks there in vain, that is all.
            logger.debug("topics without clients are still noted: %s", error)


def _runs(batch: list[_Change]) -> Iterator[list[_Change]]:
    """The changes in groups of one topic each, in which and between which those of a topic keep their order."""
    topics: dict[str, list[_Change]] = {}
    for change in batch:
        topics.setdefault(change.topic, []).append(change)
    for changes in topics.values():
        run: list[_Change] = []
        size = 0
        for change in changes:
            if size >= CHUNK:
                yield run
                run, size = [], 0
            run.append(change)
            size += max(1, len(change.enter))
        yield run


def _fail(changes: Sequence[_Change], error: BrokerError) -> None:
    for change in changes:
        if not change.answer.done():
            change.answer.set_exception(error)
