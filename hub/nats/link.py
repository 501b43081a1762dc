"""One connection to NATS that is never mended by the library: it lives until it breaks, and says so once."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import Final

import nats.errors
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from hub.errors import BrokerError
from hub.nats.address import Address
from hub.nats.client import Client

logger = logging.getLogger(__name__)
Headers = dict[str, str]
PING_SECONDS: Final = 2
CLOSE_SECONDS: Final = 1.0
HEADROOM: Final = 4096
"""Bytes of a message left for its headers."""
_NO_RESPONDERS: Final = "503"
_TOO_MANY: Final = "413"


class TooMany(BrokerError):
    """More was asked for at once than NATS gives in one answer."""


class Link:
    """An open connection. What was sent on it and not answered when it ends raises BrokerError at once.

    nats-py would buffer while it reconnects by itself, and tell nobody what it lost: here it may do neither. `closed`
    is set when the connection has ended; a server that answers no ping for two to four seconds ends it too.
    """

    def __init__(self, client: Client, timeout: float) -> None:
        self._timeout = timeout
        self.closed = asyncio.Event()
        self.on_slow: Callable[[str], None] = lambda _: None
        """Told the subject on which messages were dropped because this process was too slow."""
        self._client = client
        self._number = 0
        self._inbox = ""
        self._answers: dict[str, asyncio.Future[Msg] | asyncio.Queue[Msg | None]] = {}

    @classmethod
    async def open(cls, address: Address, servers: list[str], *, within: float, answer: float) -> Link:
        """Connects to one of the servers `within` seconds; each `answer` may take its time. Raises BrokerError."""
        client = Client()
        link = cls(client, answer)
        try:
            async with asyncio.timeout(within):
                await client.connect(
                    servers,
                    name="topichub",
                    allow_reconnect=False,
                    max_reconnect_attempts=1,
                    reconnect_time_wait=0,
                    connect_timeout=max(1, int(within)),
                    ping_interval=PING_SECONDS,
                    max_outstanding_pings=1,
                    user_credentials=address.creds,
                    error_cb=link._error,
                    closed_cb=link._closed,
                )
                link._inbox = client.new_inbox()
                await client.subscribe(f"{link._inbox}.*", cb=link._answer)
        except (nats.errors.Error, OSError, TimeoutError, AttributeError, ValueError) as error:
            await link.close()
            raise BrokerError(
                f"NATS cannot be reached: {client.last_error or error or 'no answer'}"
            ) from None
        except BaseException:
            await link.close()
            raise
        return link

    @property
    def discovered(self) -> list[str]:
        """Other servers of the cluster, as this one told."""
        return [uri.geturl() for uri in self._client.discovered_servers]

    @property
    def max_message(self) -> int:
        """The most bytes that a message may hold beside its headers."""
        return self._client.max_payload - HEADROOM

    async def close(self) -> None:
        """Ends the connection, without waiting for the server."""
        with contextlib.suppress(Exception):
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._client.close()
        self._end()

    async def send(
        self, subject: str, message: bytes, headers: Headers | None = None, reply: str = ""
    ) -> None:
        """Sends without waiting for anything. Raises BrokerError when the connection has ended."""
        if self.closed.is_set():
            raise BrokerError("the node is not connected to NATS")
        try:
            await self._client.publish(subject, message, reply, headers)
        except (nats.errors.Error, OSError) as error:
            if self._client.is_closed:
                self._end()
            raise BrokerError(f"NATS did not take a message: {error!r}") from None

    async def ask(self, subject: str, message: bytes, headers: Headers | None = None) -> bytes:
        """The answer to a message. Raises BrokerError, `unknown` once the message was sent."""
        answer: asyncio.Future[Msg] = asyncio.get_running_loop().create_future()
        token = self._register(answer)
        try:
            await self.send(subject, message, headers, f"{self._inbox}.{token}")
            async with asyncio.timeout(self._timeout):
                found = await answer
        except TimeoutError:
            raise BrokerError(f"NATS did not answer within {self._timeout:g} s", unknown=True) from None
        finally:
            del self._answers[token]
        if not found.data and _status(found) == _NO_RESPONDERS:
            self.closed.set()  # a new connection looks for the stream, and makes it if need be
            raise BrokerError("nobody in NATS answers: JetStream is off, or its stream is gone")
        return found.data

    async def collect(self, subject: str, message: bytes) -> list[Msg]:
        """All answers up to the one that says that there are no more. Raises TooMany and BrokerError."""
        answers: asyncio.Queue[Msg | None] = asyncio.Queue()
        token = self._register(answers)
        found: list[Msg] = []
        try:
            await self.send(subject, message, None, f"{self._inbox}.{token}")
            async with asyncio.timeout(self._timeout):
                while (answer := await answers.get()) is not None and not _status(answer):
                    found.append(answer)
        except TimeoutError:
            raise BrokerError(f"NATS did not answer within {self._timeout:g} s") from None
        finally:
            del self._answers[token]
        if answer is None:
            raise BrokerError("the connection to NATS was lost")
        if _status(answer) == _TOO_MANY:
            raise TooMany("NATS has more to say than one answer may hold")
        if _status(answer) not in {"204", "404"}:
            raise BrokerError(f"NATS refused to read: {(answer.headers or {}).get('Description', '')}")
        return found

    async def subscribe(self, subject: str, take: Callable[[Msg], Awaitable[None]]) -> Subscription:
        """Sends a subscription; it is in force after the next `confirm`. Raises BrokerError."""
        try:
            return await self._client.subscribe(subject, cb=take)
        except (nats.errors.Error, OSError) as error:
            raise BrokerError(f"NATS did not take a subscription: {error!r}") from None

    async def unsubscribe(self, subscription: Subscription) -> None:
        """Ends a subscription; whatever state the connection is in."""
        with contextlib.suppress(nats.errors.Error, OSError):
            await subscription.unsubscribe()

    async def confirm(self) -> bool:
        """Returns whether the server has taken, within the time of an answer, all that was sent before.

        Asked by a message to ourselves: nats-py lets a ping overtake what waits to be sent.
        """
        answer: asyncio.Future[Msg] = asyncio.get_running_loop().create_future()
        token = self._register(answer)
        try:
            await self.send(f"{self._inbox}.{token}", b"")
            async with asyncio.timeout(self._timeout):
                await answer
        except (BrokerError, TimeoutError):
            return False
        finally:
            del self._answers[token]
        return True

    def _register(self, answer: asyncio.Future[Msg] | asyncio.Queue[Msg | None]) -> str:
        self._number += 1
        token = str(self._number)
        self._answers[token] = answer
        return token

    async def _answer(self, message: Msg) -> None:
        waiting = self._answers.get(message.subject.rpartition(".")[2])
        if isinstance(waiting, asyncio.Queue):
            waiting.put_nowait(message)
        elif waiting is not None and not waiting.done():
            waiting.set_result(message)

    async def _error(self, error: Exception) -> None:
        if isinstance(error, nats.errors.SlowConsumerError):
            self.on_slow(error.subject)
        logger.debug("NATS: %r", error)

    async def _closed(self) -> None:
        self._end()

    def _end(self) -> None:
        self.closed.set()
        for waiting in self._answers.values():
            if isinstance(waiting, asyncio.Queue):
                waiting.put_nowait(None)
            elif not waiting.done():
                waiting.set_exception(BrokerError("the connection to NATS was lost", unknown=True))


def _status(message: Msg) -> str:
    return (message.headers or {}).get("Status", "")
