"""The RPC of the notifications: what REST offers a device, over its socket."""

from __future__ import annotations

from typing import Any

from hub.plugin import Context, validated
from hub_notifications import inbox
from hub_notifications.bodies import ListQuery, NoFields, ReadAll, ReadIds
from hub_notifications.settings import NotificationSettings


async def rpc_list(ctx: Context[NotificationSettings], data: Any) -> dict[str, Any]:
    """notifications.list: the caller's own, newest first."""
    return await inbox.page(ctx, validated(ListQuery, data))


async def rpc_unread(ctx: Context[NotificationSettings], data: Any) -> dict[str, Any]:
    """notifications.unread: how many are unread."""
    validated(NoFields, data)
    return await inbox.unread(ctx)


async def rpc_read(ctx: Context[NotificationSettings], data: Any) -> dict[str, Any]:
    """notifications.read: marks some as read."""
    return await inbox.read(ctx, validated(ReadIds, data).ids)


async def rpc_read_all(ctx: Context[NotificationSettings], data: Any) -> dict[str, Any]:
    """notifications.read_all: marks all as read."""
    return await inbox.read_all(ctx, validated(ReadAll, data).up_to)
