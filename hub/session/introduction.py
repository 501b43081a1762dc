"""What connect handlers say of a client: whether it may come, who it is, and what it is given."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import NamedTuple

import msgspec

from hub import payloads
from hub.credentials import ClientRequest
from hub.errors import EXPIRED, INTERNAL, ReplyError
from hub.handlers import Call, HandlerTable
from hub.model import Identity
from hub.plugin import Accept

_log = logging.getLogger("hub.session")


class Introduction(NamedTuple):
    """The outcome: `named` when a handler said who the client is, and not its token."""

    identity: Identity
    answers: list[Accept]
    named: bool


async def introduce(
    table: HandlerTable, now: float, identity: Identity, client: str, request: ClientRequest | None
) -> Introduction:
    """Asks the connect handlers one after another; each sees the client as the one before left it.

    `identity` is what the client's own token made of it, `now` is in seconds since 1970. Raises ReplyError or
    Disconnect when a handler refuses, and ReplyError 110 when it names somebody whose time has passed.
    """
    answers: list[Accept] = []
    named = False
    for handler in table.connect:
        answer = await table.run(handler, Call(identity=identity, client=client, request=request))
        if not isinstance(answer, Accept):
            continue
        answers.append(answer)
        if answer.identity is not None:
            identity = _traced(_checked(answer.identity, handler.name, now), identity, now)
            named = not identity.anonymous
    return Introduction(identity, answers, named)


def _traced(named: Identity, before: Identity, now: float) -> Identity:
    """The identity with the claims by which it can be revoked: the token's where there is one, else it is of now."""
    # Without `iat` it would count as issued before everything that is revoked by its time.
    traces = {name: before.claims[name] for name in ("jti", "iat") if name in before.claims}
    return replace(named, claims={"iat": int(now), **traces, **named.claims})


def _checked(identity: Identity, handler: str, now: float) -> Identity:
    """The identity with its `info` as JSON on one line, for it is spliced into frames; so nothing else may pass."""
    if not isinstance(identity, Identity):
        _log.error("handler %s named a %s as an identity", handler, type(identity).__name__)
        raise ReplyError(INTERNAL)
    if identity.expires_at is not None and identity.expires_at <= now:
        raise ReplyError(EXPIRED)
    if identity.info is None:
        return identity
    try:
        return replace(identity, info=msgspec.json.encode(payloads.decode(identity.info)))
    except (ReplyError, TypeError, AttributeError):
        # Without the cause, whose text may repeat what is to be shown to nobody.
        _log.error("handler %s named an identity whose info is no JSON text", handler)
        raise ReplyError(INTERNAL) from None
