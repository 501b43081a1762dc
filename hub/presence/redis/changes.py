"""Changes to presence, made in Redis in the order of their calls.

A client that leaves while its node restores all must not be entered again: order matters. So does the order of what one
change consists of: a topic is noted as a place of the owner before a client is entered there, and forgotten after the
last one was removed, for a sweep looks nowhere else. Hence one worker makes the changes, many at a time.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from hub.errors import BrokerError
from hub.model import ClientInfo
from hub.presence.redis.entry import pack
from hub.presence.redis.keys import Keys, place, to_bytes, to_text
from hub.presence.redis.lease import OwnLease
from hub.presence.redis.scripts import ENTER, REMOVE
from hub.redis.client import Redis

logger = logging.getLogger(__name__)
BATCH: Final = 2_000
"""Clients that are changed together at most, so that a renewal of the lease does not wait long."""
CHUNK: Final = 200
"""Clients entered by one run of the script at most, so that Redis is not held up."""


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
        self._task: asyncio.Task[None] | None = None

    async def enter(self, topic: str, info: ClientInfo) -> None:
        """Enters a client. Raises BrokerError."""
        await self._one(self._put(topic, [info]))

    async def remove(self, topic: str, client: str) -> None:
        """Removes a client. Raises BrokerError."""
        await self._one(self._put(topic, remove=client))

    async def enter_all(self, topics: Sequence[tuple[str, Sequence[ClientInfo]]]) -> list[tuple[str, str]]:
        """Enters clients under a young lease; returns topics and clients that were not there. Raises BrokerError."""
        changes = [
            self._put(topic, infos[at : at + CHUNK])
            for topic, infos in topics
            for at in range(0, len(infos), CHUNK)
        ]
        if changes:
            changes[0].freshen = True
        try:
            answers = await asyncio.gather(*(change.answer for change in changes))
        finally:
            for change in changes:
                change.answer.cancel()  # after one has failed, the others need not be tried
        return [
            (change.topic, client)
            for change, answer in zip(changes, answers, strict=True)
            for client in answer
        ]

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
        if self._task is None:
            self._task = asyncio.create_task(self._work(), name="presence changes")
            self._task.add_done_callback(self._worked)
        return change

    async def _one(self, change: _Change) -> None:
        try:
            async with asyncio.timeout(self._timeout):
                await change.answer
        except BaseException as error:
            # An entry that should not be there, or whose client is told that it is not, must not stay for good.
            self._lease.doubted |= change.sent or change.remove is not None
            if isinstance(error, TimeoutError):
                reason = f"Redis did not answer within {self._timeout:g} s"
                raise BrokerError(reason, unknown=change.sent) from None
            raise

    def _worked(self, task: asyncio.Task[None]) -> None:
        self._task = None
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("presence could not be changed, in an unforeseen way", exc_info=error)

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
        answers = await asyncio.gather(*(self._send(owner, change) for change in batch))
        # What counts is how many were left after the last change of a topic.
        left = {change.topic: answer for change, answer in zip(batch, answers, strict=True)}
        empty = [place(owner, topic) for topic, answer in left.items() if answer == 0]
        if empty:
            await self._forget(empty)

    async def _send(self, owner: bytes, change: _Change) -> int | None:
        """Makes a change and answers it; returns how many clients of the owner a removal left on the topic."""
        keys, left = self._keys.topic(change.topic), None
        change.sent = True
        try:
            if change.remove is not None:
                left = int(await self._redis.run(REMOVE, keys, owner, to_bytes(change.remove)))
                _answer(change, [])
            else:
                pairs = [part for info in change.enter for part in (to_bytes(info.client), pack(owner, info))]
                _answer(change, [to_text(client) for client in await self._redis.run(ENTER, keys, *pairs)])
        except BrokerError as error:
            change.sent = error.unknown
            _fail([change], error)
        return left

    async def _forget(self, places: list[bytes]) -> None:
        try:
            await self._redis.command(self._keys.places, "ZREM", self._keys.places, *places)
        except BrokerError as error:
            # A sweep looks there in vain, that is all.
            logger.debug("topics without clients are still noted: %s", error)


def _answer(change: _Change, new: list[str]) -> Any:
    if not change.answer.done():
        change.answer.set_result(new)


def _fail(changes: Sequence[_Change], error: BrokerError) -> None:
    for change in changes:
        if not change.answer.done():
            change.answer.set_exception(error)
