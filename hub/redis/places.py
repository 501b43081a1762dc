"""The place that a URL names."""

from __future__ import annotations

from hub.redis.address import Address
from hub.redis.place import Place
from hub.redis.sentinel import Sentinels
from hub.redis.sentinel_url import SCHEMES, SentinelUrl


def place_of(url: str) -> Place:
    """A server, or the primary that Sentinels name. Raises HubError for a URL that cannot be used."""
    if url.partition("://")[0] in SCHEMES:
        return Sentinels(SentinelUrl.parse(url))
    return Address(url)
