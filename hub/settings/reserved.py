"""Names in the hub's own use, which no plugin, socket or alias may take."""

from __future__ import annotations

from typing import Final

API_METHODS: Final = (
    "publish",
    "broadcast",
    "subscribe",
    "unsubscribe",
    "disconnect",
    "refresh",
    "presence",
    "presence_stats",
    "history",
    "history_remove",
    "channels",
    "info",
    "explain",
    "revoke",
    "unrevoke",
    "revocations",
    "batch",
)
"""What `/api/<method>` may be; the client protocol's names."""

SCOPES: Final = (*API_METHODS, "ticket")
"""What an API key may be allowed, besides plugins by name."""

PLUGIN_NAMES: Final = frozenset({*SCOPES, "rpc", "topics", "me"})
"""What stands under `/api/` already, so that no plugin's routes could."""

_PATHS: Final = (
    "/connection",
    "/emulation",
    "/api",
    "/sse",
    "/health",
    "/metrics",
    "/admin",
    "/plugins",
    "/asyncapi.json",
    "/openapi.json",
)


def reserved_path(path: str) -> str | None:
    """Which of the hub's own paths a socket's path is, or lies under; a path under /ws is free, and wins over it."""
    return next((own for own in _PATHS if path == own or path.startswith(f"{own}/")), None)
