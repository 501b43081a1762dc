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
from hub.api.desk import Desk, in_slices, told
from hub.api.ordering import disconnect, refresh, subscribe, unsubscribe
from hub.api.publishing import broadcast, publish
from hub.auth.api_keys import ApiKey
from hub.errors import BAD_REQUEST, METHOD_NOT_FOUND, HubError, ReplyError
from hub.protocol import server_api as wire


async def batch(desk: Desk, key: ApiKey, request: wire.Batch) -> dict[str, list[dict[str, Any]]]:
    """Does several commands and answers each in its place."""
    if request.commands is None:
        raise ReplyError(BAD_REQUEST, "bad request: commands is missing")
    tasks = [partial(_command, desk, key, command) for command in request.commands]
    if request.parallel:
        return {"replies": await in_slices(tasks)}
    return {"replies": [await task() for task in tasks]}


async def _command(desk: Desk, key: ApiKey, command: dict[str, msgspec.Raw]) -> dict[str, Any]:
    try:
        if len(command) != 1:
            raise ReplyError(BAD_REQUEST, "bad request: a command has one method")
        name, body = next(iter(command.items()))
        method = METHODS.get(name)
        if method is None or name == "batch":
            raise ReplyError(METHOD_NOT_FOUND)
        return {name: await method.call(desk, key, _decoded(method, body))}
    except HubError as error:
        return {"error": told(error)}


def _decoded(method: Method, body: msgspec.Raw) -> Any:
    try:
        return method.decode(body)
    except msgspec.MsgspecError as error:
        raise ReplyError(BAD_REQUEST, f"bad request: {error}") from error


class Method(NamedTuple):
    """A method with the decoder of its request."""

    call: Callable[..., Awaitable[Any]]
    decode: Callable[[bytes | msgspec.Raw], Any]


def _method(call: Callable[..., Awaitable[Any]], request: type[msgspec.Struct]) -> Method:
    return Method(call, msgspec.json.Decoder(request).decode)


METHODS: Final[Mapping[str, Method]] = {
    "publish": _method(publish, wire.Publish),
    "broadcast": _method(broadcast, wire.Broadcast),
    "presence": _method(presence, wire.OneTopic),
    "presence_stats": _method(presence_stats, wire.OneTopic),
    "history": _method(history, wire.History),
    "history_remove": _method(history_remove, wire.OneTopic),
    "channels": _method(channels, wire.Channels),
    "info": _method(info, wire.NoFields),
    "subscribe": _method(subscribe, wire.Subscribe),
    "unsubscribe": _method(unsubscribe, wire.Unsubscribe),
    "disconnect": _method(disconnect, wire.DisconnectRequest),
    "refresh": _method(refresh, wire.RefreshRequest),
    "batch": _method(batch, wire.Batch),
}
