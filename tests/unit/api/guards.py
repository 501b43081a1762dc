"""Handlers that refuse, change, or break."""

from __future__ import annotations

from hub.plugin import Context, Disconnect, Publication, ReplyError


async def guard(ctx: Context, pub: Publication) -> Publication | None:
    if pub.data == "refuse":
        raise ReplyError(1_234, "not today")
    if pub.data == "end":
        raise Disconnect(4_500, "out of here")
    if pub.data == "break":
        raise RuntimeError("a secret of the handler")
    return pub.replace(data={"guarded": pub.data, "by": ctx.identity.user})


async def doorman(ctx: Context) -> None:
    if ctx.params["name"] == "closed":
        raise ReplyError(1_235, "the doorman says no")
