"""The plain socket as a real client sees it, detached and through plain ASGI alike."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from hub.testing import LiveHub

ANYONE = {"subscribe": "anyone", "publish": "anyone"}
CONFIG = {
    "client": {"message_bytes": 20_000},
    "topics": {
        "open:{x}": {"allow": ANYONE},
        "read:{x}": {"allow": {"subscribe": "anyone"}},
        "members:{x}": {"allow": {"subscribe": "authenticated"}},
        "own:{user}": {"allow": {"subscribe": "user:{user}", "publish": "user:{user}"}},
        "typed:{x}": {"allow": ANYONE, "schema": {"type": "object"}},
    },
    "sockets": {"/me": {"topic": "own:{user}"}},
}


@pytest.fixture(scope="module", params=["detached", "asgi"])
def hub(request: pytest.FixtureRequest) -> Iterator[LiveHub]:
    with LiveHub(CONFIG, detached=request.param == "detached") as hub:
        yield hub


async def received(socket: ClientConnection) -> str:
    frame = await asyncio.wait_for(socket.recv(), 10)
    assert isinstance(frame, str)
    return frame


async def closed(socket: ClientConnection) -> int:
    with pytest.raises(ConnectionClosed) as caught:
        await asyncio.wait_for(socket.recv(), 10)
    assert caught.value.rcvd is not None
    return caught.value.rcvd.code


@pytest.mark.parametrize(
    "text", ["hello", "", "{", '"quoted"', '{"a":  1}', "42", "über 日本", "a\nb", "null", " x "]
)
async def test_what_is_sent_is_what_everybody_gets(hub: LiveHub, text: str) -> None:
    async with connect(f"{hub.ws_url}/ws/open:1") as one, connect(f"{hub.ws_url}/ws/open:1") as two:
        await one.send(text)
        assert [await received(one), await received(two)] == [text, text]


async def test_json_over_several_lines_arrives_as_the_same_value(hub: LiveHub) -> None:
    async with connect(f"{hub.ws_url}/ws/open:2") as socket:
        await socket.send('{\n "a": [1,\r\n 2]\n}')
        assert json.loads(await received(socket)) == {"a": [1, 2]}


async def test_many_frames_keep_their_order(hub: LiveHub) -> None:
    async with connect(f"{hub.ws_url}/ws/open:3") as socket:
        for number in range(500):
            await socket.send(str(number))
        assert [await received(socket) for _ in range(500)] == [str(number) for number in range(500)]


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/ws/members:1", 4001),
        ("/ws/members:1?token=garbage", 4001),
        ("/ws/open:1?token=garbage", 4001),
        ("/ws/nowhere", 4001),
        ("/ws/open:a%00b", 4004),
        ("/me", 4001),
    ],
)
async def test_refusals_are_closes_that_a_browser_can_see(hub: LiveHub, path: str, code: int) -> None:
    async with connect(f"{hub.ws_url}{path}") as socket:
        assert await closed(socket) == code


@pytest.mark.parametrize("path", ["/ws/members:1", "/ws/nowhere", "/me"])
async def test_who_brings_no_token_is_told_the_safest_ways_first(hub: LiveHub, path: str) -> None:
    async with connect(f"{hub.ws_url}{path}") as socket:
        assert await closed(socket) == 4001
        reason = socket.close_reason or ""
    assert 0 < reason.index("Authorization") < reason.index("?ticket=") < reason.index("?token=")


async def test_tokens_open_what_they_may_and_nothing_else(hub: LiveHub) -> None:
    ann = hub.token("ann")
    async with (
        connect(f"{hub.ws_url}/ws/members:1?token={ann}"),
        connect(f"{hub.ws_url}/me?token={ann}") as mine,
    ):
        await mine.send("note")
        assert await received(mine) == "note"
    headers = {"Authorization": f"Bearer {ann}"}
    async with connect(f"{hub.ws_url}/ws/own:ann", additional_headers=headers) as mine:
        await mine.send("again")
        assert await received(mine) == "again"
    async with connect(f"{hub.ws_url}/ws/own:bob?token={ann}") as other:
        assert await closed(other) == 4003
    async with connect(f"{hub.ws_url}/ws/members:1?token={hub.token('ann', exp=1)}") as late:
        assert await closed(late) == 4001


async def test_a_refused_publication_is_told_and_the_socket_stays(hub: LiveHub) -> None:
    async with connect(f"{hub.ws_url}/ws/read:1") as socket:
        await socket.send("hello")
        assert json.loads(await received(socket)) == {"error": {"code": 103, "message": "permission denied"}}
        await socket.send("hello")
        await received(socket)
    async with connect(f"{hub.ws_url}/ws/typed:1") as socket:
        await socket.send("[1]")
        assert json.loads(await received(socket))["error"]["code"] == 107
        await socket.send('{"fine":1}')
        assert await received(socket) == '{"fine":1}'


async def test_a_binary_frame_is_text_in_utf8_or_refused(hub: LiveHub) -> None:
    async with connect(f"{hub.ws_url}/ws/open:6") as socket:
        await socket.send(b"\xff\xfe")
        assert json.loads(await received(socket))["error"]["code"] == 107
        await socket.send("grüße".encode())
        assert await received(socket) == "grüße"


async def test_a_frame_over_the_limit_is_1009(hub: LiveHub) -> None:
    async with connect(f"{hub.ws_url}/ws/open:4") as socket:
        await socket.send("x" * 20_001)
        assert await closed(socket) == 1009


async def test_a_foreign_origin_is_refused_and_the_own_one_is_not(hub: LiveHub) -> None:
    for path in ("/ws/open:1", "/connection/websocket"):
        with pytest.raises(InvalidStatus) as caught:
            await connect(f"{hub.ws_url}{path}", origin="https://evil.example")  # type: ignore[arg-type]
        assert caught.value.response.status_code == 403
        async with connect(f"{hub.ws_url}{path}", origin=hub.url):  # type: ignore[arg-type]
            pass


async def test_subscribers_are_counted_down_when_sockets_go(hub: LiveHub) -> None:
    async def count() -> int:
        async def ask(node: object) -> int:
            return node.router.subscribers("open:5")  # type: ignore[attr-defined,no-any-return]

        return await asyncio.to_thread(hub.call, ask)

    sockets = [await connect(f"{hub.ws_url}/ws/open:5") for _ in range(3)]
    await sockets[0].send("x")
    for socket in sockets:
        await received(socket)
    assert await count() == 3
    await sockets[0].close()
    sockets[1].transport.abort()
    for _ in range(100):
        if await count() == 1:
            break
        await asyncio.sleep(0.05)
    assert await count() == 1
    await sockets[2].close()
