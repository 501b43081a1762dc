"""The tables of the notifications, and what is asked of them."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

from sqlalchemy import BigInteger, Index, Integer, MetaData, Text, UniqueConstraint, Update, func, update
from sqlalchemy.orm import registry
from sqlmodel import Field, SQLModel, col, select
from sqlmodel.sql.expression import Select, SelectOfScalar

from hub.plugin import NAMING_CONVENTION

_COUNTED = BigInteger().with_variant(Integer(), "sqlite")  # SQLite counts up in an INTEGER only


class NotificationsBase(SQLModel, registry=registry(metadata=MetaData(naming_convention=NAMING_CONVENTION))):
    """The base of the plugin's tables, apart from all others."""


class Inbox(NotificationsBase, table=True):
    """A user's inbox: how often it changed. Whoever changes it takes this row first, so that changes go in turn."""

    __tablename__ = "notifications_inbox"  # type: ignore[mutable-override]

    user: str = Field(primary_key=True, max_length=255)
    changes: int = Field(sa_type=BigInteger)


class Notification(NotificationsBase, table=True):
    """A notification. Times are in milliseconds since 1970; `read` is None while it is unread.

    `tags` and `data` are JSON text. `sender` is `user:<id>` or `key:<name>`; `key` is the sender's own mark: a second
    notification of the user with the same is the first one, sent again.
    """

    __tablename__ = "notifications_notification"  # type: ignore[mutable-override]
    __table_args__ = (
        UniqueConstraint("user", "sender", "key"),
        Index(None, "user", "id"),
        Index(None, "user", "read", "id"),
        {"sqlite_autoincrement": True},
    )

    id: int | None = Field(default=None, primary_key=True, sa_type=_COUNTED)
    user: str = Field(max_length=255)
    sender: str = Field(max_length=300)
    title: str = Field(max_length=200)
    body: str = Field(sa_type=Text)
    priority: int
    tags: str = Field(sa_type=Text)
    click: str = Field(max_length=1_000)
    data: str = Field(sa_type=Text)
    time: int = Field(sa_type=BigInteger)
    read: int | None = Field(default=None, sa_type=BigInteger)
    key: str | None = Field(default=None, max_length=100)

    def shown(self) -> dict[str, Any]:
        """The notification as clients see it, on the topic and in every answer."""
        return {
            "id": self.id,
            "title": self.title,
            "body": self.body,
            "priority": self.priority,
            "tags": json.loads(self.tags),
            "click": self.click,
            "data": json.loads(self.data),
            "sender": self.sender,
            "time": self.time,
            "read": self.read,
        }

    def says_as(self, other: Notification) -> bool:
        """Whether another notification says the same."""
        fields = ("title", "body", "priority", "tags", "click", "data")
        return all(getattr(self, name) == getattr(other, name) for name in fields)


def changed_once_more(user: str) -> Update:
    """Counts a change of an inbox, and keeps everybody else from changing it until the transaction ends."""
    return update(Inbox).where(col(Inbox.user) == user).values(changes=col(Inbox.changes) + 1)


def state(user: str) -> Select[tuple[int | None, int]]:
    """How often an inbox changed (None: never), and how many are unread in it, of the same moment."""
    changes = select(Inbox.changes).where(col(Inbox.user) == user).scalar_subquery()
    unread = (
        select(func.count())
        .select_from(Notification)
        .where(col(Notification.user) == user, col(Notification.read).is_(None))
        .scalar_subquery()
    )
    return select(changes, unread)


def latest(user: str, before: int | None, limit: int, *, unread: bool) -> SelectOfScalar[Notification]:
    """The latest notifications of a user (before an id when it is given), the latest first."""
    found = select(Notification).where(col(Notification.user) == user)
    if before is not None:
        found = found.where(col(Notification.id) < before)
    if unread:
        found = found.where(col(Notification.read).is_(None))
    return found.order_by(col(Notification.id).desc()).limit(limit)


def sent_before(user: str, sender: str, key: str) -> SelectOfScalar[Notification]:
    """The notification that a sender sent to a user with a key."""
    return select(Notification).where(
        col(Notification.user) == user, col(Notification.sender) == sender, col(Notification.key) == key
    )


def among(user: str, ids: Collection[int]) -> SelectOfScalar[int | None]:
    """Those of the ids that are a user's."""
    return select(col(Notification.id)).where(col(Notification.user) == user, col(Notification.id).in_(ids))


def newest(user: str) -> SelectOfScalar[int | None]:
    """The greatest id in an inbox, if any."""
    found = select(col(Notification.id)).where(col(Notification.user) == user)
    return found.order_by(col(Notification.id).desc()).limit(1)


def marked_read(user: str, now: int, *, ids: Collection[int] = (), up_to: int = 0) -> Update:
    """Marks unread ones as read: those with the ids, and all up to an id."""
    chosen = col(Notification.id).in_(ids) | (col(Notification.id) <= up_to)
    mine = update(Notification).where(col(Notification.user) == user, col(Notification.read).is_(None))
    return mine.where(chosen).values(read=now)
