"""A subscriber that does what the SDKs of the client protocol do, and writes down all it sees.

It asks again after every cut, every disconnect below 3500 and every unsubscribe from 2500 on, always from its last
position; it takes whatever publication comes and trusts the hub's word for what is missing. Nothing here drops a
duplicate or mends an order: that would hide what the suite is to find.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import socket
from collections.abc import Callable, Sequence
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidMessage

from tests.chaos.history import Ended, Event, Received, Subscribed

REPLY_SECONDS = 5.0
"""How long a command may go unanswered before the connection is given up, as in the SDKs."""
PING_DELAY = 2.0
"""How much longer than its interval a ping may take."""
UNREAD_BYTES = 65_536
"""The receive buffer of a slow reader: small, so that what it does not read soon waits at the hub."""


class _Again(Exception):
    """The connection is of no use any more."""


class Subscriber:
    """One client on one topic; `run` ends when it is cancelled, or when the hub sends it away for good.

    `urls` are the WebSocket addresses of all nodes, of which each connection takes one. `slow` makes it stop reading
    for a while now and then, see `pause`.
    """

    def __init__(
        self,
        urls: Sequence[str],
        topic: str,
        rng: random.Random,
        clock: Callable[[], float],
        *,
        slow: bool = False,
    ) -> None:
        self.log: list[Event] = []
        self.epoch = ""
        self.offset = 0
        self.subscriptions = 0
        self.at = ""
        """The address of its latest connection."""
        self.reading = asyncio.Event()
        self.reading.set()
        self._urls = urls
        self._topic = topic
        self._rng = rng
        self._clock = clock
        self._slow = slow
        self._socket: ClientConnection | None = None
        self._commands: dict[int, str] = {}
        self._ids = 0
        self._silence = REPLY_SECONDS
        self._subscribed = False
        self._gone = False

    @property
    def place(self) -> tuple[str, int]:
        """Where it stands."""
        return self.epoch, self.offset

    def ended(self, why: str) -> int:
        """How often something that begins so ended its connection or subscription."""
        return sum(isinstance(event, Ended) and event.why.startswith(why) for event in self.log)

    def cut(self) -> None:
        """Loses the connection, without a farewell."""
        if self._socket is not None:
            self._socket.transport.abort()

    async def run(self) -> None:
        """Connects, and connects again."""
        attempts = 0
        while not self._gone:
            seen = self.subscriptions
            with contextlib.suppress(OSError, TimeoutError, InvalidHandshake, InvalidMessage, EOFError):
                await self._connection()
            attempts = 0 if self.subscriptions > seen else attempts + 1
            await asyncio.sleep(self._rng.uniform(0.01, 0.05) * 2 ** min(attempts, 5))

    async def _connection(self) -> None:
        url = self._rng.choice(self._urls)
        options: dict[str, Any] = (
            {"max_queue": 1, "sock": _small_socket(url)} if self._slow else {"max_queue": 64}
        )
        async with connect(
            url,
            open_timeout=REPLY_SECONDS,
            close_timeout=0.2,
            ping_interval=None,
            max_size=None,
            compression=None,
            **options,
        ) as connection:
            self._socket = connection
            self.at = url
            self._subscribed = False
            self._commands.clear()
            try:
                await self._command("connect", {"name": "chaos"})
                await self._subscribe()
                await self._read(connection)
            except ConnectionClosed as closed:
                self._end(closed)
            except (_Again, TimeoutError) as error:
                self.log.append(Ended(self._clock(), f"given up: {error}"))
                connection.transport.abort()
            finally:
                self._socket = None

    async def _read(self, connection: ClientConnection) -> None:
        while True:
            await self.reading.wait()
            async with asyncio.timeout(self._silence):
                frame = await connection.recv()
            for line in str(frame).split("\n"):
                await self._take(json.loads(line))

    def _end(self, closed: ConnectionClosed) -> None:
        code = closed.rcvd.code if closed.rcvd is not None else 1006
        final = 3500 <= code < 4000 or 4500 <= code < 5000 or code == 1009
        self._gone = final
        self.log.append(Ended(self._clock(), f"disconnect {code}", final))

    async def _command(self, method: str, request: dict[str, Any]) -> None:
        self._ids += 1
        self._commands[self._ids] = method
        assert self._socket is not None
        await self._socket.send(json.dumps({"id": self._ids, method: request}))

    async def _subscribe(self) -> None:
        since = {"recover": True, "offset": self.offset, "epoch": self.epoch} if self.subscriptions else {}
        await self._command("subscribe", {"channel": self._topic, **since})

    async def _take(self, message: dict[str, Any]) -> None:
        if not message:
            assert self._socket is not None
            await self._socket.send("{}")
        elif "id" in message:
            await self._reply(message)
        elif message["push"].get("channel") == self._topic:
            push = message["push"]
            if "pub" in push:
                self._publication(push["pub"])
            elif "unsubscribe" in push:
                await self._unsubscribed(push["unsubscribe"]["code"])

    async def _reply(self, message: dict[str, Any]) -> None:
        method = self._commands.pop(message["id"])
        if "error" in message:
            await self._refused(method, message["error"])
        elif method == "connect":
            self._silence = message["connect"]["ping"] + PING_DELAY
        else:
            self._answer(message["subscribe"])

    async def _refused(self, method: str, error: dict[str, Any]) -> None:
        again = error.get("temporary", False) or error["code"] < 100
        self.log.append(Ended(self._clock(), f"{method} error {error['code']}", not again))
        if not again:
            self._gone = True
        if not again or method == "connect":
            raise _Again(f"{method} was refused")
        await asyncio.sleep(self._rng.uniform(0.05, 0.2))
        await self._subscribe()

    def _answer(self, result: dict[str, Any]) -> None:
        self.subscriptions += 1
        self._subscribed = True
        self.epoch = result.get("epoch", "")
        self.offset = result.get("offset", 0)
        recovered = result.get("recovered", False)
        self.log.append(Subscribed(self._clock(), self.epoch, self.offset, recovered))
        for publication in result.get("publications", ()):
            self._publication(publication)

    def _publication(self, publication: dict[str, Any]) -> None:
        epoch = publication.get("epoch", self.epoch) if self._subscribed else "not subscribed"
        offset = publication.get("offset", 0)
        self.log.append(Received(self._clock(), epoch, offset, publication["data"]["n"]))
        self.offset = offset

    async def _unsubscribed(self, code: int) -> None:
        self._subscribed = False
        self.log.append(Ended(self._clock(), f"unsubscribe {code}", code < 2500))
        if code >= 2500:
            await self._subscribe()
        else:
            self._gone = True
            raise _Again(f"unsubscribed with {code}")


def _small_socket(url: str) -> socket.socket:
    host, _, port = url.removeprefix("ws://").partition("/")[0].rpartition(":")
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, UNREAD_BYTES)
    raw.connect((host, int(port)))
    raw.setblocking(False)
    return raw
