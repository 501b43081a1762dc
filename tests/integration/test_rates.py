"""Clients that send too fast, over real sockets: with frames, pings and fragments, and with requests of the API."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import httpx2
import pytest

from hub.testing import LiveHub
from tests.services.raw_socket import RawSocket, command, frame

ANYONE = {"subscribe": "anyone", "publish": "anyone"}
CONFIG = {
    "client": {"subscriptions": 8, "ping": 600},
    # So slow that no test's machine is slow enough to see one more.
    "limits": {"commands": 0.001, "api_requests": 0.001},
    "topics": {"open:{x}": {"allow": ANYONE}},
}
BURST = 10
"""As many as the subscriptions, and two."""
PUBLISH = {"id": 2, "publish": {"channel": "open:1", "data": 1}}
FLOODS = {
    "commands": command(PUBLISH),
    "pings": frame(9, b"x"),
    "pongs that nobody asked for": frame(10),
    "small fragments": frame(0, b"", fin=False),
}


@pytest.fixture(scope="module")
def hub() -> Iterator[LiveHub]:
    with LiveHub(CONFIG) as hub:
        yield hub


def connected(hub: LiveHub) -> RawSocket:
    socket = RawSocket(hub.url)
    socket.open("/connection/websocket")
    socket.send(command({"id": 1, "connect": {}}))
    assert b'"connect"' in socket.frame()[1]
    return socket


def the_close(socket: RawSocket) -> tuple[int, str]:
    while True:
        kind, payload = socket.frame()
        if kind == 8:
            return int.from_bytes(payload[:2], "big"), payload[2:].decode()


def answers(socket: RawSocket, count: int) -> list[int]:
    """The codes of the next so many answers, 0 for those that were done."""
    found: list[int] = []
    while len(found) < count:
        lines = socket.frame()[1].splitlines()
        found += [json.loads(line).get("error", {}).get("code", 0) for line in lines]
    return found


@pytest.mark.parametrize("flood", FLOODS)
def test_whoever_floods_is_ended_with_3013(hub: LiveHub, flood: str) -> None:
    with connected(hub) as socket:
        begin = frame(1, b"{", fin=False) if flood == "small fragments" else b""
        socket.send(begin + FLOODS[flood] * (3 * BURST))
        assert the_close(socket) == (3013, "too many requests")


def test_pings_within_the_rate_are_answered(hub: LiveHub) -> None:
    with connected(hub) as socket:
        socket.send(frame(9, b"a") * (BURST - 1))
        assert [socket.frame() for _ in range(BURST - 1)] == [(10, b"a")] * (BURST - 1)


def test_commands_over_the_rate_are_answered_and_the_socket_stays(hub: LiveHub) -> None:
    with connected(hub) as socket:
        socket.send(command(PUBLISH) * (BURST + 2))
        assert answers(socket, BURST + 2) == [0] * (BURST - 1) + [111] * 3


def test_a_plain_socket_is_told_and_then_ended_with_4009(hub: LiveHub) -> None:
    with RawSocket(hub.url) as socket, RawSocket(hub.url) as listener:
        listener.open("/ws/open:2")
        socket.open("/ws/open:2")
        socket.send(frame(1, b"1") * (3 * BURST))
        told = []
        while True:
            kind, payload = socket.frame()
            if kind == 8:
                break
            told.append(payload)
        assert [listener.frame() for _ in range(BURST)] == [(1, b"1")] * BURST
        assert sum(b'"code":111' in each for each in told) == BURST
        assert int.from_bytes(payload[:2], "big") == 4009


def test_one_client_that_floods_takes_nothing_from_another(hub: LiveHub) -> None:
    with connected(hub) as flooding, connected(hub) as calm:
        flooding.send(command(PUBLISH) * (3 * BURST))
        assert the_close(flooding)[0] == 3013
        calm.send(command(PUBLISH))
        assert answers(calm, 1) == [0]


def test_of_one_that_goes_on_behind_its_end_nothing_more_is_read(hub: LiveHub) -> None:
    pings, taken = frame(9, b"a" * 125) * 500, 0
    with connected(hub) as socket, suppress(OSError):
        socket.send(FLOODS["pings"] * (3 * BURST))
        assert the_close(socket)[0] == 3013
        while taken < 64_000_000:
            socket.send(pings)
            taken += len(pings)
    assert taken < 32_000_000, "more than the kernel keeps"


def test_a_key_over_its_rate_is_answered_429_ahead_of_asgi_too_and_the_connection_stays() -> None:
    body = json.dumps({"channel": "open:1", "data": 1}).encode()
    config = {**CONFIG, "limits": {"api_requests": 1}}
    with LiveHub(config) as hub, RawSocket(hub.url) as socket:
        request = (
            b"POST /api/publish HTTP/1.1\r\nHost: hub\r\nX-API-Key: %b\r\nContent-Length: %d\r\n\r\n%b"
            % (hub.api_key.encode(), len(body), body)
        )
        found = []
        for _ in range(6):
            socket.send(request)
            head = socket.until(b"\r\n\r\n").lower()
            length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
            found.append((int(head.split()[1]), b"\r\nretry-after: 1\r\n" in head))
            socket.until(b"}" if length else b"")
        assert found[0] == (200, False)
        assert found[-1] == (429, True)
        assert {status for status, _ in found} == {200, 429}


def test_a_request_that_has_to_be_awaited_after_all_counts_once() -> None:
    topics = {"asked:{x}": {"allow": ANYONE, "handlers": {"publish": "tests.unit.api.guards:guard"}}}
    with LiveHub({"limits": {"api_requests": 0.001}, "topics": topics}) as hub:
        asking: dict[str, Any] = {
            "json": {"channel": "asked:1", "data": "hi"},
            "headers": {"X-API-Key": hub.api_key},
        }
        statuses = [httpx2.post(f"{hub.url}/api/publish", **asking).status_code for _ in range(2)]
        assert statuses == [200, 429]
