"""Fails on import."""


X = 1 / 0


async def go(ctx): ...
