"""Presence by the broker's URL: it is kept where publications are linked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from hub.errors import HubError
from hub.presence.base import LEASE_SECONDS, Presence
from hub.presence.memory import MemoryPresence


def make_presence(
    url: str,
    *,
    prefix: str,
    node: str,
    lease: float = LEASE_SECONDS,
) -> Presence:
    """The presence store that belongs to a broker's URL, for the clients of one node, whose lease lasts `lease` s.

    `prefix` begins every key on a shared server. Raises HubError when the scheme is unknown, the URL wrong, or a
    package that the store needs is not installed.
    """
    scheme = url.partition(":")[0]
    if scheme == "memory":
        return MemoryPresence()
    if scheme not in _MAKERS:
        known = ", ".join(f"{each}://" for each in ("memory", *_MAKERS))
        raise HubError(f"the URL of presence must begin with one of {known}")
    make, extra = _MAKERS[scheme]
    try:
        return make(url, prefix, node, lease)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in {"redis", "hiredis", "asyncpg", "nats"}:
            raise HubError(f"package {package} is missing: pip install 'topichub[{extra}]'") from None
        raise


def _redis(url: str, prefix: str, node: str, lease: float) -> Presence:
    from hub.presence.redis.store import RedisPresence  # noqa: PLC0415  # its package is an extra

    return RedisPresence(url, prefix=prefix, node=node, lease=lease)


def _postgres(url: str, prefix: str, node: str, lease: float) -> Presence:
    from hub.presence.postgres.store import PostgresPresence  # noqa: PLC0415  # its package is an extra

    return PostgresPresence(url, prefix=prefix, node=node, lease=lease)


def _nats(url: str, prefix: str, node: str, lease: float) -> Presence:
    from hub.presence.nats.store import NatsPresence  # noqa: PLC0415  # its package is an extra

    return NatsPresence(url, prefix=prefix, node=node, lease=lease)


_MAKERS: Final[Mapping[str, tuple[Callable[[str, str, str, float], Presence], str]]] = MappingProxyType(
    {
        **{
            f"redis{tls}{form}": (_redis, "redis")
            for tls in ("", "s")
            for form in ("", "+sentinel", "+cluster")
        },
        "postgresql": (_postgres, "postgres"),
        "postgres": (_postgres, "postgres"),
        "nats": (_nats, "nats"),
        "tls": (_nats, "nats"),
    }
)
"""What makes a store, and the extra that brings its package."""
