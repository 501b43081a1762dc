"""The topics that a node is subscribed to at one Redis server, over a connection that is mended whenever it breaks."""

from __future__ import annotations

import asyncio
from collections import deque
from itertools import groupby
from typing import Any, Final

from hiredis import ReplyError

from hub.broker.inbox import Inbox
from hub.broker.redis.want import Want
from hub.redis.lasting_link import LastingLink
from hub.redis.link import NO_DISK, Link
from hub.redis.place import Place

_CHUNK: Final = 1000


class Subscriber:
    """Puts what Redis sends on the wanted topics into the inbox, and a Gap wherever something may be missing.

    Redis answers in order, so each confirmation belongs to the first SUBSCRIBE that is not yet confirmed.
    """

    def __init__(self, place: Place, inbox: Inbox, *, connect_timeout: float) -> None:
        self._inbox = inbox
        self._link = LastingLink(place, self, connect_timeout=connect_timeout)
        self._wants: dict[bytes, Want] = {}
        self._unconfirmed: deque[Want] = deque()
        self._unsent: list[tuple[str, Want]] = []

    @property
    def connected(self) -> bool:
        """Whether the connection is open."""
        return self._link.link is not None

    @property
    def reconnects(self) -> int:
        """How often the connection was mended."""
        return self._link.reconnects

    async def start(self) -> None:
        """Begins to connect, and returns when that has succeeded or failed once."""
        await self._link.start()

    async def stop(self) -> None:
        """Closes the connection; what is wanted is subscribed again by a later `start`."""
        await self._link.stop()

    async def subscribe(self, topic: str, channel: bytes) -> None:
        """Returns when Redis has confirmed; at once when it is away; after 3 s without a word, all the same."""
        want = self._wants.get(channel)
        if want is None:
            want = self._wants[channel] = Want(topic, channel)
            if self.connected:
                self._send("SUBSCRIBE", want)
        if self.connected and not want.live:
            await want.confirmed()

    def unsubscribe(self, channel: bytes) -> None:
        """Lets a channel go."""
        want = self._wants.pop(channel, None)
        if want is not None:
            want.wake()
            if self.connected:
                self._send("UNSUBSCRIBE", want)

    def up(self, link: Link) -> None:
        """Subscribes to all that is wanted."""
        self._unsent = []
        for want in self._wants.values():
            self._send("SUBSCRIBE", want)
        self._flush()

    def take(self, message: Any) -> None:
        """Takes a publication or a confirmation. Raises ConnectionError upon an error of Redis."""
        if isinstance(message, ReplyError):
            if str(message).startswith(NO_DISK):
                return  # an answer to a ping too
            raise ConnectionError(f"Redis refused a command: {message}")
        if not isinstance(message, list):
            return  # the answer to a ping while nothing is subscribed
        if message[0] == b"message":
            want = self._wants.get(message[1])
            if want is not None and want.live:
                want.deliver(message[2], self._inbox)
        elif message[0] == b"subscribe":
            want = self._unconfirmed.popleft()
            if self._wants.get(want.channel) is want:
                want.confirm(self._inbox)

    def down(self) -> None:
        """Notes that nothing is subscribed any more."""
        self._unsent = []
        self._unconfirmed.clear()
        for want in self._wants.values():
            want.lose()

    def _send(self, command: str, want: Want) -> None:
        if not self._unsent:
            asyncio.get_running_loop().call_soon(self._flush)
        self._unsent.append((command, want))

    def _flush(self) -> None:
        """Sends the commands of one loop tick, those of a kind that follow one another as one."""
        unsent, self._unsent = self._unsent, []
        link = self._link.link
        if link is None:
            return
        for command, group in groupby(unsent, lambda each: each[0]):
            wants = [want for _, want in group]
            if command == "SUBSCRIBE":
                self._unconfirmed.extend(wants)
            for at in range(0, len(wants), _CHUNK):
                link.send(command, *(want.channel for want in wants[at : at + _CHUNK]))
