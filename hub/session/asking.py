"""The commands that ask or tell without changing a subscription: publish, presence, history, rpc."""

from __future__ import annotations

from hub import payloads
from hub.auth.rules import callable_by
from hub.errors import BAD_REQUEST, NOT_AVAILABLE, UNRECOVERABLE, ReplyError
from hub.handlers import Handler
from hub.model import HistoryQuery, Position
from hub.protocol.commands import (
    HistoryRequest,
    HistoryResult,
    PresenceResult,
    PresenceStatsResult,
    PublishRequest,
    RPCRequest,
    RPCResult,
    TopicRequest,
)
from hub.protocol.json_codec import encode, payload, raw_or_unset, wire_info, wire_publications
from hub.session.client import ClientSession, Reply


async def publish(session: ClientSession, request: PublishRequest, reply: Reply) -> None:
    """Publishes as the client."""
    raw = payload(request.data)
    if raw is None:
        raise ReplyError(BAD_REQUEST, "bad request: data is missing")
    await session.publish(request.channel, raw)
    reply({})


async def presence(session: ClientSession, request: TopicRequest, reply: Reply) -> None:
    """Who is subscribed, by client id."""
    session.node.demand(session.identity, "presence", request.channel)
    infos = await session.node.presence.get(request.channel)
    reply(PresenceResult({client: wire_info(info) for client, info in infos.items()}))


async def presence_stats(session: ClientSession, request: TopicRequest, reply: Reply) -> None:
    """How many are subscribed."""
    session.node.demand(session.identity, "presence", request.channel)
    stats = await session.node.presence.stats(request.channel)
    reply(PresenceStatsResult(stats.clients, stats.users))


def history_query(request: HistoryRequest, most: int) -> HistoryQuery:
    """The query behind a history request; `most` bounds what one reply may hold."""
    limit = None if request.limit == 0 else most if request.limit < 0 else min(request.limit, most)
    since = Position(request.since.offset, request.since.epoch) if request.since else None
    return HistoryQuery(limit, since, request.reverse)


async def history(session: ClientSession, request: HistoryRequest, reply: Reply) -> None:
    """Kept publications and the top position."""
    session.node.demand(session.identity, "history", request.channel)
    query = history_query(request, session.node.limits.history_page)
    page = await session.node.router.history(request.channel, query)
    if query.since is not None and query.since.epoch not in ("", page.position.epoch):
        raise ReplyError(UNRECOVERABLE)
    reply(HistoryResult(wire_publications(page.publications), page.position.epoch, page.position.offset))


async def rpc(session: ClientSession, request: RPCRequest, reply: Reply) -> None:
    """Calls the handler of that name; raises ReplyError 108 where there is none for this client."""
    handler: Handler | None = session.node.table.rpc.get(request.method)
    if handler is None or not callable_by(session.identity, handler.allow):
        raise ReplyError(NOT_AVAILABLE)
    raw = payload(request.data)
    data = None if raw is None else payloads.decode(raw)
    answer = await session.node.table.run(handler, session.call(method=request.method), data)
    reply(RPCResult(raw_or_unset(None if answer is None else encode(answer))))
