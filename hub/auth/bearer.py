"""Where an HTTP request carries a client's token."""

from __future__ import annotations

from collections.abc import Mapping


def presented_token(headers: Mapping[str, str], query: Mapping[str, str]) -> str | None:
    """The token in `?token=`, else in `Authorization: Bearer <token>`; None when there is none.

    The query goes first because a browser can set nothing else on a WebSocket or an EventSource, while an Authorization
    header may come from a proxy and be meant for something else. `headers` are looked up by lower-case names, as
    Starlette's are.
    """
    token = query.get("token", "").strip()
    if not token:
        scheme, _, credentials = headers.get("authorization", "").strip().partition(" ")
        token = credentials.strip() if scheme.lower() == "bearer" else ""
    return token or None
