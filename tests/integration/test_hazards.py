"""What goes wrong where bytes are joined, shared and written without waiting: over real sockets, in the clear and TLS.

Each test runs on both event loops, and with slices so small that a topic of a few is written as one of thousands is.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import pytest
import uvloop

from hub.app import Hub
from hub.outbox import Tick
from hub.serving.server import make_server
from hub.testing import LiveHub
from hub.transports.topic_socket import TopicSocket
from tests.services.raw_socket import RawSocket, command, frame

KEPT = "kept:1"
CONFIG = {
    "server": {"queue_bytes": "64MiB"},
    "client": {"queue_bytes": "8MiB", "message_bytes": "2MiB", "ping": 600},
    "auth": {"anonymous": True},
    "topics": {
        "kept:{x}": {
            "allow": {"subscribe": "anyone", "publish": "anyone"},
            "history": {"size": 1000, "ttl": "1h"},
            "max_bytes": "2MiB",
        }
    },
}
CASES = ["asyncio", "uvloop", "asyncio-tls", "uvloop-tls", "asyncio-slices", "uvloop-slices"]


class Site(LiveHub):
    """A hub on one of the event loops, and how to reach it."""

    def __init__(self, loop: str, tls: ssl.SSLContext | None) -> None:
        super().__init__(CONFIG)
        self.tls = tls
        self._factory = uvloop.new_event_loop if loop == "uvloop" else None

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=self._factory) as runner:
                runner.run(self._serve())
        except BaseException as error:  # noqa: BLE001 - handed to the thread that waits
            self._failure = error
            self._ready.set()

    def socket(self, *, receive_buffer: int | None = None) -> RawSocket:
        return RawSocket(self.url, receive_buffer=receive_buffer, tls=self.tls)

    def plain(self, *, receive_buffer: int | None = None) -> RawSocket:
        """A plain socket that is subscribed."""
        before = self.subscribers()
        found = self.socket(receive_buffer=receive_buffer)
        found.open(f"/ws/{KEPT}")
        self.wait_for(before + 1)
        return found

    def publish(self, *payloads: bytes) -> None:
        async def work(hub: Hub) -> None:
            for payload in payloads:
                await hub.node.router.publish(KEPT, payload, trusted=True)

        self.call(work)

    def subscribers(self) -> int:
        async def count(hub: Hub) -> int:
            return hub.node.router.subscribers(KEPT)

        return self.call(count)

    def wait_for(self, subscribers: int) -> None:
        deadline = time.monotonic() + 10
        while self.subscribers() != subscribers:
            assert time.monotonic() < deadline, f"there are {self.subscribers()} subscribers"
            time.sleep(0.01)


@pytest.fixture(scope="module", params=CASES)
def site(request: pytest.FixtureRequest, certificate: Path) -> Iterator[Site]:
    loop, _, special = request.param.partition("-")
    with pytest.MonkeyPatch.context() as patch:
        if special == "slices":
            patch.setattr(Tick.__init__, "__kwdefaults__", {"at_once": 4, "smallest_slice": 3})
        context = None
        if special == "tls":
            context = ssl.create_default_context(cafile=certificate)

            def encrypted(app: Any, hub: Hub) -> Any:
                server = make_server(app, hub)
                server.config.ssl_certfile = str(certificate)
                return server

            patch.setattr("hub.testing.live.make_server", encrypted)
        with Site(loop, context) as found:
            yield found


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Nothing may be logged as an error: neither by the hub nor by the event loop."""
    yield
    errors = [record.getMessage() for record in caplog.get_records("call") if record.levelno >= logging.ERROR]
    assert errors == []


class Client:
    """A client of the client protocol, frame by frame."""

    def __init__(self, site: Site, *, receive_buffer: int | None = None) -> None:
        self._socket = site.socket(receive_buffer=receive_buffer)
        self._socket.open("/connection/websocket")
        self._lines: list[dict[str, Any]] = []
        self._number = 0
        self.offsets: list[int] = []
        self.data: list[Any] = []
        self.reply(self.send(connect={}))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.__exit__()

    def send(self, **request: Any) -> int:
        self._number += 1
        self._socket.send(command({"id": self._number, **request}))
        return self._number

    def next(self) -> dict[str, Any]:
        """The next reply, or publication, which is kept too."""
        while not self._lines:
            kind, payload = self._socket.frame()
            assert kind == 1, payload
            self._lines = [json.loads(line) for line in payload.split(b"\n")]
        found = self._lines.pop(0)
        if "push" in found:
            self.offsets.append(found["push"]["pub"]["offset"])
            self.data.append(found["push"]["pub"]["data"])
        return found

    def reply(self, number: int) -> dict[str, Any]:
        """The reply to a command; publications before it are kept."""
        while (found := self.next()).get("id") != number:
            assert "id" not in found
        return found

    def read(self, count: int) -> None:
        """Reads until so many publications are kept."""
        while len(self.offsets) < count:
            self.next()


class Stream:
    """Publishes numbers without a pause for as long as the context lasts."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(10)

    def _run(self) -> None:
        while not self._stop.is_set():
            self._site.publish(*[b"%d" % number for number in range(20)])


def test_connections_lost_during_a_flush_cost_nobody_else_anything(site: Site) -> None:
    payloads = [b'"%d-%s"' % (number, b"x" * 20_000) for number in range(30)]
    site.wait_for(0)
    staying = [site.plain() for _ in range(5)]
    reset = [site.plain() for _ in range(5)]
    cut = [site.plain() for _ in range(5)]

    async def work(hub: Hub) -> None:
        sessions = list(hub.node.sessions)[-len(cut) :]
        for number, payload in enumerate(payloads):
            await hub.node.router.publish(KEPT, payload, trusted=True)
            if number == 10:
                # Nobody is told of it before the next turn: what is flushed in this one meets a closing transport.
                for session in sessions:
                    session.outbox.transport.abort()
                await hub.node.router.publish(KEPT, b'"cut"', trusted=True)

    publishing = threading.Thread(target=site.call, args=(work,))
    publishing.start()
    for each in reset:
        each.reset()
    publishing.join(10)
    expected = [payload[1:-1] for payload in payloads]
    expected.insert(11, b"cut")
    for each in staying:
        assert [each.frame()[1] for _ in expected] == expected
    site.wait_for(len(staying))
    for each in (*staying, *cut):
        each.__exit__()
    site.wait_for(0)


def test_order_holds_behind_a_backlog(site: Site) -> None:
    with Client(site, receive_buffer=4_096) as lagging:
        lagging.reply(lagging.send(subscribe={"channel": KEPT}))
        payloads = [b'"%d-%s"' % (number, b"x" * 10_000) for number in range(200)]
        site.publish(*payloads)
        asked = lagging.send(history={"channel": KEPT, "limit": 1})
        site.publish(*payloads)
        found = lagging.reply(asked)["history"]
        lagging.read(400)
        assert lagging.data == [json.loads(payload) for payload in payloads] * 2
        first = lagging.offsets[0]
        assert lagging.offsets == list(range(first, first + 400))
        assert first + 199 <= found["offset"]
    site.wait_for(0)


@contextlib.contextmanager
def crowd(site: Site, count: int = 8) -> Iterator[None]:
    """Other subscribers, who read whatever comes."""
    others = [site.plain() for _ in range(count)]
    drains = [threading.Thread(target=each.rest) for each in others]
    for drain in drains:
        drain.start()
    yield
    site.cut_all()
    for each, drain in zip(others, drains, strict=True):
        drain.join(10)
        each.__exit__()
    site.wait_for(0)


def test_whoever_subscribes_while_it_is_published_begins_behind_its_reply(site: Site) -> None:
    with crowd(site), Stream(site):
        for number in range(15):
            with Client(site) as client:
                told = client.reply(client.send(subscribe={"channel": KEPT}))["subscribe"]
                assert client.offsets == []
                client.read(20)
                start = told["offset"]
                if number % 2:
                    # The position from which it wants the rest lies behind: it is brought to the present first.
                    client.reply(client.send(unsubscribe={"channel": KEPT}))
                    start = client.offsets[-1]
                    asked = {"channel": KEPT, "recover": True, "offset": start, "epoch": told["epoch"]}
                    client.offsets = []
                    back = client.reply(client.send(subscribe=asked))["subscribe"]
                    assert back["recovered"]
                    client.offsets = [each["offset"] for each in back.get("publications", [])]
                    client.read(len(client.offsets) + 20)
                assert client.offsets == list(range(start + 1, start + 1 + len(client.offsets)))


async def _end_all(hub: Hub) -> None:
    for session in list(hub.node.sessions):
        session.end(4_000, "over")


def test_nothing_follows_the_reply_to_an_unsubscribe(site: Site) -> None:
    with crowd(site), Stream(site), Client(site) as client:
        for _ in range(15):
            client.offsets = []
            client.reply(client.send(subscribe={"channel": KEPT}))
            client.read(3)
            client.reply(client.send(unsubscribe={"channel": KEPT}))
            heard = client.offsets.copy()
            assert heard == list(range(heard[0], heard[0] + len(heard)))
            client.reply(client.send(history={"channel": KEPT, "limit": 1}))
            assert client.offsets == heard


@pytest.mark.parametrize("protocol", ["plain", "client"])
def test_what_was_written_arrives_before_the_close(site: Site, protocol: str) -> None:
    payloads = [b'"%d-%s"' % (number, b"x" * 60_000) for number in range(30)]

    async def work(hub: Hub) -> None:
        for payload in payloads:
            await hub.node.router.publish(KEPT, payload, trusted=True)
        while hub.tick.waiting:
            await asyncio.sleep(0)
        await asyncio.sleep(0.05)
        await _end_all(hub)

    if protocol == "plain":
        with site.plain(receive_buffer=4_096) as socket:
            site.call(work)
            assert [socket.frame()[1] for _ in payloads] == [payload[1:-1] for payload in payloads]
            assert socket.frame() == (8, b"\x0f\xa0over")
            socket.send(frame(8, b"\x0f\xa0"))
            assert socket.rest() == b""
    else:
        with Client(site, receive_buffer=4_096) as client:
            client.reply(client.send(subscribe={"channel": KEPT}))
            site.call(work)
            client.read(len(payloads))
            assert client.data == [json.loads(payload) for payload in payloads]
            assert client._socket.frame() == (8, b"\x0f\xa0over")
    site.wait_for(0)


def test_payloads_larger_than_what_is_joined_arrive_whole(site: Site) -> None:
    payloads = [b'"%s"' % (b"%d" % (number % 10) * size) for number, size in enumerate(SIZES)]
    plain = [site.plain() for _ in range(6)]
    with Client(site) as client:
        client.reply(client.send(subscribe={"channel": KEPT}))
        client._socket.send(
            b"".join(
                frame(
                    1, json.dumps({"id": 100 + number, "publish": {"channel": KEPT, "data": text}}).encode()
                )
                for number, text in enumerate(json.loads(payload) for payload in payloads)
            )
        )
        for each in plain:
            assert [each.frame() for _ in payloads] == [(1, payload[1:-1]) for payload in payloads]
            each.__exit__()
        client.read(len(payloads))
        assert client.data == [json.loads(payload) for payload in payloads]
    site.wait_for(0)


SIZES = (1, 125, 126, 65_535, 65_536, 100_000, 1_000_000, 10, 300_000, 70_000)


def test_a_client_that_is_gone_before_it_is_attached_costs_nobody_anything(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    opening, opened = TopicSocket._open, threading.Event()

    async def slowly(self: TopicSocket, *given: Any) -> None:
        await asyncio.sleep(0.2)
        await opening(self, *given)
        opened.set()

    before = site.subscribers()
    monkeypatch.setattr(TopicSocket, "_open", slowly)
    with site.socket() as socket:
        socket.open(f"/ws/{KEPT}")
    assert opened.wait(5)
    site.wait_for(before)
