"""Limits on connections over real sockets: on the hub's own protocol, and under another server."""

from __future__ import annotations

import json
import random
import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from hub.app import Hub
from hub.testing import LiveHub
from tests.services.hub import HubProcess
from tests.services.raw_socket import RawSocket, command, frame, handshake

ANYONE = {"subscribe": "anyone", "publish": "anyone"}
CLIENT = "/connection/websocket"
WAYS = [CLIENT, "/connection/uni_websocket", "/ws/open:a", "/api/echo/back"]
STREAM = "/sse/open:a"
PLUGIN = {
    "plugin.yaml": "name: echo\napi: 1\nroutes: routes:ROUTES\n",
    "routes.py": """
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

async def back(socket: WebSocket) -> None:
    await socket.accept()
    try:
        while True:
            text = await socket.receive_text()
            if text == "fail":
                raise RuntimeError("on purpose")
            await socket.send_text(text)
    except WebSocketDisconnect:
        pass

ROUTES = [WebSocketRoute("/back", back)]
""",
}


@pytest.fixture(params=["own", "asgi"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., LiveHub]:
    """Makes a hub with limits, on its own protocol or under uvicorn's."""
    (tmp_path / "echo").mkdir()
    for name, text in PLUGIN.items():
        (tmp_path / "echo" / name).write_text(text)

    def make(*, proxies: tuple[str, ...] = ("127.0.0.1",), **limits: int | None) -> LiveHub:
        config = {
            "server": {"trusted_proxies": list(proxies)},
            "auth": {"anonymous": True},
            "limits": limits,
            "topics": {
                "open:{x}": {"allow": ANYONE},
                "closed:{x}": {"allow": {"subscribe": "authenticated"}},
            },
            "plugins": {"echo": {"use": str(tmp_path / "echo")}},
        }
        return LiveHub(config, detached=request.param == "own")

    return make


@contextmanager
def asked(hub: LiveHub, path: str, **headers: str) -> Iterator[tuple[int, RawSocket, bytes]]:
    """A request to open something, and how it is answered: the status, the socket, and the headers."""
    with RawSocket(hub.url) as socket:
        if path.startswith("/sse"):
            more = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
            socket.send(f"GET {path} HTTP/1.1\r\nHost: {socket.host}\r\n{more}\r\n".encode())
        else:
            socket.send(handshake(socket.host, path, **headers))
        head = socket.until(b"\r\n\r\n")
        yield int(head.split(b" ")[1]), socket, head.lower()


def status(hub: LiveHub, path: str, **headers: str) -> int:
    with asked(hub, path, **headers) as (found, _, _):
        return found


def settled(hub: LiveHub, count: int = 0, places: int = 0) -> None:
    """Waits until so many connections are counted."""

    async def look(hub: Hub) -> tuple[int, int]:
        return hub.admission.count, hub.admission.places

    deadline = time.monotonic() + 8
    while (found := hub.call(look)) != (count, places):
        assert time.monotonic() < deadline, found
        time.sleep(0.01)


def open_status(path: str) -> int:
    return 200 if path.startswith("/sse") else 101


@pytest.mark.parametrize("path", [*WAYS, STREAM])
def test_beyond_the_node_s_limit_it_is_503_before_the_accept(site: Callable[..., LiveHub], path: str) -> None:
    with site(connections=2) as hub:
        with asked(hub, path) as one, asked(hub, CLIENT) as two:
            assert (one[0], two[0]) == (open_status(path), 101)
            with asked(hub, path) as (found, socket, head):
                assert found == 503
                assert 2 <= int(head.partition(b"retry-after: ")[2].partition(b"\r")[0]) < 12
                assert b"content-type: application/json" in head
                body = json.loads(socket.rest() if path != STREAM else socket.until(b"}}"))
                assert body["error"]["message"] == "the node holds as many connections as it may"
        settled(hub)
        assert status(hub, path) == open_status(path)


@pytest.mark.parametrize("path", [*WAYS, STREAM])
def test_beyond_the_address_s_limit_it_is_429_and_others_come_in(
    site: Callable[..., LiveHub], path: str
) -> None:
    with site(connections_per_ip=1) as hub:
        with asked(hub, path, X_Forwarded_For="203.0.113.7") as one:
            assert one[0] == open_status(path)
            for way in (*WAYS, STREAM):
                with asked(hub, way, X_Forwarded_For="203.0.113.7") as (found, _, head):
                    assert found == 429
                    assert b"retry-after: " in head
            assert status(hub, path, X_Forwarded_For="203.0.113.8") == open_status(path)
            assert status(hub, path) == open_status(path), "a local tool has no known address"
        settled(hub)
        with asked(hub, path, X_Forwarded_For="2001:db8::1") as (found, _, _):
            assert found == open_status(path)
            assert status(hub, path, X_Forwarded_For="2001:db8::2") == 429, "the same /64"
            assert status(hub, path, X_Forwarded_For="2001:db8:0:1::1") == open_status(path)
        settled(hub)


@pytest.mark.parametrize("path", [CLIENT, STREAM])
def test_an_address_that_a_stranger_tells_is_not_believed(site: Callable[..., LiveHub], path: str) -> None:
    with site(proxies=("192.0.2.1",), connections_per_ip=2) as hub:
        with asked(hub, path, X_Forwarded_For="203.0.113.1"), asked(hub, path, X_Forwarded_For="192.0.2.1"):
            settled(hub, 2, 1)
            for lie in ("203.0.113.3", "192.0.2.1", "127.0.0.1", "::1", "nonsense"):
                assert status(hub, path, X_Forwarded_For=lie) == 429
            assert status(hub, path) == open_status(path), "it has passed no proxy"
        settled(hub)


def test_of_what_a_client_puts_before_the_proxy_s_word_nothing_counts(site: Callable[..., LiveHub]) -> None:
    with site(connections_per_ip=1) as hub:
        with asked(hub, CLIENT, X_Forwarded_For="198.51.100.1, 203.0.113.7"):
            assert status(hub, CLIENT, X_Forwarded_For="127.0.0.1, 203.0.113.7") == 429
            assert status(hub, CLIENT, X_Forwarded_For="203.0.113.7, 127.0.0.1") == 429
        settled(hub)


@pytest.mark.parametrize("path", [CLIENT, STREAM])
def test_beyond_the_rate_of_handshakes_it_is_503(site: Callable[..., LiveHub], path: str) -> None:
    with site(handshakes=1) as hub:
        found = [status(hub, path) for _ in range(4)]
        assert found[:2] == [open_status(path)] * 2
        assert 503 in found
        settled(hub)


def test_an_event_source_is_told_by_an_event_since_a_status_would_end_it_for_good(
    site: Callable[..., LiveHub],
) -> None:
    accept = "text/event-stream"
    with site(connections=1) as hub, asked(hub, CLIENT), asked(hub, STREAM, Accept=accept) as told:
        assert told[0] == 200
        retry = re.match(rb"retry: (\d+)\n", told[1].until(b"\n\n"))
        assert retry is not None
        assert int(retry[1]) >= 3_000, "it comes back as soon as one whose stream was only cut"
        assert b'data: {"code":3504' in told[1].until(b"\n\n")


def connect(hub: LiveHub, stack: ExitStack, token: str) -> tuple[int, bytes]:
    socket = stack.enter_context(RawSocket(hub.url))
    socket.open(CLIENT)
    socket.send(command({"id": 1, "connect": {"token": token}}))
    return socket.frame()


def test_a_user_has_so_many_sessions_over_all_transports(site: Callable[..., LiveHub]) -> None:
    with site(connections_per_user=2) as hub, ExitStack() as stack:
        ann, bob = hub.token("ann"), hub.token("bob")
        assert b'"connect"' in connect(hub, stack, ann)[1]
        stream = stack.enter_context(asked(hub, f"{STREAM}?token={ann}"))
        assert stream[0] == 200
        kind, payload = connect(hub, stack, ann)
        assert (kind, int.from_bytes(payload[:2], "big"), payload[2:]) == (8, 3504, b"connection limit")
        plain = stack.enter_context(asked(hub, f"/ws/open:a?token={ann}"))
        assert (plain[0], plain[1].frame()) == (101, (8, b"\x0f\xa9connection limit"))
        with asked(hub, f"{STREAM}?token={ann}") as (found, socket, head):
            assert (found, b"retry-after: " in head) == (429, True)
            assert json.loads(socket.until(b"}}"))["error"]["code"] == 111
        assert b'"connect"' in connect(hub, stack, bob)[1]
        for _ in range(4):
            assert b'"connect"' in connect(hub, stack, "")[1], "the anonymous user is not counted"
        stream[1].reset()
        settled_user(hub, "ann", 1)
        assert b'"connect"' in connect(hub, stack, ann)[1]


def settled_user(hub: LiveHub, user: str, count: int) -> None:
    async def look(hub: Hub) -> int:
        return hub.node.sessions.count(user)

    deadline = time.monotonic() + 8
    while hub.call(look) != count:
        assert time.monotonic() < deadline
        time.sleep(0.01)


VISITOR = "203.0.113.7"


def bad(socket: RawSocket) -> None:
    socket.send(handshake(socket.host, CLIENT, Sec_WebSocket_Key="short", X_Forwarded_For=VISITOR))
    socket.rest()


def foreign(socket: RawSocket) -> None:
    socket.send(handshake(socket.host, CLIENT, Origin="https://evil.example", X_Forwarded_For=VISITOR))
    socket.rest()


def unknown(socket: RawSocket) -> None:
    socket.send(handshake(socket.host, "/nothing", X_Forwarded_For=VISITOR))
    socket.rest()


def refused_token(socket: RawSocket) -> None:
    socket.open("/ws/open:a?token=bad", X_Forwarded_For=VISITOR)
    socket.frame()


def not_allowed(socket: RawSocket) -> None:
    socket.open("/ws/closed:a", X_Forwarded_For=VISITOR)
    socket.frame()


def at_once(socket: RawSocket) -> None:
    socket.send(handshake(socket.host, CLIENT, X_Forwarded_For=VISITOR))
    socket.reset()


def reset(socket: RawSocket) -> None:
    socket.open(random.choice(WAYS), X_Forwarded_For=VISITOR)
    socket.reset()


def closed(socket: RawSocket) -> None:
    socket.open(random.choice(WAYS), X_Forwarded_For=VISITOR)
    socket.send(frame(8, b"\x03\xe8"))
    socket.rest()


def half(socket: RawSocket) -> None:
    socket.open(random.choice(WAYS), X_Forwarded_For=VISITOR)
    socket.finish_sending()
    socket.rest()


def garbage(socket: RawSocket) -> None:
    socket.open(CLIENT, X_Forwarded_For=VISITOR)
    socket.send(b"\xff" * 50)
    socket.rest()


def failing(socket: RawSocket) -> None:
    socket.open("/api/echo/back", X_Forwarded_For=VISITOR)
    socket.send(frame(1, b"fail") + frame(8, b"\x03\xe8"))
    socket.rest()


def stream(socket: RawSocket) -> None:
    socket.send(f"GET {STREAM} HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 203.0.113.7\r\n\r\n".encode())
    socket.until(b"topichub")
    socket.reset()


def staying(socket: RawSocket) -> None:
    way = random.choice(WAYS)
    socket.open(way, X_Forwarded_For=VISITOR)
    if way.startswith("/connection"):
        # Who says nothing is sent away in a while.
        socket.send(command({"id": 1, "connect": {}}) if way == CLIENT else command({}))


ENDINGS: list[Any] = [
    bad,
    foreign,
    unknown,
    refused_token,
    not_allowed,
    at_once,
    reset,
    closed,
    half,
    garbage,
    failing,
    stream,
    staying,
]


@pytest.mark.timeout(90)
@pytest.mark.parametrize("seed", [1, 2])
def test_however_connections_end_none_is_counted_in_the_end(site: Callable[..., LiveHub], seed: int) -> None:
    chance = random.Random(seed)
    with site(connections=1_000, connections_per_ip=40) as hub:
        stays: list[RawSocket] = []
        for ending in ENDINGS * 2 + chance.choices(ENDINGS, k=60):
            socket = RawSocket(hub.url)
            ending(socket)
            if ending is staying:
                stays.append(socket)
            else:
                socket.__exit__()
        settled(hub, len(stays), 1)
        kept, gone = stays[: len(stays) // 2], stays[len(stays) // 2 :]
        for socket in gone:
            socket.reset()
        settled(hub, len(kept), 1)
        found = hub.hub.admission
    # The hub has stopped: whoever was there was sent away.
    assert (found.count, found.places) == (0, 0)
    for socket in kept:
        socket.__exit__()


def let_in(url: str, stack: ExitStack) -> list[bytes]:
    """The statuses of six who ask to come in and stay."""
    found = []
    for _ in range(6):
        socket = stack.enter_context(RawSocket(url))
        socket.send(handshake(socket.host, "/ws/open:a", X_Forwarded_For=VISITOR))
        found.append(socket.until(b"\r\n").split(b" ")[1])
    return found


@pytest.mark.timeout(90)
def test_a_process_that_has_seen_connections_end_in_all_ways_has_room_for_as_many_as_before(
    tmp_path: Path,
) -> None:
    (tmp_path / "echo").mkdir()
    for name, text in PLUGIN.items():
        (tmp_path / "echo" / name).write_text(text)
    (tmp_path / "hub.yaml").write_text(f"""\
version: 1
server: {{port: 0}}
auth: {{anonymous: true}}
database: {{url: "sqlite://"}}
limits: {{connections_per_ip: 5}}
plugins: {{echo: {{use: ./echo}}}}
topics:
  "open:{{x}}": {{allow: {json.dumps(ANYONE)}}}
  "closed:{{x}}": {{allow: {{subscribe: authenticated}}}}
""")
    with HubProcess("serve", "--config", "hub.yaml", cwd=tmp_path) as process:
        url, deadline = process.url(), time.monotonic() + 60
        for ending in [each for each in ENDINGS if each is not staying] * 4:
            while True:
                # Those before may still be on their way out, and take the places of some.
                with RawSocket(url) as socket, suppress(AssertionError):
                    ending(socket)
                    break
                assert time.monotonic() < deadline
                time.sleep(0.05)
        while True:
            with ExitStack() as stack:
                if (found := let_in(url, stack)) == [b"101"] * 5 + [b"429"]:
                    break
            assert time.monotonic() < deadline, found
            time.sleep(0.2)
    # One that fails is told to the log, by its traceback, as what it is.
    assert process.said.count("Traceback") == process.said.count("RuntimeError: on purpose") > 0
