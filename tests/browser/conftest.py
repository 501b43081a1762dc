"""The hub whose page is looked at, and the browser that looks."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, Final

import pytest

from hub.testing import LiveHub
from tests.browser.devtools import Browser, Page

ANYTHING_GOES: Final = {
    "allow": dict.fromkeys(("subscribe", "publish", "presence", "history"), "anyone"),
    "history": {"size": 100, "ttl": "5m"},
    "presence": True,
    "join_leave": True,
}
CONFIG: Final[dict[str, Any]] = {
    "topics": {"{topic:rest}": ANYTHING_GOES},
    "plugins": {"chat": {}, "dashboards": {}, "notifications": {}},
}
OpenAs = Callable[[str], Awaitable[Page]]


@pytest.fixture
def hub() -> Iterator[LiveHub]:
    with LiveHub(CONFIG, dev_page=True) as live:
        yield live


@pytest.fixture
async def browser(devtools_url: str) -> AsyncIterator[Browser]:
    async with Browser.at(devtools_url) as browser:
        yield browser


@pytest.fixture
def open_as(hub: LiveHub, browser: Browser) -> OpenAs:
    """Opens the page as a user, in a window of its own, and waits until it is live."""

    async def open_page(user: str) -> Page:
        page = await browser.open(f"{hub.url}/?user={user}")
        await page.sees("#pill", "live")
        await page.sees(".people", f"{user} (you)")
        return page

    return open_page
