"""python-socketio on uvicorn: the event `sub` enters a room, `pub` sends to everybody in it.

python socketio_server.py PORT
"""

from __future__ import annotations

import sys
from typing import Any

import socketio
import uvicorn

server = socketio.AsyncServer(async_mode="asgi")


@server.event
async def sub(sid: str, room: str) -> str:
    """Enters a room; what is returned is the acknowledgement."""
    await server.enter_room(sid, room)
    return "ok"


@server.event
async def pub(sid: str, room: str, data: Any) -> None:
    """Sends to the room, its sender included."""
    await server.emit("msg", data, room=room)


if __name__ == "__main__":
    uvicorn.run(socketio.ASGIApp(server), port=int(sys.argv[1]), log_level="warning")
