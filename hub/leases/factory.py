"""Leases by the broker's URL: they are kept where publications are linked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from hub.errors import HubError
from hub.leases.base import LeaseStore
from hub.leases.memory import MemoryLeases


def make_lease_store(
    urls: Sequence[str], *, prefix: str, owner: str, term: float, clock: Callable[[], float]
) -> LeaseStore:
    """The store of leases that belongs to a broker's URLs, for one node; of several Redis servers it is the first.

    `prefix` begins every key on a shared server; `clock` is that of a store in memory. Raises HubError when the scheme
    is unknown, a URL wrong, or a package that the store needs is not installed.
    """
    scheme = urls[0].partition(":")[0]
    if scheme == "memory":
        return MemoryLeases(owner, term, clock)
    maker = _MAKERS.get(scheme)
    if maker is None:
        known = ", ".join(f"{each}://" for each in SCHEMES)
        raise HubError(f"the URL of leases must begin with one of {known}")
    make, extra = maker
    try:
        return make(urls, prefix, owner, term)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in {"redis", "hiredis", "asyncpg", "nats"}:
            raise HubError(f"package {package} is missing: pip install 'topichub[{extra}]'") from None
        raise


def _redis(urls: Sequence[str], prefix: str, owner: str, term: float) -> LeaseStore:
    from hub.leases.redis import RedisLeases  # noqa: PLC0415  # its packages are an extra

    return RedisLeases(urls[0], prefix=prefix, owner=owner, term=term)


def _postgres(urls: Sequence[str], prefix: str, owner: str, term: float) -> LeaseStore:
    from hub.leases.postgres import PostgresLeases  # noqa: PLC0415  # its package is an extra

    return PostgresLeases(urls[0], prefix=prefix, owner=owner, term=term)


def _nats(urls: Sequence[str], prefix: str, owner: str, term: float) -> LeaseStore:
    from hub.leases.nats import NatsLeases  # noqa: PLC0415  # its package is an extra

    return NatsLeases(urls, prefix=prefix, owner=owner, term=term)


_MAKERS: Final[Mapping[str, tuple[Callable[[Sequence[str], str, str, float], LeaseStore], str]]] = (
    MappingProxyType(
        {
            **dict.fromkeys(("redis", "rediss"), (_redis, "redis")),
            **dict.fromkeys(("redis+sentinel", "rediss+sentinel"), (_redis, "redis")),
            **dict.fromkeys(("redis+cluster", "rediss+cluster"), (_redis, "redis")),
            **dict.fromkeys(("postgresql", "postgres"), (_postgres, "postgres")),
            **dict.fromkeys(("nats", "tls"), (_nats, "nats")),
        }
    )
)
"""What makes a store, and the extra that brings its package."""
SCHEMES: Final = ("memory", *_MAKERS)
"""The schemes of URLs that name a store."""
