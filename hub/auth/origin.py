"""Which pages may talk to the hub from a browser.

A browser lets any page open a WebSocket to any host and sends that host's cookies along; the `Origin` header, which no
page can forge, is what tells the hub whose page it is.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Final, NamedTuple

ANY: Final = "*"
"""In a list of origins: all of them."""
_LABEL: Final = r"[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?"
_ORIGIN: Final = re.compile(
    rf"(?P<scheme>[a-z][a-z0-9+.-]*)://(?P<wild>\*\.)?(?P<host>{_LABEL}(?:\.{_LABEL})*\.?|\[[0-9a-f:.]+\])"
    r"(?::(?P<port>[0-9]{1,5}))?"
)
_LONGEST: Final = 300
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
WEB_SCHEMES: Final = {"ws": "http", "wss": "https"}


class _Place(NamedTuple):
    scheme: str
    wild: bool
    host: str
    port: int | None

    def holds(self, other: _Place) -> bool:
        if (self.scheme, self.port) != (other.scheme, other.port):
            return False
        return other.host.endswith(f".{self.host}") if self.wild else self.host == other.host


def canonical(origin: str) -> str | None:
    """An origin as browsers write it: in lower case and without its scheme's usual port; None for what is none."""
    place = _place(origin)
    if place is None or place.wild:
        return None
    port = "" if place.port in (None, _DEFAULT_PORTS.get(place.scheme)) else f":{place.port}"
    return f"{place.scheme}://{place.host}{port}"


def origin_allowed(origin: str | None, host: str | None, scheme: str, allowed: Sequence[str]) -> bool:
    """Whether a request with this `Origin` header may go on.

    No header at all is fine: then it is no browser. The hub's own place always is, made of `scheme` (of the request:
    http, https, ws or wss) and the `Host` header. So is what `allowed` lists: exact origins, `https://*.example.com`
    for one or more labels before the dot, `*` for all. Scheme, host and port must be equal; where a port is left out
    it is the scheme's.
    """
    if origin is None or ANY in allowed:
        return True
    asking = _place(origin)
    if asking is None or asking.wild:
        return False
    if host is not None and _place(f"{WEB_SCHEMES.get(scheme, scheme)}://{host}") == asking:
        return True
    places = map(_place, allowed)
    return any(place is not None and place.holds(asking) for place in places)


def _place(text: str) -> _Place | None:
    return _parse(text.lower()) if len(text) <= _LONGEST and text.isascii() else None


@lru_cache(maxsize=1_024)
def _parse(text: str) -> _Place | None:
    found = _ORIGIN.fullmatch(text)
    if found is None:
        return None
    port = int(found["port"]) if found["port"] else _DEFAULT_PORTS.get(found["scheme"])
    return _Place(found["scheme"], found["wild"] is not None, found["host"], port)
