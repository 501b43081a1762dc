"""How WebSocket connections begin and end on the hub's own server, byte by byte."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.asyncio.client import connect

from hub.testing import LiveHub
from tests.services.hub import HubProcess
from tests.services.raw_socket import RawSocket, command, frame, handshake

PATH = "/connection/websocket"
ANYONE = {"subscribe": "anyone", "publish": "anyone"}
CONFIG = {
    "client": {"message_bytes": 20_000, "queue_bytes": 65_536},
    "topics": {"open:{x}": {"allow": ANYONE}},
    "auth": {"anonymous": True},
}
PLUGIN = {
    "plugin.yaml": "name: echo\napi: 1\nroutes: routes:ROUTES\n",
    "routes.py": """
import asyncio
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

async def back(socket: WebSocket) -> None:
    await socket.accept(headers=[(b"x-plugin", b"echo")])
    try:
        while True:
            text = await socket.receive_text()
            if text == "leave":
                await socket.close(4321, "as you wish")
                return
            if text == "fail":
                raise RuntimeError("on purpose")
            if text == "flood":
                for number in range(200):
                    await socket.send_bytes(bytes(65_536))
                await socket.send_text("flooded")
                continue
            await socket.send_text(text)
    except WebSocketDisconnect:
        pass

async def silent(socket: WebSocket) -> None:
    await asyncio.sleep(3600)

ROUTES = [WebSocketRoute("/back", back), WebSocketRoute("/silent", silent)]
""",
}


@pytest.fixture(scope="module")
def hub() -> Iterator[LiveHub]:
    with LiveHub(CONFIG) as hub:
        yield hub


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[LiveHub]:
    """A hub that waits half a second for headers and handshakes, with a plugin's endpoints."""
    monkeypatch.setattr("hub.transports.http_protocol.HEADER_SECONDS", 0.5)
    folder = tmp_path / "echo"
    folder.mkdir()
    for name, text in PLUGIN.items():
        (folder / name).write_text(text)
    with LiveHub({**CONFIG, "plugins": {"echo": {"use": str(folder)}}}) as hub:
        yield hub


def connected(socket: RawSocket, path: str = PATH) -> None:
    socket.open(path)
    socket.send(command({"id": 1, "connect": {}}))
    assert json.loads(socket.frame()[1])["id"] == 1


def test_the_key_is_answered_as_the_standard_says(hub: LiveHub) -> None:
    key = base64.b64encode(bytes(range(16))).decode()
    accept = b"Bz3qJYTGdOe8gUSpLosEdiLKDrk="
    with RawSocket(hub.url) as socket:
        socket.send(handshake(socket.host, PATH, key=key))
        assert b"Sec-WebSocket-Accept: " + accept + b"\r\n" in socket.until(b"\r\n\r\n")


@pytest.mark.parametrize(
    ("what", "headers", "status"),
    [
        ("no key", {"Sec_WebSocket_Key": ""}, 400),
        ("a short key", {"Sec_WebSocket_Key": "c2hvcnQ="}, 400),
        ("a key that is no base64", {"Sec_WebSocket_Key": "!" * 24}, 400),
        ("no version", {"Sec_WebSocket_Version": ""}, 426),
        ("another version", {"Sec_WebSocket_Version": "8"}, 426),
    ],
)
def test_what_is_no_handshake_is_refused(
    hub: LiveHub, what: str, headers: dict[str, str], status: int
) -> None:
    with RawSocket(hub.url) as socket:
        socket.send(handshake(socket.host, PATH, **headers))
        answer = socket.rest()
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert (b"sec-websocket-version: 13" in answer) == (status == 426)


def test_two_keys_another_method_or_an_old_http_are_refused(hub: LiveHub) -> None:
    good = handshake("h", PATH)
    for bad in (
        good.replace(b"\r\n\r\n", b"\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"),
        good.replace(b"GET", b"PUT"),
        good.replace(b"HTTP/1.1", b"HTTP/1.0"),
    ):
        with RawSocket(hub.url) as socket:
            socket.send(bad)
            assert socket.rest().startswith(b"HTTP/1.1 400 ")


def test_what_came_in_the_same_segment_as_the_handshake_is_not_lost(hub: LiveHub) -> None:
    with RawSocket(hub.url) as socket:
        socket.open(PATH, behind=command({"id": 1, "connect": {}}))
        assert json.loads(socket.frame()[1])["id"] == 1


def test_an_unknown_path_is_refused(hub: LiveHub) -> None:
    with RawSocket(hub.url) as socket:
        socket.send(handshake(socket.host, "/nothing/here"))
        assert socket.rest().startswith(b"HTTP/1.1 403 ")


def test_a_close_is_answered_and_the_connection_ended(hub: LiveHub) -> None:
    with RawSocket(hub.url) as socket:
        connected(socket)
        socket.send(frame(8, b"\x03\xe8bye"))
        assert socket.frame() == (8, b"\x03\xe8")
        assert socket.rest() == b""


def test_pings_are_answered_also_within_a_message(hub: LiveHub) -> None:
    with RawSocket(hub.url) as socket:
        socket.open(PATH)
        text = json.dumps({"id": 1, "connect": {}}).encode()
        socket.send(frame(1, text[:5], fin=False) + frame(9, b"there?") + frame(0, text[5:]))
        assert socket.frame() == (10, b"there?")
        assert json.loads(socket.frame()[1])["id"] == 1


@pytest.mark.parametrize(
    ("what", "bad", "code"),
    [
        ("no mask", b"\x81\x01x", 1002),
        ("a reserved bit", b"\xc1\x80" + bytes(4), 1002),
        ("text that is no UTF-8", frame(1, b"\xff\xfe"), 1007),
        ("a message over the limit", frame(1, b"x" * 20_001), 1009),
    ],
)
def test_who_breaks_the_protocol_is_told_the_code(hub: LiveHub, what: str, bad: bytes, code: int) -> None:
    with RawSocket(hub.url) as socket:
        connected(socket)
        begun = time.monotonic()
        socket.send(bad)
        kind, payload = socket.frame()
        assert (kind, int.from_bytes(payload[:2], "big")) == (8, code)
        assert socket.rest() == b""
        socket.finish_sending()
        assert time.monotonic() - begun < 8


def test_a_peer_that_pings_and_reads_no_answer_is_cut(hub: LiveHub) -> None:
    with RawSocket(hub.url, receive_buffer=4_096) as socket:
        connected(socket)
        pings = frame(9, bytes(125)) * 500
        cut = False
        for _ in range(2_000):
            try:
                socket.send(pings)
            except OSError:
                cut = True
                break
        assert cut


def test_half_a_connection_is_none(hub: LiveHub) -> None:
    with RawSocket(hub.url) as socket:
        connected(socket)
        socket.finish_sending()
        assert socket.rest() == b""


def test_headers_that_come_slowly_or_never_end_are_refused(impatient: LiveHub) -> None:
    with RawSocket(impatient.url) as socket:
        socket.send(b"GET / HTTP/1.1\r\nHost: x\r\n")
        assert socket.rest().startswith(b"HTTP/1.1 408 ")
    with RawSocket(impatient.url) as socket:
        socket.send(b"GET / HTTP/1.1\r\n")
        for _ in range(200):
            try:
                socket.send(b"X-Filler: " + b"x" * 1_000 + b"\r\n")
            except OSError:
                break
        assert socket.rest().startswith((b"HTTP/1.1 431 ", b""))


def test_a_connection_in_reserve_is_closed_without_a_word(impatient: LiveHub) -> None:
    with RawSocket(impatient.url) as socket:
        assert socket.rest() == b""


def test_a_second_request_has_a_deadline_too_and_waiting_for_one_has_none(impatient: LiveHub) -> None:
    with RawSocket(impatient.url) as socket:
        for _ in range(2):
            socket.send(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
            assert b" 200 " in socket.until(b"\r\n\r\n")
            socket.until(b"}")
            time.sleep(0.8)
        socket.send(b"GET /health/live HTTP/1.1\r\n")
        assert socket.rest().endswith(b"did not come in time\n")


def test_an_endpoint_that_never_answers_is_answered_for(impatient: LiveHub) -> None:
    with RawSocket(impatient.url) as socket:
        socket.send(handshake(socket.host, "/api/echo/silent"))
        assert socket.rest().startswith(b"HTTP/1.1 503 ")


async def test_an_ordinary_endpoint_of_a_plugin_receives_and_sends(impatient: LiveHub) -> None:
    url = f"{impatient.ws_url}/api/echo/back"
    async with connect(url) as socket:
        assert socket.response is not None
        assert socket.response.headers["x-plugin"] == "echo"
        for number in range(100):
            await socket.send(f"grüße {number}")
        assert [await socket.recv() for _ in range(100)] == [f"grüße {number}" for number in range(100)]
        await socket.send("leave")
        await socket.wait_closed()
        assert (socket.close_code, socket.close_reason) == (4321, "as you wish")
    async with connect(url) as socket:
        await socket.send("fail")
        await socket.wait_closed()
        assert socket.close_code == 1011


async def test_an_ordinary_endpoint_waits_for_a_slow_peer(impatient: LiveHub) -> None:
    async with connect(f"{impatient.ws_url}/api/echo/back", max_size=None, max_queue=2) as socket:
        await socket.send("flood")
        await asyncio.sleep(0.3)
        sizes = [len(await socket.recv()) for _ in range(200)]
        assert sizes == [65_536] * 200
        assert await socket.recv() == "flooded"


def test_a_stop_is_not_held_up_by_a_client_that_closes_and_does_not_read(tmp_path: Path) -> None:
    (tmp_path / "hub.yaml").write_text(
        "version: 1\nserver: {port: 0, drain: 1s}\nauth: {anonymous: true}\n"
        'topics: {"open:{x}": {allow: {subscribe: anyone, publish: anyone}, max_bytes: 60KiB}}\n'
    )
    with HubProcess("serve", "--config", "hub.yaml", cwd=tmp_path) as process:
        url = process.url()
        with RawSocket(url, receive_buffer=4_096) as deaf, RawSocket(url) as other:
            for socket in (deaf, other):
                connected(socket)
                socket.send(command({"id": 2, "subscribe": {"channel": "open:1"}}))
                socket.until(b'"id":2')
            body = json.dumps({"id": 3, "publish": {"channel": "open:1", "data": "x" * 50_000}})
            other.send(frame(1, body.encode()) * 15)
            time.sleep(0.5)
            deaf.send(frame(8, b"\x03\xe8"))
            time.sleep(0.2)
            assert process.stop(within=15) == 0
        assert "Traceback" not in process.said
