"""The one way in which the hub asks other servers over HTTP: guarded where it connects, and bounded in all it takes.

A name is resolved once for a connection, its addresses are judged (`hub.egress.addresses`), and the connection is made
to one that was judged: a name server that answers otherwise the next time changes nothing. TLS and the Host header
keep the name. Nothing is redirected, no proxy of the environment is used, and time and size of all of it are capped.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from hub.egress.addresses import AddressRules, Network
from hub.egress.fetched import Fetched
from hub.egress.resolver import Lookup
from hub.egress.urls import Target, read_url
from hub.errors import FetchError

if TYPE_CHECKING:
    from hub.egress.pool import Pool


class Egress:
    """Asks other servers. Made anywhere, used in one event loop; nothing is opened before the first request."""

    def __init__(
        self,
        *,
        allow_http: bool,
        allow_networks: Iterable[Network],
        lookup: Lookup,
        tls: Callable[[], ssl.SSLContext] | None,
    ) -> None:
        """`tls` makes the context that verifies servers, in a thread; None: with the system's authorities."""
        self._allow_http = allow_http
        self._rules = AddressRules(allow_networks)
        self._lookup = lookup
        self._tls = tls
        self._opening = asyncio.Lock()
        self._pool: Pool | None = None

    def target(self, url: str) -> Target:
        """Where a URL leads; raises ValueError for one that is refused before any name is resolved."""
        target = read_url(url)
        if target.scheme == "http" and not self._allow_http:
            raise ValueError(
                "plain http is refused: use https, or set webhooks.allow_http for a network of your own"
            )
        if target.literal and not self._rules.admit(target.host):
            raise ValueError(f"the address {target.host} is refused: it is not on the public internet")
        return target

    async def fetch(
        self,
        method: str,
        url: str | Target,
        *,
        headers: Mapping[str, str],
        body: bytes,
        seconds: float,
        max_bytes: int,
    ) -> Fetched:
        """Sends one request and reads the whole answer, whatever its status; raises FetchError.

        `seconds` bound all of it, names included; `max_bytes` bounds the body, as sent and as inflated.
        """
        try:
            target = url if isinstance(url, Target) else self.target(url)
        except ValueError as error:
            raise FetchError("refused", str(error)) from None
        try:
            async with asyncio.timeout(seconds):
                pool = self._pool or await self._open()
                return await pool.exchange(method, target, headers, body, max_bytes)
        except TimeoutError:
            raise FetchError("timeout", f"no answer within {seconds:.3g} s") from None

    async def _open(self) -> Pool:
        async with self._opening:
            if self._pool is None:
                self._pool = await asyncio.to_thread(self._make_pool)
            return self._pool

    def _make_pool(self) -> Pool:
        # A hub that asks nobody pays neither for the import nor for the certificates.
        from hub.egress.pool import Pool  # noqa: PLC0415

        return Pool(self._rules, self._lookup, self._tls)

    async def close(self) -> None:
        """Closes all connections."""
        pool, self._pool = self._pool, None
        if pool is not None:
            await pool.close()
