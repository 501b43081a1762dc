"""What a webhook may answer, and what a handler would have returned or raised in its place.

Shapes are strict: a key that the event does not know, a number out of its range or text that is no JSON makes the whole
answer a bad one, and then nothing of it is done.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final, TypeAlias

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from hub.auth.claims import granted_topics, server_subscriptions
from hub.errors import DISCONNECT_CODES, REPLY_CODES, Disconnect, InvalidToken, ReplyError, TopicError
from hub.fitness import MAX_DEPTH, UnfitError, check, too_deep
from hub.model import Identity, Publication
from hub.plugin import Accept, Context
from hub.topics import check_topic

_REPLIES: Final = {code.number: code for code in REPLY_CODES}
_ENDS: Final = {code.number: code for code in DISCONNECT_CODES}
_Text: TypeAlias = Annotated[str, Meta(max_length=1_000)]


class BadAnswer(Exception):
    """An answer that cannot be taken; the text says why and shows nothing of it."""


class _Error(Struct, frozen=True, forbid_unknown_fields=True):
    code: int
    message: _Text = ""
    temporary: bool | None = None


class _Disconnect(Struct, frozen=True, forbid_unknown_fields=True):
    code: int
    reason: _Text = ""


class _Answer(Struct, frozen=True, forbid_unknown_fields=True):
    error: _Error | None = None
    disconnect: _Disconnect | None = None


class _Connect(_Answer, frozen=True, forbid_unknown_fields=True):
    data: Any = None
    subscribe: Annotated[list[str], Meta(max_length=1_000)] = []
    user: Annotated[str, Meta(min_length=1, max_length=1_000)] | None = None
    info: msgspec.Raw | UnsetType = UNSET
    expires_at: float | None = None
    claims: dict[str, Any] | None = None


class _Subscribe(_Answer, frozen=True, forbid_unknown_fields=True):
    data: Any = None
    info: Any = None


class _Publish(_Answer, frozen=True, forbid_unknown_fields=True):
    data: msgspec.Raw | UnsetType = UNSET
    tags: dict[str, str] | UnsetType = UNSET
    key: _Text | UnsetType = UNSET


class _Rpc(_Answer, frozen=True, forbid_unknown_fields=True):
    data: Any = None


def take(event: str, raw: bytes, ctx: Context[Any], arguments: tuple[Any, ...]) -> Any:
    """What a function would have returned; raises ReplyError or Disconnect as it would have, and BadAnswer."""
    shape, taken = _EVENTS[event]
    if not raw:
        raise BadAnswer("it is empty; `{}` lets things go their way")
    try:
        raw.decode()  # what is passed on as it stands is not looked at again
        if too_deep(raw):
            raise BadAnswer(f"it is nested deeper than {MAX_DEPTH} levels")
        answer = msgspec.json.decode(raw, type=shape)
        check(raw, twice=False)
    except UnfitError as error:
        raise BadAnswer(str(error)) from None
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise BadAnswer(_why(error)) from None
    if answer.error is not None and answer.disconnect is not None:
        raise BadAnswer("it has both `error` and `disconnect`")
    if answer.error is not None:
        raise _refusal(answer.error)
    if answer.disconnect is not None:
        raise _end(answer.disconnect)
    return taken(answer, ctx, arguments)


def _why(error: Exception) -> str:
    """What is wrong with the text; msgspec names the place and what is expected there, and no values."""
    return (
        f"it does not have the shape of one: {error}"
        if isinstance(error, msgspec.MsgspecError)
        else "it is no JSON"
    )


def _refusal(error: _Error) -> ReplyError:
    known = _REPLIES.get(error.code)
    if known is None and not 400 <= error.code < 2_000:
        raise BadAnswer(f"it refuses with {error.code}, which is no code of the hub nor one from 400 to 1999")
    return ReplyError(known or error.code, error.message, temporary=error.temporary)


def _end(end: _Disconnect) -> Disconnect:
    known = _ENDS.get(end.code)
    if known is None and not 4_000 <= end.code < 5_000:
        raise BadAnswer(f"it ends with {end.code}, which is no code of the hub nor one from 4000 to 4999")
    return Disconnect(known or end.code, end.reason)


def _connected(answer: _Connect, ctx: Context[Any], arguments: tuple[Any, ...]) -> Accept:
    try:
        topics = tuple(check_topic(topic) for topic in answer.subscribe)
    except TopicError as error:
        raise BadAnswer(f"`subscribe`: {error}") from None
    return Accept(data=answer.data, topics=topics, identity=_identity(answer, ctx))


def _identity(answer: _Connect, ctx: Context[Any]) -> Identity | None:
    if answer.user is None:
        if answer.claims is not None or answer.info is not UNSET or answer.expires_at is not None:
            raise BadAnswer("`info`, `expires_at` and `claims` belong to a `user`, and there is none")
        return None
    if answer.expires_at is not None and answer.expires_at <= ctx.now():
        raise BadAnswer("`expires_at` has passed")
    claims = answer.claims or {}
    try:
        return Identity(
            user=answer.user,
            info=_compact(answer.info),
            expires_at=answer.expires_at,
            claims=claims,
            topics=granted_topics(claims),
            subs=server_subscriptions(claims),
        )
    except InvalidToken as error:
        raise BadAnswer(f"`claims`: {error}") from None


def _subscribed(answer: _Subscribe, ctx: Context[Any], arguments: tuple[Any, ...]) -> Accept:
    return Accept(data=answer.data, info=answer.info)


def _published(answer: _Publish, ctx: Context[Any], arguments: tuple[Any, ...]) -> Publication | None:
    publication: Publication = arguments[0]
    changes: dict[str, Any] = {}
    raw = _compact(answer.data)
    if raw is not None:
        changes["raw"] = raw
    if answer.tags is not UNSET:
        changes["tags"] = answer.tags or None
    if answer.key is not UNSET:
        changes["key"] = answer.key
    return publication.replace(**changes) if changes else None


def _called(answer: _Rpc, ctx: Context[Any], arguments: tuple[Any, ...]) -> Any:
    return answer.data


def _compact(raw: msgspec.Raw | UnsetType) -> bytes | None:
    """JSON text without white space between its tokens: payloads go over the wire on one line."""
    return None if raw is UNSET else msgspec.json.format(bytes(raw), indent=-1)


_EVENTS: Final[Mapping[str, tuple[type[_Answer], Callable[[Any, Context[Any], tuple[Any, ...]], Any]]]] = {
    "connect": (_Connect, _connected),
    "subscribe": (_Subscribe, _subscribed),
    "publish": (_Publish, _published),
    "rpc": (_Rpc, _called),
}
