"""What an operator might put on a topic."""

from __future__ import annotations

from hub.plugin import Context, Publication, ReplyError


async def no_swearing(ctx: Context[None], pub: Publication) -> None:
    if "darn" in pub.text:
        raise ReplyError(1_499, "mind your language")
