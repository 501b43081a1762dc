"""What a URL says that names a Redis Cluster rather than a server."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from hub.errors import HubError
from hub.redis.hosts import Node, node_name, parse_nodes

SCHEMES: Final = ("redis+cluster", "rediss+cluster")
"""The schemes of such URLs; with the second one all nodes are spoken to over TLS."""
FORM: Final = "redis+cluster://user:password@host1:6379,host2:6379"
_PORT: Final = 6379


@dataclass(frozen=True, slots=True)
class ClusterUrl:
    """Some nodes of a cluster, from which the others are learnt, and how all of them are entered.

    `login` (user and password, with an @ behind) and `options` are written as in a URL.
    """

    tls: bool
    seeds: tuple[Node, ...]
    login: str = ""
    options: str = ""

    @classmethod
    def parse(cls, url: str) -> ClusterUrl:
        """Reads a URL. Raises HubError, which says what is wrong and never tells a password."""
        try:
            parts = urlsplit(url)
            if parts.scheme not in SCHEMES:
                raise ValueError(f"it must be written {FORM}")
            options = [name for name, _ in parse_qsl(parts.query, keep_blank_values=True)]
            if parts.path.strip("/") not in {"", "0"} or "db" in options:
                raise ValueError("a cluster has one database only, so none can be chosen")
            login, at, hosts = parts.netloc.rpartition("@")
            seeds = parse_nodes(hosts, port=_PORT, what="node")
        except ValueError as error:
            raise HubError(f"the URL of the Redis Cluster cannot be used: {error}") from None
        return cls(parts.scheme == SCHEMES[1], seeds, login + at, parts.query)

    @property
    def name(self) -> str:
        """The nodes, for logs."""
        return ",".join(node_name(node) for node in self.seeds)

    def node(self, node: Node) -> str:
        """The URL of a node."""
        query = f"?{self.options}" if self.options else ""
        return f"redis{'s' * self.tls}://{self.login}{node_name(node)}{query}"
