"""The client protocol's WebSocket endpoint, seen by a raw client."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from hub.testing import LiveHub

CONFIG = {
    "client": {"ping": 1, "pong_timeout": 0.5, "stale": 1},
    "topics": {"a:{x}": {"allow": {"subscribe": "anyone", "publish": "anyone"}, "history": {"size": 10}}},
}
PATH = "/connection/websocket"


@pytest.fixture(scope="module", params=["detached", "asgi"])
def hub(request: pytest.FixtureRequest) -> Iterator[LiveHub]:
    with LiveHub(CONFIG, detached=request.param == "detached") as hub:
        yield hub


@pytest.fixture(scope="module", params=["detached", "asgi"])
def calm(request: pytest.FixtureRequest) -> Iterator[LiveHub]:
    """A hub that pings at its usual pace."""
    with LiveHub({"topics": CONFIG["topics"]}, detached=request.param == "detached") as hub:
        yield hub


async def test_the_json_subprotocol_is_chosen_and_no_other(hub: LiveHub) -> None:
    for offered, chosen in ((["centrifuge-json"], "centrifuge-json"), (["nope"], None), (None, None)):
        names = [Subprotocol(name) for name in offered] if offered else None
        async with connect(hub.ws_url + PATH, subprotocols=names) as socket:
            assert socket.subprotocol == chosen
            await socket.send('{"id":1,"connect":{}}')
            assert json.loads(await socket.recv())["id"] == 1


async def test_pings_come_and_a_client_that_does_not_answer_is_closed(hub: LiveHub) -> None:
    async with connect(hub.ws_url + PATH) as socket:
        await socket.send('{"id":1,"connect":{}}')
        await socket.recv()
        assert await asyncio.wait_for(socket.recv(), 10) == "{}"
        await socket.send("{}")
        assert await asyncio.wait_for(socket.recv(), 10) == "{}"
        with pytest.raises(ConnectionClosed) as caught:
            await asyncio.wait_for(socket.recv(), 10)
        assert caught.value.rcvd is not None
        assert (caught.value.rcvd.code, caught.value.rcvd.reason) == (3012, "no pong")


async def test_a_client_may_ask_for_pings_by_frame(hub: LiveHub) -> None:
    async with connect(f"{hub.ws_url}{PATH}?cf_ws_frame_ping_pong=true") as socket:
        await socket.send('{"id":1,"connect":{}}')
        assert set(json.loads(await socket.recv())["connect"]) == {"client", "version"}
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(socket.recv(), 3)


async def test_who_says_nothing_is_stale(hub: LiveHub) -> None:
    async with connect(hub.ws_url + PATH) as socket:
        with pytest.raises(ConnectionClosed) as caught:
            await asyncio.wait_for(socket.recv(), 10)
        assert caught.value.rcvd is not None
        assert caught.value.rcvd.code == 3502


async def test_a_burst_of_commands_in_many_frames_is_answered_in_order(calm: LiveHub) -> None:
    async with connect(calm.ws_url + PATH) as socket:
        await socket.send('{"id":1,"connect":{}}')
        for number in range(2, 1_002):
            await socket.send('{"id":%d,"publish":{"channel":"a:1","data":%d}}' % (number, number))
        answered: list[int] = []
        while len(answered) < 1_001:
            frame = await asyncio.wait_for(socket.recv(), 10)
            answered += [json.loads(line)["id"] for line in str(frame).split("\n")]
        assert answered == list(range(1, 1_002))


async def test_the_reply_of_a_subscribe_comes_before_its_publications(calm: LiveHub) -> None:
    async with connect(calm.ws_url + PATH) as publisher, connect(calm.ws_url + PATH) as socket:
        for each in (publisher, socket):
            await each.send('{"id":1,"connect":{}}')
        stop = asyncio.Event()

        async def publish() -> None:
            number = 2
            while not stop.is_set():
                await publisher.send('{"id":%d,"publish":{"channel":"a:2","data":1}}' % number)
                number += 1
                await asyncio.sleep(0)

        publishing = asyncio.create_task(publish())
        for number in range(2, 40, 2):
            await socket.send('{"id":%d,"subscribe":{"channel":"a:2"}}' % number)
            replied = False
            while True:
                lines = str(await asyncio.wait_for(socket.recv(), 10)).split("\n")
                for line in lines:
                    message = json.loads(line)
                    replied = replied or message.get("id") == number
                    assert replied or "pub" not in message.get("push", {})
                if replied:
                    break
            await socket.send('{"id":%d,"unsubscribe":{"channel":"a:2"}}' % (number + 1))
            while f'"id":{number + 1},' not in str(await asyncio.wait_for(socket.recv(), 10)):
                pass
        stop.set()
        await publishing
