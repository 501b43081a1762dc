"""Where NATS is, how it is entered and what a new stream shall be like, from URLs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

from hub.errors import HubError

_OPTIONS: Final = ("replicas", "storage", "creds")


@dataclass(frozen=True, slots=True)
class Address:
    """Servers of one NATS system.

    `servers` are URLs without options, with user and password or a token. `creds` is a file of credentials. `replicas`
    and `storage` are those of streams that the hub makes; one that exists keeps its own.
    """

    servers: tuple[str, ...]
    name: str
    replicas: int = 1
    storage: str = "file"
    creds: str | None = None

    @classmethod
    def parse(cls, urls: Sequence[str]) -> Address:
        """Reads `nats://` and `tls://` URLs; options may stand on any. Raises HubError, never naming a password."""
        if not urls:
            raise HubError("the broker needs a URL")
        servers: list[str] = []
        names: list[str] = []
        options: dict[str, str] = {}
        try:
            for url in urls:
                parts = urlsplit(url)
                if parts.scheme not in {"nats", "tls"} or not parts.hostname:
                    raise ValueError("it must be nats://host:4222 or tls://host:4222")
                if parts.path.strip("/") or parts.fragment:
                    raise ValueError("nothing may follow the host but options, as in ?replicas=3")
                host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
                names.append(f"{host}:{parts.port or 4222}")
                login = parts.netloc.rpartition("@")[0]
                servers.append(f"{parts.scheme}://{login}{'@' if login else ''}{names[-1]}")
                options |= dict(
                    parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
                )
            return cls(tuple(servers), ", ".join(names), **_options(options))
        except ValueError as error:
            raise HubError(f"the NATS URL cannot be used: {error}") from None


def _options(given: dict[str, str]) -> dict[str, Any]:
    unknown = [name for name in given if name not in _OPTIONS]
    if unknown:
        raise ValueError(f"option {unknown[0]!r} is not known; use {', '.join(_OPTIONS)}")
    if given.get("storage", "file") not in {"file", "memory"}:
        raise ValueError("storage is file or memory")
    if given.get("replicas", "1") not in {"1", "3", "5"}:
        raise ValueError("replicas is 1, 3 or 5")
    if "creds" in given and not Path(given["creds"]).is_file():
        raise ValueError("the file named by creds is not there")
    return {**given, "replicas": int(given.get("replicas", "1"))}
