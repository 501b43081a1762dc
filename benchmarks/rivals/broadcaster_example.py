"""broadcaster, used as its own README shows: one subscription and two tasks for each client, in memory.

    python broadcaster_example.py PORT

Beside the README's, the room is taken from the address, and the page is left out.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import uvicorn
from broadcaster import Broadcast
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket

broadcast = Broadcast("memory://")


async def chatroom(websocket: WebSocket) -> None:
    """One client: what it says is published, what is published is sent to it."""
    room = websocket.path_params["room"]
    await websocket.accept()
    async with anyio.create_task_group() as task_group:

        async def receive() -> None:
            async for message in websocket.iter_text():
                await broadcast.publish(channel=room, message=message)
            task_group.cancel_scope.cancel()

        task_group.start_soon(receive)
        async with broadcast.subscribe(channel=room) as subscriber:
            async for event in subscriber:
                await websocket.send_text(event.message)


@asynccontextmanager
async def connected(app: Starlette) -> AsyncIterator[None]:
    """The backend, connected while the app runs."""
    async with broadcast:
        yield


app = Starlette(routes=[WebSocketRoute("/ws/{room}", chatroom)], lifespan=connected)

if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[1]), log_level="warning")
