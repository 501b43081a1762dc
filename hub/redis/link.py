"""One connection to Redis on which it pushes: read with hiredis alone, since redis-py's own reader may lose a topic."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, Final

import hiredis

from hub.redis.address import Address

_READ: Final = 1 << 18
NO_PRIMARY: Final = "it is a replica, not the primary"
NO_DISK: Final = "MISCONF"
"""Begins what a server whose disk takes no more says to every write, and to PING, which it answers by it."""


def is_primary(role: Any) -> bool:
    """Whether the answer to ROLE is that of a primary."""
    return isinstance(role, list) and bool(role) and role[0] == b"master"


class Link:
    """An open connection. Its errors are OSErrors, and ConnectionError for what Redis refuses."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reads = 0
        """How often something came; it stands still when the server is silent."""
        self._reader = reader
        self._writer = writer
        self._parser = hiredis.Reader()

    @classmethod
    async def open(cls, address: Address) -> Link:
        """Connects and logs in. Returns once the server answers; bounding the time is the caller's.

        Where a primary is wanted, a replica is refused.
        """
        link = cls(*await asyncio.open_connection(address.host, address.port, ssl=address.ssl))
        commands = [("AUTH", *address.login)] if address.login else []
        commands.append(("ROLE",) if address.primary else ("PING",))
        try:
            for command in commands:
                link.send(*command)
            answers: list[Any] = []
            while len(answers) < len(commands):
                answers += await link.read(errors=True)
            for answer in answers:
                if isinstance(answer, hiredis.ReplyError) and not str(answer).startswith(NO_DISK):
                    raise ConnectionError(f"Redis refused a command: {answer}")
            if address.primary and not is_primary(answers[-1]):
                raise ConnectionError(NO_PRIMARY)
        except BaseException:
            link.abort()
            raise
        return link

    def send(self, *command: str | bytes) -> None:
        """Writes a command; its answers come among those of `read`."""
        self._writer.write(hiredis.pack_command(command))  # type: ignore[arg-type]

    def send_all(self, commands: Iterable[tuple[str | bytes, ...]]) -> None:
        """Writes several commands at once."""
        self._writer.write(b"".join(hiredis.pack_command(each) for each in commands))  # type: ignore[arg-type]

    async def read(self, *, errors: bool = False) -> list[Any]:
        """Waits for answers and pushes, and returns all that came together; raises when the connection has ended.

        With `errors` what Redis refuses stands among them as a ReplyError, else it is raised.
        """
        data = await self._reader.read(_READ)
        if not data:
            raise ConnectionError("Redis closed the connection")
        self.reads += 1
        self._parser.feed(data)
        messages = []
        try:
            while (message := self._parser.gets(False)) is not False:
                if isinstance(message, hiredis.ReplyError) and not errors:
                    raise ConnectionError(f"Redis refused a command: {message}")
                messages.append(message)
        except hiredis.ProtocolError as error:
            raise ConnectionError(f"Redis sent what cannot be read: {error}") from None
        return messages

    def abort(self) -> None:
        """Ends the connection at once; whoever waits in `read` is told."""
        self._writer.transport.abort()
