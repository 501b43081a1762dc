async def admit(ctx):
    return None
