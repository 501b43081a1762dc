"""What most tutorials show: a list of sockets, and a loop that awaits each send.

python connection_manager.py PORT
"""

from __future__ import annotations

import sys

import uvicorn
from fastapi import FastAPI, WebSocket, WebSocketDisconnect


class ConnectionManager:
    """Who is in which room, on this one process."""

    def __init__(self) -> None:
        self.rooms: dict[str, list[WebSocket]] = {}

    async def connect(self, websocket: WebSocket, room: str) -> None:
        """Accepts a client into the room."""
        await websocket.accept()
        self.rooms.setdefault(room, []).append(websocket)

    def disconnect(self, websocket: WebSocket, room: str) -> None:
        """Forgets a client."""
        self.rooms[room].remove(websocket)

    async def broadcast(self, room: str, text: str) -> None:
        """Sends to everybody in the room, one after another."""
        for websocket in list(self.rooms[room]):
            await websocket.send_text(text)


app = FastAPI()
manager = ConnectionManager()


@app.websocket("/ws/{room}")
async def endpoint(websocket: WebSocket, room: str) -> None:
    """One client, for as long as it stays."""
    await manager.connect(websocket, room)
    try:
        while True:
            await manager.broadcast(room, await websocket.receive_text())
    except WebSocketDisconnect:
        manager.disconnect(websocket, room)


if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[1]), log_level="warning")
