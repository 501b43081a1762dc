"""What is left of sessions that have ended: nothing, and that at once."""

from __future__ import annotations

import asyncio
import gc
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from hub.model import ClientInfo
from hub.presence.memory import MemoryPresence
from hub.session.base import Session
from hub.testing import LiveHub
from hub.transports.connection import Connection
from tests.services.raw_socket import RawSocket, command, frame

CONFIG = {
    "auth": {"anonymous": True},
    "topics": {
        "quiet:{x}": {"allow": {"subscribe": "anyone"}},
        "seen:{x}": {"allow": {"subscribe": "anyone"}, "presence": True, "join_leave": True},
    },
}
CLIENTS = 10


@pytest.fixture(scope="module")
def hub() -> Iterator[LiveHub]:
    with LiveHub(CONFIG) as hub:
        yield hub


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def alive() -> tuple[int, int]:
    """Sessions and connections in memory."""
    found = gc.get_objects()
    return sum(isinstance(each, Session) for each in found), sum(
        isinstance(each, Connection) for each in found
    )


def settled(expected: tuple[int, int]) -> bool:
    """Whether so many are in memory within a few seconds."""
    deadline = time.monotonic() + 5
    while alive() != expected and time.monotonic() < deadline:
        time.sleep(0.01)
    return alive() == expected


def client(socket: RawSocket) -> None:
    socket.open("/connection/websocket")
    socket.send(command({"id": 1, "connect": {}}))
    socket.send(command({"id": 2, "subscribe": {"channel": "quiet:1"}}))
    socket.send(command({"id": 3, "subscribe": {"channel": "seen:1"}}))
    while json.loads(socket.frame()[1].split(b"\n")[-1]).get("id") != 3:
        pass


def silent(socket: RawSocket) -> None:
    socket.open("/connection/websocket")


def plain(socket: RawSocket) -> None:
    socket.open("/ws/quiet:1")


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize("opens", [client, silent, plain])
def test_a_session_that_has_ended_is_freed_without_the_garbage_collector(
    hub: LiveHub, opens: Callable[[RawSocket], None]
) -> None:
    before = alive()
    with ExitStack() as opened:
        for _ in range(CLIENTS):
            opens(opened.enter_context(RawSocket(hub.url)))
        assert settled((before[0] + CLIENTS, before[1] + CLIENTS))
    assert settled(before)


@pytest.mark.parametrize("farewell", [b"", frame(8)])
def test_a_client_that_leaves_while_it_is_still_being_subscribed_is_let_go(
    hub: LiveHub, monkeypatch: pytest.MonkeyPatch, farewell: bytes
) -> None:
    entering, add = threading.Event(), MemoryPresence.add

    async def slowly(self: MemoryPresence, topic: str, info: ClientInfo) -> None:
        entering.set()
        await asyncio.sleep(0.3)
        await add(self, topic, info)

    monkeypatch.setattr(MemoryPresence, "add", slowly)
    gc.collect()
    before = alive()
    with RawSocket(hub.url) as socket:
        socket.open("/ws/seen:1")
        assert entering.wait(5)
        socket.send(farewell)
    time.sleep(0.5)
    gc.collect()
    assert settled(before)
