"""Kicking: who is kicked out of a room is out at once, on every node, and stays out until it is over or lifted."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from pydantic import BaseModel, ConfigDict, Field

from hub.plugin import OUTCOME_UNKNOWN, PERMISSION_DENIED, Context, ReplyError
from hub_chat import rooms
from hub_chat.settings import ChatSettings


class Kick(BaseModel):
    """Who is to leave, and for how long: `seconds`, or until it is lifted."""

    model_config = ConfigDict(extra="forbid", strict=True)

    user: str = Field(min_length=1, max_length=255)
    seconds: int | None = Field(None, ge=1, le=10 * 366 * 86_400)


class RoomKick(Kick):
    """The same by RPC, where no path names the room."""

    room: str


class Pardon(BaseModel):
    """Who may come back."""

    model_config = ConfigDict(extra="forbid", strict=True)

    room: str
    user: str = Field(min_length=1, max_length=255)


def _topics(room: str) -> tuple[str, str]:
    """The messages, and who is typing."""
    return rooms.topic_of(room), f"chat-typing:{room}"


async def _on_all(room: str, change: Callable[[str], Awaitable[object]]) -> list[object]:
    """Does a change to all topics of a room, also where it is not sure that other nodes know of the first."""
    changed, unsure = [], None
    for topic in _topics(room):
        try:
            changed.append(await change(topic))
        except ReplyError as error:
            if error.code != OUTCOME_UNKNOWN.number:
                raise
            unsure = error
    if unsure is not None:
        raise unsure
    return changed


def _demand(ctx: Context[ChatSettings]) -> None:
    if not (ctx.api_key or any(ctx.identity.has_role(role) for role in ctx.settings.moderators)):
        raise ReplyError(PERMISSION_DENIED, "only moderators may do this")


async def kick(ctx: Context[ChatSettings], room: str, given: Kick) -> None:
    """Takes a user out of a room, and keeps them from entering, reading and writing.

    Raises ReplyError 103 for those who may not kick, 1400 for a bad name, and as Context.revoke does.
    """
    _demand(ctx)
    until = None if given.seconds is None else ctx.now() + given.seconds
    await _on_all(room, lambda topic: ctx.revoke(user=given.user, topic=topic, until=until))
    ctx.log.info("%s was kicked from room %s by %s", given.user, room, ctx.user or "a backend")


async def pardon(ctx: Context[ChatSettings], room: str, user: str) -> bool:
    """Lets a user back in; false for one who was not kicked. Raises as `kick` does."""
    _demand(ctx)
    return any(await _on_all(room, lambda topic: ctx.unrevoke(user=user, topic=topic)))
