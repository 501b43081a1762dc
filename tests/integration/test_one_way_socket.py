"""The one-way client protocol over real sockets, with the hub's own protocol and through plain ASGI."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from hub.testing import LiveHub

ANYONE = {"subscribe": "anyone", "publish": "anyone"}
CONFIG = {
    "client": {"ping": 1, "stale": 1},
    "server": {"compression": True},
    "topics": {
        "a:{x}": {"allow": ANYONE, "history": {"size": 100}},
        "here:{x}": {"allow": ANYONE, "presence": True, "join_leave": True},
    },
}
PATH = "/connection/uni_websocket"


@pytest.fixture(scope="module", params=["detached", "asgi"])
def hub(request: pytest.FixtureRequest) -> Iterator[LiveHub]:
    with LiveHub(CONFIG, detached=request.param == "detached") as hub:
        yield hub


def asking(hub: LiveHub, **request: Any) -> str:
    return f"{hub.ws_url}{PATH}?cf_connect={quote(json.dumps(request))}"


async def told(socket: ClientConnection) -> Any:
    """The next push; pings are passed over."""
    while not (push := json.loads(await asyncio.wait_for(socket.recv(), 10))):
        pass
    return push


async def ended(socket: ClientConnection) -> tuple[int, str]:
    try:
        while True:
            await asyncio.wait_for(socket.recv(), 10)
    except ConnectionClosed as closed:
        return (closed.rcvd.code, closed.rcvd.reason) if closed.rcvd else (1006, "")


async def publish(hub: LiveHub, topic: str, *payloads: Any) -> None:
    async with connect(f"{hub.ws_url}/ws/{topic}", max_queue=None) as socket:
        for payload in payloads:
            await socket.send(json.dumps(payload))


@pytest.mark.parametrize("compression", ["deflate", None])
async def test_a_request_goes_up_and_pushes_come_down(hub: LiveHub, compression: str | None) -> None:
    topic = f"a:{compression}"
    async with connect(hub.ws_url + PATH, compression=compression) as socket:
        await socket.send(json.dumps({"token": hub.token("ann"), "subs": {topic: {}}}))
        result = (await told(socket))["connect"]
        assert result["session"] == result["client"]
        assert result["ping"] == 1
        assert topic in result["subs"]
        texts = [{"text": "the same again " * 20, "n": number} for number in range(50)]
        await publish(hub, topic, *texts)
        pushes = [await told(socket) for _ in texts]
    assert [push["pub"]["data"] for push in pushes] == texts
    assert [push["pub"]["offset"] for push in pushes] == list(range(1, 51))
    assert all(set(push) == {"channel", "pub"} and push["channel"] == topic for push in pushes)


async def test_the_request_may_stand_in_the_query(hub: LiveHub) -> None:
    async with connect(asking(hub, subs={"here:1": {}})) as socket:
        await socket.send("this is no request, and nobody looks at it")
        client = (await told(socket))["connect"]["client"]
        join = {"channel": "here:1", "join": {"info": {"user": "", "client": client}}}
        assert await told(socket) == join


async def test_a_query_that_holds_no_request_is_400(hub: LiveHub) -> None:
    with pytest.raises(InvalidStatus) as caught:
        async with connect(f"{hub.ws_url}{PATH}?cf_connect=nope"):
            pass
    assert caught.value.response.status_code == 400
    assert b"cf_connect" in caught.value.response.body


@pytest.mark.parametrize("way", ["query", "header"])
async def test_the_token_may_come_with_the_handshake(hub: LiveHub, way: str) -> None:
    token = hub.token("ann")
    headers = {"Authorization": f"Bearer {token}"} if way == "header" else {}
    query = f"&token={token}" if way == "query" else ""
    url = asking(hub, subs={"here:2": {}}) + query
    async with connect(url, additional_headers=headers) as socket:
        await told(socket)
        assert (await told(socket))["join"]["info"]["user"] == "ann"


async def test_a_foreign_origin_is_refused(hub: LiveHub) -> None:
    with pytest.raises(InvalidStatus) as caught:
        async with connect(hub.ws_url + PATH, origin="https://evil.example"):  # type: ignore[arg-type]
            pass
    assert caught.value.response.status_code == 403


async def test_pings_come_and_want_no_answer(hub: LiveHub) -> None:
    async with connect(asking(hub)) as socket:
        await told(socket)
        assert [await asyncio.wait_for(socket.recv(), 5) for _ in range(3)] == ["{}"] * 3


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize(
    ("frame", "end"),
    [("garbage", (3501, "bad request")), ('{"token":"garbage"}', (3500, "invalid token"))],
)
async def test_what_is_wrong_is_told_by_a_push_and_by_the_close(
    hub: LiveHub, frame: str, end: tuple[int, str], binary: bool
) -> None:
    async with connect(hub.ws_url + PATH) as socket:
        await socket.send(frame.encode() if binary else frame)
        assert await told(socket) == {"disconnect": {"code": end[0], "reason": end[1]}}
        assert await ended(socket) == end


async def test_a_bad_token_in_the_query_closes_with_its_code(hub: LiveHub) -> None:
    async with connect(asking(hub, token="garbage")) as socket:
        assert await ended(socket) == (3500, "invalid token")


async def test_who_says_nothing_is_stale(hub: LiveHub) -> None:
    async with connect(hub.ws_url + PATH) as socket:
        assert await ended(socket) == (3502, "stale")


async def test_it_is_counted_under_a_name_of_its_own(hub: LiveHub) -> None:
    async with connect(asking(hub)) as socket:
        await told(socket)
        figures = (await asyncio.to_thread(hub.call, lambda it: it.figures())).decode()
    assert 'hub_connections{transport="uni_websocket"} 1.0' in figures


async def test_many_listeners_hear_the_same_in_the_same_order(hub: LiveHub) -> None:
    sockets = [
        await connect(asking(hub, subs={"a:many": {}}), compression="deflate" if number % 2 else None)
        for number in range(20)
    ]
    for socket in sockets:
        await told(socket)
    await publish(hub, "a:many", *range(60))
    for socket in sockets:
        assert [(await told(socket))["pub"]["data"] for _ in range(60)] == list(range(60))
        await socket.close()
