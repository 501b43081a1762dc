"""A connection on which Redis pushes, which is made again whenever it breaks."""

from __future__ import annotations

import asyncio
import logging
import random
from contextlib import suppress
from typing import Any, Final, Protocol

from hub.redis.address import Address
from hub.redis.link import Link
from hub.redis.place import Place

logger = logging.getLogger(__name__)
ASK_SECONDS: Final = 2
SILENCE_SECONDS: Final = 4
"""A server that says nothing for so long, although it was asked, is left."""
BACKOFF_SECONDS: Final = 0.05
MAX_BACKOFF_SECONDS: Final = 2.0


class Listener(Protocol):
    """Who uses the link. All is called in the event loop; what raises ends the link, which is then made again."""

    def up(self, link: Link) -> None:
        """A new link is there, on which nothing was sent yet."""

    def take(self, message: Any) -> None:
        """What came on it, in order: bytes, integers, lists, errors."""

    def down(self) -> None:
        """The link is gone."""


class LastingLink:
    """Keeps a link to a place open from `start` to `stop`, and `listener` told.

    It is broken, and made again, when the server falls silent or the place names another one.
    """

    def __init__(self, place: Place, listener: Listener, *, connect_timeout: float) -> None:
        self.reconnects = 0
        self.link: Link | None = None
        """The link while there is one."""
        self._place = place
        self._listener = listener
        self._connect_timeout = connect_timeout
        self._address: Address | None = None
        self._replaced = False
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._tried = asyncio.Event()
        self._lost = False

    def begin(self) -> None:
        """Begins to connect."""
        if self._task is None:
            self._tried.clear()
            self._place.attach(self._moved)
            self._task = asyncio.create_task(self._supervise(), name=f"redis subscriber {self._place.name}")

    async def start(self) -> None:
        """Begins to connect, and returns when that has succeeded or failed once."""
        self.begin()
        await self._tried.wait()

    async def stop(self) -> None:
        """Closes the link."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
            await self._place.detach(self._moved)
        self._tried.set()

    def _moved(self, address: Address) -> None:
        """Leaves a server that is the primary no longer."""
        if self._address is None or self._address.name == address.name:
            return
        self._replaced = True
        self._wake.set()
        if self.link is not None:
            logger.warning("Redis at %s is left for %s", self._address.name, address.name)
            self.link.abort()

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
            with suppress(TimeoutError):
                async with asyncio.timeout(delay * random.uniform(0.5, 1)):  # noqa: S311  # spreads nodes, guards nothing
                    await self._wake.wait()

    async def _connect(self) -> Link:
        while True:
            address = self._address = await self._place.find()
            self._replaced = False
            self._wake.clear()
            link = await Link.open(address)
            if not self._replaced:
                return link
            link.abort()

    async def _serve(self, link: Link) -> None:
        """Hands over what comes until the connection ends."""
        watchdog = asyncio.create_task(self._watch(link), name="redis watchdog")
        try:
            self.link = link
            self._listener.up(link)
            self._tried.set()
            if self._lost:
                self._lost = False
                self.reconnects += 1
                logger.info("connected to Redis at %s again", self._place.name)
            while True:
                for message in await link.read(errors=True):
                    self._listener.take(message)
        finally:
            watchdog.cancel()
            link.abort()
            self.link = None
            self._lost = True
            self._listener.down()

    async def _watch(self, link: Link) -> None:
        """Asks a silent server, and leaves one that does not answer.

        It counts its own beats rather than time, so that a pause of this process is not held against the server.
        """
        quiet, reads = 0, link.reads
        while quiet < SILENCE_SECONDS:
            if quiet % ASK_SECONDS == 0:
                link.send("PING")
            await asyncio.sleep(1)
            quiet, reads = (quiet + 1, reads) if link.reads == reads else (0, link.reads)
        logger.warning("Redis at %s is silent for %s s and is left", self._place.name, SILENCE_SECONDS)
        link.abort()
