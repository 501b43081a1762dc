"""JSON that breaks readers, at every door of a hub: it is refused with a number, and nobody is sent it.

The log has no traceback of it, the hub goes on, and a payload that all can read passes at the same door.
"""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import httpx2
import pytest
from starlette.requests import Request

from hub.errors import ReplyError
from hub.plugin import query
from hub.testing import LiveHub
from tests.services.raw_socket import RawSocket, frame, handshake

ANYONE = {"subscribe": "anyone", "publish": "anyone"}
MANIFEST = """
name: echo
api: 1
routes: "routes:routes"
rpc: {echo: "handlers:echo"}
handlers: {message: "handlers:echo"}
topics:
  "judged:{x}":
    allow: {subscribe: anyone, publish: anyone}
    handlers: {publish: "handlers:judge"}
"""
HANDLERS = """
async def echo(ctx, data):
    return data

async def judge(ctx, pub):
    pub.data
"""
ROUTES = """
from typing import Any
from pydantic import BaseModel
from starlette.responses import JSONResponse
from starlette.routing import Route
from hub.plugin import validated

class Body(BaseModel):
    data: Any

async def take(request):
    return JSONResponse(validated(Body, await request.body()).model_dump())

routes = [Route("/take", take, methods=["POST"])]
"""
NOT_JSON = {
    "NaN": b"NaN",
    "Infinity": b"-Infinity",
    "half of a surrogate pair": b'"\\ud800"',
    "half of a pair in a name": b'{"\\udc00":1}',
    "a raw NUL": b'"a\x00b"',
    "a raw line break in a text": b'"a\x0bb"',
    "bytes that are no UTF-8": b'"\xff\xfe"',
    "a surrogate in UTF-8": b'"\xed\xa0\x80"',
    "a number with a zero before it": b"[01]",
    "deeper than a decoder gets": b"[" * 20_000 + b"]" * 20_000,
}
DOUBTFUL = {
    "an infinite number": b"[1e999]",
    "an integer of 65 bits": b'{"a":18446744073709551616}',
    "4300 digits": b"[" + b"1" * 4_300 + b"]",
    "NUL": b'{"a":"\\u0000"}',
    "65 levels": b'{"a":' * 65 + b"1" + b"}" * 65,
}
TWICE = {"a name twice": b'{"a":1,"a":2}', "a name twice, escaped": b'{"a":1,"\\u0061":2}'}
GOOD = b'{"a":[18446744073709551615,-9223372036854775808,1.5e300,"\\\\u0000 \\ud83d\\ude00"]}'


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveHub]:
    folder: Path = tmp_path_factory.mktemp("plugins") / "echo"
    folder.mkdir()
    for name, text in (("plugin.yaml", MANIFEST), ("handlers.py", HANDLERS), ("routes.py", ROUTES)):
        (folder / name).write_text(text)
    topics = {
        "open:{x}": {"allow": ANYONE, "filter": True},
        "typed:{x}": {"allow": ANYONE, "schema": {"type": ["object", "array", "string", "number"]}},
    }
    with LiveHub({"plugins": {"echo": {"use": str(folder)}}, "topics": topics}) as hub:
        yield hub


class Outcome(NamedTuple):
    """How a door answered: the number of an error or of a close, 0 where it took what it was given."""

    code: int


def of_json(text: bytes | str) -> Outcome:
    found = json.loads(text)
    replies = [found, *found.get("replies", []), *(found.get("result") or {}).get("responses", [])]
    return Outcome(next((each["error"]["code"] for each in replies if each.get("error")), 0))


def over_http(path: str, body: bytes, hub: LiveHub, **headers: str) -> Outcome:
    answer = httpx2.post(f"{hub.url}{path}", content=body, headers={"X-API-Key": hub.api_key, **headers})
    assert answer.status_code < 500, answer.text
    if answer.headers.get("content-type", "").startswith("application/json"):
        return of_json(answer.content)
    return Outcome(answer.status_code)


def over_a_socket(path: str, *frames: bytes, hub: LiveHub) -> Outcome:
    """How the last of some frames is answered."""
    with RawSocket(hub.url) as socket:
        socket.open(path)
        for each in frames:
            socket.send(frame(1, each))
            kind, payload = socket.frame()
        if kind == 8:
            return Outcome(int.from_bytes(payload[:2], "big"))
        found = json.loads(payload)
        return Outcome(found["error"]["code"] if isinstance(found, dict) and "error" in found else 0)


CONNECT = b'{"id":1,"connect":{}}'


def command(method: bytes) -> Callable[[LiveHub, bytes], Outcome]:
    def door(hub: LiveHub, raw: bytes) -> Outcome:
        return over_a_socket("/connection/websocket", CONNECT, b'{"id":2,%b}' % (method % raw), hub=hub)

    return door


def api(method: str, form: bytes) -> Callable[[LiveHub, bytes], Outcome]:
    return lambda hub, raw: over_http(f"/api/{method}", form % raw, hub)


def encoded(hub: LiveHub, raw: bytes) -> Outcome:
    return over_http("/api/publish", b'{"channel":"open:1","b64data":"%b"}' % base64.b64encode(raw), hub)


def curl(hub: LiveHub, raw: bytes) -> Outcome:
    return over_http("/api/topics/open:1", raw, hub, **{"Content-Type": "application/json"})


def token(hub: LiveHub, raw: bytes) -> Outcome:
    """A ticket for a user whose info a backend gives, and a connection with it."""
    body = b'{"user":"ann","claims":{"info":%b}}' % raw
    answer = httpx2.post(f"{hub.url}/api/ticket", content=body, headers={"X-API-Key": hub.api_key})
    assert answer.status_code < 500
    return of_json(answer.content)


def connect_data(hub: LiveHub, raw: bytes) -> Outcome:
    return over_a_socket("/connection/websocket", b'{"id":1,"connect":{"data":%b}}' % raw, hub=hub)


def one_way(hub: LiveHub, raw: bytes) -> Outcome:
    request = quote(b'{"data":%b}' % raw)
    with RawSocket(hub.url) as socket:
        socket.send(handshake(socket.host, f"/connection/uni_websocket?cf_connect={request}"))
        status = int(socket.until(b"\r\n\r\n").split()[1])
        if status != 101:
            return Outcome(status)
        kind, payload = socket.frame()
        return Outcome(int.from_bytes(payload[:2], "big") if kind == 8 else 0)


PUBLISH = b'"publish":{"channel":"open:1","data":%b}'
DOORS: dict[str, Callable[[LiveHub, bytes], Outcome]] = {
    "publish command": command(PUBLISH),
    "server API": api("publish", b'{"channel":"open:1","data":%b}'),
    "server API, not answered at once": api("publish", b'{"channel":"judged:1","data":%b}'),
    "broadcast": api("broadcast", b'{"channels":["open:1","open:2"],"data":%b}'),
    "batch": api("batch", b'{"commands":[{"publish":{"channel":"open:1","data":%b}}]}'),
    "batch in parallel": api(
        "batch", b'{"parallel":true,"commands":[{"publish":{"channel":"open:1","data":%b}}]}'
    ),
    "b64data": encoded,
    "topics over HTTP": curl,
}
JUDGED: dict[str, Callable[[LiveHub, bytes], Outcome]] = {
    "publish command to a handler": command(b'"publish":{"channel":"judged:1","data":%b}'),
    "publish command to a schema": command(b'"publish":{"channel":"typed:1","data":%b}'),
    "rpc": command(b'"rpc":{"method":"echo","data":%b}'),
    "a plugin's route": lambda hub, raw: over_http("/api/echo/take", b'{"data":%b}' % raw, hub),
    "server API to a handler": api("publish", b'{"channel":"judged:1","data":%b}'),
}
SHOWN: dict[str, Callable[[LiveHub, bytes], Outcome]] = {"info in a token": token}


@pytest.fixture(autouse=True)
def no_traceback(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    with caplog.at_level(logging.DEBUG):
        yield
    assert not [record for record in caplog.records if record.exc_info or record.levelno >= logging.ERROR]


@pytest.mark.parametrize("door", [*DOORS, *JUDGED, *SHOWN])
@pytest.mark.parametrize("what", [*NOT_JSON, *DOUBTFUL])
def test_it_is_refused_at_every_door(hub: LiveHub, door: str, what: str) -> None:
    raw = {**NOT_JSON, **DOUBTFUL}[what]
    with RawSocket(hub.url) as listener:
        listener.open("/ws/open:1")
        code = {**DOORS, **JUDGED, **SHOWN}[door](hub, raw).code
        assert code in ({107, 400} if what in DOUBTFUL else {107, 400, 3501, 1007}), code
        assert over_http("/api/publish", b'{"channel":"open:1","data":"last"}', hub).code == 0
        assert listener.frame() == (1, b"last"), "what was refused was sent"


@pytest.mark.parametrize("door", JUDGED)
@pytest.mark.parametrize("what", TWICE)
def test_a_name_that_stands_twice_is_refused_where_somebody_judges_by_it(
    hub: LiveHub, door: str, what: str
) -> None:
    assert JUDGED[door](hub, TWICE[what]).code == 107


@pytest.mark.parametrize("door", [*DOORS, *JUDGED, *SHOWN])
def test_what_all_can_read_passes(hub: LiveHub, door: str) -> None:
    assert {**DOORS, **JUDGED, **SHOWN}[door](hub, GOOD).code == 0


@pytest.mark.parametrize("what", [*DOUBTFUL, "deeper than a decoder gets"])
def test_a_plain_socket_is_told_of_it(hub: LiveHub, what: str) -> None:
    raw = {**NOT_JSON, **DOUBTFUL}[what]
    assert over_a_socket("/ws/open:1", raw, hub=hub).code == 107


@pytest.mark.parametrize("what", ["NaN", "half of a surrogate pair", "a number with a zero before it"])
def test_what_is_no_json_is_text_on_a_plain_socket(hub: LiveHub, what: str) -> None:
    with RawSocket(hub.url) as socket:
        socket.open("/ws/open:1")
        socket.send(frame(1, NOT_JSON[what]))
        assert socket.frame() == (1, NOT_JSON[what])


def test_a_text_with_nul_is_refused_on_a_plain_socket(hub: LiveHub) -> None:
    with RawSocket(hub.url) as socket:
        socket.open("/ws/open:1")
        socket.send(frame(1, b"a\x00b"))
        assert json.loads(socket.frame()[1])["error"]["code"] == 107


@pytest.mark.parametrize("what", NOT_JSON)
@pytest.mark.parametrize("door", [connect_data, one_way])
def test_a_connect_request_that_cannot_be_read_opens_nothing(
    hub: LiveHub, door: Callable[[LiveHub, bytes], Outcome], what: str
) -> None:
    raw = NOT_JSON[what]
    if door is one_way and (len(raw) > 10_000 or "UTF-8" in what):
        raw = NOT_JSON["NaN"]  # no URL is so long, and in a URL bytes that are no UTF-8 become U+FFFD
    assert door(hub, raw).code in {400, 1007, 3501}


@pytest.mark.parametrize("what", [*NOT_JSON, *DOUBTFUL])
def test_a_message_that_cannot_be_read_ends_the_session(hub: LiveHub, what: str) -> None:
    raw = {**NOT_JSON, **DOUBTFUL}[what]
    with RawSocket(hub.url) as socket:
        socket.open("/connection/websocket")
        socket.send(frame(1, CONNECT))
        socket.frame()
        socket.send(frame(1, b'{"send":{"data":%b}}' % raw))
        kind, payload = socket.frame()
        assert kind == 8
        assert int.from_bytes(payload[:2], "big") in {1007, 3501}


@pytest.mark.parametrize(
    "request_",
    [
        b'{"id":4294967296,"rpc":{}}',
        b'{"id":-1,"rpc":{}}',
        b'{"id":1e3,"rpc":{}}',
        b'{"id":2,"history":{"channel":"open:1","since":{"offset":9223372036854775808}}}',
        b'{"id":2,"subscribe":{"channel":"open:1","recover":true,"offset":%b}}' % (b"9" * 4_000),
        b'{"id":2,"history":{"channel":"open:1","limit":1e999}}',
    ],
)
def test_numbers_of_commands_have_bounds(hub: LiveHub, request_: bytes) -> None:
    assert over_a_socket("/connection/websocket", CONNECT, request_, hub=hub).code == 3501


@pytest.mark.parametrize(
    "body",
    [
        b'{"channel":"open:1","data":1,"version":9223372036854775808}',
        b'{"channel":"open:1","data":1,"idempotency_key":"a\\u0000"}',
        b'{"channel":"open:1","data":1,"version_epoch":"a\\n"}',
        b'{"channel":"open:1","data":1,"tags":{"a":"\\ud800"}}',
        b'{"channel":"open:1","data":1,"tags":{"a":1e999}}',
    ],
)
def test_what_stands_beside_a_payload_has_bounds(hub: LiveHub, body: bytes) -> None:
    assert over_http("/api/publish", body, hub).code == 400


@pytest.mark.parametrize(
    "raw", [b'{"key":"a","cmp":"eq","val":1e999}', b'{"op":"not","nodes":[' * 70 + b"]}" * 70]
)
def test_a_tags_filter_has_bounds(hub: LiveHub, raw: bytes) -> None:
    answer = command(b'"subscribe":{"channel":"open:1","tf":%b}')(hub, raw)
    assert answer.code == 107


def test_a_query_with_nul_never_reaches_a_plugin() -> None:
    scope: dict[str, Any] = {"type": "http", "query_string": b"room=a%00b", "headers": []}
    with pytest.raises(ReplyError, match="NUL"):
        query(Request(scope))
