"""What a client's request brings to say who it is: a token, a one-time ticket, or what a connect handler makes of it.

Neither class shows its secrets when it is printed, and a session keeps neither of them once it has connected.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from msgspec import Struct

WHO: Final = frozenset({"token", "ticket", "api_key"})
"""Parameters of a query that only say who asks."""


class ClientRequest(Struct, frozen=True, kw_only=True):
    """The HTTP request with which a client opened its connection, or asks for a ticket, as connect handlers see it.

    Names of headers are in lower case; of a header given twice the first counts, of a cookie the last, as sites have
    it. What speaks to the hub itself is left out: in `headers` cookies, keys and tokens, in `query` `token`, `ticket`
    and `api_key`. `cookies` is empty where another site's page may have sent them.
    """

    path: str
    query: Mapping[str, str] = {}
    headers: Mapping[str, str] = {}
    cookies: Mapping[str, str] = {}
    origin: str = ""
    """The `Origin` header, which only a browser sends: an origin that `server.allowed_origins` admits."""
    address: str = ""
    """The client's address, behind a trusted proxy the one that it tells; "" when unknown, as on a Unix socket."""
    secure: bool = False
    """Whether the client came over TLS, as far as is known."""

    def __repr__(self) -> str:
        """Without anything that might be a secret."""
        return f"<{type(self).__name__} {self.path!r}>"


@dataclass(frozen=True, slots=True)
class Credentials:
    """What came with a connection's own request; "" and None for what did not."""

    token: str = field(default="", repr=False)
    ticket: str = field(default="", repr=False)
    """Looked at only without a token."""
    origin: str = ""
    """Whence a ticket is presented, "" by no page."""
    request: ClientRequest | None = None
    """None also where no connect handler would ask for it."""


NOTHING: Final = Credentials()
