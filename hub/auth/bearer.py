"""Where a client's request carries its token or ticket.

In this order, the first counts and the others are not looked at: `?token=`, `?ticket=`, the WebSocket subprotocols
`bearer, <token>`, `Authorization: Bearer <token>`. (A token in the connect command goes before all of them.) What a
page can say goes first, because an Authorization header may come from a proxy and be meant for something else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

SUBPROTOCOL: Final = "bearer"
"""What a browser offers in front of its token, and gets for an answer."""
MALFORMED: Final = "-"
"""Stands for a token that was announced and is not there; no verifier accepts it."""


def presented(
    headers: Mapping[str, str], query: Mapping[str, str], subprotocols: Sequence[str] = ()
) -> tuple[str, str]:
    """The token and the ticket that a request brings, one of them "" or both.

    `headers` are looked up by lower-case names, as Starlette's are.
    """
    token = query.get("token", "").strip()
    if token:
        return token, ""
    ticket = query.get("ticket", "").strip()
    if ticket:
        return "", ticket
    return offered_token(subprotocols) or _authorization(headers), ""


def presented_token(headers: Mapping[str, str], query: Mapping[str, str]) -> str | None:
    """The token in `?token=`, else in `Authorization: Bearer <token>`; None when there is none.

    For requests that are made once and can say who they are each time, where a ticket is no use.
    """
    return query.get("token", "").strip() or _authorization(headers) or None


def offered_token(subprotocols: Sequence[str]) -> str:
    """The token behind subprotocol `bearer`, "" where that is not offered, MALFORMED where nothing good follows it."""
    if SUBPROTOCOL not in subprotocols:
        return ""
    place = subprotocols.index(SUBPROTOCOL)
    behind = subprotocols[place + 1 :]
    return behind[0] if behind and SUBPROTOCOL not in behind else MALFORMED


def _authorization(headers: Mapping[str, str]) -> str:
    scheme, _, credentials = headers.get("authorization", "").strip().partition(" ")
    return credentials.strip() if scheme.lower() == "bearer" else ""
