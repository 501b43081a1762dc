"""The subscribe, unsubscribe and sub_refresh commands."""

from __future__ import annotations

from dataclasses import replace

from msgspec import UNSET

from hub import metrics
from hub.auth.tokens import SubscriptionGrant
from hub.errors import (
    BAD_FRAME,
    BAD_REQUEST,
    INVALID_TOKEN,
    PERMISSION_DENIED,
    TOKEN_EXPIRED,
    UNRECOVERABLE,
    Disconnect,
    ExpiredToken,
    InvalidToken,
    ReplyError,
)
from hub.model import Position
from hub.protocol.commands import (
    RefreshResult,
    SubRefreshRequest,
    SubscribeRequest,
    SubscribeResult,
    UnsubscribeRequest,
)
from hub.protocol.json_codec import raw_or_unset, wire_publications
from hub.session.client import ClientSession, Reply
from hub.session.held import Established, Wanted
from hub.tags import TagFilter, read_filter

DELTA_FORM = "fossil"
"""The only form of differences; who asks for another one gets none."""

REJECT_UNRECOVERED = 2
"""The bit of `flag` by which a client asks for an error in place of an unrecovered subscription."""


def since_of(request: SubscribeRequest) -> Position | None:
    """The position that a client wants to recover from; None when it wants none."""
    return Position(request.offset, request.epoch) if request.recover else None


def form_of(request: SubscribeRequest) -> tuple[bool, TagFilter | None]:
    """Whether differences are asked for, and the tags filter; raises ReplyError 107 for a bad filter or for both."""
    delta = request.delta == DELTA_FORM
    if request.tf is UNSET:
        return delta, None
    found = read_filter(bytes(request.tf))
    if found is not None and request.delta:
        raise ReplyError(BAD_REQUEST, "bad request: delta and a tags filter exclude one another")
    return delta, found


def result_of(session: ClientSession, established: Established, since: Position | None) -> SubscribeResult:
    """What a client is told of a subscription."""
    held, outcome = established.held, established.outcome
    positioned = held.rule.options.history is not None
    recoverable = held.rule.options.recoverable
    if since is not None and recoverable:
        metrics.RECOVERIES.labels("yes" if outcome.recovered else "no").inc()
    return SubscribeResult(
        expires=held.expires_at is not None,
        ttl=session.ttl(held.expires_at),
        recoverable=recoverable,
        positioned=positioned,
        epoch=outcome.position.epoch,
        offset=outcome.position.offset,
        publications=wire_publications(outcome.publications) or None,
        recovered=outcome.recovered,
        was_recovering=since is not None and recoverable,
        data=raw_or_unset(established.data),
        delta=held.subscription.delta,
    )


async def subscribe(session: ClientSession, request: SubscribeRequest, reply: Reply) -> None:
    """Makes a subscription and tells its outcome; what follows on the topic comes after the reply."""
    topic = request.channel
    if not topic:
        raise Disconnect(BAD_FRAME)
    if request.type:
        raise ReplyError(BAD_REQUEST, "bad request: only stream subscriptions (type 0) are known")
    since = since_of(request)
    delta, tag_filter = form_of(request)
    wanted = Wanted(topic, since=since, delta=delta, filter=tag_filter)
    if request.token:
        grant = await _granted(session, topic, request.token)
        wanted = replace(
            wanted,
            granted=True,
            chan_info=grant.info,
            data=grant.data,
            expires_at=grant.expires_at,
            mark=grant.mark,
        )
    established = await session.establish(wanted)
    options = established.held.rule.options
    if (
        request.flag & REJECT_UNRECOVERED
        and since is not None
        and options.recovery != "off"
        and not established.outcome.recovered
    ):
        session.drop(topic)
        raise ReplyError(UNRECOVERABLE)
    reply(result_of(session, established, since))
    if wanted.expires_at is not None:
        session.watch()
    session.announce_join(established.held)


async def _granted(session: ClientSession, topic: str, token: str) -> SubscriptionGrant:
    try:
        return await session.node.granted(
            token, topic=topic, identity=session.identity, client=session.client
        )
    except ExpiredToken as error:
        raise ReplyError(TOKEN_EXPIRED) from error
    except InvalidToken as error:
        if error.mismatch:
            raise Disconnect(INVALID_TOKEN) from error
        raise ReplyError(PERMISSION_DENIED) from error


async def unsubscribe(session: ClientSession, request: UnsubscribeRequest, reply: Reply) -> None:
    """Ends a subscription; one that is not held is no error."""
    if not request.channel:
        raise Disconnect(BAD_FRAME)
    session.drop(request.channel)
    session.outbox.flush()
    reply({})


async def sub_refresh(session: ClientSession, request: SubRefreshRequest, reply: Reply) -> None:
    """Moves a subscription's expiry to a fresh token's."""
    held = session.subscriptions.get(request.channel)
    if held is None:
        raise ReplyError(PERMISSION_DENIED)
    if not request.token:
        raise ReplyError(BAD_REQUEST)
    try:
        grant = await session.node.granted(
            request.token, topic=request.channel, identity=session.identity, client=session.client
        )
    except ExpiredToken as error:
        raise ReplyError(TOKEN_EXPIRED) from error
    except InvalidToken as error:
        raise Disconnect(INVALID_TOKEN) from error
    held.expires_at, held.mark, held.granted = grant.expires_at, grant.mark, True
    session.watch()
    ttl = session.ttl(grant.expires_at)
    reply(RefreshResult(expires=ttl > 0, ttl=ttl))
