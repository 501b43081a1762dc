"""URLs that the hub may be sent to: read strictly, so that no two readers can see different hosts in one."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Final, Literal
from urllib.parse import urlsplit

MAX_LENGTH: Final = 2_048
_PRINTABLE: Final = re.compile(r"[!-~]+")
_NETLOC: Final = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9_.-]+)(?::([0-9]{1,5}))?", re.IGNORECASE)
_LABEL: Final = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?", re.IGNORECASE)
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*", re.IGNORECASE)
_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Target:
    """Where a URL leads. `host` is a name or an address without brackets; `path` has the query."""

    scheme: Literal["http", "https"]
    host: str
    port: int
    path: str

    @property
    def literal(self) -> bool:
        """Whether the host is an address, so that nobody has to be asked for one."""
        return ":" in self.host or _is_numeric(self.host)

    @property
    def label(self) -> str:
        """The URL for logs and metrics: without its query, which may hold a secret."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == _PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{host}{port}{self.path.partition('?')[0]}"


def read_url(text: str) -> Target:
    """Where a URL leads; raises ValueError for one that is not plainly http or https to one host.

    The message never repeats the URL, which may hold a secret.
    """
    if len(text) > MAX_LENGTH:
        raise ValueError(f"a URL has at most {MAX_LENGTH} characters")
    if not _PRINTABLE.fullmatch(text) or "\\" in text:
        raise ValueError(
            "a URL has neither spaces nor backslashes nor letters beyond ASCII: "
            "write a host as xn--…, and other letters with %"
        )
    parts = urlsplit(text)
    if parts.scheme == "https":
        scheme: Literal["http", "https"] = "https"
    elif parts.scheme == "http":
        scheme = "http"
    else:
        raise ValueError("a URL begins with https://")
    if "@" in parts.netloc:
        raise ValueError("a URL has no user and password in front of the host; requests are signed instead")
    if "#" in text:
        raise ValueError("a URL has no # part, which no server would see")
    host, port = _host_and_port(parts.netloc)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(scheme, host, _PORTS[scheme] if port is None else port, path)


def _host_and_port(netloc: str) -> tuple[str, int | None]:
    found = _NETLOC.fullmatch(netloc)
    if found is None:
        raise ValueError("its host or port cannot be read: write https://host:port/path")
    host, port = found[1].lower(), found[2]
    if port is not None and not 0 < int(port) < 65_536:
        raise ValueError("a port is a number from 1 to 65535")
    _check_host(host)
    return host.strip("[]"), None if port is None else int(port)


def _check_host(host: str) -> None:
    if host.startswith("["):
        IPv6Address(host[1:-1])
        return
    labels = host.removesuffix(".").split(".")
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise ValueError("its host is no name that a name server could know")
    if _is_numeric(host):
        try:
            IPv4Address(host)
        except ValueError:
            # 0177.1, 0x7f000001 and 2130706433 are 127.0.0.1 to some, and something else to others.
            raise ValueError("an address is written as four decimal numbers, such as 192.0.2.1") from None


def _is_numeric(host: str) -> bool:
    return _NUMBER.fullmatch(host.removesuffix(".").rpartition(".")[2]) is not None
