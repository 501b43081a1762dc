"""A publish handler that counts, for tests in which a publish is repeated."""

from __future__ import annotations

from hub.plugin import Context, Publication

calls: list[str] = []


async def count(ctx: Context[None], pub: Publication) -> None:
    calls.append(pub.text)
