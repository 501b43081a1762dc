"""Django Channels on uvicorn: a consumer that joins the group of its address, as the tutorial's chat does.

    python channels_server.py PORT [REDIS_URL]

Without an address the layer is the one in memory. Capacity is raised from 100, so that a layer that can follow loses
nothing.
"""

from __future__ import annotations

import sys
from typing import Any

import django
import uvicorn
from django.conf import settings

PORT, *REDIS = sys.argv[1:]
LAYER: dict[str, Any] = {"BACKEND": "channels.layers.InMemoryChannelLayer", "CONFIG": {"capacity": 10_000}}
if REDIS:
    LAYER = {
        "BACKEND": "channels_redis.core.RedisChannelLayer",
        "CONFIG": {"hosts": [REDIS[0]], "capacity": 10_000},
    }
settings.configure(
    ALLOWED_HOSTS=["*"],
    CHANNEL_LAYERS={"default": LAYER},
    INSTALLED_APPS=["channels"],
    SECRET_KEY="unused" * 8,
)
django.setup()

from channels.generic.websocket import AsyncWebsocketConsumer  # noqa: E402 (Django has to be set up first)
from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from django.urls import path  # noqa: E402


class Chat(AsyncWebsocketConsumer):
    """One client in the group of its room."""

    async def connect(self) -> None:
        """Joins the group, then accepts."""
        self.room = self.scope["url_route"]["kwargs"]["room"]
        await self.channel_layer.group_add(self.room, self.channel_name)
        await self.accept()

    async def disconnect(self, code: int) -> None:
        """Leaves the group."""
        await self.channel_layer.group_discard(self.room, self.channel_name)

    async def receive(self, text_data: str) -> None:
        """Sends what the client said to the group."""
        await self.channel_layer.group_send(self.room, {"type": "chat.message", "text": text_data})

    async def chat_message(self, event: dict[str, str]) -> None:
        """Sends what the group was sent to the client."""
        await self.send(text_data=event["text"])


app = ProtocolTypeRouter({"websocket": URLRouter([path("ws/<str:room>", Chat.as_asgi())])})

if __name__ == "__main__":
    uvicorn.run(app, port=int(PORT), log_level="warning", lifespan="off")
