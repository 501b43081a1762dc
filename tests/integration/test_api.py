"""The HTTP API over a real server: what only a connection can do."""

from __future__ import annotations

import http.client
import socket
import time
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from hub.testing import LiveHub

ANYONE = {"subscribe": "anyone", "publish": "anyone"}
CONFIG: dict[str, Any] = {
    "api": {"body_bytes": 100_000},
    "topics": {"news:{name}": {"allow": ANYONE, "history": {"size": 10, "ttl": "1h"}}},
}


@pytest.fixture(scope="module")
def hub() -> Iterator[LiveHub]:
    with LiveHub(CONFIG) as live:
        yield live


@pytest.mark.parametrize("path", ["/api/publish", "/api/topics/news:half"])
def test_a_peer_that_goes_in_the_middle_of_its_body_publishes_nothing(
    hub: LiveHub, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    head = f"POST {path} HTTP/1.1\r\nHost: hub\r\nX-API-Key: {hub.api_key}\r\nContent-Length: 100\r\n\r\n"
    with socket.create_connection(("127.0.0.1", hub.port), timeout=5) as line:
        line.sendall(head.encode() + b'{"channel": "news:half", "data": 1}')
        time.sleep(0.05)
    page = httpx2.get(f"{hub.url}/api/topics/news:half").json()
    assert page["offset"] == 0
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def test_a_body_that_is_too_large_is_told_so_while_it_is_still_being_sent(hub: LiveHub) -> None:
    def pieces() -> Iterator[bytes]:
        for _ in range(10):
            yield b"x" * 50_000

    response = httpx2.post(f"{hub.url}/api/topics/news:big", content=pieces())
    assert response.status_code == 413
    assert httpx2.get(f"{hub.url}/api/topics/news:big").json()["offset"] == 0


def test_requests_on_one_connection_wait_for_no_acknowledgement(hub: LiveHub) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", hub.port, timeout=10)
    took = []
    for _ in range(30):
        started = time.perf_counter()
        connection.request("POST", "/api/topics/news:quick", body=b"x")
        connection.getresponse().read()
        took.append(time.perf_counter() - started)
    connection.close()
    # The kernel's two delays, of small writes and of acknowledgements, together cost 40 ms each time, on any machine.
    assert sorted(took)[4] < 0.03, "a busy machine may be slow now and then, but hardly 26 times of 30"


def test_names_come_through_the_path_whatever_they_hold(hub: LiveHub) -> None:
    for path, topic in (
        ("news%3Aa%2Fb%3Fc", "news:a/b?c"),
        ("news:gr%C3%BC%C3%9Fe", "news:grüße"),
        ("news:a+b", "news:a+b"),
    ):
        assert httpx2.post(f"{hub.url}/api/topics/{path}", content="x").json()["topic"] == topic
