"""Rooms: what they may be called, who may do what in them, how they come into being."""

from __future__ import annotations

import re
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field, field_validator
from sqlalchemy.exc import IntegrityError

from hub.plugin import PERMISSION_DENIED, Context, ReplyError, check_topic, validated
from hub_chat.models import Room, rooms_after
from hub_chat.settings import ChatSettings

BAD_NAME: Final = 1_400
NO_ROOM: Final = 1_404
TAKEN: Final = 1_409

MAX_EXAMINED: Final = 1_000
"""Rooms that one request for a list looks at, since of those that the user may not enter there can be any number."""

_NAME: Final = re.compile(r"[\w-]{1,64}")
_AT_ONCE: Final = 500


class NewRoom(BaseModel):
    """A room to be created."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: str = Field(max_length=64)
    title: str = Field("", max_length=200)

    @field_validator("title")
    @classmethod
    def _is_storable(cls, title: str) -> str:
        if "\0" in title:
            raise ValueError("must not hold U+0000")
        return title


class RoomPage(BaseModel):
    """Which rooms are asked for: those behind a room, perhaps some further on (`name~200`)."""

    model_config = ConfigDict(extra="forbid")

    after: str = Field("", max_length=74, pattern=r"^[^~]*(~[0-9]{1,9})?$")
    limit: int | None = Field(None, ge=1)


def topic_of(room: str) -> str:
    """The topic of a room. Raises ReplyError 1400 for a name that no room can have, and TopicError."""
    if not _NAME.fullmatch(room):
        raise ReplyError(BAD_NAME, "a room's name is made of 1 to 64 letters, digits, _ and -")
    return check_topic(f"chat:{room}")


async def demand(ctx: Context[ChatSettings], action: str, room: str) -> None:
    """Raises ReplyError 103 unless the acting user may subscribe, publish or read history in the room."""
    if not await ctx.allowed(action, topic_of(room)):
        raise ReplyError(PERMISSION_DENIED)


def unknown(room: str) -> ReplyError:
    """What is said of a room that is not there."""
    return ReplyError(NO_ROOM, f"there is no room {room}")


async def find(ctx: Context[ChatSettings], room: str) -> Room | None:
    """The room of a name."""
    async with ctx.database() as db:
        found: Room | None = await db.get(Room, room)
        return found


async def demand_known(ctx: Context[ChatSettings], room: str) -> None:
    """Raises ReplyError 1404 for a room that is not there, unless rooms come into being by being used."""
    if not ctx.settings.open_rooms and await find(ctx, room) is None:
        raise unknown(room)


async def open_room(ctx: Context[ChatSettings], db: Any, room: str) -> None:
    """Makes the room that a first message needs; raises ReplyError 1404 where rooms have to be created before."""
    if not ctx.settings.open_rooms:
        raise unknown(room)
    await _insert(ctx, db, Room(name=room, title=room, created_by=ctx.user, created=milliseconds(ctx)))


async def create(ctx: Context[ChatSettings], new: NewRoom) -> tuple[Room, bool]:
    """Creates a room, and says whether it is new: who asks for the same again gets it again.

    Raises ReplyError 103 for those who may not create it, 1400 for a bad name, 1409 for a name that is taken.
    """
    await _demand_creation(ctx, new.name)
    title, now = new.title or new.name, milliseconds(ctx)
    async with ctx.database() as db:
        room = Room(name=new.name, title=title, created_by=ctx.user, created=now)
        if await _insert(ctx, db, room):
            return room, True
        found: Room | None = await db.get(Room, new.name)
    if found is None or (found.title, found.created_by) != (title, ctx.user):
        raise ReplyError(TAKEN, f"there is a room {new.name} already")
    return found, False


async def page(ctx: Context[ChatSettings], given: Any) -> dict[str, Any]:
    """The rooms that the acting user may subscribe to, by name; `next` continues after them, None at the end.

    It names no room that is not shown: past many of those, it says how many rooms further on the list goes on.
    """
    wanted = validated(RoomPage, given)
    limit = min(wanted.limit or ctx.settings.page_size, ctx.settings.page_limit)
    name, _, further = wanted.after.partition("~")
    begin = at = int(further or 0)
    rooms: list[Room] = []
    async with ctx.database() as db:
        at_once, ended = limit + 1, False
        while len(rooms) <= limit and not ended and at - begin < MAX_EXAMINED:
            found = (await db.exec(rooms_after(name, at_once, skip=at))).all()
            rooms += [room for room in found if await ctx.allowed("subscribe", topic_of(room.name))]
            at, ended, at_once = at + len(found), len(found) < at_once, _AT_ONCE
    if len(rooms) > limit:
        following: str | None = rooms[limit - 1].name
    else:
        following = None if ended else f"{name}~{at}"
    return {"rooms": [room.shown() for room in rooms[:limit]], "next": following}


def milliseconds(ctx: Context[Any]) -> int:
    """Now, in milliseconds since 1970."""
    return int(ctx.now() * 1_000)


async def _demand_creation(ctx: Context[ChatSettings], room: str) -> None:
    topic_of(room)
    roles = ctx.settings.creators
    if ctx.api_key or any(ctx.identity.has_role(role) for role in roles):
        return
    if roles:
        raise ReplyError(PERMISSION_DENIED, "only some roles may create rooms here")
    await demand(ctx, "publish", room)


async def _insert(ctx: Context[ChatSettings], db: Any, room: Room) -> bool:
    """Stores a room; false when there is one of its name."""
    db.add(room)
    try:
        await db.commit()
    except IntegrityError:
        await db.rollback()
        return False
    ctx.log.info("room %s was created by %s", room.name, room.created_by or "a backend")
    return True
