"""One topic's subscription with broadcaster, and the task that empties it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final

from broadcaster import Broadcast

from hub.broker.base import Delivery, Gap
from hub.errors import BrokerError

logger = logging.getLogger(__name__)
RESTART_SECONDS: Final = 0.2


class Pump:
    """Holds one `Broadcast.subscribe` of a topic open and hands over all that it brings.

    broadcaster loses subscribers that come to a topic at the same time, so there must be no more than one pump for a
    topic, and `start` and `stop` must not overlap: whoever owns it serialises them. Should broadcaster fail
    underneath, the pump subscribes again and hands over a Gap.
    """

    def __init__(
        self, topic: str, take: Callable[[str, Delivery], None], on_restart: Callable[[], None]
    ) -> None:
        self.topic = topic
        self._take = take
        self._on_restart = on_restart
        self._failed = False
        self._task: asyncio.Task[None] | None = None
        self._subscribed = asyncio.Event()

    async def start(self, broadcast: Broadcast) -> None:
        """Returns once the topic is subscribed; at once if it is already. Raises BrokerError when stopped meanwhile."""
        if self._task is None:
            self._subscribed.clear()
            self._task = asyncio.create_task(self._run(broadcast), name=f"pump {self.topic!r}")
            self._task.add_done_callback(lambda _: self._subscribed.set())
        await self._subscribed.wait()
        if self._task is None:
            raise BrokerError(f"the subscription of topic {self.topic!r} was ended while it was made")

    async def stop(self) -> None:
        """Ends the subscription; nothing is handed over any more."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def _run(self, broadcast: Broadcast) -> None:
        while True:
            try:
                await self._drain(broadcast)
            except Exception:
                if self._task is not asyncio.current_task():
                    return  # cancelled while subscribing: broadcaster then raises a KeyError over the cancellation
                logger.exception("the subscription of topic %r failed and is made again", self.topic)
                self._failed = True
                self._on_restart()
            await asyncio.sleep(RESTART_SECONDS)

    async def _drain(self, broadcast: Broadcast) -> None:
        async with broadcast.subscribe(self.topic) as subscriber:
            self._subscribed.set()
            if self._failed:
                self._failed = False
                self._take(self.topic, Gap("the subscription had failed"))
            while True:
                message: Any = (await subscriber.get()).message
                self._take(self.topic, message)
