"""The dashboards' REST, under /api/dashboards. Whoever may subscribe to a dashboard may read it, and every API key."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from hub.plugin import PERMISSION_DENIED, Context, ReplyError, context
from hub_dashboards.boards import EVERY, boards
from hub_dashboards.panels import topic_of
from hub_dashboards.settings import DashboardsSettings


async def list_dashboards(request: Request) -> Response:
    """The dashboards that the caller may see."""
    ctx = context(request)
    shown = [board.shown(name) for name, board in ctx.settings.shown.items() if await _may_see(ctx, name)]
    listed = [{key: board[key] for key in ("name", "title", "topic")} for board in shown]
    return JSONResponse({"dashboards": listed})


async def show_dashboard(request: Request) -> Response:
    """One dashboard: its panels, and the latest snapshot of their values."""
    ctx, name = context(request), request.path_params["name"]
    if not await _may_see(ctx, name):
        raise ReplyError(PERMISSION_DENIED)
    snapshot = await boards(ctx).board(name).current(ctx)
    shown: dict[str, Any] = ctx.settings.shown[name].shown(name)
    return JSONResponse({**shown, "every": EVERY, "snapshot": snapshot})


async def _may_see(ctx: Context[DashboardsSettings], name: str) -> bool:
    return bool(ctx.api_key) or await ctx.allowed("subscribe", topic_of(name))


routes = [
    Route("/", list_dashboards, methods=["GET"]),
    Route("/{name}", show_dashboard, methods=["GET"]),
]
