"""Clients that come and go, and clients that stay and write down who comes and goes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections.abc import Callable, Sequence
from typing import Any, Final

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidMessage

from tests.chaos.presence.history import Stay, Told

OPEN_SECONDS: Final = 3.0
SILENCE_SECONDS: Final = 7.0
"""After how long without a frame a visitor gives its connection up; pings come every 5 s."""
SHORTEST_STAY: Final = 0.4
LONGEST_STAY: Final = 4.0


class Client:
    """One connection of a user: it subscribes to topics, reads, and leaves."""

    def __init__(self, socket: ClientConnection, user: str, node: int, clock: Callable[[], float]) -> None:
        self.stays: list[Stay] = []
        self.told: list[Told] = []
        self._socket = socket
        self._user = user
        self._node = node
        self._clock = clock
        self._client = ""

    async def enter(self, token: str, topics: Sequence[str], stays: list[Stay]) -> None:
        """Connects and subscribes; each stay is added to `stays` before the hub is asked for it."""
        await self._send({"id": 1, "connect": {"token": token}})
        while not self._client:
            await self.read(SILENCE_SECONDS)
        for number, topic in enumerate(topics):
            self.stays.append(Stay(self._client, self._user, topic, self._node, self._clock()))
            stays.append(self.stays[-1])
            await self._send({"id": 2 + number, "subscribe": {"channel": topic}})
        while any(stay.began is None for stay in self.stays):
            await self.read(SILENCE_SECONDS)

    async def read(self, seconds: float | None) -> None:
        """Takes one frame. Raises TimeoutError, ConnectionClosed, and ConnectionError upon an error reply."""
        async with asyncio.timeout(seconds):
            frame = await self._socket.recv()
        for line in str(frame).split("\n"):
            await self._take(json.loads(line))

    async def unsubscribe(self, number: int) -> None:
        """Leaves all topics, and waits for the answers."""
        for at, stay in enumerate(self.stays):
            await self._send({"id": number + at, "unsubscribe": {"channel": stay.topic}})
        while any(stay.ended is None for stay in self.stays):
            await self.read(SILENCE_SECONDS)

    def end(self) -> None:
        """Notes that it is gone."""
        for stay in self.stays:
            if stay.ended is None:
                stay.ended = self._clock()

    async def _send(self, command: dict[str, Any]) -> None:
        await self._socket.send(json.dumps(command))

    async def _take(self, message: dict[str, Any]) -> None:
        if not message:
            await self._socket.send("{}")
        elif "error" in message:
            raise ConnectionError(f"refused: {message['error']}")
        elif "connect" in message:
            self._client = message["connect"]["client"]
        elif "subscribe" in message:
            self.stays[message["id"] - 2].began = self._clock()
        elif "unsubscribe" in message:
            self.end()
        elif "push" in message:
            self._push(message["push"])

    def _push(self, push: dict[str, Any]) -> None:
        if "join" in push:
            info = push["join"]["info"]
            self.told.append(Told(self._clock(), "join", push["channel"], info["client"]))
        elif "leave" in push:
            info = push["leave"]["info"]
            self.told.append(Told(self._clock(), "leave", push["channel"], info["client"]))


class Visitor:
    """A user who comes to one node or another for a while, again and again, and stays once `quiet` is set.

    A `patient` one stays from the first, and waits for a node that is silent. `urls` are the nodes' addresses.
    """

    def __init__(
        self,
        urls: Sequence[str],
        topics: Sequence[str],
        user: str,
        token: str,
        rng: random.Random,
        clock: Callable[[], float],
        *,
        patient: bool = False,
    ) -> None:
        self.stays: list[Stay] = []
        self._urls = urls
        self._topics = topics
        self._user = user
        self._token = token
        self._rng = rng
        self._clock = clock
        self._patient = patient

    async def run(self, quiet: asyncio.Event) -> None:
        """Comes and goes until cancelled."""
        while True:
            with contextlib.suppress(
                OSError, TimeoutError, InvalidHandshake, InvalidMessage, ConnectionClosed, EOFError
            ):
                await self._visit(quiet)
            await asyncio.sleep(self._rng.uniform(0.1, 0.6))

    async def _visit(self, quiet: asyncio.Event) -> None:
        node = self._rng.randrange(len(self._urls))
        topics = self._rng.sample(self._topics, self._rng.randint(1, len(self._topics)))
        async with connect(
            self._urls[node],
            open_timeout=OPEN_SECONDS,
            close_timeout=0.2,
            ping_interval=None,
            compression=None,
        ) as socket:
            client = Client(socket, self._user, node, self._clock)
            try:
                await client.enter(self._token, topics, self.stays)
                await self._stay(client, quiet)
                if self._rng.random() < 0.5:
                    await client.unsubscribe(100)
                elif self._rng.random() < 0.5:
                    socket.transport.abort()
            except asyncio.CancelledError:
                raise  # the run is over, and it was there to the end
            except BaseException:
                client.end()
                socket.transport.abort()
                raise
            client.end()

    async def _stay(self, client: Client, quiet: asyncio.Event) -> None:
        until = self._clock() + self._rng.uniform(SHORTEST_STAY, LONGEST_STAY)
        heard = self._clock()
        while self._patient or quiet.is_set() or self._clock() < until:
            try:
                await client.read(0.2)
                heard = self._clock()
            except TimeoutError:
                if self._clock() - heard > SILENCE_SECONDS and not self._patient:
                    raise


async def watch(
    url: str, node: int, topics: Sequence[str], token: str, user: str, clock: Callable[[], float]
) -> tuple[Client, asyncio.Task[None]]:
    """A client that is on all topics from now on and reads until its task is cancelled; the task fails if it cannot."""
    socket = await connect(url, ping_interval=None, compression=None, max_queue=None)
    client = Client(socket, user, node, clock)
    await client.enter(token, topics, [])

    async def read() -> None:
        try:
            while True:
                await client.read(None)
        finally:
            await socket.close()

    return client, asyncio.create_task(read())
