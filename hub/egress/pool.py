"""The connections behind `Egress`: the rules stand where one is made, so that no way leads round them."""

from __future__ import annotations

import ssl
import zlib
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import httpcore2

from hub.egress.addresses import AddressRules
from hub.egress.fetched import Fetched
from hub.egress.resolver import Lookup, Resolver
from hub.egress.urls import Target
from hub.errors import FetchError

KEPT_ALIVE: Final = 64
"""Idle connections kept for the next request, four seconds each: less than servers commonly wait before they close."""
_KEPT_SECONDS: Final = 4.0
_ATTEMPT_SECONDS: Final = 2.0
"""How long one of several addresses may take to accept a connection."""
_LONGEST_WHY: Final = 200
"""Characters of an error that are passed on: some of them quote what the server sent."""
_OURS: Final = frozenset({"host", "content-length", "transfer-encoding", "connection", "accept-encoding"})


class Pool:
    """Connections that are open or idle. How many requests are under way is bounded by those who make them."""

    def __init__(self, rules: AddressRules, lookup: Lookup, tls: Callable[[], ssl.SSLContext] | None) -> None:
        """Reads the certificates of authorities, which takes some milliseconds."""
        self._resolver = Resolver(lookup)
        self._connections = httpcore2.AsyncConnectionPool(
            ssl_context=(tls or httpcore2.default_ssl_context)(),
            max_connections=None,
            max_keepalive_connections=KEPT_ALIVE,
            keepalive_expiry=_KEPT_SECONDS,
            network_backend=_GuardedBackend(rules, self._resolver),
        )

    async def exchange(
        self, method: str, target: Target, headers: Mapping[str, str], body: bytes, max_bytes: int
    ) -> Fetched:
        """One request and its whole answer; raises FetchError."""
        try:
            request = _request(method, target, headers, body)
        except ValueError as error:
            raise FetchError("refused", str(error)) from None
        try:
            return await _exchange(self._connections, request, max_bytes)
        except httpcore2.TimeoutException:
            raise FetchError("timeout", "it could not be connected to in time") from None
        except httpcore2.NetworkError as error:
            raise FetchError(
                "unreachable", f"the connection failed: {str(error) or 'it was closed at once'}"
            ) from None
        except httpcore2.ProtocolError as error:
            why = str(error)[:_LONGEST_WHY]
            raise FetchError("broken", f"the exchange broke the rules of HTTP: {why}") from None

    async def close(self) -> None:
        """Closes all of them."""
        await self._connections.aclose()
        await self._resolver.close()


class _GuardedBackend(httpcore2.AsyncNetworkBackend):
    """Makes every connection, to an address that the rules admit."""

    def __init__(self, rules: AddressRules, resolver: Resolver) -> None:
        self._rules = rules
        self._resolver = resolver
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
                found = await self._resolver.addresses(host, port)
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
    return httpcore2.Request(method, url, headers=list(given.items()), content=body)


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
