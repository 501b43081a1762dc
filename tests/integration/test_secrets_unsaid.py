"""Nothing that opens the hub is ever said by it: in its log at its most talkative, a traceback, an answer, a figure."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any, Final

import httpx2
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Subprotocol

from hub.auth.api_keys import hashed
from hub.auth.tokens import sign
from tests.integration.site_login import signed
from tests.services.hub import HubProcess

SECRET: Final = "7VbWq2nZ0uXj5rTgKc8sLd3hYf6eMa1p"
CLEAR, HASHED, WRONG = (f"{name}-0f3kQm8ZrT2yWv6s" for name in ("inclear", "hashed", "nosuch"))
PASSING: Final = "theSiteSaysXk29"
"""A cookie's value that names nobody."""
CONFIG: Final = """
version: 1
server: {port: 0, drain: 1s}
log: {level: debug, format: %s}
auth:
  jwt: {secret: "%s"}
  api_keys:
    clear: {key: "%s"}
    hashed: {key: "%s", allow: [ticket, leaky]}
handlers: {connect: ["leaky_site:fall", "tests.integration.site_login:connect"]}
plugins: {leaky: {use: ./leaky}}
topics:
  "own:{user}":
    allow: {subscribe: "user:{user}", publish: "user:{user}"}
    history: {size: 10, ttl: 1h}
    handlers: {publish: "leaky_site:refuse"}
"""
SITE: Final = """
import logging

async def fall(ctx):
    logging.getLogger("site").debug("asked %r by %r", ctx.request, ctx)
    if ctx.request is not None and ctx.request.headers.get("x-fall"):
        raise RuntimeError(f"{ctx.request!r} {ctx.request.query} {ctx.request.headers}")

async def refuse(ctx, pub):
    if pub.data == "fall":
        raise RuntimeError(f"{ctx!r} {ctx.identity!r}")
"""
ROUTES: Final = """
from starlette.routing import Route
from hub.plugin import context

async def fall(request):
    raise RuntimeError(f"{request.url} {request.scope['headers']} {context(request)!r}")

routes = [Route("/fall", fall, methods=["GET", "POST"])]
"""


class Visitor:
    """Comes to every door of a hub with everything that could open it; `told` is all that it was answered."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.told: list[str] = []

    async def knock(
        self,
        path: str,
        *,
        offered: tuple[str, ...] = (),
        first: Any = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        """Opens a WebSocket and says something."""
        subprotocols = [Subprotocol(name) for name in offered] or None
        address = f"{self.url.replace('http', 'ws', 1)}{path}"
        try:
            async with connect(
                address, additional_headers=headers, subprotocols=subprotocols, proxy=None
            ) as socket:
                await socket.send(first if isinstance(first, str) else json.dumps(first or {}))
                async with asyncio.timeout(0.3):
                    while True:
                        self.told.append(str(await socket.recv()))
        except TimeoutError:
            pass
        except ConnectionClosed as closed:
            self.told.append(repr(closed.rcvd))
        except InvalidStatus as refused:
            self.told.append(f"{refused.response.headers} {refused.response.body!r}")

    async def ask(
        self, client: httpx2.AsyncClient, method: str, path: str, body: str = "", **headers: str
    ) -> Any:
        """Sends a request, and reads at most the beginning of what is endless."""
        async with client.stream(method, f"{self.url}{path}", content=body, headers=headers) as answer:
            self.told.append(str(answer.headers))
            if "event-stream" in answer.headers.get("content-type", ""):
                return None
            text = (await answer.aread()).decode()
        if "ticket" not in path or answer.status_code != 200:
            self.told.append(text)
        return json.loads(text) if text.startswith("{") else None


def tokens() -> dict[str, str]:
    now = int(time.time())
    claims = {"sub": "ann", "exp": now + 600, "info": {"name": "Ann"}}
    return {
        "good": sign(claims, SECRET),
        "expired": sign({**claims, "exp": now - 600}, SECRET),
        "forged": sign(claims, SECRET[::-1]),
        "no JSON": f"eyJhbGciOiJIUzI1NiJ9.{'bm9Kc29u' * 3}.{'c2ln' * 8}",
        "no JWT": "opaque0f3kQm8ZrT2yWv6sopaque0f3kQm8ZrT2yWv6s",
    }


async def visit(url: str) -> tuple[list[str], list[str]]:
    """All that opens the hub and was shown to it, and all that it answered."""
    visitor, shown = Visitor(url), [SECRET, CLEAR, HASHED, WRONG]
    async with httpx2.AsyncClient(trust_env=False, timeout=20) as client:
        for token in tokens().values():
            bearer = {"Authorization": f"Bearer {token}"}
            shown.append(token)
            tickets = []
            for _ in range(6):
                found = await visitor.ask(client, "POST", "/api/ticket", **bearer)
                tickets.append((found or {}).get("ticket", token))
            shown += tickets
            for path in ("/connection/websocket", "/connection/uni_websocket", "/ws/own:ann"):
                ticket = tickets.pop()
                await asyncio.gather(
                    visitor.knock(f"{path}?token={token}", first={"id": 1, "connect": {}}),
                    visitor.knock(f"{path}?ticket={ticket}", first={"id": 1, "connect": {}}),
                    visitor.knock(f"{path}?since=0&ticket={ticket}", first='"fall"', headers={"X-Fall": "1"}),
                    visitor.knock(path, first={"id": 1, "connect": {"token": token}}),
                    visitor.knock(path, first={"token": token}),
                    visitor.knock(path, first=f'{{"token": "{token}" '),
                    visitor.knock(path, offered=("bearer", token), first='"fall"'),
                    visitor.knock(path, headers=bearer),
                    visitor.knock(path, headers={"Origin": f"https://{token[:20]}", **bearer}),
                )
            cookie = {"Cookie": f"session={signed(user='ann', fails=True, pin=PASSING)}", "X-Fall": "1"}
            shown.append(cookie["Cookie"].partition("=")[2])
            await visitor.knock("/ws/own:ann", headers=cookie)
            await visitor.ask(client, "POST", "/api/ticket", **cookie)
            for path in (
                "/sse/own:ann",
                "/api/topics/own:ann",
                "/api/leaky/fall",
                "/no/such/path",
                "/health",
            ):
                await visitor.ask(client, "GET", f"{path}?token={token}")
                await visitor.ask(client, "GET", f"{path}?ticket={tickets[0]}")
                await visitor.ask(client, "GET", path, **bearer)
            await visitor.ask(client, "POST", f"/api/topics/own:ann?token={token}", '"fall"')
            asked = {"action": "subscribe", "topic": "own:ann", "token": token, "subscription_token": token}
            for body in (
                json.dumps(asked),
                json.dumps(asked)[:-2],
                json.dumps({"action": token, "topic": 7}),
            ):
                await visitor.ask(client, "POST", "/api/explain", body, **{"X-API-Key": CLEAR})
        for key in (CLEAR, HASHED, WRONG):
            for path in (
                "/api/info",
                "/api/topics/own:ann",
                "/api/ticket",
                "/api/leaky/fall",
                "/api/nothing",
            ):
                body = json.dumps({"user": "ann"})
                await visitor.ask(client, "POST", path, body, **{"X-API-Key": key})
                await visitor.ask(client, "POST", path, "{", Authorization=f"apikey {key}")
                await visitor.ask(client, "POST", f"{path}?api_key={key}", "")
        visitor.told.append((await client.get(f"{url}/metrics")).text)
    return shown, visitor.told


@pytest.mark.timeout(120)
@pytest.mark.parametrize("form", ["text", "json"])
def test_no_token_ticket_key_secret_or_cookie_is_in_anything_that_the_hub_says(
    tmp_path: Path, form: str
) -> None:
    (tmp_path / "leaky").mkdir()
    (tmp_path / "leaky/plugin.yaml").write_text('name: leaky\napi: 1\nroutes: "routes:routes"\n')
    (tmp_path / "leaky/routes.py").write_text(ROUTES)
    (tmp_path / "leaky_site.py").write_text(SITE)
    (tmp_path / "hub.yaml").write_text(CONFIG % (form, SECRET, CLEAR, hashed(HASHED)))
    talkative = {"PYTHONASYNCIODEBUG": "1", "HUB_DEBUG": "1", "PYTHONDEVMODE": "1"}
    with HubProcess("serve", cwd=tmp_path, env=talkative) as hub:
        shown, told = asyncio.run(visit(hub.url()))
        assert hub.stop() == 0
        said = f"{hub.said}{hub.printed}"
    assert len(set(shown)) > 15
    assert said.count("Traceback") >= 10, "no handler and no route has fallen, so nothing was seen"
    assert "leaky_site" in said
    assert "routes.py" in said
    for text, where in ((said, "log"), ("\n".join(told), "answers")):
        found = sorted({secret for secret in (*shown, hashed(HASHED)) if secret in text})
        assert not found, f"{where}: {[_around(text, secret) for secret in found[:3]]}"
    parts = {part for token in tokens().values() for part in token.split(".") if len(part) > 30}
    assert not [_around(said, part) for part in parts if part in said]


def _around(text: str, secret: str) -> str:
    place = text.index(secret)
    return text[max(0, place - 200) : place + 60]
