"""The methods of the server API by name, and the one that holds others.

A key needs a scope for the method it calls and, where the method has a topic, for that topic; a batch needs no scope
of its own.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, Final, NamedTuple

import msgspec

from hub.api.asking import channels, history, history_remove, info, presence, presence_stats
from hub.api.desk import Desk, Told, in_order, in_slices
from hub.api.explaining import explain
from hub.api.ordering import disconnect, refresh, subscribe, unsubscribe
from hub.api.publishing import broadcast, publish, publish_now
from hub.api.revoking import revocations, revoke, unrevoke
from hub.auth.api_keys import ApiKey
from hub.errors import BAD_REQUEST, METHOD_NOT_FOUND, ReplyError
from hub.protocol import server_api as wire

Command = Mapping[str, msgspec.Raw]
"""A method's name and its request."""


async def batch(desk: Desk, key: ApiKey, request: wire.Batch) -> dict[str, list[Told]]:
    """Does several commands and answers each in its place."""
    if request.commands is None:
        raise ReplyError(BAD_REQUEST, "bad request: commands is missing")
    desk.node.meters.request(key.name, len(request.commands) - 1)
    done = in_slices if request.parallel else in_order
    now = partial(_now, desk, key) if desk.node.router.prompt else _never
    return {"replies": await done(request.commands, now, partial(_later, desk, key))}


def _never(_: Command) -> None:
    """Nothing is done at once where the broker has to be waited for."""


def _now(desk: Desk, key: ApiKey, command: Command) -> Told | None:
    name, body, method = _named(command)
    if method.now is None:
        return None
    result = method.now(desk, key, _decoded(method, body))
    return None if result is None else {name: result}


async def _later(desk: Desk, key: ApiKey, command: Command) -> Told:
    name, body, method = _named(command)
    return {name: await method.call(desk, key, _decoded(method, body))}


def _named(command: Command) -> tuple[str, msgspec.Raw, Method]:
    if len(command) != 1:
        raise ReplyError(BAD_REQUEST, "bad request: a command has one method")
    ((name, body),) = command.items()
    method = METHODS.get(name)
    if method is None or name == "batch":
        raise ReplyError(METHOD_NOT_FOUND)
    return name, body, method


def _decoded(method: Method, body: msgspec.Raw) -> Any:
    try:
        return method.decode(body)
    except msgspec.MsgspecError as error:
        raise ReplyError(BAD_REQUEST, f"bad request: {error}") from error


class Method(NamedTuple):
    """A method with the decoder of its request; `now` does it where nothing has to be waited for, else it is None."""

    call: Callable[..., Awaitable[Any]]
    decode: Callable[[bytes | msgspec.Raw], Any]
    request: type[msgspec.Struct]
    now: Callable[..., Any] | None = None


def _method(
    call: Callable[..., Awaitable[Any]], request: type[msgspec.Struct], now: Callable[..., Any] | None = None
) -> Method:
    return Method(call, msgspec.json.Decoder(request).decode, request, now)


METHODS: Final[Mapping[str, Method]] = {
    "publish": _method(publish, wire.Publish, publish_now),
    "broadcast": _method(broadcast, wire.Broadcast),
    "presence": _method(presence, wire.OneTopic),
    "presence_stats": _method(presence_stats, wire.OneTopic),
    "history": _method(history, wire.History),
    "history_remove": _method(history_remove, wire.OneTopic),
    "channels": _method(channels, wire.Channels),
    "info": _method(info, wire.NoFields),
    "explain": _method(explain, wire.Explain),
    "subscribe": _method(subscribe, wire.Subscribe),
    "unsubscribe": _method(unsubscribe, wire.Unsubscribe),
    "disconnect": _method(disconnect, wire.DisconnectRequest),
    "refresh": _method(refresh, wire.RefreshRequest),
    "revoke": _method(revoke, wire.Revoke),
    "unrevoke": _method(unrevoke, wire.Unrevoke),
    "revocations": _method(revocations, wire.Revocations),
    "batch": _method(batch, wire.Batch),
}
