"""A hub that stood still for a while: its clients stay connected, and miss nothing that the history still has."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from contextlib import ExitStack
from pathlib import Path

import httpx2
import pytest
from websockets.asyncio.client import ClientConnection, connect

from tests.contract.presences import SHARED, url_of
from tests.services.hub import HubProcess

PUBLICATIONS = 200
FROZEN_SECONDS = 11
"""Longer than the broker's connections, leases and probes last."""
CONFIG = """
version: 1
server: {{port: 0}}
broker: {{url: "{url}"}}
auth: {{anonymous: true}}
limits: {{commands: null, publishes_per_user: null, publishes_per_topic: null, api_requests: null}}
topics:
  "news:{{name}}": {{allow: {{subscribe: anyone, publish: anyone}}, history: {{size: 1000, ttl: 1h}}}}
"""


async def offsets(socket: ClientConnection) -> AsyncIterator[int]:
    """The offsets of what comes; anything but publications and pings ends it."""
    async for frame in socket:
        for line in str(frame).splitlines():
            message = json.loads(line)
            if not message:
                await socket.send("{}")
            elif "pub" in message.get("push", {}):
                yield message["push"]["pub"]["offset"]
            elif "push" in message:
                raise AssertionError(f"the client was told of {message}")


@pytest.mark.timeout(90)
@pytest.mark.parametrize("broker", SHARED)
async def test_clients_of_a_hub_that_goes_on_get_what_was_published_meanwhile_once_and_in_order(
    request: pytest.FixtureRequest, broker: str, tmp_path: Path
) -> None:
    (tmp_path / "hub.yaml").write_text(CONFIG.format(url=url_of(request, broker)))
    with ExitStack() as stack:
        one, frozen = (stack.enter_context(HubProcess("serve", cwd=tmp_path)) for _ in range(2))
        address = frozen.url().replace("http", "ws", 1) + "/connection/websocket"
        async with (
            httpx2.AsyncClient(base_url=one.url(), trust_env=False, timeout=10) as backend,
            connect(address, ping_interval=None) as socket,
        ):
            await socket.send('{"id":1,"connect":{}}\n{"id":2,"subscribe":{"channel":"news:a"}}')
            while '"id":2' not in await asyncio.wait_for(socket.recv(decode=True), 10):
                pass
            seen = offsets(socket)
            assert (await backend.post("/api/topics/news:a", content=b"first")).status_code == 200
            assert await asyncio.wait_for(anext(seen), 10) == 1
            frozen.process.send_signal(signal.SIGSTOP)
            try:
                for number in range(PUBLICATIONS):
                    answer = await backend.post("/api/topics/news:a", json=number)
                    assert answer.status_code == 200
                    await asyncio.sleep(FROZEN_SECONDS / PUBLICATIONS)
            finally:
                frozen.process.send_signal(signal.SIGCONT)
            async with asyncio.timeout(30):
                got = [await anext(seen) for _ in range(PUBLICATIONS)]
            assert got == list(range(2, PUBLICATIONS + 2))
