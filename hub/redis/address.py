"""Where a Redis server is and how it is entered, from its URL."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from redis.asyncio.connection import Connection, SSLConnection, parse_url

from hub.errors import HubError


class Address:
    """A server by its `redis://` or `rediss://` URL, as redis-py understands it: user, password, port, database, TLS.

    It is the place of a server that does not move. With `primary` a server that says to be a replica is left at once.
    The option `wait_replicas=N` of the URL is the hub's own: so many replicas must have what is called durable.
    Raises HubError for a URL that cannot be used; its text never holds the password.
    """

    def __init__(self, url: str, *, primary: bool = False) -> None:
        self.primary = primary
        try:
            self.name = _name(url)
            self._options: dict[str, Any] = dict(parse_url(url))
            self.wait_replicas = _count(self._options.pop("wait_replicas", "0"))
            self._class: type[Connection] = self._options.pop("connection_class", Connection)
            sample = self.connection(timeout=1, connect_timeout=1)
            self.ssl: ssl.SSLContext | None = (
                sample.ssl_context.get() if isinstance(sample, SSLConnection) else None
            )
        except (ValueError, TypeError, OSError) as error:
            raise HubError(f"the Redis URL cannot be used: {_first_line(error)}") from None
        self.host = sample.host
        self.port = sample.port
        self.db = int(sample.db)
        self.login: tuple[str, ...] = tuple(
            part for part in (self._options.get("username"), self._options.get("password")) if part
        )

    def connection(self, *, timeout: float, connect_timeout: float) -> Connection:
        """A connection for commands, not yet open; it never repeats a command by itself."""
        options = {
            "protocol": 2,
            "client_name": "topichub",
            "driver_info": None,
            **self._options,
            "socket_timeout": timeout,
            "socket_connect_timeout": connect_timeout,
        }
        return self._class(**options)

    async def find(self) -> Address:
        """Itself."""
        return self

    def attach(self, moved: Callable[[Address], None]) -> None:
        """Never calls `moved`."""

    async def detach(self, moved: Callable[[Address], None]) -> None:
        """Ends `attach`."""


def _name(url: str) -> str:
    """Host and port, for logs."""
    parts = urlsplit(url)
    if parts.path.strip("/") and not parts.path.strip("/").isdigit():
        raise ValueError("what follows the host must be the number of a database")
    return f"{parts.hostname or 'localhost'}:{parts.port or 6379}"


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) > 9:
        raise ValueError("wait_replicas is a number of replicas, 0 to 9")
    return int(text)


def _first_line(error: Exception) -> str:
    """redis-py's errors about options name the option, never its value."""
    return (str(error) or type(error).__name__).splitlines()[0]
