"""What the server API tells: presence, history, topics with subscribers, and the node itself."""

from __future__ import annotations

import fnmatch
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

import msgspec

from hub.api.desk import Desk, demand
from hub.auth.api_keys import ApiKey
from hub.errors import NOT_AVAILABLE, UNRECOVERABLE, ReplyError, repeatable
from hub.model import HistoryQuery, Position
from hub.protocol import server_api as wire
from hub.protocol.commands import HistoryResult, PresenceResult, PresenceStatsResult
from hub.protocol.json_codec import encode, wire_info, wire_publications


async def presence(desk: Desk, key: ApiKey, request: wire.OneTopic) -> PresenceResult:
    """Who is subscribed, by client id."""
    topic = _with_presence(desk, key, request, "presence")
    with repeatable():
        infos = await desk.node.presence.get(topic)
    return PresenceResult({client: wire_info(info) for client, info in infos.items()})


async def presence_stats(desk: Desk, key: ApiKey, request: wire.OneTopic) -> PresenceStatsResult:
    """How many are subscribed."""
    topic = _with_presence(desk, key, request, "presence_stats")
    with repeatable():
        stats = await desk.node.presence.stats(topic)
    return PresenceStatsResult(stats.clients, stats.users)


async def history(desk: Desk, key: ApiKey, request: wire.History) -> HistoryResult:
    """Kept publications and the top position."""
    topic, limit = request.channel or "", request.limit or 0
    demand(key, topic, "history")
    bounded = None if limit == 0 else desk.history_page if limit < 0 else min(limit, desk.history_page)
    since = Position(request.since.offset, request.since.epoch) if request.since else None
    page = await desk.node.router.history(topic, HistoryQuery(bounded, since, bool(request.reverse)))
    if since is not None and since.epoch not in ("", page.position.epoch):
        raise ReplyError(UNRECOVERABLE)
    return HistoryResult(wire_publications(page.publications), page.position.epoch, page.position.offset)


async def history_remove(desk: Desk, key: ApiKey, request: wire.OneTopic) -> Mapping[str, Any]:
    """Forgets what is kept; the position stays."""
    topic = request.channel or ""
    demand(key, topic, "history_remove")
    if desk.options(topic).history is None:
        raise ReplyError(NOT_AVAILABLE)
    await desk.node.router.bridge.remove_history(topic)
    return {}


async def channels(desk: Desk, key: ApiKey, request: wire.Channels) -> wire.ChannelsResult:
    """The topics that somebody is subscribed to, on all nodes that answer in time."""
    demand(key, None, "channels")
    answers = await desk.node.cluster.ask_all("channels", (request.pattern or "*").encode())
    counts: Counter[str] = Counter()
    for answer in answers.values():
        counts.update(msgspec.json.decode(answer, type=dict[str, int]))
    return wire.ChannelsResult({topic: wire.ChannelInfo(count) for topic, count in counts.items()})


def counted(desk: Desk, pattern: str) -> dict[str, int]:
    """How many subscriptions each matching topic has on this node."""
    matches = re.compile(fnmatch.translate(pattern)).match
    router = desk.node.router
    counts = {topic: router.subscribers(topic) for topic in router.topics() if matches(topic)}
    return {topic: count for topic, count in counts.items() if count}


async def info(desk: Desk, key: ApiKey, _: wire.NoFields) -> wire.InfoResult:
    """All nodes that answer in time: who they are, how many they serve, what they use."""
    demand(key, None, "info")
    answers = await desk.node.cluster.ask_all("info", b"")
    return wire.InfoResult([msgspec.json.decode(answer, type=wire.NodeInfo) for answer in answers.values()])


def described(desk: Desk) -> wire.NodeInfo:
    """This node."""
    node, process = desk.node, desk.process
    topics = node.router.topics()
    return wire.NodeInfo(
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


def answer_other_nodes(desk: Desk) -> None:
    """Lets other nodes ask this one for its part of `info` and `channels`."""

    async def tell_info(_: bytes) -> bytes:
        return encode(described(desk))

    async def tell_channels(pattern: bytes) -> bytes:
        return encode(counted(desk, pattern.decode()))

    desk.node.cluster.methods.update(info=tell_info, channels=tell_channels)


def _with_presence(desk: Desk, key: ApiKey, request: wire.OneTopic, method: str) -> str:
    topic = request.channel or ""
    demand(key, topic, method)
    if not desk.options(topic).presence:
        raise ReplyError(NOT_AVAILABLE)
    return topic
