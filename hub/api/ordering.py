"""Orders to sessions, wherever they are connected: they go to every node."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from hub.api.desk import Desk, demand
from hub.auth.api_keys import ApiKey
from hub.errors import BAD_REQUEST, CONNECTION_EXPIRED, FORCE_DISCONNECT, UNSUBSCRIBED, Disconnect, ReplyError
from hub.node import Order
from hub.protocol import server_api as wire

_NOT_OFFERED: Final = ("info", "b64info", "data", "b64data", "expire_at", "recover_since", "override")


async def subscribe(desk: Desk, key: ApiKey, request: wire.Subscribe) -> Mapping[str, Any]:
    """Subscribes sessions on every node."""
    for name in _NOT_OFFERED:
        if getattr(request, name) is not None:
            raise ReplyError(BAD_REQUEST, f"bad request: subscribe offers no {name}")
    user, client, topic = _whom(desk, key, request, "subscribe")
    await desk.node.order(Order("subscribe", user, client, topic))
    return {}


async def unsubscribe(desk: Desk, key: ApiKey, request: wire.Unsubscribe) -> Mapping[str, Any]:
    """Takes a subscription from sessions on every node."""
    user, client, topic = _whom(desk, key, request, "unsubscribe")
    await desk.node.order(
        Order("unsubscribe", user, client, topic, UNSUBSCRIBED.number, UNSUBSCRIBED.message)
    )
    return {}


async def disconnect(desk: Desk, key: ApiKey, request: wire.DisconnectRequest) -> Mapping[str, Any]:
    """Ends sessions on every node; by default their clients stay away."""
    demand(key, None, "disconnect")
    user, client = _sessions(request)
    wanted = request.disconnect
    end = Disconnect(FORCE_DISCONNECT) if wanted is None else Disconnect(wanted.code, wanted.reason)
    keep = tuple(request.whitelist or ())
    await desk.node.order(Order("disconnect", user, client, "", end.code, end.reason, keep))
    return {}


async def refresh(desk: Desk, key: ApiKey, request: wire.RefreshRequest) -> Mapping[str, Any]:
    """Moves the expiry of sessions on every node, or ends them as expired."""
    demand(key, None, "refresh")
    user, client = _sessions(request)
    if request.info is not None:
        raise ReplyError(BAD_REQUEST, "bad request: refresh offers no info")
    if request.expired:
        end = CONNECTION_EXPIRED
        await desk.node.order(Order("disconnect", user, client, "", end.number, end.message))
    else:
        expires_at = float(request.expire_at) if request.expire_at else None
        await desk.node.order(Order("refresh", user, client, expires_at=expires_at))
    return {}


def _whom(
    desk: Desk, key: ApiKey, request: wire.Subscribe | wire.Unsubscribe, method: str
) -> tuple[str, str, str]:
    topic = request.channel or ""
    demand(key, topic, method)
    desk.options(topic)
    return (*_sessions(request), topic)


def _sessions(request: wire.Whom) -> tuple[str, str]:
    """User and client; an empty user is the anonymous one, but only when it is said.

    The id of a session is its client's id, and one-way clients are told it as both.
    """
    client = request.client or request.session or ""
    if request.session and request.session != client:
        raise ReplyError(BAD_REQUEST, "bad request: client and session are two different ones")
    if request.user is None and not client:
        raise ReplyError(BAD_REQUEST, "bad request: user or client is missing")
    return request.user or "", client
