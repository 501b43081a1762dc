"""Fetches what issuers publish, and trusts the answer no further than it must.

Only https, or http to this machine; redirects only within the same origin; 5 seconds and 1 MiB for a document. The
operator names the issuer, who may be in a private network: of all addresses only those are closed at which clouds hand
out credentials.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Final
from urllib.parse import urljoin

from hub.auth.jwks import KeysError, age_of, read_document
from hub.auth.published import Document
from hub.egress.client import Egress
from hub.egress.resolver import system_lookup
from hub.egress.urls import Target, read_url
from hub.errors import FetchError

SECONDS: Final = 5.0
MAX_BYTES: Final = 1_048_576
MAX_REDIRECTS: Final = 3
_WELL_KNOWN: Final = "/.well-known/openid-configuration"
_HEADERS: Final = {"Accept": "application/json"}
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_EVERYWHERE: Final = (ip_network("0.0.0.0/0"), ip_network("::/0"))


def url_problem(url: str, *, insecure: bool) -> str | None:
    """Why keys must not be fetched from a URL, None when they may; `insecure` lets plain http to others pass."""
    try:
        target = _egress().target(url)
    except ValueError as error:
        return str(error)
    if target.scheme == "http" and not insecure and not _is_here(target.host):
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

    async def fetch(self) -> Document:
        """The JWKS, within 5 seconds; raises KeysError."""
        # Looks are minutes apart, so nothing is kept open, and what has become of the certificates is seen.
        egress = _egress()
        try:
            async with asyncio.timeout(SECONDS):
                # An issuer may move its keys, so where they are is asked each time.
                return await self._get(egress, self.url or await self._discovered(egress))
        except TimeoutError as error:
            raise KeysError(f"no answer within {SECONDS:g} s") from error
        finally:
            await egress.close()

    async def _discovered(self, egress: Egress) -> str:
        issuer = self.issuer or ""
        told = await self._get(egress, discovery_url(issuer))
        about = read_document(told.text, "the issuer's document")
        if about.get("issuer") != issuer:
            raise KeysError("the issuer's document is that of another issuer")
        found = about.get("jwks_uri")
        if not isinstance(found, str):
            raise KeysError("the issuer's document names no `jwks_uri`")
        return found

    async def _get(self, egress: Egress, url: str) -> Document:
        """A document; redirects are followed within the origin."""
        shown = "its URL"
        for _ in range(MAX_REDIRECTS + 1):
            if (problem := url_problem(url, insecure=self.insecure)) is not None:
                raise KeysError(f"{shown} leads where keys are not fetched from: {problem}")
            target = read_url(url)
            shown = target.label
            try:
                answer = await egress.fetch(
                    "GET", target, headers=_HEADERS, body=b"", seconds=SECONDS, max_bytes=MAX_BYTES
                )
            except FetchError as error:
                raise KeysError(f"{shown}: {error}") from error
            if answer.status == 200:
                return Document(answer.body, age_of(answer.headers.get("cache-control", "")))
            if answer.status not in _REDIRECTS:
                raise KeysError(f"{shown}: status {answer.status}")
            url = _redirected(url, target, answer.headers.get("location", ""))
        raise KeysError(f"{shown}: more than {MAX_REDIRECTS} redirects")


def _egress() -> Egress:
    # Where plain http may lead is `url_problem`'s to say, and that is asked before each request.
    return Egress(allow_http=True, allow_networks=_EVERYWHERE, lookup=system_lookup, tls=None)


def _redirected(url: str, target: Target, location: str) -> str:
    found = urljoin(url, location)
    try:
        to = read_url(found)
    except ValueError:
        to = None
    if to is None or (to.scheme, to.host, to.port) != (target.scheme, target.host, target.port):
        raise KeysError(f"{target.label}: it redirects to another origin")
    return found


def _is_here(host: str) -> bool:
    """Whether a host is this machine by its very name."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
