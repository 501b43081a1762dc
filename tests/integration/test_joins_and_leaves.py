"""Joins and leaves over real sockets: one node, and two nodes linked by a real Redis."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, suppress
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from hub import metrics
from hub.testing import LiveHub
from tests.services.redis import RedisServer

TOPICS = {
    "room:{x}": {"allow": {"subscribe": "anyone"}, "presence": True, "join_leave": True},
    "calm:{x}": {
        "allow": {"subscribe": "anyone"},
        "presence": True,
        "join_leave": True,
        "leave_grace": "1s",
    },
}
MANY = 300


@pytest.fixture(params=["memory", "redis"])
def hubs(request: pytest.FixtureRequest) -> Iterator[tuple[LiveHub, LiveHub]]:
    """Two nodes, or one that is both where the broker links none."""
    if request.param == "memory":
        with LiveHub({"topics": TOPICS}) as hub:
            yield hub, hub
        return
    config = {"topics": TOPICS, "broker": {"url": request.getfixturevalue("redis_url")}}
    with LiveHub(config) as one, LiveHub(config) as two:
        yield one, two


class Reader:
    """A client that keeps what its topic told it."""

    def __init__(self, socket: ClientConnection, client: str) -> None:
        self.socket = socket
        self.client = client
        self.told: list[tuple[str, str]] = []
        self.frames = 0
        self._reading = asyncio.create_task(self._read())

    def times(self, kind: str) -> Counter[str]:
        """How often the join or leave of each client was told."""
        return Counter(client for found, client in self.told if found == kind)

    async def close(self) -> None:
        """Goes away without a word."""
        self.socket.transport.abort()
        await asyncio.wait([self._reading])

    async def _read(self) -> None:
        with suppress(ConnectionClosed):
            async for text in self.socket:
                self.frames += 1
                for line in str(text).split("\n"):
                    self._take(json.loads(line).get("push", {}))

    def _take(self, push: dict[str, Any]) -> None:
        for kind in ("join", "leave"):
            if kind in push:
                self.told.append((kind, push[kind]["info"]["client"]))


async def enter(stack: AsyncExitStack, hub: LiveHub, topic: str, user: str) -> Reader:
    """A client that has subscribed; whatever came with the reply is read already."""
    socket = await stack.enter_async_context(connect(f"{hub.ws_url}/connection/websocket"))
    await socket.send(json.dumps({"id": 1, "connect": {"token": hub.token(user)}}))
    client = json.loads(await socket.recv())["connect"]["client"]
    reader = Reader(socket, client)
    await socket.send(json.dumps({"id": 2, "subscribe": {"channel": topic}}))
    await until(lambda: reader.frames > 0, "the answer to a subscribe")
    return reader


async def until(condition: Callable[[], bool], what: str, seconds: float = 10.0) -> None:
    for _ in range(int(seconds / 0.02)):
        if condition():
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"{what} did not happen within {seconds} s")


def announcements() -> float:
    return metrics.total(metrics.ANNOUNCEMENTS)


@pytest.mark.timeout(60)
async def test_every_subscriber_learns_of_each_coming_and_going_once_from_few_messages(
    hubs: tuple[LiveHub, LiveHub],
) -> None:
    async with AsyncExitStack() as stack:
        watchers = [await enter(stack, hub, "room:1", "watcher") for hub in hubs]
        before = announcements()
        crowd = [
            reader
            for start in range(0, MANY, 50)
            for reader in await asyncio.gather(
                *(
                    enter(stack, hubs[number % 2], "room:1", f"u{number}")
                    for number in range(start, start + 50)
                )
            )
        ]
        await until(lambda: all(len(watcher.told) >= MANY for watcher in watchers), "all joins")
        await until(lambda: all(reader.client in reader.times("join") for reader in crowd), "own joins")
        assert announcements() - before < MANY / 2
        came = {reader.client for reader in crowd}
        for watcher in watchers:
            assert came <= set(watcher.times("join"))
            assert set(watcher.times("join").values()) == {1}
            assert watcher.frames < MANY / 2
        for reader in crowd:
            # Who came later than it had its answer is told to it; who came earlier it finds in presence.
            assert max(reader.times("join").values()) == 1
        assert set(crowd[0].times("join")) >= {reader.client for reader in crowd[50:]}

        before = announcements()
        await asyncio.gather(*(reader.close() for reader in crowd))
        await until(lambda: all(len(watcher.times("leave")) == MANY for watcher in watchers), "all leaves")
        assert announcements() - before < MANY / 2
        for watcher in watchers:
            assert watcher.times("leave") == Counter(came)


async def test_a_page_that_is_loaded_anew_within_the_grace_is_nobodys_business(
    hubs: tuple[LiveHub, LiveHub],
) -> None:
    async with AsyncExitStack() as stack:
        watchers = [await enter(stack, hub, "calm:1", "watcher") for hub in hubs]
        first = await enter(stack, hubs[0], "calm:1", "ann")
        await until(lambda: all(first.client in each.times("join") for each in watchers), "the join")
        await first.close()
        second = await enter(stack, hubs[0], "calm:1", "ann")
        await asyncio.sleep(2)
        for each in watchers:
            assert second.client not in each.times("join")
            assert not each.times("leave")
        await second.close()
        left = Counter([first.client, second.client])
        await until(lambda: all(each.times("leave") == left for each in watchers), "the leaves", 5)


@pytest.mark.parametrize("hubs", ["redis"], indirect=True)
async def test_who_comes_back_on_another_node_is_never_shown_absent(hubs: tuple[LiveHub, LiveHub]) -> None:
    async with AsyncExitStack() as stack:
        watcher = await enter(stack, hubs[0], "calm:2", "watcher")
        first = await enter(stack, hubs[0], "calm:2", "ann")
        await until(lambda: first.client in watcher.times("join"), "the join")
        await first.close()
        second = await enter(stack, hubs[1], "calm:2", "ann")
        await until(lambda: first.client in watcher.times("leave"), "the leave", 5)
        assert watcher.told[-2:] == [("join", second.client), ("leave", first.client)]


async def test_whoever_unsubscribes_or_is_sent_away_leaves_at_once(hubs: tuple[LiveHub, LiveHub]) -> None:
    async with AsyncExitStack() as stack:
        watcher = await enter(stack, hubs[1], "calm:3", "watcher")
        ann = await enter(stack, hubs[0], "calm:3", "ann")
        bob = await enter(stack, hubs[0], "calm:3", "bob")
        await until(lambda: len(watcher.times("join")) == 3, "the joins")
        services = hubs[0].blueprint.table.services
        assert services is not None
        started = asyncio.get_running_loop().time()
        await ann.socket.send(json.dumps({"id": 3, "unsubscribe": {"channel": "calm:3"}}))
        hubs[0].call(lambda _: services.disconnect("bob", "", 3503, "force disconnect"))
        await until(lambda: watcher.times("leave") == Counter([ann.client, bob.client]), "the leaves")
        assert asyncio.get_running_loop().time() - started < 0.9


async def test_a_node_that_stops_tells_the_leaves_it_holds_back(redis_url: str) -> None:
    topics = {"calm:{x}": {**TOPICS["calm:{x}"], "leave_grace": "60s"}}
    config = {"topics": topics, "broker": {"url": redis_url}, "server": {"drain": "0s"}}
    with LiveHub(config) as stays:
        async with AsyncExitStack() as stack:
            watcher = await enter(stack, stays, "calm:4", "watcher")
            leaving = LiveHub(config).__enter__()
            try:
                ann = await enter(stack, leaving, "calm:4", "ann")
                bob = await enter(stack, leaving, "calm:4", "bob")
                await until(lambda: len(watcher.times("join")) == 3, "the joins")
                await ann.close()
            finally:
                await asyncio.to_thread(leaving.__exit__, None, None, None)
            await until(lambda: watcher.times("leave") == Counter([ann.client, bob.client]), "the leaves")


@pytest.mark.timeout(60)
async def test_who_leaves_while_the_broker_is_away_is_told_to_have_left_when_it_is_back(
    redis_server: RedisServer,
) -> None:
    config = {"topics": TOPICS, "broker": {"url": redis_server.url}}
    with LiveHub(config) as one, LiveHub(config) as two:
        async with AsyncExitStack() as stack:
            watchers = [await enter(stack, hub, "room:5", "watcher") for hub in (one, two)]
            ann = await enter(stack, one, "room:5", "ann")
            await until(lambda: all(ann.client in each.times("join") for each in watchers), "the join")
            redis_server.kill()
            await ann.close()
            await until(lambda: not one.hub.bridge.ready, "the node to notice", 15)
            # Long enough for the nodes to try again at moments that lie apart.
            await asyncio.sleep(3)
            redis_server.restart()
            await until(lambda: all(each.times("leave")[ann.client] for each in watchers), "the leave", 20)
            assert [each.times("leave") for each in watchers] == [Counter([ann.client])] * 2
