"""Compression as real clients see it: agreed on where it is switched on, and everybody gets the same publications."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory

from hub.app import Hub
from hub.outbox import Tick
from hub.protocol.deflate import deflate
from hub.protocol.fossil import apply
from hub.testing import LiveHub
from tests.docs.browser import evaluate
from tests.services.raw_socket import RawSocket, command, frame, handshake

ANYONE = {"subscribe": "anyone", "publish": "anyone"}
LIMIT = 20_000
TOPICS = {
    "open:{x}": {"allow": ANYONE},
    "kept:{x}": {
        "allow": {**ANYONE, "history": "anyone"},
        "history": {"size": 100, "ttl": "1h"},
        "delta": True,
    },
}
CONFIG: dict[str, Any] = {
    "server": {"compression": True},
    "client": {"message_bytes": LIMIT},
    "auth": {"anonymous": True},
    "topics": TOPICS,
}
OFFER = "permessage-deflate; client_max_window_bits"
CLIENT = "/connection/websocket"


def figures(seed: int, panels: int = 30) -> list[dict[str, Any]]:
    """A dashboard's publication of some 2 KiB."""
    chance = random.Random(seed)
    return [
        {
            "name": f"service-{number}",
            "rate": round(chance.random() * 1_000, 2),
            "errors": chance.randint(0, 30),
        }
        for number in range(panels)
    ]


def packed(seed: int) -> bytes:
    return json.dumps(figures(seed), separators=(",", ":")).encode()


@pytest.fixture(scope="module", params=["detached", "asgi"])
def hub(request: pytest.FixtureRequest) -> Iterator[LiveHub]:
    with LiveHub(CONFIG, detached=request.param == "detached") as hub:
        yield hub


@pytest.fixture(scope="module")
def detached() -> Iterator[LiveHub]:
    with LiveHub(CONFIG) as hub:
        yield hub


def opened(hub: LiveHub, offer: str, path: str) -> tuple[RawSocket, bytes]:
    """A socket that has offered something, and the answer."""
    found = RawSocket(hub.url)
    found.send(handshake(found.host, path, Sec_WebSocket_Extensions=offer))
    head = found.until(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101"), head
    lines = [line for line in head.split(b"\r\n") if line.lower().startswith(b"sec-websocket-extensions")]
    return found, lines[0].partition(b": ")[2] if lines else b""


def publish(hub: LiveHub, topic: str, *payloads: bytes) -> None:
    async def work(hub: Hub) -> None:
        for payload in payloads:
            await hub.node.router.publish(topic, payload, trusted=True)

    hub.call(work)


def compressed(message: bytes) -> bytes:
    """A compressed text of a client."""
    found = bytearray(frame(1, deflate(message, 12)))
    found[0] |= 0x40
    return bytes(found)


class Client:
    """A client of the client protocol on the websockets library, which makes whole payloads of differences."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.data: list[Any] = []
        self.replies: list[dict[str, Any]] = []
        self._base = b""

    @classmethod
    @asynccontextmanager
    async def at(
        cls, hub: LiveHub, topic: str, *, delta: bool = False, **options: Any
    ) -> AsyncIterator[Client]:
        async with connect(hub.ws_url + CLIENT, **options) as socket:
            client = cls(socket)
            subscribe = {"channel": topic, **({"delta": "fossil"} if delta else {})}
            await client.ask(1, connect={})
            await client.ask(2, subscribe=subscribe)
            yield client

    async def ask(self, number: int, **request: Any) -> None:
        await self.socket.send(json.dumps({"id": number, **request}))
        while not any(reply["id"] == number for reply in self.replies):
            await self.next()

    async def next(self) -> None:
        text = await asyncio.wait_for(self.socket.recv(), 10)
        for line in str(text).split("\n"):
            found = json.loads(line)
            if "id" in found:
                assert "error" not in found, found
                self.replies.append(found)
            elif "push" in found:
                self._take(found["push"]["pub"])

    def _take(self, pub: dict[str, Any]) -> None:
        data = pub["data"]
        if isinstance(data, str):
            # Clients that asked for differences get payloads as texts.
            self._base = apply(self._base, data.encode()) if pub.get("delta") else data.encode()
            data = json.loads(self._base)
        self.data.append(data)

    async def read(self, count: int) -> list[Any]:
        while len(self.data) < count:
            await self.next()
        return self.data


def agreed(socket: ClientConnection) -> bool:
    return bool(socket.protocol.extensions)


async def test_without_the_setting_nothing_is_agreed_on() -> None:
    with LiveHub({"auth": {"anonymous": True}, "topics": TOPICS}) as hub:
        socket, answer = opened(hub, OFFER, CLIENT)
        assert answer == b""
        socket.send(compressed(json.dumps({"id": 1, "connect": {}}).encode()))
        assert socket.frame()[1][:2] == (1002).to_bytes(2, "big")
        socket.__exit__()
        async with connect(f"{hub.ws_url}/ws/open:1") as plain:
            assert not agreed(plain)


def test_who_does_not_ask_gets_nothing_compressed(detached: LiveHub) -> None:
    socket, answer = opened(detached, "", "/ws/open:1")
    with socket:
        assert answer == b""
        socket.send(frame(1, packed(1)))
        assert socket.frame() == (1, packed(1))


@pytest.mark.parametrize(
    "offer", ["permessage-deflate; nonsense", "permessage-deflate; server_max_window_bits=8"]
)
def test_an_offer_that_cannot_be_met_opens_a_socket_without_compression(
    detached: LiveHub, offer: str
) -> None:
    socket, answer = opened(detached, offer, "/ws/open:1")
    with socket:
        assert answer == b""
        socket.send(frame(1, packed(1)))
        assert socket.frame() == (1, packed(1))


def test_all_get_one_and_the_same_frame_and_own_replies_stay_as_they_are(detached: LiveHub) -> None:
    sockets = []
    for _ in range(3):
        socket, answer = opened(detached, OFFER, CLIENT)
        assert answer == b"permessage-deflate; server_no_context_takeover; client_no_context_takeover"
        socket.send(compressed(json.dumps({"id": 1, "connect": {}}).encode()))
        assert socket.frame()[0] == 1
        socket.send(command({"id": 2, "subscribe": {"channel": "kept:same"}}))
        assert socket.frame()[0] == 1
        sockets.append(socket)
    publish(detached, "kept:same", packed(1))
    kinds = [socket.frame() for socket in sockets]
    assert {kind for kind, _ in kinds} == {0x41}
    assert len({payload for _, payload in kinds}) == 1
    assert len(kinds[0][1]) < len(packed(1)) // 2
    # A reply of the same size, which holds what one session asked for.
    sockets[0].send(command({"id": 3, "history": {"channel": "kept:same", "limit": 1}}))
    kind, payload = sockets[0].frame()
    assert kind == 1
    assert packed(1) in payload
    # A session's own reply and the publication that it made leave together, each in its form.
    sockets[1].send(command({"id": 4, "publish": {"channel": "kept:same", "data": figures(2)}}))
    assert sorted(sockets[1].frame()[0] for _ in range(2)) == [1, 0x41]
    for socket in sockets:
        socket.__exit__()


@pytest.mark.parametrize(
    "factory",
    [
        ClientPerMessageDeflateFactory(),
        ClientPerMessageDeflateFactory(server_max_window_bits=9, client_max_window_bits=9),
        ClientPerMessageDeflateFactory(True, True, 12, True),
    ],
    ids=["bare", "small windows", "everything"],
)
async def test_clients_of_another_implementation_read_and_write_compressed(
    hub: LiveHub, factory: ClientPerMessageDeflateFactory
) -> None:
    url = f"{hub.ws_url}/ws/open:lib"
    offering = connect(url, extensions=[factory], compression=None)
    async with offering as zipped, connect(url, compression=None) as plain:
        assert agreed(zipped)
        assert not agreed(plain)
        for seed in range(5):
            text = json.dumps(figures(seed))
            await (zipped if seed % 2 else plain).send(text)
            for each in (zipped, plain):
                assert await asyncio.wait_for(each.recv(), 5) == text
        short = '{"a":1}'
        await zipped.send(short)
        assert [await asyncio.wait_for(each.recv(), 5) for each in (zipped, plain)] == [short, short]


@pytest.mark.parametrize("slices", [False, True], ids=["at once", "in slices"])
async def test_differences_slices_windows_and_own_replies_go_together(
    monkeypatch: pytest.MonkeyPatch, slices: bool
) -> None:
    """Clients of every kind on one topic, two of which publish, get all of it in the same order."""
    if slices:
        monkeypatch.setattr(Tick.__init__, "__kwdefaults__", {"at_once": 4, "smallest_slice": 3})
    small = [ClientPerMessageDeflateFactory(server_max_window_bits=9)]
    kinds: list[dict[str, Any]] = [
        {},
        {"delta": True},
        {"compression": None},
        {"compression": None, "delta": True},
        {"compression": None, "extensions": small},
        {"compression": None, "extensions": small, "delta": True},
    ]
    topic, rounds = "kept:all", 30
    with LiveHub(CONFIG) as hub:
        async with AsyncExitStack() as stack:
            clients = [
                await stack.enter_async_context(Client.at(hub, topic, **kind))
                for kind in kinds
                for _ in range(3)
            ]
            for number in range(rounds):
                data = figures(number // 7)
                data[number % 30]["errors"] = 1_000 + number
                publisher = clients[number % 2]
                publish = {"id": 10 + number, "publish": {"channel": topic, "data": data}}
                ask = {"id": 1_000 + number, "history": {"channel": topic, "limit": 5, "reverse": True}}
                await publisher.socket.send(json.dumps(publish) + "\n" + json.dumps(ask))
            for client in clients:
                await client.read(rounds)
            for client in clients[:2]:
                while len(client.replies) < 2 + rounds:
                    await client.next()
    first = clients[0].data
    assert sorted(max(panel["errors"] for panel in data) for data in first) == [
        1_000 + n for n in range(rounds)
    ]
    assert all(client.data == first for client in clients)


async def test_a_bomb_costs_its_sender_the_connection_and_nobody_else(detached: LiveHub) -> None:
    async with connect(f"{detached.ws_url}/ws/open:bomb") as bystander:
        socket, _ = opened(detached, OFFER, "/ws/open:bomb")
        bomb = compressed(bytes(LIMIT * 200))
        assert len(bomb) < LIMIT
        socket.send(bomb)
        kind, payload = socket.frame()
        assert (kind, payload[:2]) == (8, (1009).to_bytes(2, "big"))
        socket.__exit__()
        socket, _ = opened(detached, OFFER, "/ws/open:bomb")
        garbage = bytearray(frame(1, b"\xff\xff\xff"))
        garbage[0] |= 0x40
        socket.send(bytes(garbage))
        kind, payload = socket.frame()
        assert (kind, payload[:2]) == (8, (1007).to_bytes(2, "big"))
        socket.__exit__()
        await bystander.send("still here")
        assert await asyncio.wait_for(bystander.recv(), 5) == "still here"


@pytest.mark.timeout(90)
def test_a_browser_gets_publications_compressed(detached: LiveHub, devtools_url: str) -> None:
    script = f"""await new Promise((done, fail) => {{
        const socket = new WebSocket("{detached.ws_url}/ws/open:browser");
        socket.onopen = () => socket.send(JSON.stringify({packed(7).decode()}));
        socket.onerror = () => fail(new Error("no socket"));
        socket.onmessage = (event) => done(socket.extensions + " " + event.data);
    }})"""
    extensions, _, data = evaluate(devtools_url, f"{detached.url}/health/live", script).partition(" [")
    assert "permessage-deflate" in extensions
    assert json.loads("[" + data) == figures(7)
