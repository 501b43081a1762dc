"""The one way in which the hub asks other servers over HTTP: guarded where it connects, and bounded in all it takes.

A name is resolved once for a connection, its addresses are judged (`hub.egress.addresses`), and the connection is made
to one that was judged: a name server that answers otherwise the next time changes nothing. TLS and the Host header keep
the name. Nothing is redirected, no proxy of the environment is used, and time and size of the whole exchange are capped.
"""

from __future__ import annotations

import asyncio
import ssl
import zlib
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import httpcore2
import msgspec

from hub.egress.addresses import AddressRules, Network
from hub.egress.resolver import Lookup, Resolver
from hub.egress.urls import Target, read_url
from hub.errors import FetchError

KEPT_ALIVE: Final = 64
"""Idle connections kept for the next request, four seconds each: less than servers commonly wait before they close."""
_KEPT_SECONDS: Final = 4.0
_ATTEMPT_SECONDS: Final = 2.0
"""How long one of several addresses may take to accept a connection."""
_OURS: Final = frozenset({"host", "content-length", "transfer-encoding", "connection", "accept-encoding"})


@dataclass(frozen=True, slots=True)
class Fetched:
    """What a server answered. Names of `headers` are in lower case; of several of one name the last counts."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def data(self) -> Any:
        """The body as JSON; raises ValueError where it is none."""
        try:
            return msgspec.json.decode(self.body)
        except (msgspec.MsgspecError, RecursionError) as error:
            raise ValueError(f"the answer is no JSON: {error}") from error


class Egress:
    """Asks other servers. Made anywhere, used in one event loop; nothing is opened before the first request."""

    def __init__(
        self,
        *,
        allow_http: bool,
        allow_networks: Iterable[Network],
        lookup: Lookup,
        tls: Callable[[], ssl.SSLContext],
    ) -> None:
        """`tls` makes the context that verifies servers; it may read files, and is called in a thread."""
        self._allow_http = allow_http
        self._rules = AddressRules(allow_networks)
        self._lookup = lookup
        self._tls = tls
        self._opening = asyncio.Lock()
        self._backend: _GuardedBackend | None = None
        self._pool: httpcore2.AsyncConnectionPool | None = None

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
        timeout: float,  # noqa: ASYNC109 - it bounds the whole exchange, names and all
        max_bytes: int,
    ) -> Fetched:
        """Sends one request and reads the whole answer, whatever its status; raises FetchError.

        `timeout` seconds bound all of it, `max_bytes` the body as sent and as inflated.
        """
        try:
            target = url if isinstance(url, Target) else self.target(url)
            request = _request(method, target, headers, body)
        except ValueError as error:
            raise FetchError("refused", str(error)) from None
        try:
            async with asyncio.timeout(timeout):
                pool = self._pool or await self._open()
                return await _exchange(pool, request, max_bytes)
        except TimeoutError:
            raise FetchError("timeout", f"no answer within {timeout:g} s") from None
        except httpcore2.TimeoutException:
            raise FetchError("timeout", "it could not be connected to in time") from None
        except httpcore2.NetworkError as error:
            raise FetchError(
                "unreachable", f"the connection failed: {error or type(error).__name__}"
            ) from None
        except (httpcore2.ProtocolError, UnicodeError) as error:
            raise FetchError("broken", f"the exchange broke the rules of HTTP: {error}") from None

    async def _open(self) -> httpcore2.AsyncConnectionPool:
        async with self._opening:
            if self._pool is None:
                context = await asyncio.to_thread(self._tls)
                self._backend = _GuardedBackend(self._rules, Resolver(self._lookup))
                # How many requests are under way is bounded by those who make them.
                self._pool = httpcore2.AsyncConnectionPool(
                    ssl_context=context,
                    max_connections=None,
                    max_keepalive_connections=KEPT_ALIVE,
                    keepalive_expiry=_KEPT_SECONDS,
                    network_backend=self._backend,
                )
            return self._pool

    async def close(self) -> None:
        """Closes all connections."""
        if self._pool is not None and self._backend is not None:
            await self._pool.aclose()
            await self._backend.resolver.close()
            self._pool = self._backend = None


class _GuardedBackend(httpcore2.AsyncNetworkBackend):
    """Where every connection is made, so that no way leads round the rules."""

    def __init__(self, rules: AddressRules, resolver: Resolver) -> None:
        self._rules = rules
        self.resolver = resolver
        self._below = httpcore2.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's own
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Connects to the first of the host's addresses that is admitted and answers."""
        admitted = await self._addresses(host, port)
        patience = _ATTEMPT_SECONDS if len(admitted) > 1 else timeout
        failure: Exception | None = None
        for address in admitted:
            try:
                return await self._below.connect_tcp(address, port, patience, local_address, socket_options)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                failure = error
        raise failure or httpcore2.ConnectError("it has no address")

    async def _addresses(self, host: str, port: int) -> list[str]:
        host = host.strip("[]")
        if ":" in host or host.replace(".", "").isdigit():
            found = [host]
        else:
            try:
                found = await self.resolver.addresses(host, port)
            except OSError as error:
                raise httpcore2.ConnectError(f"the name cannot be resolved: {error}") from None
        admitted = [address for address in found if self._rules.admit(address)]
        if found and not admitted:
            raise FetchError("refused", "none of its addresses may be connected to")
        return admitted


def _request(method: str, target: Target, headers: Mapping[str, str], body: bytes) -> httpcore2.Request:
    own = sorted(name for name in headers if name.lower() in _OURS)
    if own:
        raise ValueError(f"the header {own[0]} is set by the hub itself")
    host = f"[{target.host}]" if ":" in target.host else target.host
    default = {"http": 80, "https": 443}[target.scheme]
    given = {
        "host": host if target.port == default else f"{host}:{target.port}",
        **headers,
        "accept-encoding": "gzip",
    }
    if body or method in {"POST", "PUT", "PATCH"}:
        given["content-length"] = str(len(body))
    url = httpcore2.URL(scheme=target.scheme, host=host, port=target.port, target=target.path)
    return httpcore2.Request(method, url, headers=given, content=body)


async def _exchange(
    pool: httpcore2.AsyncConnectionPool, request: httpcore2.Request, max_bytes: int
) -> Fetched:
    async with _response(pool, request) as response:
        headers = {
            name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers
        }
        length = headers.get("content-length", "")
        if length.isdigit() and int(length) > max_bytes and request.method != b"HEAD":
            raise _too_large(max_bytes)
        body = await _read(response, headers.get("content-encoding", "identity").strip().lower(), max_bytes)
        return Fetched(response.status, headers, body)


@asynccontextmanager
async def _response(
    pool: httpcore2.AsyncConnectionPool, request: httpcore2.Request
) -> AsyncIterator[httpcore2.Response]:
    response = await pool.handle_async_request(request)
    try:
        yield response
    finally:
        await response.aclose()


async def _read(response: httpcore2.Response, encoding: str, max_bytes: int) -> bytes:
    if encoding not in {"identity", "gzip", "x-gzip"}:
        raise FetchError("broken", "the answer is encoded in a way that was not asked for")
    inflate = None if encoding == "identity" else zlib.decompressobj(zlib.MAX_WBITS | 16)
    body, taken = bytearray(), 0
    async for piece in response.aiter_stream():
        taken += len(piece)
        try:
            # One byte more than may be is enough to know.
            body += piece if inflate is None else inflate.decompress(piece, max_bytes + 1 - len(body))
        except zlib.error as error:
            raise FetchError("broken", f"the answer cannot be inflated: {error}") from None
        if len(body) > max_bytes or taken > max_bytes:
            raise _too_large(max_bytes)
    if inflate is not None and taken and not inflate.eof:
        raise FetchError("broken", "the compressed answer ends too early")
    return bytes(body)


def _too_large(max_bytes: int) -> FetchError:
    return FetchError("too_large", f"the answer has more than {max_bytes} bytes")
