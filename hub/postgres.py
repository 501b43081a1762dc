"""Connections to PostgreSQL by which nodes are linked: every command is bounded in time, and none is ever repeated.

They must reach the server directly, or through a pooler in session mode: LISTEN and settings of the session do not
outlive a transaction elsewhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import asyncpg  # type: ignore[import-untyped]

from hub.errors import BrokerError, HubError

SCHEMES: Final = ("postgresql", "postgres")
MIN_VERSION: Final = 130_000
"""The first release with 64-bit transaction numbers in its snapshots."""
_SETTINGS: Final = {
    "application_name": "topichub",
    "client_min_messages": "error",
    "default_transaction_isolation": "read committed",
    "enable_seqscan": "off",  # what has been written a moment ago is found by index, whatever statistics say
    "jit": "off",
}
_FATAL: Final = ("08", "57")
"""Classes of errors that end a connection, so that nobody knows what became of the command."""
_READ_ONLY: Final = "25006"


class Refused(BrokerError):
    """PostgreSQL answered a command with an error, having done nothing; `code` is its SQLSTATE."""

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code


class Link:
    """One open connection, for one command at a time, each answered within `timeout` seconds or by BrokerError."""

    def __init__(self, connection: Any, timeout: float) -> None:
        self._connection = connection
        self._timeout = timeout

    @property
    def closed(self) -> bool:
        """Whether it has ended, for whatever reason."""
        return bool(self._connection.is_closed())

    @property
    def pid(self) -> int:
        """The number by which the server's notifications name this connection."""
        return int(self._connection.get_server_pid())

    async def fetch(self, statement: str, *arguments: Any) -> list[Any]:
        """The rows of one statement. Raises Refused, or BrokerError with `unknown` when the connection was lost."""
        rows: list[Any] = await self._bounded(self._connection.fetch, statement, *arguments)
        return rows

    async def row(self, statement: str, *arguments: Any) -> Any:
        """The first row, or None. Raises as `fetch`."""
        rows = await self.fetch(statement, *arguments)
        return rows[0] if rows else None

    async def script(self, text: str) -> None:
        """Carries out several statements as one transaction. Raises as `fetch`."""
        await self._bounded(self._connection.execute, text)

    async def listen(self, channel: str, heard: Callable[[int], None]) -> None:
        """From here on calls `heard` with the sender's number for each notification. Raises as `fetch`."""

        def hear(_: Any, sender: int, __: str, ___: object) -> None:
            heard(sender)

        await self._bounded(self._connection.add_listener, channel, hear)

    def close(self) -> None:
        """Ends the connection at once; whoever waits for an answer is told."""
        self._connection.terminate()

    async def _bounded(self, act: Callable[..., Awaitable[Any]], *arguments: Any) -> Any:
        # asyncpg's own time limit would send a cancellation first, which a hanging server does not answer either.
        alarm = asyncio.get_running_loop().call_later(self._timeout, self.close)
        late = alarm.when()
        try:
            return await act(*arguments)
        except asyncpg.PostgresError as error:
            code = error.sqlstate or ""
            if code.startswith(_FATAL) and code != "57014":
                self.close()
                raise BrokerError(self._lost(error, late), unknown=True) from None
            if code == _READ_ONLY:
                self.close()
            raise Refused(f"PostgreSQL refused a command: {error}", code) from None
        except (asyncpg.InterfaceError, asyncpg.InternalClientError, OSError) as error:
            self.close()
            raise BrokerError(self._lost(error, late), unknown=True) from None
        except BaseException:
            self.close()
            raise
        finally:
            alarm.cancel()

    def _lost(self, error: Exception, late: float) -> str:
        if asyncio.get_running_loop().time() >= late:
            return f"PostgreSQL did not answer within {self._timeout:g} s"
        return f"the connection to PostgreSQL was lost: {error or type(error).__name__}"


class Server:
    """A PostgreSQL database by its URL, as asyncpg understands it; `name` is hosts and database, for logs.

    Of several hosts (`postgresql://a:5432,b:5432/name`) the one that takes writes is used.

    Raises HubError for a URL that cannot be used; its text never holds the password.
    """

    def __init__(self, url: str) -> None:
        try:
            parts = urlsplit(url)
            hosts = [urlsplit(f"//{each}") for each in parts.netloc.rpartition("@")[2].split(",")]
            ports = [each.port if each.port is not None else 5432 for each in hosts]
        except ValueError:
            raise HubError("the PostgreSQL URL cannot be used: its host or port cannot be read") from None
        if parts.scheme not in SCHEMES or 0 in ports:
            raise HubError(
                "the PostgreSQL URL cannot be used: write postgresql://user:password@host:5432/name"
            )
        places = (f"{each.hostname or 'localhost'}:{port}" for each, port in zip(hosts, ports, strict=True))
        self.name = f"{','.join(places)}/{unquote(parts.path.strip('/'))}"
        self._url = url

    async def connect(self, *, answer_within: float, connect_within: float) -> Link:
        """Opens a connection to the primary; `answer_within` bounds its commands. Raises BrokerError."""
        try:
            async with asyncio.timeout(connect_within):
                connection = await asyncpg.connect(
                    self._url,
                    timeout=connect_within + 1,
                    server_settings={**_SETTINGS, "statement_timeout": str(int(answer_within * 900))},
                    target_session_attrs="read-write",
                )
        except asyncpg.TargetServerAttributeNotMatched:
            raise BrokerError("PostgreSQL takes no writes now: it is a replica, or read-only") from None
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, ValueError) as error:
            raise BrokerError(f"PostgreSQL cannot be reached: {str(error) or 'no answer'}") from None
        link = Link(connection, answer_within)
        if connection.get_server_version() < (MIN_VERSION // 10_000, 0):
            link.close()
            raise BrokerError("PostgreSQL is too old: the hub needs version 13 or later")
        return link

    async def prepared(
        self, prepare: Callable[[Link], Awaitable[None]], *, answer_within: float, connect_within: float
    ) -> Link:
        """A connection on which `prepare` was done. Raises BrokerError, not `unknown`: nothing of the caller's was."""
        link = await self.connect(answer_within=answer_within, connect_within=connect_within)
        try:
            await prepare(link)
        except BrokerError as error:
            link.close()
            raise BrokerError(str(error)) from None
        except BaseException:
            link.close()
            raise
        return link


class Pool:
    """Up to `size` connections, opened by `connect` when they are needed, for one user each at a time.

    Waiting for a free one takes at most `timeout` seconds.
    """

    def __init__(self, connect: Callable[[], Awaitable[Link]], *, size: int, timeout: float) -> None:
        self._connect = connect
        self._timeout = timeout
        self._free = asyncio.Semaphore(size)
        self._idle: list[Link] = []
        self._busy: set[Link] = set()
        self._open = False

    def open(self) -> None:
        """Gives connections from now on."""
        self._open = True

    def close(self) -> None:
        """Ends all connections, those in use as well."""
        self._open = False
        for link in (*self._idle, *self._busy):
            link.close()
        self._idle.clear()

    @asynccontextmanager
    async def link(self) -> AsyncIterator[Link]:
        """A connection; one that failed is not used again. Raises BrokerError, not `unknown`, when there is none."""
        try:
            async with asyncio.timeout(self._timeout):
                await self._free.acquire()
        except TimeoutError:
            raise BrokerError("all connections to PostgreSQL are in use") from None
        try:
            link = await self._take()
            self._busy.add(link)
            try:
                yield link
            finally:
                self._busy.discard(link)
                if not link.closed and self._open:
                    self._idle.append(link)
                else:
                    link.close()
        finally:
            self._free.release()

    async def fetch(self, statement: str, *arguments: Any) -> Sequence[Any]:
        """The rows of one statement. Raises BrokerError, see its `unknown`."""
        async with self.link() as link:
            return await link.fetch(statement, *arguments)

    async def _take(self) -> Link:
        if not self._open:
            raise BrokerError("the node is not connected to PostgreSQL")
        while self._idle:
            link = self._idle.pop()
            if not link.closed:
                return link
        return await self._connect()
