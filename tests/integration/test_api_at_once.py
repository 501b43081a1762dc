"""Publishing over HTTP is answered at once where it can be, and by ASGI elsewhere: nobody can tell by the answer."""

from __future__ import annotations

import base64
import json
import re
import socket
import time
from collections.abc import Iterator
from typing import Any, Final

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from hub import metrics
from hub.testing import InProcessHub, LiveHub
from hub.transports.http_protocol import AT_ONCE

ANYONE: Final = {"subscribe": "anyone", "publish": "anyone"}
KEPT: Final = {"size": 100, "ttl": "1h"}
CHAT_KEY: Final = "a-key-for-the-chat-only"
CONFIG: Final[dict[str, Any]] = {
    "api": {"body_bytes": 5_000},
    "auth": {"api_keys": {"chat": {"key": CHAT_KEY, "allow": ["publish:chat:*"]}}},
    "topics": {
        "news:{name}": {"allow": ANYONE, "history": KEPT},
        "chat:{name}": {"allow": ANYONE},
        "small:{name}": {"allow": ANYONE, "max_bytes": 10},
        "strict:{name}": {"allow": ANYONE, "schema": {"type": "object", "required": ["text"]}},
        "guarded:{name}": {"allow": ANYONE, "handlers": {"publish": "tests.unit.api.guards:guard"}},
    },
}
_CHANGING: Final = re.compile(rb'"epoch":"[^"]*"')


def post(
    body: bytes | str | dict[str, Any],
    *more: str,
    path: str = "/api/publish",
    key: str | None = "X-API-Key: {key}",
    version: str = "1.1",
) -> bytes:
    """A request as it goes over the wire; `{key}` stands for the key of the configuration."""
    raw = (
        json.dumps(body).encode()
        if isinstance(body, dict)
        else body.encode()
        if isinstance(body, str)
        else body
    )
    lines = [f"POST {path} HTTP/{version}", "Host: hub", *([key] if key else []), *more]
    framed = any(line.startswith(("Transfer-Encoding", "Content-Length")) for line in more)
    lines += [] if framed else [f"Content-Length: {len(raw)}"]
    return "\r\n".join([*lines, "", ""]).encode() + raw


GOOD: Final = {"channel": "news:a", "data": {"text": "hi"}}
REQUESTS: Final = {
    "good": post(GOOD),
    "without history": post({"channel": "chat:a", "data": 1}),
    "good, closing": post(GOOD, "Connection: close"),
    "good, old": post(GOOD, version="1.0"),
    "good, old, staying": post(GOOD, "Connection: keep-alive", version="1.0"),
    "key as authorization": post(GOOD, key="Authorization: ApiKey {key}"),
    "key in the query": post(GOOD, key=None, path="/api/publish?x=1&api_key={key}"),
    "two keys, the first good": post(GOOD, "X-API-Key: wrong"),
    "two keys, the first bad": post(GOOD, "X-API-Key: {key}", key="X-API-Key: wrong"),
    "wrong key": post(GOOD, key="X-API-Key: wrong"),
    "wrong key, closing": post(GOOD, "Connection: close", key="X-API-Key: wrong"),
    "no key": post(GOOD, key=None),
    "key without scope": post(GOOD, key=f"X-API-Key: {CHAT_KEY}"),
    "key with scope": post({"channel": "chat:a", "data": 1}, key=f"X-API-Key: {CHAT_KEY}"),
    "key that is no ASCII": post(GOOD, key="X-API-Key: schlüssel"),
    "several lines": post('{"channel": "news:a", "data": {\r\n"text":\n 1}}'),
    "in base64": post({"channel": "news:a", "b64data": base64.b64encode(b'{"x": 1}').decode()}),
    "no JSON in base64": post({"channel": "news:a", "b64data": base64.b64encode(b"x").decode()}),
    "tags": post(GOOD | {"tags": {"k": "v"}}),
    "no history": post(GOOD | {"skip_history": True}),
    "idempotent": post(GOOD | {"idempotency_key": "k"}),
    "idempotent again": post(GOOD | {"idempotency_key": "k"}),
    "version": post(GOOD | {"version": 2}),
    "older version": post(GOOD | {"version": 1}),
    "fields that are null": post(GOOD | {"tags": None, "version": None, "other": None}),
    "null": post({"channel": "chat:a", "data": None}),
    "no data": post({"channel": "news:a"}),
    "no channel": post({"data": 1}),
    "unknown topic": post({"channel": "nons:1", "data": 1}),
    "no topic's name": post({"channel": "news:\x07", "data": 1}),
    "too large for the topic": post({"channel": "small:a", "data": "more than ten bytes"}),
    "too deep": post(b'{"channel": "chat:a", "data": %s}' % (b"[" * 70 + b"]" * 70)),
    "schema": post({"channel": "strict:a", "data": {"text": 1}}),
    "against the schema": post({"channel": "strict:a", "data": 1}),
    "refused by a handler": post({"channel": "guarded:a", "data": "refuse"}),
    "taken by a handler": post({"channel": "guarded:a", "data": "fine"}),
    "error by status": post({"data": 1}, "X-Centrifugo-Error-Mode: transport"),
    "nothing": post(b""),
    "no JSON": post(b"{"),
    "no object": post(b"[]"),
    "wrong type": post({"channel": 1, "data": 1}),
    "no UTF-8": post(b'{"channel": "chat:a", "data": "\xff"}'),
    "UTF-8": post('{"channel": "chat:ü", "data": "ö"}'),
    "too large": post(GOOD | {"data": "x" * 6_000}),
    "too large by its word": post(GOOD, "Content-Length: 6000")[:-40],
    "in chunks": post(
        b"1e\r\n" + b'{"channel":"chat:a","data": 1}' + b"\r\n0\r\n\r\n", "Transfer-Encoding: chunked"
    ),
    "in bad chunks": post(b"zz\r\n", "Transfer-Encoding: chunked"),
    "expecting": post(GOOD, "Expect: 100-continue"),
    "batch": post(
        {"commands": [{"publish": GOOD}, {"publish": {"data": 1}}, {"x": {}}, {}]}, path="/api/batch"
    ),
    "batch at once": post(
        {"parallel": True, "commands": [{"publish": GOOD}, {"history": {"channel": "news:a"}}]},
        path="/api/batch",
    ),
    "batch with handlers": post(
        {
            "parallel": True,
            "commands": [
                {"publish": {"channel": "guarded:a", "data": "refuse"}},
                {"publish": GOOD},
                {"publish": {"channel": 1}},
                {"broadcast": {"channels": ["chat:a", "guarded:b"], "data": "refuse"}},
                {"batch": {"commands": []}},
            ],
        },
        path="/api/batch",
    ),
    "batch of nothing": post({}, path="/api/batch"),
    "broadcast": post(
        {"channels": ["news:a", "nons:1", "guarded:a", "chat:a"], "data": "refuse"}, path="/api/broadcast"
    ),
    "broadcast to nobody": post({"data": 1}, path="/api/broadcast"),
    "broadcast within scopes": post(
        {"channels": ["news:a", "chat:a"], "data": 1}, path="/api/broadcast", key=f"X-API-Key: {CHAT_KEY}"
    ),
    "history": post({"channel": "news:a", "limit": 1}, path="/api/history"),
    "no such method": post(GOOD, path="/api/publisch"),
    "a slash too many": post(GOOD, path="/api/publish/"),
    "encoded": post(GOOD, path="/api/publis%68"),
    "by GET": post(b"").replace(b"POST", b"GET"),
    "by HEAD": post(b"").replace(b"POST", b"HEAD"),
    "by PUT": post(GOOD).replace(b"POST", b"PUT"),
    "two in one": post(GOOD) + post({"channel": "chat:a", "data": 2}, "Connection: close"),
    "two in one, the first waiting": post({"channel": "guarded:a", "data": "fine"})
    + post(GOOD, "Connection: close"),
    "two in one, the first routed": post({}, path="/health/live").replace(b"POST", b"GET") + post(GOOD),
    "three in one, one of them wrong": post(GOOD) + post(GOOD, key=None) + post(GOOD, "Connection: close"),
}


def answers(hub: LiveHub, sent: bytes) -> bytes:
    """All that comes back: until the server closes, or says nothing more."""
    with socket.create_connection(("127.0.0.1", hub.port), timeout=5) as line:
        line.sendall(sent.replace(b"{key}", hub.api_key.encode()))
        found = line.recv(1 << 16)
        line.settimeout(0.1)
        try:
            while more := line.recv(1 << 16):
                found += more
        except TimeoutError:
            return _CHANGING.sub(b'"epoch":"..."', found) + b"(stays open)"
        except ConnectionResetError:
            pass
    return _CHANGING.sub(b'"epoch":"..."', found)


@pytest.fixture(scope="module")
def both() -> Iterator[tuple[LiveHub, LiveHub]]:
    with LiveHub(CONFIG) as own, LiveHub(CONFIG, detached=False) as plain:
        yield own, plain


@pytest.mark.parametrize("name", REQUESTS)
def test_answers_are_the_same_to_the_byte(both: tuple[LiveHub, LiveHub], name: str) -> None:
    own, plain = (answers(hub, REQUESTS[name]) for hub in both)
    assert own == plain
    assert own.startswith(b"HTTP/1.1 ")


def test_a_publish_that_comes_in_pieces_is_answered_too(both: tuple[LiveHub, LiveHub]) -> None:
    whole = REQUESTS["without history"].replace(b"{key}", both[0].api_key.encode())
    expected = answers(both[0], whole)
    for at in (30, whole.index(b"\r\n\r\n") + 4, len(whole) - 1):
        with socket.create_connection(("127.0.0.1", both[0].port), timeout=5) as line:
            line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for piece in (whole[:at], whole[at:]):
                line.sendall(piece)
                time.sleep(0.02)
            assert line.recv(1 << 16) + b"(stays open)" == expected


def test_answers_keep_their_order_when_very_many_requests_come_at_once(both: tuple[LiveHub, LiveHub]) -> None:
    count = 3 * AT_ONCE
    kinds = [{"channel": f"{'guarded' if n % 50 == 7 else 'news'}:many", "data": n} for n in range(count)]
    sent = b"".join(post(kind) for kind in kinds).replace(b"{key}", both[0].api_key.encode())
    with socket.create_connection(("127.0.0.1", both[0].port), timeout=10) as line:
        line.sendall(sent)
        found = b""
        while found.count(b'{"result"') < count:
            found += line.recv(1 << 16)
    offsets = [int(each) for each in re.findall(rb'"offset":(\d+)', found)]
    assert offsets == list(range(1, len(offsets) + 1))
    assert len(offsets) == sum(kind["channel"] == "news:many" for kind in kinds)
    for place, answer in enumerate(found.split(b"HTTP/1.1 200 OK")[1:]):
        assert (b"offset" in answer) == (kinds[place]["channel"] == "news:many")


def test_requests_are_counted_by_their_status_however_they_are_answered(
    both: tuple[LiveHub, LiveHub],
) -> None:
    for hub in both:
        for name, status in (("good", "2xx"), ("wrong key", "4xx"), ("taken by a handler", "2xx")):
            before = counted(status)
            answers(hub, REQUESTS[name])
            assert counted(status) == before + 1


def counted(status: str) -> float:
    return metrics.total(metrics.REQUESTS.labels(status))


async def test_a_fault_of_the_hub_is_a_500_and_nothing_more_is_told(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with InProcessHub(CONFIG) as hub:
        monkeypatch.setattr(hub.hub.router, "publish_now", lambda *_, **__: 1 // 0)
        response = await hub.http.post("/api/publish", json=GOOD, headers=hub.api_key)
    assert (response.status_code, response.text) == (500, "Internal Server Error")
    assert "ZeroDivisionError" in caplog.text


async def test_a_hub_mounted_in_another_application_answers_too() -> None:
    async with InProcessHub(CONFIG) as hub:
        outer = Starlette(routes=[Mount("/hub", hub.app)])
        async with httpx2.AsyncClient(
            transport=httpx2.ASGITransport(outer), base_url="http://hub.test"
        ) as client:
            response = await client.post("/hub/api/publish", json=GOOD, headers=hub.api_key)
    assert response.json()["result"]["offset"] == 1
