"""The REST of the notifications, under /api/notifications."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from hub.plugin import context, documented, query, validated
from hub_notifications import inbox
from hub_notifications.bodies import ListQuery, NewNotification, ReadAll


@documented(body=NewNotification)
async def notify(request: Request) -> Response:
    """Sends a notification: 201, or 200 when the same was sent with its key before."""
    ctx = context(request)
    inbox.sender(ctx)
    wanted = validated(NewNotification, await request.body())
    key = request.headers.get("idempotency-key", "")
    if key and wanted.key is None:
        wanted = validated(NewNotification, {**wanted.model_dump(), "key": key})
    notification, new = await inbox.send(ctx, wanted)
    return JSONResponse({"user": notification.user, **notification.shown()}, 201 if new else 200)


@documented(query=ListQuery)
async def list_own(request: Request) -> Response:
    """The caller's own: ?unread=1&before=&limit=."""
    return JSONResponse(await inbox.page(context(request), validated(ListQuery, query(request))))


async def count_unread(request: Request) -> Response:
    """How many the caller has not read."""
    return JSONResponse(await inbox.unread(context(request)))


async def mark_read(request: Request) -> Response:
    """Marks one as read."""
    return JSONResponse(await inbox.read(context(request), [request.path_params["id"]]))


@documented(body=ReadAll)
async def mark_all_read(request: Request) -> Response:
    """Marks all as read, up to an id when the body names one."""
    wanted = validated(ReadAll, await request.body())
    return JSONResponse(await inbox.read_all(context(request), wanted.up_to))


routes = [
    Route("/", list_own, methods=["GET"]),
    Route("/", notify, methods=["POST"]),
    Route("/unread", count_unread, methods=["GET"]),
    Route("/read-all", mark_all_read, methods=["POST"]),
    Route("/{id:int}/read", mark_read, methods=["POST"]),
]
