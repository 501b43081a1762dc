"""Cookies, tickets and subprotocols in a real Chromium: from the hub's own pages, a friend's and a stranger's."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from hub.testing import LiveHub
from tests.browser.devtools import Browser, Page
from tests.integration.site_login import signed

pytestmark = pytest.mark.timeout(90)


class Blank(BaseHTTPRequestHandler):
    """A site of one empty page."""

    def do_GET(self) -> None:
        """Answers with it, whatever is asked for."""
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", "15")
        self.end_headers()
        self.wfile.write(b"<!doctype html>")

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class has it so
        """Says nothing."""


@pytest.fixture
def sites() -> Iterator[tuple[str, str]]:
    """The origins of two sites, which share their cookies with the hub: a browser tells hosts apart, not ports."""
    servers = [ThreadingHTTPServer(("127.0.0.1", 0), Blank) for _ in range(2)]
    for server in servers:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    first, second = (f"http://127.0.0.1:{server.server_address[1]}" for server in servers)
    yield first, second
    for server in servers:
        server.shutdown()
        server.server_close()


def site_hub(*origins: str) -> LiveHub:
    own = {"subscribe": "user:{user}", "publish": "user:{user}"}
    return LiveHub(
        {
            "auth": {"anonymous": False},
            "server": {"allowed_origins": list(origins)},
            "handlers": {"connect": "tests.integration.site_login:connect"},
            "topics": {"own:{user}": {"allow": own, "history": {"size": 10}}},
        }
    )


async def signed_in(browser: Browser, hub: LiveHub) -> Page:
    """A page of the hub's own origin, whose visitor is ann by a cookie that no script can read."""
    page = await browser.open(f"{hub.url}/health/live")
    cookie = {"name": "session", "value": signed(user="ann"), "url": hub.url, "httpOnly": True}
    await page.call("Network.setCookie", **cookie)
    return page


async def echoed(page: Page, hub: LiveHub, query: str = "", offered: tuple[str, ...] = ()) -> object:
    """What a WebSocket of the page hears of what it says, and its subprotocol; else the code of its close."""
    address = json.dumps(f"{hub.ws_url}/ws/own:ann{query}")
    return await page.run(
        f"""new Promise((done) => {{
          const socket = new WebSocket({address}, {json.dumps(offered)});
          socket.onopen = () => socket.send("mine");
          socket.onmessage = ({{ data }}) => (done([data, socket.protocol]), socket.close());
          socket.onclose = ({{ code }}) => done(code);
        }})"""
    )


async def streamed(page: Page, hub: LiveHub, query: str = "") -> object:
    """The state of an event stream after its first word: 1 open, 2 given up."""
    address = json.dumps(f"{hub.url}/sse/own:ann{query}")
    return await page.run(
        f"""new Promise((done) => {{
          const events = new EventSource({address}, {{ withCredentials: true }});
          events.onopen = events.onerror = () => (done(events.readyState), events.close());
        }})"""
    )


async def ticket(page: Page, hub: LiveHub) -> Any:
    """A ticket that the page asks for with its visitor's cookie; the reason why it gets none."""
    return await page.run(
        f"""fetch({json.dumps(f"{hub.url}/api/ticket")}, {{ method: "POST", credentials: "include" }})
          .then(async (answer) => (await answer.json()).ticket ?? answer.status, (error) => error.name)"""
    )


async def test_the_hubs_own_page_needs_nothing_but_the_sites_cookie(browser: Browser) -> None:
    with site_hub() as hub:
        page = await signed_in(browser, hub)
        assert await echoed(page, hub) == ["mine", ""]
        assert await streamed(page, hub) == 1
        first, second = await ticket(page, hub), await ticket(page, hub)
        await page.call("Network.clearBrowserCookies")
        assert await echoed(page, hub) == 4001
        assert await streamed(page, hub) == 2
        assert await echoed(page, hub, f"?ticket={first}") == ["mine", ""]
        assert await echoed(page, hub, f"?ticket={first}") == 4001, "once"
        assert await streamed(page, hub, f"?ticket={second}") == 1, "which names no origin"
        assert await streamed(page, hub, f"?ticket={second}") == 2
        assert await ticket(page, hub) == 401


async def test_a_token_among_the_subprotocols_is_answered_by_bearer(browser: Browser) -> None:
    with site_hub() as hub:
        page = await browser.open(f"{hub.url}/health/live")
        assert await echoed(page, hub, offered=("bearer", hub.token("ann"))) == ["mine", "bearer"]
        assert await echoed(page, hub, offered=("bearer", hub.token("ann")[:-4])) == 4001
        assert await echoed(page, hub, f"?token={hub.token('ann')}") == ["mine", ""]


async def test_a_friends_page_comes_with_the_cookie_and_its_tickets_are_its_own(
    browser: Browser, sites: tuple[str, str]
) -> None:
    friend, _ = sites
    with site_hub(friend) as hub:
        own = await signed_in(browser, hub)
        page = await browser.open(f"{friend}/")
        assert await echoed(page, hub) == ["mine", ""]
        assert await echoed(page, hub, f"?ticket={await ticket(page, hub)}") == ["mine", ""]
        assert await streamed(page, hub, f"?ticket={await ticket(page, hub)}") == 1
        taken = await ticket(page, hub)
        await page.call("Network.clearBrowserCookies")
        assert await echoed(own, hub, f"?ticket={taken}") == 4001, "another page's"
        assert await echoed(page, hub, f"?ticket={taken}") == 4001, "and burnt by that"


@pytest.mark.parametrize("listed", [(), ("*",)])
async def test_a_strangers_page_gets_nothing_out_of_the_cookie(
    browser: Browser, sites: tuple[str, str], listed: tuple[str, ...]
) -> None:
    friend, stranger = sites
    with site_hub(friend, *listed) as hub:
        await signed_in(browser, hub)
        page = await browser.open(f"{stranger}/")
        assert await echoed(page, hub) == (4001 if listed else 1006)
        assert await ticket(page, hub) == "TypeError", "the browser shows the answer to nobody"
        assert await streamed(page, hub) == 2
        assert len(hub.hub.node.tickets) == 0


async def test_a_page_without_an_origin_is_a_stranger(browser: Browser, sites: tuple[str, str]) -> None:
    friend, _ = sites
    with site_hub(friend) as hub:
        await signed_in(browser, hub)
        page = await browser.open(f"{friend}/")
        inner = f"""<script>
          const socket = new WebSocket({json.dumps(f"{hub.ws_url}/ws/own:ann")});
          socket.onopen = () => parent.postMessage("open", "*");
          socket.onclose = ({{ code }}) => parent.postMessage([origin, code], "*");
        </script>"""
        heard = await page.run(
            f"""new Promise((done) => {{
              onmessage = ({{ data }}) => done(data);
              const frame = document.createElement("iframe");
              frame.sandbox = "allow-scripts";
              frame.srcdoc = {json.dumps(inner)};
              document.body.append(frame);
            }})"""
        )
        assert heard == ["null", 1006]
