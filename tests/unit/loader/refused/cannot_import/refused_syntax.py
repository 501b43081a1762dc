async def go(ctx:
