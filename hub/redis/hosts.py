"""Hosts and ports as they stand in URLs that name several servers."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

Node = tuple[str, int]
"""Host and port of a server."""


def parse_nodes(text: str, *, port: int, what: str) -> tuple[Node, ...]:
    """The servers of the host part of a URL, commas between them; `port` is that of those which name none.

    Raises ValueError, which calls a server by `what`.
    """
    return tuple(_node(each, port, what) for each in text.split(","))


def node_name(node: Node) -> str:
    """Host and port as in a URL."""
    host, port = node
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _node(text: str, default: int, what: str) -> Node:
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, 0
    if not host or port == 0:
        raise ValueError(
            f"each {what} is a host and a port, with commas between them, as in host1:{default},host2:{default}"
        )
    return unquote(host), port or default
