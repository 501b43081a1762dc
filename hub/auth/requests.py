"""A client's request as connect handlers see it, made of an ASGI scope that was found to be allowed here.

A browser sends a site's cookies along with whatever any page asks of that site. They say who a client is only where
the page is known not to be a stranger's: its origin is the hub's own or listed by name. An origin that only `*` admits
is anybody's, and so is a request across sites that tells no origin.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final
from urllib.parse import parse_qsl

from hub.auth.origin import ANY, WEB_SCHEMES, canonical, origin_allowed
from hub.credentials import WHO, ClientRequest

HIDDEN: Final = frozenset(
    {
        "authorization",
        "cookie",
        "proxy-authorization",
        "sec-websocket-key",
        "sec-websocket-protocol",
        "x-api-key",
    }
)
"""Headers that speak to the hub itself: no handler and no webhook sees them."""
_ASKED: Final = frozenset({b"host", b"origin", b"sec-fetch-site"})
_OWN: Final = frozenset({b"none", b"same-origin"})
_SECURE: Final = frozenset({"https", "wss"})
_ESCAPED: Final = re.compile(r"\\(.)")
_MOST_FIELDS: Final = 1_000


def client_request(scope: Mapping[str, Any], allowed_origins: Sequence[str]) -> ClientRequest:
    """The request behind a scope (of HTTP or of a WebSocket) whose origin has been checked."""
    headers: dict[str, str] = {}
    cookies: list[str] = []
    for name, value in scope["headers"]:
        key = name.decode("latin-1").lower()
        if key == "cookie":
            cookies.append(value.decode("latin-1"))
        elif key not in HIDDEN:
            headers.setdefault(key, value.decode("latin-1"))
    client = scope.get("client")
    trusted = by_name(scope, allowed_origins)
    return ClientRequest(
        path=scope["path"],
        query=_query(scope.get("query_string", b"")),
        headers=headers,
        cookies=read_cookies(cookies) if trusted else {},
        origin=headers.get("origin", ""),
        address=str(client[0]) if client else "",
        secure=scope.get("scheme") in _SECURE,
    )


def read_cookies(headers: Iterable[str]) -> dict[str, str]:
    """Cookies by name, from all `Cookie` headers of a request; what is no `name=value` is passed over."""
    found: dict[str, str] = {}
    for part in ";".join(headers).split(";"):
        name, separator, value = part.partition("=")
        name, value = name.strip(), value.strip()
        if separator and name:
            if len(value) > 1 and value[0] == value[-1] == '"':
                value = _ESCAPED.sub(r"\1", value[1:-1])
            found[name] = value
    return found


def _query(text: bytes) -> dict[str, str]:
    if not text:
        return {}
    try:
        pairs = parse_qsl(text.decode("latin-1"), keep_blank_values=True, max_num_fields=_MOST_FIELDS)
    except ValueError:  # more fields than anybody means
        return {}
    return {name: value for name, value in pairs if name not in WHO}


def presenter(scope: Mapping[str, Any]) -> str:
    """The origin of the page that presents a ticket; "" by no page.

    A browser leaves the origin out where a page reads of its own origin, as an `EventSource` does: that is the hub's
    then. It does so too where a page asks as for an image, of whomever, and says that it is a stranger's.
    """
    headers = {name: value for name, value in reversed(scope["headers"]) if name in _ASKED}
    origin = headers.get(b"origin")
    if origin is not None:
        return str(origin.decode("latin-1"))
    if headers.get(b"sec-fetch-site", b"none") not in _OWN:
        return ""
    scheme = WEB_SCHEMES.get(scope["scheme"], scope["scheme"])
    return canonical(f"{scheme}://{headers.get(b'host', b'').decode('latin-1')}") or ""


def by_name(scope: Mapping[str, Any], allowed: Sequence[str]) -> bool:
    """Whether a request comes from a page of the hub's own or of an origin listed by name, or from no page."""
    headers = {name: value for name, value in reversed(scope["headers"]) if name in _ASKED}
    origin = headers.get(b"origin")
    if origin is None:
        # No browser, the hub's own page, or any page that asks as for an image: a browser then says which.
        return headers.get(b"sec-fetch-site", b"none") in _OWN
    named = [place for place in allowed if place != ANY]
    host = headers.get(b"host")
    scheme = str(scope.get("scheme", "http"))
    return origin_allowed(origin.decode("latin-1"), host and host.decode("latin-1"), scheme, named)
