"""Database URLs: which there are, what drives them, and how to show one without its password. Needs no driver."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import SplitResult, parse_qsl, unquote, urlencode, urlsplit

from hub.errors import StoreError

ALLOWED = "sqlite:///file.db, sqlite:////absolute/file.db, sqlite:// (memory) or postgresql://user:password@host/name"

_POSTGRESQL = ("postgresql", "postgres", "postgresql+asyncpg")
_SQLITE = ("sqlite", "sqlite+aiosqlite")
# libpq knows these and asyncpg does not: it would pass them on to the server, which refuses what it does not know.
_LIBPQ_ONLY = (
    "channel_binding",
    "gssencmode",
    "connect_timeout",
    "keepalives",
    "keepalives_idle",
    "fallback_application_name",
)


@dataclass(frozen=True, slots=True)
class DatabaseUrl:
    """Where the database is.

    `file` is SQLite's file, None in memory. `dsn` is what asyncpg gets (with the password), "" for SQLite.
    `connect_timeout` is in seconds. `shown` may be printed and logged: it has neither password nor parameters.
    """

    kind: Literal["sqlite", "postgresql"]
    shown: str
    file: Path | None = None
    dsn: str = field(default="", repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)
    connect_timeout: float = 10.0

    def censor(self, text: str) -> str:
        """Takes the password, however it is written, out of a text that others made."""
        for secret in self.secrets:
            text = text.replace(secret, "***")
        return text


def parse_url(url: str) -> DatabaseUrl:
    """Reads `database.url`. Raises StoreError, which tells what is allowed and never repeats what was given."""
    scheme, _, rest = url.strip().partition("://")
    if scheme in _SQLITE and "://" in url:
        return _sqlite(rest)
    if scheme in _POSTGRESQL:
        try:
            return _postgresql(urlsplit(f"postgresql://{rest}"))
        except ValueError:
            # Without its cause: urlsplit quotes what it took for a port or host, and that may be part of a password.
            raise StoreError(
                "database.url is no URL; in a password, write / as %2F, # as %23, ? as %3F, @ as %40 and [ as %5B"
            ) from None
    raise StoreError(f"database.url must be {ALLOWED}")


def _sqlite(rest: str) -> DatabaseUrl:
    if rest in ("", "/", "/:memory:"):
        return DatabaseUrl("sqlite", "sqlite://")
    if not rest.startswith("/"):
        raise StoreError(
            "database.url: SQLite takes three slashes before a file (four before an absolute path)"
        )
    if "?" in rest:
        raise StoreError("database.url: SQLite takes no parameters")
    return DatabaseUrl("sqlite", f"sqlite://{rest}", file=Path(rest[1:]))


def _postgresql(parts: SplitResult) -> DatabaseUrl:
    if parts.fragment or "@" in parts.path + parts.query:
        raise ValueError("a bare # / or ? in the password")
    login, _, hosts = parts.netloc.rpartition("@")
    user, _, password = login.partition(":")
    for host in hosts.split(","):
        _check_port(host)
    given = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    query = urlencode([(key, value) for key, value in given if key not in _LIBPQ_ONLY])
    parameters = dict(given)
    passwords = (password, parameters.get("password", ""), parameters.get("sslpassword", ""))
    return DatabaseUrl(
        "postgresql",
        f"postgresql://{user}{'@' if user else ''}{hosts}{parts.path}",
        dsn=f"postgresql://{parts.netloc}{parts.path}{'?' if query else ''}{query}",
        secrets=tuple({form for one in passwords if one for form in (one, unquote(one))}),
        connect_timeout=_seconds(parameters.get("connect_timeout", "")),
    )


def _check_port(host: str) -> None:
    """Raises ValueError for a port that is none (asyncpg would quote it)."""
    if urlsplit(f"//{host}").port == 0:
        raise ValueError("port")


def _seconds(text: str) -> float:
    return float(text) if text.isdigit() and int(text) > 0 else 10.0
