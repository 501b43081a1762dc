"""The server API's method `explain`: may this client do that, and why."""

from __future__ import annotations

from contextlib import suppress

from hub.api.desk import Desk, demand
from hub.auth.api_keys import ApiKey
from hub.errors import BAD_REQUEST, ExpiredToken, InvalidToken, ReplyError
from hub.inquiry import Answer, Asked, Inquiry
from hub.node import Node
from hub.protocol import server_api as wire


async def explain(desk: Desk, key: ApiKey, request: wire.Explain) -> Answer:
    """What the rules in force on this node say; who asks learns all of them, so the scope is one of its own."""
    demand(key, None, "explain")
    return await answered(desk.node, request)


async def answered(node: Node, request: wire.Explain) -> Answer:
    """The node's answer to what was sent.

    Raises ReplyError 107 for an action that is none, KeysUnavailable where the keys of a token cannot be had now, and
    TopicError.
    """
    asked = Asked(
        action=request.action or "",
        topic=request.topic or "",
        token=request.token or "",
        user=request.user or "",
        claims=request.claims or {},
        subscription_token=request.subscription_token or "",
    )
    for token in (asked.token, asked.subscription_token):
        with suppress(InvalidToken, ExpiredToken):
            await node.identified(token)  # has the published keys fetched where they are needed
    inquiry = Inquiry(node.table, node.verifier, anonymous=node.anonymous, revocations=node.revocations)
    try:
        return inquiry.answer(asked)
    except ValueError as error:
        raise ReplyError(BAD_REQUEST, f"bad request: {error}") from error
