"""What the four sockets do."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import psutil

from hub.plugin import PERMISSION_DENIED, Accept, Context, Publication, ReplyError

_latest: dict[str, Any] = {}


async def keep_private(ctx: Context[None]) -> None:
    """Refuses whoever names another connection's topic."""
    if ctx.params["connection"] != ctx.client:
        raise ReplyError(PERMISSION_DENIED)


async def echo(ctx: Context[None], pub: Publication) -> Publication:
    """Sends back what came: nobody else is on the topic."""
    await keep_private(ctx)
    return pub.replace(data=f"Echo: {pub.text}")


async def greet(ctx: Context[None]) -> Accept:
    """Makes a greeting the first frame. `ctx.user` is the `sub` of the token."""
    await keep_private(ctx)
    return Accept(data=f"Hello, {ctx.user}!")


async def say_goodbye(ctx: Context[None]) -> None:
    """Tells those who stay, however the user left: closed, cut off, gone."""
    await ctx.publish(ctx.topic, f"User {ctx.user} left the chat" if ctx.user else "A user left the chat")


async def sample(ctx: Context[None]) -> None:
    """Measures once, for all who watch."""
    cpu = await asyncio.to_thread(psutil.cpu_percent, 0.2)  # the share of the last fifth of a second
    _latest.update(
        cpu=cpu,
        memory=psutil.virtual_memory().percent,
        requests=ctx.node().requests,
        timestamp=datetime.fromtimestamp(ctx.now(), UTC).isoformat(timespec="milliseconds"),
    )
    await ctx.publish("figures:node", _latest)


async def show_latest(ctx: Context[None]) -> Accept:
    """Makes the latest figures the first frame."""
    return Accept(data=_latest)
