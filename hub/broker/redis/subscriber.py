"""The topics that a node is subscribed to at one Redis server, over a connection that is mended whenever it breaks."""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final

from hub.broker.envelope import EnvelopeError, decode_message
from hub.broker.inbox import Inbox
from hub.redis.address import Address
from hub.redis.link import Link
from hub.redis.place import Place

logger = logging.getLogger(__name__)
ACK_SECONDS: Final = 3.0
PING_SECONDS: Final = 2
SILENCE_SECONDS: Final = 4
"""A server that says nothing for so long, although it was pinged, is left."""
BACKOFF_SECONDS: Final = 0.05
MAX_BACKOFF_SECONDS: Final = 2.0
_CHUNK: Final = 1000


@dataclass(slots=True, eq=False)
class _Want:
    """A topic that is to be subscribed. `live` once Redis has confirmed it on the connection in use."""

    topic: str
    channel: bytes
    live: bool = False
    waiter: asyncio.Future[None] | None = None

    def wake(self) -> bool:
        """Tells who waits that it need not any longer; returns whether anybody did."""
        waiter, self.waiter = self.waiter, None
        if waiter is None or waiter.done():
            return False
        waiter.set_result(None)
        return True


class Subscriber:
    """Puts what Redis sends on the wanted topics into the inbox, and a Gap wherever something may be missing.

    Redis answers in order, so each confirmation belongs to the first SUBSCRIBE that is not yet confirmed. A topic whose
    confirmation nobody waits for (any more) has been without a subscription for a while: it begins with a Gap.
    """

    def __init__(self, place: Place, inbox: Inbox, *, connect_timeout: float) -> None:
        self.reconnects = 0
        self._place = place
        self._address: Address | None = None
        self._replaced = False
        self._inbox = inbox
        self._connect_timeout = connect_timeout
        self._wants: dict[bytes, _Want] = {}
        self._unconfirmed: deque[_Want] = deque()
        self._unsent: list[tuple[str, _Want]] = []
        self._link: Link | None = None
        self._task: asyncio.Task[None] | None = None
        self._tried = asyncio.Event()
        self._lost = False

    @property
    def connected(self) -> bool:
        """Whether the connection is open."""
        return self._link is not None

    async def start(self) -> None:
        """Begins to connect, and returns when that has succeeded or failed once."""
        if self._task is None:
            self._tried.clear()
            self._place.attach(self._moved)
            self._task = asyncio.create_task(self._supervise(), name=f"redis subscriber {self._place.name}")
        await self._tried.wait()

    async def stop(self) -> None:
        """Closes the connection; what is wanted is subscribed again by a later `start`."""
        task, self._task = self._task, None
        if task is not None:
            await self._place.detach(self._moved)
            task.cancel()
            await asyncio.wait([task])
        self._tried.set()

    async def subscribe(self, topic: str, channel: bytes) -> None:
        """Returns when Redis has confirmed; at once when it is away; after 3 s without a word, all the same."""
        want = self._wants.get(channel)
        if want is None:
            want = self._wants[channel] = _Want(topic, channel)
            if self._link is not None:
                self._send("SUBSCRIBE", want)
        if want.live or self._link is None:
            return
        waiter = want.waiter = want.waiter or asyncio.get_running_loop().create_future()
        await asyncio.wait([waiter], timeout=ACK_SECONDS)
        if not waiter.done():
            want.waiter = None
            logger.warning("Redis did not confirm the subscription of topic %r in time", topic)

    def unsubscribe(self, channel: bytes) -> None:
        """Lets a channel go."""
        want = self._wants.pop(channel, None)
        if want is not None:
            want.wake()
            if self._link is not None:
                self._send("UNSUBSCRIBE", want)

    def _send(self, command: str, want: _Want) -> None:
        if not self._unsent:
            asyncio.get_running_loop().call_soon(self._flush)
        self._unsent.append((command, want))

    def _flush(self) -> None:
        """Sends the commands of one loop tick, those of a kind that follow one another as one."""
        unsent, self._unsent = self._unsent, []
        if self._link is None:
            return
        for command, group in groupby(unsent, lambda each: each[0]):
            wants = [want for _, want in group]
            if command == "SUBSCRIBE":
                self._unconfirmed.extend(wants)
            for at in range(0, len(wants), _CHUNK):
                self._link.send(command, *(want.channel for want in wants[at : at + _CHUNK]))

    def _moved(self, address: Address) -> None:
        """Leaves a server that is the primary no longer."""
        if self._address is None or self._address.name == address.name:
            return
        self._replaced = True
        if self._link is not None:
            logger.warning("Redis at %s is left for %s", self._address.name, address.name)
            self._link.abort()

    async def _supervise(self) -> None:
        attempts = 0
        while True:
            try:
                async with asyncio.timeout(self._connect_timeout):
                    link = await self._connect()
                attempts = 0
                await self._serve(link)
            except (OSError, EOFError) as error:
                level = logging.WARNING if attempts == 0 else logging.DEBUG
                logger.log(level, "no connection to Redis at %s: %s", self._place.name, error or "no answer")
            except Exception:
                logger.exception("the connection to Redis at %s failed and is made again", self._place.name)
            self._tried.set()
            delay = min(BACKOFF_SECONDS * 2**attempts, MAX_BACKOFF_SECONDS)
            attempts = min(attempts + 1, 10)
            await asyncio.sleep(delay * random.uniform(0.5, 1))  # noqa: S311  # spreads nodes, guards nothing

    async def _connect(self) -> Link:
        while True:
            address = self._address = await self._place.find()
            self._replaced = False
            link = await Link.open(address)
            if not self._replaced:
                return link
            link.abort()

    async def _serve(self, link: Link) -> None:
        """Subscribes to all that is wanted, then takes what comes until the connection ends."""
        watchdog = asyncio.create_task(self._watch(link), name="redis watchdog")
        try:
            self._link = link
            self._unsent = []
            for want in self._wants.values():
                self._send("SUBSCRIBE", want)
            self._flush()
            self._tried.set()
            if self._lost:
                self._lost = False
                self.reconnects += 1
                logger.info("connected to Redis at %s again", self._place.name)
            while True:
                for message in await link.read():
                    self._take(message)
        finally:
            watchdog.cancel()
            link.abort()
            self._lose()

    def _lose(self) -> None:
        self._lost = True
        self._link = None
        self._unsent = []
        self._unconfirmed.clear()
        for want in self._wants.values():
            want.live = False
            want.wake()

    async def _watch(self, link: Link) -> None:
        """Pings a silent server and leaves one that does not answer.

        It counts its own beats rather than time, so that a pause of this process is not held against the server.
        """
        quiet, reads = 0, link.reads
        while quiet < SILENCE_SECONDS:
            if quiet % PING_SECONDS == 0:
                link.send("PING")
            await asyncio.sleep(1)
            quiet, reads = (quiet + 1, reads) if link.reads == reads else (0, link.reads)
        logger.warning("Redis at %s is silent for %s s and is left", self._place.name, SILENCE_SECONDS)
        link.abort()

    def _take(self, message: Any) -> None:
        if not isinstance(message, list):
            return  # the answer to a ping while nothing is subscribed
        if message[0] == b"message":
            want = self._wants.get(message[1])
            if want is not None and want.live:
                self._deliver(want.topic, message[2])
        elif message[0] == b"subscribe":
            want = self._unconfirmed.popleft()
            if self._wants.get(want.channel) is want:
                want.live = True
                if not want.wake():
                    self._inbox.gap(want.topic, "the connection to Redis was lost for a while")

    def _deliver(self, topic: str, message: bytes) -> None:
        try:
            self._inbox.put(topic, decode_message(topic, message))
        except EnvelopeError as error:
            logger.warning("what came on topic %r is no publication: %s", topic, error)
            self._inbox.gap(topic, "a publication could not be read")
