"""Fetches what issuers publish, and trusts the answer no further than it must.

Only https, or http to this machine; redirects only within the same origin; 5 seconds and 1 MiB for a document.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final
from urllib.parse import SplitResult, urljoin, urlsplit

from hub.auth.jwks import KeysError, age_of, read_document
from hub.auth.published import Fetched

if TYPE_CHECKING:
    import httpx2

SECONDS: Final = 5.0
MAX_BYTES: Final = 1_048_576
MAX_REDIRECTS: Final = 3
_WELL_KNOWN: Final = "/.well-known/openid-configuration"
_HEADERS: Final = {"Accept": "application/json", "Accept-Encoding": "identity"}


def url_problem(url: str, *, insecure: bool) -> str | None:
    """Why keys must not be fetched from a URL, None when they may; `insecure` lets plain http to others pass."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return "it cannot be read as a URL"
    if parts.scheme not in {"http", "https"} or not host:
        return "it is no URL that begins with https://"
    if (
        parts.username is not None
        or parts.fragment
        or not (url.isascii() and url.isprintable())
        or " " in url
    ):
        return "it has a user, a fragment or a character that no such URL has"
    if parts.scheme == "http" and not insecure and not _is_here(host):
        return "over plain http anybody on the way could put in keys of their own"
    return None


def discovery_url(issuer: str) -> str:
    """Where an issuer tells about itself."""
    return issuer.rstrip("/") + _WELL_KNOWN


@dataclass(frozen=True, slots=True)
class Source:
    """Where a JWKS is: at `url`, or, where that is None, where the document of the `issuer` says."""

    url: str | None
    issuer: str | None
    insecure: bool

    async def fetch(self) -> Fetched:
        """The JWKS, within 5 seconds; raises KeysError."""
        try:
            async with asyncio.timeout(SECONDS):
                # An issuer may move its keys, so where they are is asked each time.
                return await self._get(self.url or await self._discovered())
        except TimeoutError as error:
            raise KeysError(f"no answer within {SECONDS:.0f} s") from error

    async def _discovered(self) -> str:
        issuer = self.issuer or ""
        about = read_document((await self._get(discovery_url(issuer))).text, "the issuer's document")
        if about.get("issuer") != issuer:
            raise KeysError("the issuer's document is that of another issuer")
        found = about.get("jwks_uri")
        if not isinstance(found, str):
            raise KeysError("the issuer's document names no `jwks_uri`")
        return found

    async def _get(self, url: str) -> Fetched:
        """A document; redirects are followed within the origin."""
        for _ in range(MAX_REDIRECTS + 1):
            if (problem := url_problem(url, insecure=self.insecure)) is not None:
                raise KeysError(f"{_shown(url)}: {problem}")
            # A client reads all certificates that this machine trusts, for which sessions should not have to wait.
            client = await asyncio.to_thread(_client, url)
            async with client:
                answer = await _answer(client, url)
            if isinstance(answer, Fetched):
                return answer
            url = answer
        raise KeysError(f"{_shown(url)}: more than {MAX_REDIRECTS} redirects")


def _client(url: str) -> httpx2.AsyncClient:
    import httpx2  # noqa: PLC0415 - most hubs fetch no keys

    here = _is_here(urlsplit(url).hostname or "")
    return httpx2.AsyncClient(timeout=SECONDS, headers=_HEADERS, trust_env=not here)


async def _answer(client: httpx2.AsyncClient, url: str) -> Fetched | str:
    """The document, or where it is instead."""
    import httpx2  # noqa: PLC0415

    try:
        async with client.stream("GET", url, follow_redirects=False) as answer:
            if answer.is_redirect:
                return _redirected(url, answer)
            return Fetched(await _body(url, answer), age_of(answer.headers.get("cache-control", "")))
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise KeysError(f"{_shown(url)}: {type(error).__name__}") from error


def _redirected(url: str, answer: httpx2.Response) -> str:
    target = urljoin(url, answer.headers.get("location", ""))
    if _origin(urlsplit(target)) != _origin(urlsplit(url)):
        raise KeysError(f"{_shown(url)}: it redirects to another origin")
    return target


async def _body(url: str, answer: httpx2.Response) -> bytes:
    if answer.status_code != 200:
        raise KeysError(f"{_shown(url)}: status {answer.status_code}")
    if answer.headers.get("content-encoding", "identity") != "identity":
        raise KeysError(f"{_shown(url)}: it is compressed, which was not asked for")
    body = bytearray()
    async for piece in answer.aiter_raw():
        body += piece
        if len(body) > MAX_BYTES:
            raise KeysError(f"{_shown(url)}: it has more than {MAX_BYTES} bytes")
    return bytes(body)


def _origin(parts: SplitResult) -> tuple[str, str | None, int | None]:
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def _is_here(host: str) -> bool:
    """Whether a host is this machine by its very name."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _shown(url: str) -> str:
    """A URL for a log: without its query, which may hold a key."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
