"""The browser's own EventSource, in a real Chromium."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import httpx2
import pytest
from websockets.asyncio.client import ClientConnection, connect

from hub.app import Hub
from hub.testing import LiveHub

CONFIG: dict[str, Any] = {
    "topics": {"news:{s}": {"allow": {"subscribe": "anyone"}, "history": {"size": 10, "ttl": "1h"}}}
}
LISTEN = """
window.seen = [];
const source = new EventSource("/sse/news:a");
source.onopen = () => seen.push(["open"]);
source.onmessage = (event) => seen.push(["message", JSON.parse(event.data)]);
for (const name of ["disconnect", "unrecovered"])
  source.addEventListener(name, (event) => seen.push([name, JSON.parse(event.data)]));
"""


class Page:
    """A page of the hub's own origin, on which scripts are run."""

    def __init__(self, line: ClientConnection) -> None:
        self._line = line
        self._ids = 0

    async def command(self, method: str, **params: Any) -> dict[str, Any]:
        self._ids += 1
        await self._line.send(json.dumps({"id": self._ids, "method": method, "params": params}))
        while True:
            message = json.loads(await self._line.recv())
            if message.get("id") == self._ids:
                result: dict[str, Any] = message["result"]
                return result

    async def run(self, script: str) -> Any:
        answer = await self.command("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    async def sees(self, count: int, within: float = 10.0) -> list[Any]:
        """All that the page has seen once there are so many."""
        deadline = time.monotonic() + within
        while True:
            seen: list[Any] = await self.run("seen")
            if len(seen) >= count:
                return seen
            assert time.monotonic() < deadline, seen
            await asyncio.sleep(0.05)


@pytest.fixture
def hub() -> Iterator[LiveHub]:
    with LiveHub(CONFIG) as live:
        yield live


@pytest.fixture
def on_page(hub: LiveHub, devtools_url: str) -> Callable[[Callable[[Page], Coroutine[Any, Any, None]]], None]:
    """Runs something with a page that listens to the topic."""

    def run(work: Callable[[Page], Coroutine[Any, Any, None]]) -> None:
        async def whole() -> None:
            target = httpx2.put(f"{devtools_url}/json/new?{hub.url}/health").json()
            async with connect(target["webSocketDebuggerUrl"]) as line:
                page = Page(line)
                while await page.run("location.origin") != hub.url:
                    await asyncio.sleep(0.05)
                await page.run(LISTEN)
                await page.sees(1)
                await work(page)

        asyncio.run(whole())

    return run


def publish(hub: LiveHub, data: Any) -> None:
    response = httpx2.post(f"{hub.url}/api/topics/news:a", json=data, headers={"X-API-Key": hub.api_key})
    assert response.status_code == 200


def end_all(hub: LiveHub, *meanwhile: Any) -> None:
    """Ends all sessions, and publishes what is given before anybody can come back."""

    async def end(inside: Hub) -> None:
        services = inside.blueprint.table.services
        assert services is not None
        for member in inside.node.sessions:
            member.end(3_011, "force reconnect")
        for data in meanwhile:
            await services.publish("news:a", data, tags=None, idempotency_key="", info=None)

    hub.call(end)


def test_a_browser_that_was_cut_comes_back_by_itself_with_what_it_missed(
    hub: LiveHub, on_page: Callable[[Callable[[Page], Coroutine[Any, Any, None]]], None]
) -> None:
    async def work(page: Page) -> None:
        publish(hub, 1)
        await page.sees(2)
        end_all(hub)
        publish(hub, 2)
        publish(hub, {"n": 3})
        seen = await page.sees(6)
        publish(hub, 4)
        seen = await page.sees(7)
        assert seen == [
            ["open"],
            ["message", 1],
            ["disconnect", {"code": 3_011, "reason": "force reconnect"}],
            ["open"],
            ["message", 2],
            ["message", {"n": 3}],
            ["message", 4],
        ]

    on_page(work)


def test_a_browser_that_was_cut_before_the_first_publication_misses_none(
    hub: LiveHub, on_page: Callable[[Callable[[Page], Coroutine[Any, Any, None]]], None]
) -> None:
    async def work(page: Page) -> None:
        end_all(hub)
        publish(hub, 1)
        assert (await page.sees(4))[2:] == [["open"], ["message", 1]]

    on_page(work)


def test_a_browser_that_missed_too_much_is_told(
    hub: LiveHub, on_page: Callable[[Callable[[Page], Coroutine[Any, Any, None]]], None]
) -> None:
    async def work(page: Page) -> None:
        end_all(hub, *range(1, 13))
        seen = await page.sees(4)
        assert seen[3][0] == "unrecovered"
        assert seen[3][1]["offset"] == 12
        publish(hub, 13)
        assert (await page.sees(5))[4] == ["message", 13]

    on_page(work)
