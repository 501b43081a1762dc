"""The connect and refresh commands: who the client is, for how long, and what the server subscribes it to."""

from __future__ import annotations

from msgspec import UNSET

from hub import payloads
from hub.credentials import NOTHING, Credentials
from hub.errors import (
    BAD_FRAME,
    CONNECTION_EXPIRED,
    INVALID_TOKEN,
    METHOD_OFF,
    TOKEN_EXPIRED,
    BrokerError,
    Disconnect,
    ExpiredToken,
    HubError,
    InvalidToken,
    ReplyError,
)
from hub.model import ANONYMOUS, Identity
from hub.plugin import Accept
from hub.protocol.commands import (
    ConnectRequest,
    ConnectResult,
    RefreshRequest,
    RefreshResult,
    SendRequest,
    SubscribeRequest,
    SubscribeResult,
)
from hub.protocol.json_codec import encode, payload, raw_or_unset
from hub.session.client import ClientSession, Reply
from hub.session.held import Established, Wanted
from hub.session.subscribing import form_of, result_of, since_of


async def identify(session: ClientSession, token: str) -> Identity:
    """The identity behind a token, or the anonymous one where that is allowed.

    Raises ReplyError 109 for an expired token and 100 while its key cannot be had, Disconnect 3500 for a bad one and
    3501 for none.
    """
    if not token and not session.node.anonymous:
        raise session.nobody()
    try:
        return await session.node.identified(token)
    except ExpiredToken as error:
        raise ReplyError(TOKEN_EXPIRED) from error
    except InvalidToken as error:
        raise Disconnect(INVALID_TOKEN) from error


async def redeem(session: ClientSession, brought: Credentials) -> Identity:
    """The identity behind a one-time ticket; raises Disconnect 3500 for one that is no good."""
    await session.node.tasks.handover()
    try:
        return await session.node.redeem(brought.ticket, brought.origin)
    except InvalidToken as error:
        raise Disconnect(INVALID_TOKEN) from error


async def connect(session: ClientSession, request: ConnectRequest, reply: Reply) -> None:
    """Admits the client, makes its server-side subscriptions, and tells it all in one reply."""
    brought, session.brought = session.brought, NOTHING
    token, asked = request.token or brought.token, bool(session.node.table.connect)
    nameless = not (token or brought.ticket)
    if not token and brought.ticket:
        identity = await redeem(session, brought)
    else:
        identity = ANONYMOUS if nameless and asked else await identify(session, token)
    if asked or request.subs or identity.subs:
        await session.node.tasks.handover()
    answers = await session.admit(identity, brought.request, nameless=nameless)
    if session.closed:
        return
    identity = session.identity
    # Whom a handler named cannot bring a fresh token: the session ends on time, and the client is asked anew.
    named = any(answer.identity is not None for answer in answers)
    try:
        made = {}
        if answers or request.subs or identity.subs:
            made = await _server_side(session, identity, answers, request.subs)
    except HubError:
        # A refused connect must not leave half a session that receives what it was never told of.
        session.retire()
        raise
    if session.closed:
        return
    session.begin(identity.expires_at, renewable=not named)
    data = [encode(answer.data) for answer in answers if answer.data is not None]
    limits, emulated, one_way = session.node.limits, session.emulated, session.one_way
    reply(
        ConnectResult(
            client=session.client,
            version=session.node.version,
            expires=identity.expires_at is not None and not named,
            ttl=0 if named else session.ttl(identity.expires_at),
            data=raw_or_unset(data[-1] if data else None),
            subs={topic: result for topic, (_, result) in made.items()} or None,
            ping=0 if session.frame_ping else int(limits.ping),
            pong=not (session.frame_ping or one_way),
            session=session.client if emulated or one_way else "",
            node=session.node.id if emulated else "",
        )
    )
    for established, _ in made.values():
        session.announce_join(established.held)


async def _server_side(
    session: ClientSession, identity: Identity, answers: list[Accept], asked: dict[str, SubscribeRequest]
) -> dict[str, tuple[Established, SubscribeResult]]:
    forced = [*identity.subs, *(topic for answer in answers for topic in answer.topics)]
    made: dict[str, tuple[Established, SubscribeResult]] = {}
    for topic in dict.fromkeys((*forced, *asked)):
        if session.node.revocations.bar(identity.user, topic):
            # Whoever is barred from one topic is to have the others all the same.
            continue
        request = asked.get(topic, SubscribeRequest())
        options = identity.subs.get(topic, {})
        try:
            delta, tag_filter = form_of(request)
            wanted = Wanted(
                topic,
                since=since_of(request),
                granted=topic in forced,
                forced=True,
                chan_info=encode(options["info"]) if "info" in options else None,
                data=encode(options["data"]) if "data" in options else None,
                delta=delta,
                filter=tag_filter,
            )
            established = await session.establish(wanted)
        except HubError as error:
            if topic in forced or isinstance(error, BrokerError):
                raise
            # What a client asks for by itself and may not have is left out without a word, as its SDKs expect.
            continue
        made[topic] = established, result_of(session, established, wanted.since)
    return made


async def refresh(session: ClientSession, request: RefreshRequest, reply: Reply) -> None:
    """Moves the session's expiry to a fresh token's; raises Disconnect 3500 when it is bad or another user's."""
    if not request.token:
        raise Disconnect(BAD_FRAME)
    identity = await identify(session, request.token)
    if identity.user != session.identity.user:
        raise Disconnect(INVALID_TOKEN)
    if identity.expires_at is not None and identity.expires_at <= session.node.clock():
        raise Disconnect(CONNECTION_EXPIRED)
    before, session.identity = session.identity, identity
    session.renew(identity.expires_at)
    ttl = session.ttl(identity.expires_at)
    reply(RefreshResult(expires=ttl > 0, ttl=ttl, client=session.client, version=session.node.version))
    session.relinquish(before, identity)


async def send(session: ClientSession, request: SendRequest, reply: Reply) -> None:
    """Hands a message to the message handlers; raises Disconnect 3508 where there are none."""
    handlers = session.node.table.message
    if not handlers:
        raise Disconnect(METHOD_OFF)
    raw = payload(request.data)
    if raw is None or request.data is UNSET:
        raise Disconnect(BAD_FRAME)
    data = _decoded(raw)
    for handler in handlers:
        await session.node.table.run(handler, session.call(), data)


def _decoded(raw: bytes) -> object:
    try:
        return payloads.decode(raw)
    except ReplyError as error:
        raise Disconnect(BAD_FRAME) from error
