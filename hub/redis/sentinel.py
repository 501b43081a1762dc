"""The primary that Sentinels name, and word of it when they name another."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

from hub.redis.address import Address
from hub.redis.link import Link
from hub.redis.sentinel_url import SentinelUrl

logger = logging.getLogger(__name__)
POLL_SECONDS: Final = 0.5
"""How often each Sentinel is asked: by its word a primary is left that fell silent, or that was cut off."""
ANSWER_SECONDS: Final = 1.0
RETRY_SECONDS: Final = 0.5
SETTLE_SECONDS: Final = 0.2
"""How long those are waited for that are slower than the first one: it may be the one that missed an election."""


@dataclass(frozen=True, slots=True)
class _Answer:
    """Where a Sentinel says that the primary is. Of two that differ, the one of the higher election is right."""

    election: int
    host: str
    port: int


class Sentinels:
    """A place: the primary that those Sentinels name who know of the latest election.

    They are asked over connections of their own, from the first `find` after an `attach` to the last `detach`.
    Raises HubError for what cannot be used.
    """

    def __init__(self, url: SentinelUrl) -> None:
        hosts = ", ".join(f"{host}:{port}" for host, port in url.sentinels)
        self.name = f"{url.master} of the Sentinels {hosts}"
        self.db = url.db
        self._url = url
        self._sentinels = [_sentinel(url, host, port) for host, port in url.sentinels]
        self._said: list[_Answer | str | None] = [None] * len(self._sentinels)
        self._primary = Address(url.primary(*url.sentinels[0]))  # tells of what cannot be used at once
        self._named: _Answer | None = None
        self._listeners: list[Callable[[Address], None]] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._news = asyncio.Event()

    async def find(self) -> Address:
        """Where the primary is, by the last word of any Sentinel. Raises ConnectionError when there never was one."""
        if not self._tasks:
            self._said = [None] * len(self._sentinels)
            self._tasks = [
                asyncio.create_task(self._ask_always(at), name=f"redis sentinel {sentinel.name}")
                for at, sentinel in enumerate(self._sentinels)
            ]
        with suppress(TimeoutError):
            async with asyncio.timeout(SETTLE_SECONDS):
                while None in self._said:
                    await self._heard()
        while self._named is None:
            if all(self._said):
                raise ConnectionError(f"no Sentinel names the primary: {'; '.join(map(str, self._said))}")
            await self._heard()
        return self._primary

    def attach(self, moved: Callable[[Address], None]) -> None:
        """Calls `moved` whenever the primary is another."""
        self._listeners.append(moved)

    async def detach(self, moved: Callable[[Address], None]) -> None:
        """Ends `attach`; with the last one the Sentinels are asked no more."""
        self._listeners.remove(moved)
        if not self._listeners and self._tasks:
            tasks, self._tasks = self._tasks, []
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    async def _heard(self) -> None:
        """Waits for the next word of a Sentinel."""
        self._news.clear()
        await self._news.wait()

    async def _ask_always(self, at: int) -> None:
        while True:
            try:
                await self._ask_on(at)
            except (OSError, EOFError) as error:
                self._hear(at, f"{self._sentinels[at].name}: {error or 'no answer'}")
            except Exception as error:
                logger.debug("what a Sentinel said cannot be understood", exc_info=True)
                self._hear(at, f"{self._sentinels[at].name}: {error!r}")
            await asyncio.sleep(RETRY_SECONDS)

    async def _ask_on(self, at: int) -> None:
        """Asks one Sentinel over one connection, until that fails."""
        async with asyncio.timeout(ANSWER_SECONDS):
            link = await Link.open(self._sentinels[at])
        try:
            while True:
                async with asyncio.timeout(ANSWER_SECONDS):
                    answer = await _ask(link, self._url.master)
                self._hear(at, answer)
                await asyncio.sleep(POLL_SECONDS)
        finally:
            link.abort()

    def _hear(self, at: int, said: _Answer | str) -> None:
        before, self._said[at] = self._said[at], said
        if isinstance(said, str) and not isinstance(before, str):
            logger.warning("no word about the primary of Redis from the Sentinel at %s", said)
        self._news.set()
        known = Counter(each for each in self._said if isinstance(each, _Answer))
        if known:
            self._name(max(known, key=lambda each: (each.election, known[each], each == self._named)))

    def _name(self, answer: _Answer) -> None:
        before, self._named = self._named, answer
        if before is not None and (before.host, before.port) == (answer.host, answer.port):
            return
        self._primary = Address(self._url.primary(answer.host, answer.port), primary=True)
        if before is not None:
            logger.warning("the Sentinels name another primary of Redis: %s", self._primary.name)
        for moved in list(self._listeners):
            moved(self._primary)


def _sentinel(url: SentinelUrl, host: str, port: int) -> Address:
    login = f"{quote(url.sentinel_user, safe='')}:{quote(url.sentinel_password, safe='')}@"
    name = f"[{host}]" if ":" in host else host
    ssl = "&".join(each for each in url.options.split("&") if each.startswith("ssl_"))
    return Address(f"redis{'s' * url.tls}://{login if url.sentinel_password else ''}{name}:{port}?{ssl}")


async def _ask(link: Link, master: str) -> _Answer:
    """The election is in what a Sentinel knows of the primary; during a failover only the address is up to date."""
    link.send("SENTINEL", "MASTER", master)
    link.send("SENTINEL", "GET-MASTER-ADDR-BY-NAME", master)
    answers: list[Any] = []
    while len(answers) < 2:
        answers += await link.read()
    facts, address = answers
    if not address:
        raise ConnectionError(f"it knows no primary named {master}")
    known = dict(zip(facts[::2], facts[1::2], strict=False))
    return _Answer(int(known.get(b"config-epoch", 0)), _text(address), int(address[1]))


def _text(address: Sequence[bytes]) -> str:
    return address[0].decode("utf-8", "replace")
