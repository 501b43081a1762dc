"""The chat's tables, and what is asked of them."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Index, Integer, MetaData, Text, UniqueConstraint
from sqlalchemy.orm import registry
from sqlmodel import Field, SQLModel, col, select
from sqlmodel.sql.expression import SelectOfScalar

from hub.plugin import NAMING_CONVENTION

_COUNTED = BigInteger().with_variant(Integer(), "sqlite")  # SQLite counts up in an INTEGER only


class ChatBase(SQLModel, registry=registry(metadata=MetaData(naming_convention=NAMING_CONVENTION))):
    """The base of the chat's tables, apart from all others."""


class Room(ChatBase, table=True):
    """A room by its name. `created_by` is a user, "" for a backend; `created` is in milliseconds since 1970."""

    __tablename__ = "chat_room"  # type: ignore[mutable-override]

    name: str = Field(primary_key=True, max_length=64)
    title: str = Field(max_length=200)
    created_by: str = Field(sa_type=Text)
    created: int = Field(sa_type=BigInteger)

    def shown(self) -> dict[str, Any]:
        """The room as clients see it."""
        return {
            "name": self.name,
            "title": self.title,
            "created_by": self.created_by,
            "created": self.created,
        }


class Message(ChatBase, table=True):
    """A message. `name` is what the author was called when writing it; `time` is in milliseconds since 1970.

    `nonce` is the author's own mark: a second message with the same is the first one, sent again.
    """

    __tablename__ = "chat_message"  # type: ignore[mutable-override]
    __table_args__ = (
        UniqueConstraint("room", "user", "nonce"),
        Index(None, "room", "id"),
        {"sqlite_autoincrement": True},
    )

    id: int | None = Field(default=None, primary_key=True, sa_type=_COUNTED)
    room: str = Field(foreign_key="chat_room.name", ondelete="CASCADE", max_length=64)
    user: str = Field(max_length=255)
    name: str = Field(max_length=100)
    text: str = Field(sa_type=Text)
    time: int = Field(sa_type=BigInteger)
    nonce: str | None = Field(default=None, max_length=100)

    def shown(self) -> dict[str, Any]:
        """The message as clients see it, on the topic and in every answer."""
        shown: dict[str, Any] = {
            "kind": "message",
            "id": self.id,
            "room": self.room,
            "user": self.user,
            "name": self.name,
            "text": self.text,
            "time": self.time,
        }
        return shown if self.nonce is None else {**shown, "nonce": self.nonce}


def rooms_after(name: str, limit: int, *, skip: int = 0) -> SelectOfScalar[Room]:
    """The next rooms by name, but for the first `skip` of them."""
    return select(Room).where(col(Room.name) > name).order_by(col(Room.name)).offset(skip).limit(limit)


def latest(room: str, before: int | None, limit: int) -> SelectOfScalar[Message]:
    """The latest messages of a room (before an id when it is given), the latest first."""
    found = select(Message).where(col(Message.room) == room)
    if before is not None:
        found = found.where(col(Message.id) < before)
    return found.order_by(col(Message.id).desc()).limit(limit)


def following(room: str, after: int, limit: int) -> SelectOfScalar[Message]:
    """The messages of a room that follow an id, in their order."""
    found = select(Message).where(col(Message.room) == room, col(Message.id) > after)
    return found.order_by(col(Message.id)).limit(limit)


def sent_before(room: str, user: str, nonce: str) -> SelectOfScalar[Message]:
    """The message that a user sent to a room with a nonce."""
    return select(Message).where(
        col(Message.room) == room, col(Message.user) == user, col(Message.nonce) == nonce
    )
