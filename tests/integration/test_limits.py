"""Each limit on what clients and backends may send: just within it passes, just beyond is refused and counted.

Those on connections and handshakes are in `test_admission.py`, those on how often in `test_rates.py`, the deadline for
headers in `test_opening.py`, and queues in `test_slow_clients.py`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import httpx2
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from hub import metrics
from hub.testing import LiveHub

ANYONE = {"subscribe": "anyone", "publish": "anyone"}
MESSAGE = 2_000
CONFIG: dict[str, Any] = {
    "server": {"compression": True},
    "client": {"message_bytes": MESSAGE, "subscriptions": 3, "ping": 600},
    "api": {"body_bytes": 4_000},
    "topics": {
        "a:{x}": {"allow": ANYONE, "history": {"size": 10}},
        "small:{x}": {"allow": ANYONE, "max_bytes": 10},
        "{any:rest}": {"allow": ANYONE},
    },
}


@pytest.fixture(scope="module")
def hub() -> Iterator[LiveHub]:
    with LiveHub(CONFIG) as hub:
        yield hub


def counted(limit: str) -> float:
    return metrics.REGISTRY.get_sample_value("hub_limited_total", {"limit": limit}) or 0.0


@contextmanager
def connected(hub: LiveHub, compression: str | None = None) -> Iterator[ClientConnection]:
    with connect(f"{hub.ws_url}/connection/websocket", compression=compression, max_size=None) as socket:
        socket.send('{"id":1,"connect":{}}')
        socket.recv(timeout=10)
        yield socket


def asked(socket: ClientConnection, method: str, **request: Any) -> int:
    """The code of the error that a command is answered with, 0 for none."""
    socket.send(json.dumps({"id": 2, method: request}))
    while (reply := json.loads(socket.recv(timeout=10))).get("id") != 2:
        pass
    return int(reply.get("error", {}).get("code", 0))


def publication(size: int) -> str:
    """A publish command of so many bytes."""
    frame = '{"id":2,"publish":{"channel":"b","data":"%s"}}'
    return frame % ("x" * (size - len(frame) + 2))


def end_of(socket: ClientConnection) -> int:
    with pytest.raises(ConnectionClosed) as caught:
        socket.recv(timeout=10)
    assert caught.value.rcvd is not None
    return caught.value.rcvd.code


@pytest.mark.parametrize("compression", [None, "deflate"])
@pytest.mark.parametrize("pieces", [1, 5])
def test_a_message_has_so_many_bytes_in_all_its_pieces_and_unpacked(
    hub: LiveHub, compression: str | None, pieces: int
) -> None:
    before = counted("message_bytes")
    with connected(hub, compression) as socket:
        socket.send(in_pieces(publication(MESSAGE), pieces))
        assert "error" not in json.loads(socket.recv(timeout=10))
        with suppress(ConnectionClosed):
            # It may be refused before its last piece is sent.
            socket.send(in_pieces(publication(MESSAGE + 1), pieces))
        assert end_of(socket) == 1009
    assert counted("message_bytes") == before + 1


def in_pieces(text: str, pieces: int) -> str | list[str]:
    if pieces == 1:
        return text
    length = -(-len(text) // pieces)
    return [text[start : start + length] for start in range(0, len(text), length)]


def test_a_message_that_unpacks_to_a_thousand_times_its_size_is_refused(hub: LiveHub) -> None:
    before = counted("message_bytes")
    with connected(hub, "deflate") as socket:
        socket.send("0" * 1_000_000)
        assert end_of(socket) == 1009
    assert counted("message_bytes") == before + 1


def test_a_frame_has_so_many_commands(hub: LiveHub) -> None:
    before = counted("frame_commands")
    with connected(hub) as socket:
        command = '{"id":2,"rpc":{}}\n'
        socket.send(command * 100)
        replies = ""
        while replies.count('"id":2') < 100:
            replies += str(socket.recv(timeout=10))
        socket.send(command * 101)
        assert end_of(socket) == 3501
    assert counted("frame_commands") == before + 1


def test_a_topics_name_has_so_many_bytes_at_every_door(hub: LiveHub) -> None:
    long, longer = "ü" * 127 + "x", "ü" * 128
    with connected(hub) as socket:
        for topic, code in ((long, 0), (longer, 107)):
            assert asked(socket, "publish", channel=topic, data=1) == code
            assert asked(socket, "subscribe", channel=topic) == code
        assert asked(socket, "history", channel=longer) == 107
        assert asked(socket, "presence", channel=longer) == 107
    key = {"X-API-Key": hub.api_key}
    for topic, code in ((long, 0), (longer, 107)):
        answer = httpx2.post(f"{hub.url}/api/publish", json={"channel": topic, "data": 1}, headers=key).json()
        assert answer.get("error", {}).get("code", 0) == code
    assert httpx2.post(f"{hub.url}/api/topics/{long}", content="1").status_code == 200
    assert httpx2.post(f"{hub.url}/api/topics/{longer}", content="1").status_code == 400


def test_a_session_has_so_many_subscriptions(hub: LiveHub) -> None:
    before = counted("subscriptions")
    with connected(hub) as socket:
        assert [asked(socket, "subscribe", channel=f"b:{number}") for number in range(4)] == [0, 0, 0, 106]
        assert asked(socket, "unsubscribe", channel="b:0") == 0
        assert asked(socket, "subscribe", channel="b:3") == 0
    assert counted("subscriptions") == before + 1


def test_a_payload_has_so_many_bytes_on_a_topic_that_says_so(hub: LiveHub) -> None:
    before = counted("payload_bytes")
    with connected(hub) as socket:
        assert asked(socket, "publish", channel="small:1", data="x" * 8) == 0
        assert asked(socket, "publish", channel="small:1", data="x" * 9) == 107
    assert httpx2.post(f"{hub.url}/api/topics/small:1", content="x" * 9).json()["error"]["code"] == 107
    assert counted("payload_bytes") == before + 2


@pytest.mark.parametrize("path", ["/api/publish", "/api/batch", "/api/topics/a:1"])
@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_has_so_many_bytes(hub: LiveHub, path: str, chunked: bool) -> None:
    before = counted("body_bytes")

    def asking(size: int) -> int:
        body = (b'{"channel":"a:1","commands":[],"data":"%b"}' % (b"x" * size))[:size].ljust(size)
        content = iter([body[:100], body[100:]]) if chunked else body
        headers = {"X-API-Key": hub.api_key}
        return httpx2.post(f"{hub.url}{path}", content=content, headers=headers).status_code

    assert asking(4_000) != 413
    assert asking(4_001) == 413
    assert counted("body_bytes") == before + 1


def test_one_answer_holds_so_many_publications() -> None:
    with LiveHub({**CONFIG, "client": {"history_page": 2}}) as hub, connected(hub) as socket:
        for number in range(5):
            assert asked(socket, "publish", channel="a:9", data=number) == 0
        socket.send('{"id":9,"history":{"channel":"a:9","limit":-1}}')
        assert len(json.loads(socket.recv(timeout=10))["history"]["publications"]) == 2
        page = httpx2.get(f"{hub.url}/api/topics/a:9?limit=100", headers={"X-API-Key": hub.api_key}).json()
        assert len(page["publications"]) == 2
