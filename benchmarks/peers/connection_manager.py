"""The peer that most tutorials show: a list of sockets, and a loop that awaits each send.

Run by `benchmarks/fanout.py`: `python connection_manager.py PORT`.
"""

from __future__ import annotations

import sys
from collections import defaultdict

import uvicorn
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

ROOMS: defaultdict[str, list[WebSocket]] = defaultdict(list)


async def room(websocket: WebSocket) -> None:
    """Sends what one says to everybody in the room, one after another."""
    members = ROOMS[websocket.path_params["topic"]]
    await websocket.accept()
    members.append(websocket)
    try:
        while True:
            text = await websocket.receive_text()
            for member in list(members):
                await member.send_text(text)
    except WebSocketDisconnect:
        members.remove(websocket)


if __name__ == "__main__":
    app = Starlette(routes=[WebSocketRoute("/ws/{topic}", room)])
    uvicorn.run(app, port=int(sys.argv[1]), log_level="warning", ws_max_size=65_536)
