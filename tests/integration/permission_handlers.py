"""Handlers that decide, for the tests of permissions."""

from __future__ import annotations

from typing import Any

from hub.plugin import PERMISSION_DENIED, Context, Publication, ReplyError


async def gate(ctx: Context[None]) -> None:
    """Lets Ann in."""
    if ctx.user != "ann":
        raise ReplyError(PERMISSION_DENIED)


async def say(ctx: Context[None], pub: Publication) -> None:
    """Lets everybody publish but Bob."""
    if ctx.user == "bob":
        raise ReplyError(PERMISSION_DENIED)


async def report(ctx: Context[None], data: Any) -> str:
    """A method for few."""
    return "a report"
