"""Pages: the browser's side of the hub and of plugins, as plain files under a strict content security policy."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send

WEB: Final = Path(__file__).resolve().parent.parent / "web"
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "font-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
HEADERS: Final = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


class PageFiles(StaticFiles):
    """Files of one folder, never outside it, each with the policy's headers."""

    def __init__(self, folder: Path) -> None:
        super().__init__(directory=folder, html=True)

    async def get_response(self, path: str, scope: Scope) -> Response:
        """The file, or 404."""
        response = await super().get_response(path, scope)
        response.headers.update(HEADERS)
        return response

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves HTTP only: a WebSocket that ends up here is refused, not an assertion failure."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1000})
            return
        await super().__call__(scope, receive, send)


def dev_page_routes() -> list[BaseRoute]:
    """The page at `/` of `hub dev`, and what it is made of."""

    async def index(request: Request) -> Response:
        return FileResponse(WEB / "index.html", headers=HEADERS)

    return [Route("/", index), Mount("/web", PageFiles(WEB), name="web")]
