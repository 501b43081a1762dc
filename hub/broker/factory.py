"""Makes the broker that a URL names."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from hub.broker.base import Broker
from hub.broker.inbox import Inbox
from hub.broker.memory import MemoryBroker
from hub.errors import HubError


def _memory(urls: Sequence[str], prefix: str, inbox: Inbox | None) -> Broker:
    return MemoryBroker(inbox=inbox)


def _redis(urls: Sequence[str], prefix: str, inbox: Inbox | None) -> Broker:
    try:
        from hub.broker.redis.broker import RedisBroker  # noqa: PLC0415  # its packages are an extra
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in {"redis", "hiredis"}:
            raise HubError(f"package {package} is missing: pip install 'topichub[redis]'") from None
        raise
    return RedisBroker(urls, prefix=prefix, inbox=inbox)


def _nats(urls: Sequence[str], prefix: str, inbox: Inbox | None) -> Broker:
    try:
        from hub.broker.nats.broker import NatsBroker  # noqa: PLC0415  # its package is an extra
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "nats":
            raise HubError("package nats is missing: pip install 'topichub[nats]'") from None
        raise
    return NatsBroker(urls, prefix=prefix, inbox=inbox)


def _postgres(urls: Sequence[str], prefix: str, inbox: Inbox | None) -> Broker:
    try:
        from hub.broker.postgres.broker import PostgresBroker  # noqa: PLC0415  # its package is an extra
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "asyncpg":
            raise HubError("package asyncpg is missing: pip install 'topichub[postgres]'") from None
        raise
    return PostgresBroker(urls, prefix=prefix, inbox=inbox)


_MAKERS: Final[Mapping[str, Callable[[Sequence[str], str, Inbox | None], Broker]]] = MappingProxyType(
    {
        "memory": _memory,
        "redis": _redis,
        "rediss": _redis,
        "redis+sentinel": _redis,
        "rediss+sentinel": _redis,
        "redis+cluster": _redis,
        "rediss+cluster": _redis,
        "nats": _nats,
        "tls": _nats,
        "postgresql": _postgres,
        "postgres": _postgres,
    }
)
SCHEMES: Final = tuple(_MAKERS)
"""The schemes of URLs that name a broker."""


def make_broker(url: str | Sequence[str], *, prefix: str = "hub", inbox: Inbox | None = None) -> Broker:
    """A broker, not yet connected; several URLs share the topics between them.

    `prefix` begins every key on a shared server. Raises HubError when a scheme is unknown, when the schemes name
    different brokers, when a URL is wrong, or when a package that the broker needs is not installed.
    """
    urls = [url] if isinstance(url, str) else list(url)
    makers = {_MAKERS.get(each.partition(":")[0]) for each in urls}
    if len(makers) == 1 and (maker := makers.pop()):
        return maker(urls, prefix, inbox)
    raise HubError(
        f"the broker's URLs must all begin with one of {', '.join(f'{each}://' for each in SCHEMES)}"
    )
