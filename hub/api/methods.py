"""The methods of the server API: what each does, free of HTTP.

A key needs a scope for the method it calls and, where the method has a topic, for that topic. A broadcast is so many
publishes: a key that may publish on a topic may broadcast to it. A batch needs no scope of its own.
"""

from __future__ import annotations

import asyncio
import fnmatch
import logging
import os
import re
import socket
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from typing import Any, Final, NamedTuple

import msgspec
import psutil

from hub.auth.api_keys import ApiKey
from hub.errors import (
    BAD_REQUEST,
    FORCE_DISCONNECT,
    INTERNAL,
    METHOD_NOT_FOUND,
    NOT_AVAILABLE,
    PERMISSION_DENIED,
    UNRECOVERABLE,
    UNSUBSCRIBED,
    BrokerError,
    Disconnect,
    HubError,
    ReplyError,
    TopicError,
)
from hub.model import HistoryQuery, Position, TopicOptions
from hub.node import Node, Order
from hub.protocol import server_api as wire
from hub.protocol.commands import HistoryResult, PresenceResult, PresenceStatsResult
from hub.protocol.http import broker_message
from hub.protocol.json_codec import compact, payload, wire_info, wire_publications

_log = logging.getLogger("hub.api")
AT_ONCE: Final = 64
"""Publishes of one request that are under way at the same time; more would only wait for the broker in memory."""
_NOT_OFFERED: Final = ("info", "b64info", "data", "b64data", "expire_at", "recover_since", "override")


class Desk:
    """What the methods work on. `history_page` is the most publications that one reply holds."""

    def __init__(self, node: Node, history_page: int) -> None:
        self.node = node
        self.history_page = history_page
        self.name = f"{socket.gethostname()}_{os.getpid()}"
        self.process = psutil.Process()
        self.process.cpu_percent()

    def options(self, topic: str) -> TopicOptions:
        """The topic's options; raises TopicError, or ReplyError 102."""
        return self.node.rule(topic)[0].options


async def publish(desk: Desk, key: ApiKey, request: wire.Publish) -> wire.PublishResult:
    """Publishes on one topic."""
    topic = request.channel or ""
    _demand(key, topic, "publish")
    return await _publish(desk, topic, _payload(request), request)


async def broadcast(desk: Desk, key: ApiKey, request: wire.Broadcast) -> dict[str, list[dict[str, Any]]]:
    """Publishes the same on several topics; each has an answer of its own."""
    if not request.channels:
        raise ReplyError(BAD_REQUEST, "bad request: channels is missing or empty")
    raw = _payload(request)

    async def one(topic: str) -> dict[str, Any]:
        try:
            _demand(key, topic, "broadcast", "publish")
            return {"result": await _publish(desk, topic, raw, request)}
        except HubError as error:
            return {"error": told(error)}

    return {"responses": await _in_slices([partial(one, topic) for topic in request.channels])}


async def presence(desk: Desk, key: ApiKey, request: wire.OneTopic) -> PresenceResult:
    """Who is subscribed, by client id."""
    topic = _with_presence(desk, key, request, "presence")
    infos = await desk.node.presence.get(topic)
    return PresenceResult({client: wire_info(info) for client, info in infos.items()})


async def presence_stats(desk: Desk, key: ApiKey, request: wire.OneTopic) -> PresenceStatsResult:
    """How many are subscribed."""
    stats = await desk.node.presence.stats(_with_presence(desk, key, request, "presence_stats"))
    return PresenceStatsResult(stats.clients, stats.users)


async def history(desk: Desk, key: ApiKey, request: wire.History) -> HistoryResult:
    """Kept publications and the top position."""
    topic, limit = request.channel or "", request.limit or 0
    _demand(key, topic, "history")
    bounded = None if limit == 0 else desk.history_page if limit < 0 else min(limit, desk.history_page)
    since = Position(request.since.offset, request.since.epoch) if request.since else None
    page = await desk.node.router.history(topic, HistoryQuery(bounded, since, bool(request.reverse)))
    if since is not None and since.epoch not in ("", page.position.epoch):
        raise ReplyError(UNRECOVERABLE)
    return HistoryResult(wire_publications(page.publications), page.position.epoch, page.position.offset)


async def history_remove(desk: Desk, key: ApiKey, request: wire.OneTopic) -> Mapping[str, Any]:
    """Forgets what is kept; the position stays."""
    topic = request.channel or ""
    _demand(key, topic, "history_remove")
    if desk.options(topic).history is None:
        raise ReplyError(NOT_AVAILABLE)
    await desk.node.router.bridge.remove_history(topic)
    return {}


async def channels(desk: Desk, key: ApiKey, request: wire.Channels) -> wire.ChannelsResult:
    """The topics that somebody is subscribed to on this node."""
    _demand(key, None, "channels")
    matches = re.compile(fnmatch.translate(request.pattern or "*")).match
    router = desk.node.router
    counts = {topic: router.subscribers(topic) for topic in router.topics() if matches(topic)}
    return wire.ChannelsResult({topic: wire.ChannelInfo(count) for topic, count in counts.items() if count})


async def info(desk: Desk, key: ApiKey, _: wire.NoFields) -> wire.InfoResult:
    """This node: who it is, how many it serves, what it uses."""
    _demand(key, None, "info")
    node, process = desk.node, desk.process
    topics = node.router.topics()
    told_of = wire.NodeInfo(
        uid=node.id,
        name=desk.name,
        version=node.version,
        num_clients=len(node.sessions),
        num_users=node.sessions.users,
        num_subs=sum(node.router.subscribers(topic) for topic in topics),
        num_channels=len(topics),
        uptime=int(node.clock() - node.started),
        process=wire.ProcessInfo(process.cpu_percent(), process.memory_info().rss),
    )
    return wire.InfoResult([told_of])


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
    _demand(key, None, "disconnect")
    user, client = _sessions(request)
    wanted = request.disconnect
    end = Disconnect(FORCE_DISCONNECT) if wanted is None else Disconnect(wanted.code, wanted.reason)
    keep = tuple(request.whitelist or ())
    await desk.node.order(Order("disconnect", user, client, "", end.code, end.reason, keep))
    return {}


async def batch(desk: Desk, key: ApiKey, request: wire.Batch) -> dict[str, list[dict[str, Any]]]:
    """Does several commands and answers each in its place."""
    if request.commands is None:
        raise ReplyError(BAD_REQUEST, "bad request: commands is missing")
    tasks = [partial(_command, desk, key, command) for command in request.commands]
    if request.parallel:
        return {"replies": await _in_slices(tasks)}
    return {"replies": [await task() for task in tasks]}


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
    "batch": _method(batch, wire.Batch),
}


def told(error: HubError) -> dict[str, Any]:
    """An error of the hub as code and message."""
    refused = _as_reply(error)
    return {"code": refused.code, "message": refused.message}


def _as_reply(error: HubError) -> ReplyError:
    if isinstance(error, ReplyError):
        return error
    if isinstance(error, TopicError):
        return ReplyError(BAD_REQUEST, f"bad request: {error}")
    if isinstance(error, BrokerError):
        _log.warning("a call of the API failed at the broker: %s", error)
        return ReplyError(INTERNAL, f"{INTERNAL.message}: {broker_message(error)}")
    if isinstance(error, Disconnect):
        return ReplyError(PERMISSION_DENIED, error.reason)
    _log.error("a call of the API failed", exc_info=error)
    return ReplyError(INTERNAL)


def _demand(key: ApiKey, topic: str | None, *methods: str) -> None:
    if not any(key.may(method, topic) for method in methods):
        raise ReplyError(
            PERMISSION_DENIED, f"permission denied: the API key {key.name!r} has no scope for this call"
        )


def _payload(request: wire.Payload) -> bytes:
    """The JSON to publish, on one line."""
    if request.b64data is not None:
        try:
            request.b64data.decode()
            msgspec.json.decode(request.b64data, type=msgspec.Raw)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise ReplyError(
                BAD_REQUEST, "bad request: b64data holds no JSON; other payloads are not offered"
            ) from error
        return compact(request.b64data)
    raw = payload(request.data)
    if raw is None:
        raise ReplyError(BAD_REQUEST, "bad request: data is missing")
    return raw


async def _publish(desk: Desk, topic: str, raw: bytes, request: wire.Payload) -> wire.PublishResult:
    result = await desk.node.router.publish(
        topic,
        raw,
        tags=request.tags,
        idempotency_key=request.idempotency_key or "",
        version=request.version or 0,
        version_epoch=request.version_epoch or "",
        skip_history=bool(request.skip_history),
    )
    at = result.position
    return wire.PublishResult() if at is None else wire.PublishResult(at.offset, at.epoch)


def _with_presence(desk: Desk, key: ApiKey, request: wire.OneTopic, method: str) -> str:
    topic = request.channel or ""
    _demand(key, topic, method)
    if not desk.options(topic).presence:
        raise ReplyError(NOT_AVAILABLE)
    return topic


def _whom(
    desk: Desk, key: ApiKey, request: wire.Subscribe | wire.Unsubscribe, method: str
) -> tuple[str, str, str]:
    topic = request.channel or ""
    _demand(key, topic, method)
    desk.options(topic)
    return (*_sessions(request), topic)


def _sessions(request: wire.Whom) -> tuple[str, str]:
    """User and client; an empty user is the anonymous one, but only when it is said."""
    if request.session:
        raise ReplyError(BAD_REQUEST, "bad request: no transport here has a session id; name the client")
    if request.user is None and not request.client:
        raise ReplyError(BAD_REQUEST, "bad request: user or client is missing")
    return request.user or "", request.client or ""


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


async def _in_slices(tasks: Iterable[Callable[[], Awaitable[dict[str, Any]]]]) -> list[dict[str, Any]]:
    """Runs all, some at once, and gives what they return in their order."""
    waiting, done = list(tasks), []
    for start in range(0, len(waiting), AT_ONCE):
        done += await asyncio.gather(*(task() for task in waiting[start : start + AT_ONCE]))
    return done
