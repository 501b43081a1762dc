"""The four sockets of examples/article: under Starlette's TestClient, and behind a real port with a real client."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import struct
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import pytest
from starlette.testclient import TestClient, WebSocketTestSession
from starlette.websockets import WebSocketDisconnect
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from hub.app import Hub, create_app
from hub.auth.tokens import sign
from hub.loader.compose import compose
from hub.settings.load import load
from hub.testing import LiveHub
from tests.services.ports import free_port
from tests.services.process import ServerProcess

CONFIG = Path(__file__).parents[2] / "examples/article/hub.yaml"
SECRET = "the-secret-of-this-test-0123456789-abcdefghij"
TEXTS = [
    "hello",
    '{"a": [1, 2.50], "b": null}',
    "42",
    '"quoted"',
    "naïve ☃ 日本語 𝄞",
    "",
    " spaces ",
    "two\nlines",
    "<b>&",
]


def token(sub: str, *, secret: str = SECRET, expires: float = 86_400, **claims: Any) -> str:
    return sign({"sub": sub, "exp": int(time.time() + expires), **claims}, secret)


GOOD = token("ann", secret=SECRET)
BAD = {
    "missing": "",
    "garbage": "?token=garbage",
    "empty": "?token=",
    "expired": f"?token={token('ann', expires=-86_400)}",
    "forged": f"?token={token('ann', secret=SECRET[::-1])}",
    "two words": "?token=a%20b",
    "with a null": "?token=%00",
    "not UTF-8": "?token=%ff%fe",
}


class Closed(Exception):
    """The server closed the socket; `code` says why."""

    def __init__(self, code: int, reason: str) -> None:
        self.code = code
        self.reason = reason
        super().__init__(f"{code} {reason}")


class Socket(Protocol):
    def send(self, text: str) -> None: ...
    def receive(self) -> str: ...
    def close(self) -> None: ...


class _AppSocket:
    """A socket of the TestClient."""

    def __init__(self, session: WebSocketTestSession) -> None:
        self._session = session

    def send(self, text: str) -> None:
        self._session.send_text(text)

    def receive(self) -> str:
        try:
            return self._session.receive_text()
        except WebSocketDisconnect as error:
            raise Closed(error.code, error.reason) from error

    def close(self) -> None:
        self._session.close()


class _RealSocket:
    """A socket of the `websockets` client."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection

    def send(self, text: str) -> None:
        self.connection.send(text)

    def receive(self) -> str:
        try:
            frame = self.connection.recv(timeout=10)
        except ConnectionClosed as error:
            close = error.rcvd
            raise Closed(
                close.code if close else 1006, close.reason if close else "no close frame"
            ) from error
        assert isinstance(frame, str)
        return frame

    def close(self) -> None:
        self.connection.close()

    def cut(self) -> None:
        """Ends the TCP connection with a reset and no close frame, as a lost network or a killed client does."""
        raw = self.connection.socket
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raw.close()


Open = Callable[[str], Any]
"""Opens a socket on a path; it is closed at the end of the test."""


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUB_JWT_SECRET", SECRET)
    monkeypatch.setenv("HUB_DATABASE__URL", "sqlite://")


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """No test here may make the server log a failure."""
    caplog.set_level("INFO")
    yield
    records = [*caplog.get_records("setup"), *caplog.get_records("call")]
    assert not [record for record in records if record.exc_info or record.levelno > logging.WARNING]


@pytest.fixture
def in_app() -> Iterator[Open]:
    app = create_app(Hub(compose(load(CONFIG, os.environ), "serve"), migrate=True))
    with TestClient(app) as client, contextlib.ExitStack() as stack:

        def open_socket(path: str) -> Socket:
            return _AppSocket(stack.enter_context(client.websocket_connect(path)))

        yield open_socket


@pytest.fixture
def real() -> Iterator[Callable[[str], _RealSocket]]:
    with LiveHub(CONFIG) as hub, contextlib.ExitStack() as stack:

        def open_socket(path: str) -> _RealSocket:
            return _RealSocket(stack.enter_context(connect(f"{hub.ws_url}{path}")))

        yield open_socket


@pytest.fixture(params=["in_app", "real"])
def opened(request: pytest.FixtureRequest) -> Open:
    """Both ways in, one after the other."""
    found: Open = request.getfixturevalue(request.param)
    return found


def closing(opened: Open, path: str) -> Closed:
    """How the server closes a socket that it accepted and sends nothing on."""
    with pytest.raises(Closed) as raised:
        opened(path).receive()
    return raised.value


# /ws


def test_echo_sends_back_what_came(opened: Open) -> None:
    ann = opened("/ws")
    for text in TEXTS:
        ann.send(text)
        assert ann.receive() == f"Echo: {text}"


def test_echo_answers_nobody_else(opened: Open) -> None:
    ann, bob = opened("/ws"), opened("/ws")
    ann.send("of ann")
    assert ann.receive() == "Echo: of ann"
    bob.send("of bob")
    assert bob.receive() == "Echo: of bob"


def test_echo_keeps_the_order_of_many(opened: Open) -> None:
    ann = opened("/ws")
    for number in range(100):
        ann.send(f"{number}")
    assert [ann.receive() for _ in range(100)] == [f"Echo: {number}" for number in range(100)]


def test_a_text_that_is_too_long_is_refused_and_the_socket_lives_on(opened: Open) -> None:
    ann = opened("/ws")
    ann.send("x" * 65_535)  # and the quotes that make it JSON
    assert json.loads(ann.receive())["error"]["code"] == 107
    ann.send("short")
    assert ann.receive() == "Echo: short"


def test_another_connections_echo_is_closed_to_everybody(opened: Open) -> None:
    assert closing(opened, "/ws/echo:somebody-else").code == 4001
    assert closing(opened, f"/ws/echo:somebody-else?token={GOOD}").code == 4003


# /ws/chat


def test_chat_gives_every_text_to_all(opened: Open) -> None:
    ann, bob = opened("/ws/chat"), opened("/ws/chat")
    for text in TEXTS:
        ann.send(text)
        assert ann.receive() == bob.receive() == text


def test_chat_tells_the_others_that_a_user_left(opened: Open) -> None:
    ann, bob, cid = (opened(path) for path in ("/ws/chat", "/ws/chat", f"/ws/chat?token={token('cid')}"))
    bob.send("hi")
    assert [one.receive() for one in (ann, bob, cid)] == ["hi"] * 3
    cid.close()
    assert ann.receive() == bob.receive() == "User cid left the chat"
    bob.close()
    assert ann.receive() == "A user left the chat"
    ann.send("alone")
    assert ann.receive() == "alone"


def test_chat_tells_the_others_when_a_connection_is_cut(real: Callable[[str], _RealSocket]) -> None:
    ann, bob = real("/ws/chat"), real(f"/ws/chat?token={token('bob')}")
    bob.send("hi")
    assert ann.receive() == bob.receive() == "hi"
    bob.cut()
    assert ann.receive() == "User bob left the chat"


# /ws/secure


def test_secure_greets_the_user_of_the_token_and_echoes(opened: Open) -> None:
    ann = opened(f"/ws/secure?token={GOOD}")
    assert ann.receive() == "Hello, ann!"
    ann.send("hi")
    assert ann.receive() == "Echo: hi"


@pytest.mark.parametrize("user", ["ann@example.com", "a:b.c/d e", "李雷", "<b>"])
def test_secure_greets_users_of_any_name(opened: Open, user: str) -> None:
    assert opened(f"/ws/secure?token={token(user)}").receive() == f"Hello, {user}!"


@pytest.mark.parametrize("query", BAD.values(), ids=BAD)
def test_secure_accepts_and_then_closes_with_4001(opened: Open, query: str) -> None:
    closed = closing(opened, f"/ws/secure{query}")
    assert closed.code == 4001
    assert "token" in closed.reason


@pytest.mark.parametrize("path", ["/ws", "/ws/chat", "/ws/dashboard"])
def test_a_bad_token_is_no_better_than_none_where_none_is_needed(opened: Open, path: str) -> None:
    assert closing(opened, f"{path}?token=garbage").code == 4001


def test_secure_ends_when_the_token_does(real: Callable[[str], _RealSocket]) -> None:
    ann = real(f"/ws/secure?token={token('ann', expires=2)}")
    assert ann.receive() == "Hello, ann!"
    with pytest.raises(Closed) as raised:
        ann.receive()
    assert (raised.value.code, raised.value.reason) == (4001, "token expired")


# /ws/dashboard


def figures(text: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(text)
    assert found.keys() == {"cpu", "memory", "requests", "timestamp"}
    assert 0 <= found["cpu"] <= 100
    assert 0 < found["memory"] < 100
    return found | {"at": datetime.fromisoformat(found["timestamp"]).timestamp()}


def test_dashboard_shows_the_latest_figures_at_once(opened: Open) -> None:
    started = time.monotonic()
    first = figures(opened("/ws/dashboard").receive())
    assert time.monotonic() - started < 10
    assert abs(time.time() - first["at"]) < 10


def test_dashboard_gives_all_the_same_sample_every_two_seconds(opened: Open) -> None:
    ann, bob = opened("/ws/dashboard"), opened("/ws/dashboard")
    first, _ = figures(ann.receive()), figures(bob.receive())
    sample = bob.receive()
    while ann.receive() != sample:  # ann may have had one before bob came
        pass
    rounds = [figures(sample)]
    for _ in range(2):
        seen = ann.receive(), bob.receive()
        assert seen[0] == seen[1]
        rounds.append(figures(seen[0]))
    gaps = [later["at"] - earlier["at"] for earlier, later in pairwise(rounds)]
    assert gaps == [pytest.approx(2.0, abs=0.7)] * 2
    assert rounds[-1]["requests"] >= first["requests"] + 1  # bob came after the first sample


def test_dashboard_counts_requests_as_they_come(real: Callable[[str], _RealSocket]) -> None:
    watcher = real("/ws/dashboard")
    before = figures(watcher.receive())["requests"]
    for _ in range(5):
        real("/ws").close()
    figures(watcher.receive())
    assert figures(watcher.receive())["requests"] >= before + 5


def test_dashboard_takes_no_texts(opened: Open) -> None:
    watcher = opened("/ws/dashboard")
    figures(watcher.receive())
    watcher.send('{"cpu": 0}')
    answers = [json.loads(watcher.receive()) for _ in range(2)]
    assert 103 in [answer.get("error", {}).get("code") for answer in answers]


# The whole of it, as an operator starts it


def test_the_servers_log_has_no_token_and_no_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HUB_DATABASE__URL", f"sqlite:///{tmp_path}/hub.db")
    monkeypatch.setenv("HUB_LOG__LEVEL", "debug")
    log, port = tmp_path / "log", free_port()
    hub = Path(sys.executable).with_name("hub")
    command: list[str | Path] = [hub, "serve", "--migrate", "--config", CONFIG, "--port", str(port)]
    server = ServerProcess(command, log)
    server.start(lambda: _answers(port), within=20)
    try:
        for path in ("/ws", "/ws/chat", f"/ws/secure?token={GOOD}", f"/ws/chat?token={GOOD}"):
            with connect(f"ws://127.0.0.1:{port}{path}") as opened:
                opened.send("hi")
                assert opened.recv(timeout=5)
        for query in BAD.values():
            with (
                connect(f"ws://127.0.0.1:{port}/ws/secure{query}") as opened,
                pytest.raises(ConnectionClosed),
            ):
                opened.recv(timeout=5)
        _RealSocket(connect(f"ws://127.0.0.1:{port}/ws/chat?token={GOOD}")).cut()
    finally:
        server.stop()
    told = log.read_text()
    assert "plugins: article" in told
    for unwanted in ("Traceback", "eyJ", "garbage"):
        assert unwanted not in told, told


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health/ready", timeout=1) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
