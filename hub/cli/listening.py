"""A subscription over server-sent events that comes back after every break, and says what it may have missed."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any, Final

import httpx2

from hub.cli import remote
from hub.cli.talk import say

SILENCE: Final = 75.0
"""Seconds without even a ping after which a connection is taken for dead."""
_FIRST_PAUSE: Final = 0.5
_LONGEST_PAUSE: Final = 10.0


@dataclass(slots=True)
class Event:
    """One event of a stream."""

    name: str = ""
    id: str = ""
    lines: list[str] = field(default_factory=list)

    @property
    def data(self) -> str:
        """The lines of data together."""
        return "\n".join(self.lines)


@dataclass(frozen=True, slots=True)
class Heard:
    """A publication that came: its payload as text; position 0 and "" on a topic without history."""

    topic: str
    text: str
    offset: int
    epoch: str

    def as_json(self) -> str:
        """One line of JSON. A payload that is no JSON text is a string."""
        data: Any
        try:
            data = json.loads(self.text)
        except ValueError:
            data = self.text
        at = {"offset": self.offset, "epoch": self.epoch} if self.offset else {}
        return json.dumps({"topic": self.topic, "data": data, **at}, ensure_ascii=False)


class Listener:
    """One topic. `hear` is called with each publication; what else happens is told on standard error."""

    def __init__(
        self, url: str, topic: str, token: str | None, since: str, hear: Callable[[Heard], None]
    ) -> None:
        self._url = url
        self._topic = topic
        self._headers = {"Accept": "text/event-stream", **remote.headers(None, token)}
        self._position = since
        self._hear = hear
        self._connected = False
        self._pause = _FIRST_PAUSE

    async def run(self) -> None:
        """Listens until it is cancelled. Raises RefusedError, and UnreachableError when it finds nobody at first."""
        async with httpx2.AsyncClient(**remote.options(self._url, SILENCE)) as client:
            while True:
                try:
                    reason = await self._listen(client)
                except httpx2.TransportError as error:
                    if not self._connected:
                        raise remote.unreachable(self._url, error) from error
                    reason = str(error) or type(error).__name__
                say(f"{self._topic}: the connection ended ({reason}); trying again in {self._pause:.1f} s")
                await asyncio.sleep(self._pause * random.uniform(0.7, 1.3))  # noqa: S311 - a spread, no secret
                self._pause = min(2 * self._pause, _LONGEST_PAUSE)

    async def _listen(self, client: httpx2.AsyncClient) -> str:
        """Listens to one connection until it ends, and returns why it did."""
        headers = {**self._headers, "Last-Event-ID": self._position} if self._position else self._headers
        async with client.stream(
            "GET", remote.topic_url(self._url, "sse", self._topic), headers=headers
        ) as response:
            if response.status_code != 200:
                await response.aread()
                if self._connected and response.status_code >= 500:
                    return f"HTTP {response.status_code}"
                raise remote.refused(response)
            async for event in events(response.aiter_lines()):
                if event.name == "disconnect":
                    return str(json.loads(event.data)["reason"])
                self._take(event)
        return "the hub closed it"

    def _take(self, event: Event) -> None:
        if not self._connected:
            self._connected = True
            say(f"{self._topic}: listening")
        self._pause = _FIRST_PAUSE
        if event.name == "unrecovered":
            say(
                f"{self._topic}: what was published meanwhile may be lost; the history does not reach back so far"
            )
        elif event.lines and not event.name:
            offset, _, epoch = event.id.partition(":")
            self._hear(Heard(self._topic, event.data, int(offset or 0), epoch))
        self._position = event.id or self._position


async def events(lines: AsyncIterator[str]) -> AsyncIterator[Event]:
    """The events of a stream, and an empty one where only an id or a comment stands."""
    event = Event()
    async for line in lines:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not line:
            yield event
            event = Event()
        elif name == "data":
            event.lines.append(value)
        elif name == "event":
            event.name = value
        elif name == "id":
            event.id = value
