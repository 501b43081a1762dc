"""Messages: what may be said, storing it once, reading it back."""

from __future__ import annotations

from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field, model_validator
from sqlalchemy.exc import IntegrityError

from hub.plugin import BAD_REQUEST, Context, Publication, ReplyError, validated
from hub_chat import rooms
from hub_chat.models import Message, following, latest, sent_before
from hub_chat.settings import ChatSettings

NONCE_USED: Final = 1_409
_ATTEMPTS: Final = 3
"""Rounds of storing: the first can find no room, the second that somebody else has just sent the same."""


def _or_a_bare_text(schema: dict[str, Any]) -> None:
    told = dict(schema)
    schema.clear()
    schema["anyOf"] = [{"type": "string"}, told]


class Draft(BaseModel):
    """What a client says. A bare text counts as one without a nonce."""

    model_config = ConfigDict(extra="forbid", strict=True, json_schema_extra=_or_a_bare_text)

    text: str
    nonce: str | None = Field(None, min_length=1, max_length=100)

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, given: Any) -> Any:
        if isinstance(given, str):
            return {"text": given}
        if not isinstance(given, dict):
            raise ValueError('a message is a text, or {"text": …, "nonce": …}')
        return given

    @model_validator(mode="after")
    def _is_storable(self) -> Draft:
        if not self.text.strip():
            raise ValueError("the text is empty")
        if "\0" in self.text + (self.nonce or ""):
            raise ValueError("text and nonce must not hold U+0000")
        return self


class Sent(Draft):
    """What a client says by RPC, where no topic names the room."""

    room: str


class MessagePage(BaseModel):
    """Which messages are asked for: the latest, those before an id, or those after one."""

    model_config = ConfigDict(extra="forbid")

    before: int | None = Field(None, ge=1, le=2**63 - 1)
    after: int | None = Field(None, ge=0, le=2**63 - 1)
    limit: int | None = Field(None, ge=1)

    @model_validator(mode="after")
    def _has_one_direction(self) -> MessagePage:
        if self.before is not None and self.after is not None:
            raise ValueError("give before or after, not both")
        return self


class RoomHistory(MessagePage):
    """Which messages are asked for by RPC."""

    room: str


def draft_of(pub: Publication) -> Draft:
    """The draft in a publication. Whoever types 42 into a plain socket says "42", though it arrives as a number."""
    given = pub.raw if pub.raw[:1] in {b"{", b"[", b'"'} else {"text": pub.text}
    return validated(Draft, given)


async def store(ctx: Context[ChatSettings], room: str, draft: Draft, nonce: str) -> Message:
    """Stores a message of the acting user, once: with a nonce that they used before it is the message of then.

    Raises ReplyError 107 for a text that is too long, 1404 for a room that has to be created before, 1409 when the
    nonce was used for another text; whatever the database raises leaves nothing stored that was not asked for.
    """
    longest = ctx.settings.text_length
    if len(draft.text) > longest:
        raise ReplyError(
            BAD_REQUEST, f"bad request: text: has {len(draft.text)} characters, {longest} at most"
        )
    if len(ctx.user) > 255:
        raise ReplyError(BAD_REQUEST, "bad request: the name in the token has more than 255 characters")
    async with ctx.database() as db:
        for _ in range(_ATTEMPTS):
            message = _message(ctx, room, draft, nonce)
            db.add(message)
            try:
                await db.commit()
            except IntegrityError:
                await db.rollback()
            else:
                return message
            # Looking first would cost each message a question that almost always is answered with no.
            found: Message | None = None
            if nonce:
                found = (await db.exec(sent_before(room, ctx.user, nonce))).first()
            if found is not None:
                return _same(found, draft)
            await rooms.open_room(ctx, db, room)
    raise RuntimeError(f"a message to {room} could not be stored in {_ATTEMPTS} attempts")


async def send(
    ctx: Context[ChatSettings], room: str, draft: Draft, idempotency_key: str = ""
) -> dict[str, Any]:
    """Publishes as the acting user, through the room's rules and handlers, and returns the message as it was sent.

    The message is stored by the topic's own handler, as one that came over a socket is. The idempotency key takes the
    place of a nonce where the draft has none.
    """
    said = {"text": draft.text} if draft.nonce is None else {"text": draft.text, "nonce": draft.nonce}
    pub = await ctx.submit(rooms.topic_of(room), said, idempotency_key=idempotency_key)
    message: dict[str, Any] = pub.data
    return message


async def page(ctx: Context[ChatSettings], room: str, wanted: MessagePage) -> dict[str, Any]:
    """Stored messages, oldest first; `more` says whether there are others beyond, in the direction asked for.

    Raises ReplyError 103 for those who may not read the room, 1400 for a name that no room can have, 1404 for a room
    that has to be created before.
    """
    await rooms.demand(ctx, "history", room)
    await rooms.demand_known(ctx, room)
    limit = min(wanted.limit or ctx.settings.page_size, ctx.settings.page_limit)
    forward = wanted.after is not None
    query = (
        following(room, wanted.after or 0, limit + 1) if forward else latest(room, wanted.before, limit + 1)
    )
    async with ctx.database() as db:
        found = (await db.exec(query)).all()
    messages = [message.shown() for message in found[:limit]]
    return {
        "room": room,
        "messages": messages if forward else messages[::-1],
        "more": len(found) > limit,
    }


def name_of(ctx: Context[Any]) -> str:
    """What the acting user is called: the token's claim `name`, else their id; at most 100 characters."""
    name = ctx.identity.claims.get("name")
    return (name if isinstance(name, str) and name.strip() else ctx.user).replace("\0", "")[:100]


def _message(ctx: Context[ChatSettings], room: str, draft: Draft, nonce: str) -> Message:
    return Message(
        room=room,
        user=ctx.user,
        name=name_of(ctx),
        text=draft.text,
        time=rooms.milliseconds(ctx),
        nonce=nonce or None,
    )


def _same(found: Message, draft: Draft) -> Message:
    if found.text != draft.text:
        raise ReplyError(NONCE_USED, "the nonce was used for another message")
    return found
