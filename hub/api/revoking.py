"""Revoking, lifting and listing over the server API; it holds on every node."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeVar

from hub.api.desk import Desk, demand
from hub.auth.api_keys import ApiKey
from hub.auth.revocable import key_of, revocable
from hub.errors import BAD_REQUEST, ReplyError
from hub.model import Revocation
from hub.protocol import server_api as wire

Value = TypeVar("Value", str, float)
LISTED: Final = 100
MAX_LISTED: Final = 1_000


async def revoke(desk: Desk, key: ApiKey, request: wire.Revoke) -> Mapping[str, Any]:
    """Has tokens refused from now on, and ends at once what they opened."""
    topic = _either("channel", request.channel, "topic", request.topic)
    demand(key, topic, "revoke")
    node = desk.node
    entry = revocable(
        node.clock(),
        user=request.user,
        token_id=request.token_id,
        issued_before=request.issued_before,
        topic=topic,
        until=_either("expire_at", request.expire_at, "until", request.until),
    )
    await node.revoking.revoke(entry)
    return {}


async def unrevoke(desk: Desk, key: ApiKey, request: wire.Unrevoke) -> Mapping[str, Any]:
    """Lifts what was revoked; tells whether there was anything."""
    topic = _either("channel", request.channel, "topic", request.topic)
    demand(key, topic, "unrevoke")
    about = key_of(
        user=request.user,
        token_id=request.token_id,
        dated=request.issued_before is not None,
        topic=topic,
    )
    return {"lifted": await desk.node.revoking.lift(about)}


async def revocations(desk: Desk, key: ApiKey, request: wire.Revocations) -> wire.RevocationsResult:
    """What is revoked, the latest first."""
    demand(key, None, "revocations")
    limit = LISTED if request.limit is None else request.limit
    if not 1 <= limit <= MAX_LISTED:
        raise ReplyError(BAD_REQUEST, f"bad request: limit lies between 1 and {MAX_LISTED}")
    found = [each for each in desk.node.revocations if request.user in (None, _user(each))]
    return wire.RevocationsResult([_shown(each) for each in found[:limit]], len(found))


def _either(name: str, value: Value | None, other: str, plain: Value | None) -> Value | None:
    """What is said in one of two words; raises ReplyError 107 when both say something, and not the same."""
    if value is not None and plain is not None and value != plain:
        raise ReplyError(BAD_REQUEST, f"bad request: {name} and {other} are the same, and differ here")
    return plain if value is None else value


def _user(entry: Revocation) -> str | None:
    return None if entry.kind == "token" else entry.subject


def _shown(entry: Revocation) -> wire.Revoked:
    return wire.Revoked(
        revoked_at=entry.changed // 1_000,
        user=_user(entry) or None,
        token_id=entry.subject if entry.kind == "token" else None,
        issued_before=entry.issued_before if entry.kind == "before" else None,
        channel=entry.topic or None,
        expire_at=entry.until,
    )
