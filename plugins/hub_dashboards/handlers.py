"""What happens on the dashboards' topics."""

from __future__ import annotations

from hub.plugin import Accept, Context
from hub_dashboards.boards import boards
from hub_dashboards.settings import DashboardsSettings


async def greet(ctx: Context[DashboardsSettings]) -> Accept:
    """Gives a subscriber the latest snapshot at once."""
    return Accept(data=await boards(ctx).board(ctx.params["name"]).current(ctx))


async def sample(ctx: Context[DashboardsSettings]) -> None:
    """Publishes what is watched."""
    await boards(ctx).beat(ctx)
