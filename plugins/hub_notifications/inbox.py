"""A user's inbox: what is put into it, read from it, marked in it, and told to the user's devices.

Every change counts the inbox's `changes` up, in the transaction that makes it and before anything else, so that changes
of one inbox go in turn on all nodes. Of several counts of unread ones that reach a device, the one with the greatest
`changes` is the newest, in whatever order they come.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any, Final, TypeAlias

from sqlalchemy.exc import IntegrityError

from hub.plugin import BAD_REQUEST, PERMISSION_DENIED, Context, ReplyError, check_topic
from hub_notifications import models
from hub_notifications.bodies import BIGGEST, ListQuery, NewNotification
from hub_notifications.models import Inbox, Notification
from hub_notifications.settings import NotificationSettings

NOT_FOUND: Final = 1_404
KEY_USED: Final = 1_409

Ctx: TypeAlias = Context[NotificationSettings]


def topic_of(user: str) -> str:
    """The topic of a user's devices; raises TopicError for a name that can stand in no topic."""
    return check_topic(f"notifications:{user}")


async def owner(ctx: Context[Any]) -> str:
    """The acting user, whose inbox it is; raises ReplyError 103 when there is none, or they may not see it."""
    if not ctx.user or not await ctx.allowed("subscribe", topic_of(ctx.user)):
        raise ReplyError(PERMISSION_DENIED)
    return ctx.user


def sender(ctx: Ctx) -> str:
    """Who sends: `key:<name>` or `user:<id>`; raises ReplyError 103 for those who may not notify others."""
    if ctx.api_key:
        return f"key:{ctx.api_key}"[:300]
    if not any(ctx.identity.has_role(role) for role in ctx.settings.senders):
        raise ReplyError(PERMISSION_DENIED)
    return f"user:{ctx.user}"[:300]


async def send(ctx: Ctx, new: NewNotification) -> tuple[Notification, bool]:
    """Stores a notification and tells the user's devices; says whether it is new.

    With a key that the sender used for the user before it is the notification of then: it is told once more, unless it
    was told within five minutes. Raises ReplyError 103, 107 for what is too large, 1409 when the key was used for
    another notification, 100 (temporary) when it is stored and could not be told; TopicError for an impossible user.
    """
    topic, by = topic_of(new.user), sender(ctx)
    notification = _notification(ctx, new, by)
    async with ctx.database() as db:
        stored, is_new = await _stored(db, notification)
        counts = await _counts(db, new.user)
    shown = {"kind": "notification", **stored.shown(), **counts}
    await ctx.publish(topic, shown, idempotency_key=f"notification:{stored.id}")
    return stored, is_new


async def page(ctx: Ctx, wanted: ListQuery) -> dict[str, Any]:
    """The acting user's notifications, newest first; `more` says whether there are older ones."""
    user = await owner(ctx)
    limit = min(wanted.limit or ctx.settings.page_size, ctx.settings.page_limit)
    async with ctx.database() as db:
        # Counted first: what comes between is then in the list, and its own push brings the newer count.
        counts = await _counts(db, user)
        query = models.latest(user, wanted.before, limit + 1, unread=wanted.unread)
        found = (await db.exec(query)).all()
    shown = [notification.shown() for notification in found[:limit]]
    return {"notifications": shown, "more": len(found) > limit, **counts}


async def unread(ctx: Ctx) -> dict[str, int]:
    """How many the acting user has not read."""
    user = await owner(ctx)
    async with ctx.database() as db:
        return await _counts(db, user)


async def read(ctx: Ctx, ids: Collection[int]) -> dict[str, Any]:
    """Marks some as read and tells the user's devices.

    Raises ReplyError 1404, and marks none, when one of them is not the acting user's.
    """
    user = await owner(ctx)
    wanted = sorted(set(ids))
    async with ctx.database() as db:
        askable = [one for one in wanted if one <= BIGGEST]
        known = set((await db.exec(models.among(user, askable))).all())
        if missing := [one for one in wanted if one not in known]:
            raise ReplyError(NOT_FOUND, f"there is no notification {missing[0]}")
        return await _mark(ctx, db, user, ids=wanted)


async def read_all(ctx: Ctx, up_to: int | None) -> dict[str, Any]:
    """Marks all as read, up to an id when it is given, and tells the user's devices."""
    user = await owner(ctx)
    async with ctx.database() as db:
        # Devices are never told of more than there is, or what comes later would look read to them.
        newest: int = (await db.exec(models.newest(user))).first() or 0
        return await _mark(ctx, db, user, up_to=newest if up_to is None else min(up_to, newest))


async def _mark(ctx: Ctx, db: Any, user: str, *, ids: Collection[int] = (), up_to: int = 0) -> dict[str, Any]:
    """Ends in a push even when nothing changes: whoever repeats a call whose push was lost is to be heard."""
    await db.rollback()  # what was looked up needs no transaction, and SQLite would not let this one write
    await _take(db, user)
    marked = await db.exec(models.marked_read(user, _now(ctx), ids=ids, up_to=up_to))
    if marked.rowcount:
        await db.commit()
    else:
        await db.rollback()
    told = {"ids": list(ids), "up_to": up_to, **await _counts(db, user)}
    await ctx.publish(topic_of(user), {"kind": "read", **told})
    return told


async def _stored(db: Any, notification: Notification) -> tuple[Notification, bool]:
    user, by, key = notification.user, notification.sender, notification.key
    try:
        await _take(db, user)
        db.add(notification)
        await db.commit()
    except IntegrityError:
        await db.rollback()
        found: Notification | None = (await db.exec(models.sent_before(user, by, key or ""))).first()
        if found is None:
            raise
    else:
        return notification, True
    if not found.says_as(notification):
        raise ReplyError(KEY_USED, "the key was used for another notification")
    return found, False


async def _take(db: Any, user: str) -> None:
    """Counts a change of the inbox, and makes others who want to change it wait."""
    if (await db.exec(models.changed_once_more(user))).rowcount:
        return
    try:
        db.add(Inbox(user=user, changes=1))
        await db.flush()
    except IntegrityError:
        # Somebody else has just made it.
        await db.rollback()
        await db.exec(models.changed_once_more(user))


async def _counts(db: Any, user: str) -> dict[str, int]:
    changes, unread = (await db.exec(models.state(user))).one()
    return {"unread": unread, "changes": changes or 0}


def _notification(ctx: Ctx, new: NewNotification, by: str) -> Notification:
    if len(new.body) > ctx.settings.body_length:
        longest = ctx.settings.body_length
        raise ReplyError(BAD_REQUEST, f"bad request: body: has {len(new.body)} characters, {longest} at most")
    data = json.dumps(new.data, ensure_ascii=False, separators=(",", ":"))
    if len(data.encode()) > ctx.settings.data_bytes:
        largest = ctx.settings.data_bytes
        raise ReplyError(BAD_REQUEST, f"bad request: data: has {len(data.encode())} bytes, {largest} at most")
    return Notification(
        user=new.user,
        sender=by,
        title=new.title,
        body=new.body,
        priority=new.priority,
        tags=json.dumps(new.tags, ensure_ascii=False),
        click=new.click,
        data=data,
        time=_now(ctx),
        key=new.key,
    )


def _now(ctx: Context[Any]) -> int:
    return int(ctx.now() * 1_000)
