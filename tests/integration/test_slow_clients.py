"""Clients that do not read, over real sockets: what they cost the hub, and that nobody else notices."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest
from websockets.asyncio.client import ClientConnection, connect

from tests.services.hub import API_KEY, HubProcess

IDLE = 24
PAYLOAD = "x" * 60_000
CONFIG = f"""
version: 1
server: {{port: 0, drain: 1s, queue_bytes: 4MiB}}
auth: {{anonymous: true, api_keys: {{tests: {{key: "{API_KEY}"}}}}}}
api: {{body_bytes: 1MiB}}
topics:
  "kept:{{x}}": {{allow: {{subscribe: anyone}}, history: {{size: 200, ttl: 1h}}, max_bytes: 1MiB}}
"""


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[HubProcess]:
    (tmp_path / "hub.yaml").write_text(CONFIG)
    with HubProcess("serve", "--config", "hub.yaml", cwd=tmp_path) as process:
        yield process


def frame(message: dict[str, object]) -> bytes:
    """One text frame as a browser sends it, with a mask of zeros."""
    body = json.dumps(message).encode()
    assert len(body) < 126
    return bytes((0x81, 0x80 | len(body))) + bytes(4) + body


def deaf(url: str) -> socket.socket:
    """A client that subscribes and never reads again; its kernel takes as little as it can."""
    parts = urlsplit(url)
    found = socket.socket()
    found.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    found.connect((parts.hostname, parts.port))
    key = base64.b64encode(os.urandom(16)).decode()
    found.sendall(
        (
            f"GET /connection/websocket HTTP/1.1\r\nHost: {parts.netloc}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n"
        ).encode()
    )
    assert found.recv(4_096).startswith(b"HTTP/1.1 101")
    found.sendall(frame({"id": 1, "connect": {}}) + frame({"id": 2, "subscribe": {"channel": "kept:1"}}))
    heard = b""
    while b'"id":2' not in heard:
        heard += found.recv(4_096)
    return found


async def numbers(reader: ClientConnection, count: int) -> list[int]:
    found: list[int] = []
    while len(found) < count:
        for line in str(await reader.recv()).split("\n"):
            message = json.loads(line)
            if not message:
                await reader.send("{}")
            elif "push" in message:
                found.append(message["push"]["pub"]["offset"])
    return found


def metric(text: str, name: str) -> float:
    found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
    return float(found.group(1)) if found else 0.0


async def test_what_waits_for_all_clients_together_is_bounded_and_only_the_slow_pay(hub: HubProcess) -> None:
    url = hub.url()
    async with (
        httpx2.AsyncClient(base_url=url, headers={"X-API-Key": API_KEY}) as http,
        connect(url.replace("http", "ws") + "/connection/websocket", max_size=None) as reader,
    ):
        await reader.send(json.dumps({"id": 1, "connect": {}}))
        await reader.recv()
        await reader.send(json.dumps({"id": 2, "subscribe": {"channel": "kept:1"}}))
        await reader.recv()
        idle = [await asyncio.to_thread(deaf, url) for _ in range(IDLE)]
        hearing = asyncio.create_task(numbers(reader, 100))
        worst = 0.0
        for number in range(100):
            body = {"channel": "kept:1", "data": {"number": number, "text": PAYLOAD}}
            assert "error" not in (await http.post("/api/publish", json=body)).json()
            text = (await http.get("/metrics")).text
            worst = max(worst, metric(text, "hub_queued_bytes"))
        assert await hearing == list(range(1, 101))
        assert metric(text, 'hub_slow_clients_total{bound="node"}') >= IDLE // 2
        # One publication more may wait for each client than was counted when the last of them was written.
        assert worst <= 4 * 1_048_576 + IDLE * 65_536
        for each in idle:
            each.close()
