"""A topic that is to be subscribed at Redis, and what came on it."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import Final

from hub.broker.envelope import EnvelopeError, decode_message
from hub.broker.inbox import Inbox

logger = logging.getLogger(__name__)
ACK_SECONDS: Final = 3.0


@dataclass(slots=True, eq=False)
class Want:
    """A topic that is to be subscribed. `live` once Redis has confirmed it on the connection in use.

    A topic whose confirmation nobody waits for (any more) has been without a subscription for a while: it begins with
    a Gap.
    """

    topic: str
    channel: bytes
    live: bool = False
    epoch: str = ""
    ended: str = ""
    waiter: asyncio.Future[None] | None = None

    async def confirmed(self) -> None:
        """Returns when Redis has confirmed, or will not; after 3 s without a word, all the same."""
        waiter = self.waiter = self.waiter or asyncio.get_running_loop().create_future()
        await asyncio.wait([waiter], timeout=ACK_SECONDS)
        if not waiter.done():
            self.waiter = None
            logger.warning("Redis did not confirm the subscription of topic %r in time", self.topic)

    def confirm(self, inbox: Inbox) -> None:
        """Notes that it is subscribed from now on."""
        self.live = True
        if not self.wake():
            inbox.gap(self.topic, "the connection to Redis was lost for a while")

    def lose(self) -> None:
        """Notes that it is subscribed no longer."""
        self.live = False
        self.wake()

    def wake(self) -> bool:
        """Tells who waits that it need not any longer; returns whether anybody did."""
        waiter, self.waiter = self.waiter, None
        if waiter is None or waiter.done():
            return False
        waiter.set_result(None)
        return True

    def deliver(self, message: bytes, inbox: Inbox) -> None:
        """Puts what came into the inbox, unless it belongs to an epoch that has ended.

        A primary of a cluster that hung while its replica took over may still send what it was told before.
        """
        try:
            publication = decode_message(self.topic, message)
        except EnvelopeError as error:
            logger.warning("what came on topic %r is no publication: %s", self.topic, error)
            inbox.gap(self.topic, "a publication could not be read")
            return
        if publication.epoch != self.epoch and publication.epoch:
            if publication.epoch == self.ended:
                logger.warning("a publication on topic %r came from an epoch that has ended", self.topic)
                return
            self.ended, self.epoch = self.epoch, publication.epoch
        inbox.put(self.topic, publication)
