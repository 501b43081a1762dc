"""Makes the broker that a URL names."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from hub.broker.base import Broker
from hub.broker.inbox import Inbox
from hub.broker.memory import MemoryBroker
from hub.errors import HubError


def _memory(urls: Sequence[str], prefix: str, inbox: Inbox | None) -> Broker:  # noqa: ARG001
    return MemoryBroker(inbox=inbox)


_MAKERS: Final[Mapping[str, Callable[[Sequence[str], str, Inbox | None], Broker]]] = MappingProxyType(
    {"memory": _memory}
)
SCHEMES: Final = tuple(_MAKERS)
"""The schemes of URLs that name a broker."""


def make_broker(url: str | Sequence[str], *, prefix: str = "hub", inbox: Inbox | None = None) -> Broker:
    """A broker, not yet connected; several URLs of one scheme share the topics between them.

    `prefix` begins every key on a shared server. Raises HubError when a scheme is unknown, when the schemes differ,
    when a URL is wrong, or when the package that the broker needs is not installed.
    """
    urls = [url] if isinstance(url, str) else list(url)
    schemes = {each.partition(":")[0] for each in urls}
    if len(schemes) == 1 and (maker := _MAKERS.get(schemes.pop())):
        return maker(urls, prefix, inbox)
    raise HubError(
        f"the broker's URLs must all begin with one of {', '.join(f'{each}://' for each in SCHEMES)}"
    )
