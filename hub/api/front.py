"""An application whose server API is answered ahead of its middleware and router, which cost more than a publish.

The routes stand behind it for every other method than POST. A server that knows of `prompt` may answer requests from it
without ASGI; any other calls the application, which answers the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from starlette.applications import Starlette
from starlette.routing import BaseRoute, Route
from starlette.types import Message, Receive, Scope, Send

from hub.admission import Admission
from hub.api.server import ApiMethod
from hub.protocol.answers import Answer, Prompt, RawHeaders


class Front:
    """The endpoint of one method, each of whose answers is counted."""

    def __init__(self, endpoint: ApiMethod, count: Callable[[int], None]) -> None:
        self.prompt = endpoint.prompt
        self._endpoint = endpoint
        self._count = count

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._count(message["status"])
            await send(message)

        await self._endpoint(scope, receive, counted)

    def answer_now(self, headers: RawHeaders, query: bytes, body: bytes) -> Answer | None:
        """The answer to a POST that came whole; None where it has to be awaited: then nothing was done."""
        answer = self._endpoint.answer_now(headers, query, body)
        if answer is not None:
            self._count(answer.status)
        return answer


class FrontedApp(Starlette):
    """Starlette behind endpoints to which each POST on their paths goes at once."""

    def __init__(
        self,
        endpoints: Mapping[str, ApiMethod],
        count: Callable[[int], None],
        admission: Admission | None = None,
        **more: Any,
    ) -> None:
        """`endpoints` by path, `count` takes the status of each of their answers; the rest is Starlette's.

        `admission` is for a server that can refuse connections before the application hears of them.
        """
        super().__init__(**more)
        self.admission = admission
        self._fronts = {path: Front(endpoint, count) for path, endpoint in endpoints.items()}
        self.prompt: Mapping[bytes, Prompt] = {
            path.encode(): front for path, front in self._fronts.items() if front.prompt
        }
        """Endpoints that may be able to answer a POST at once, by path."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request, or a WebSocket."""
        front = None
        if scope["type"] == "http" and scope["method"] == "POST":
            front = self._fronts.get(scope["path"].removeprefix(scope.get("root_path", "")))
        if front is None:
            await super().__call__(scope, receive, send)
        else:
            await front(scope, receive, send)


def api_routes(endpoints: Mapping[str, ApiMethod]) -> list[BaseRoute]:
    """The endpoints' routes, one by one, so that what is not offered is a 404 and plugins can have other names."""
    return [Route(path, endpoint, methods=["POST"]) for path, endpoint in endpoints.items()]
