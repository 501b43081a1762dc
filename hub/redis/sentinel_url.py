"""What a URL says that names Sentinels rather than a server."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl, urlencode, urlsplit

from hub.errors import HubError
from hub.redis.hosts import Node, node_name, parse_nodes

SCHEMES: Final = ("redis+sentinel", "rediss+sentinel")
"""The schemes of such URLs; with the second one Redis and the Sentinels are spoken to over TLS."""
FORM: Final = "redis+sentinel://user:password@host1:26379,host2:26379/0?sentinel_master_name=mymaster"
_PORT: Final = 26379
_OWN: Final = ("sentinel_master_name", "sentinel_user", "sentinel_password")


@dataclass(frozen=True, slots=True)
class SentinelUrl:
    """Sentinels by host and port, the name by which they know the primary, and how all of these are entered.

    `login` (user and password, with an @ behind) and `options` are written as in a URL, and belong to the primary.
    """

    tls: bool
    sentinels: tuple[Node, ...]
    master: str
    login: str = ""
    db: int = 0
    options: str = ""
    sentinel_user: str = ""
    sentinel_password: str = ""

    @classmethod
    def parse(cls, url: str) -> SentinelUrl:
        """Reads a URL. Raises HubError, which says what is wrong and never tells a password."""
        try:
            return cls._parse(url)
        except ValueError as error:
            raise HubError(f"the URL of the Redis Sentinels cannot be used: {error}") from None

    @classmethod
    def _parse(cls, url: str) -> SentinelUrl:
        parts = urlsplit(url)
        if parts.scheme not in SCHEMES:
            raise ValueError(f"it must be written {FORM}")
        given = _options(parts.query)
        unknown = next((name for name in given if name.startswith("sentinel_") and name not in _OWN), None)
        if unknown:
            raise ValueError(f"option {unknown!r} is not known; use {', '.join(_OWN)}")
        user, password = given.get("sentinel_user", ""), given.get("sentinel_password", "")
        if user and not password:
            raise ValueError("sentinel_user needs sentinel_password")
        login, at, hosts = parts.netloc.rpartition("@")
        return cls(
            tls=parts.scheme == SCHEMES[1],
            sentinels=parse_nodes(hosts, port=_PORT, what="Sentinel"),
            master=_master(given, parts.path),
            login=login + at,
            db=_database(parts.path),
            options=urlencode([(name, value) for name, value in given.items() if name not in _OWN]),
            sentinel_user=user,
            sentinel_password=password,
        )

    def primary(self, host: str, port: int) -> str:
        """The URL of the primary at this place."""
        return f"redis{'s' * self.tls}://{self.login}{node_name((host, port))}/{self.db}?{self.options}"


def _options(query: str) -> dict[str, str]:
    try:
        return dict(parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query)))
    except ValueError:
        raise ValueError("what follows the ? must be name=value, with & between several") from None


def _master(given: dict[str, str], path: str) -> str:
    name = given.get("sentinel_master_name", "")
    if name:
        return name
    in_path = path.strip("/").partition("/")[0]
    guess = in_path if in_path and not in_path.isdigit() else "mymaster"
    raise ValueError(
        f"the name by which the Sentinels know the primary is missing: append ?sentinel_master_name={guess}"
    )


def _database(path: str) -> int:
    number = path.strip("/")
    if number and not number.isdecimal():
        raise ValueError("what follows the hosts must be the number of a database")
    return int(number or 0)
