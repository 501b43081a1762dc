"""Counts HTTP requests by the class of their status."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hub import metrics


class CountRequests:
    """Pure ASGI middleware; WebSockets pass untouched, they count as connections."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Counts the response when it starts."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                metrics.count_request(message["status"])
            await send(message)

        await self._app(scope, receive, counted)
