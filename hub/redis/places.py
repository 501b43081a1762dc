"""The place that a URL names."""

from __future__ import annotations

from hub.redis import cluster_url
from hub.redis.address import Address
from hub.redis.cluster_map import ClusterMap
from hub.redis.cluster_url import ClusterUrl
from hub.redis.place import Place
from hub.redis.sentinel import Sentinels
from hub.redis.sentinel_url import SCHEMES, SentinelUrl


def place_of(url: str) -> Place | ClusterMap:
    """A server, the primary that Sentinels name, or a cluster. Raises HubError for a URL that cannot be used."""
    if url.partition("://")[0] in cluster_url.SCHEMES:
        return ClusterMap(ClusterUrl.parse(url))
    if url.partition("://")[0] in SCHEMES:
        return Sentinels(SentinelUrl.parse(url))
    return Address(url)
