NUMBER = 3


async def alone(ctx): ...


def plain(ctx): ...


async def stream(ctx):
    yield ctx


async def named(ctx, data, *, extra): ...


class Thing: ...
