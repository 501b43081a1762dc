"""Presence over hubs that die, hang and come back: real processes on one real server, and clients that count."""

from __future__ import annotations

import asyncio
import itertools
import json
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from hub.presence.base import LEASE_SECONDS
from tests.contract.presences import SHARED, url_of
from tests.services.hub import HubProcess
from tests.services.redis import RedisServer

pytestmark = pytest.mark.timeout(120)
TOPIC = "room:1"
CROWD = 40
CONFIG = """
version: 1
server: {{port: 0, drain: 1s}}
broker: {{url: "{url}"}}
auth: {{anonymous: true}}
topics:
  "room:{{name}}": {{allow: {{subscribe: anyone, presence: anyone}}, presence: true, join_leave: true}}
"""


class Client:
    """A client that subscribes and counts, for each other client, the joins and leaves that it was told of."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._ids = itertools.count(1)
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self.name = ""
        self.told: Counter[tuple[str, str]] = Counter()

    async def read(self) -> None:
        with suppress(ConnectionClosed):
            async for frame in self._socket:
                for line in str(frame).splitlines():
                    await self._take(json.loads(line))

    async def _take(self, message: dict[str, Any]) -> None:
        if not message:
            await self._socket.send("{}")
        elif "id" in message:
            self._answers.pop(message["id"]).set_result(message)
        for kind in ("join", "leave"):
            if kind in message.get("push", {}):
                self.told[kind, message["push"][kind]["info"]["client"]] += 1

    async def ask(self, method: str, **request: Any) -> Any:
        number = next(self._ids)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        await self._socket.send(json.dumps({"id": number, method: request}))
        async with asyncio.timeout(10):
            return (await answer).get(method)

    async def count(self) -> int | None:
        """How many clients are on the topic, None where the hub cannot say."""
        found = await self.ask("presence_stats", channel=TOPIC)
        return found and found.get("num_clients", 0)

    def leaves(self) -> dict[str, int]:
        return {client: times for (kind, client), times in self.told.items() if kind == "leave"}

    def joins(self) -> dict[str, int]:
        return {client: times for (kind, client), times in self.told.items() if kind == "join"}


@asynccontextmanager
async def client(hub: HubProcess) -> AsyncIterator[Client]:
    url = hub.url().replace("http", "ws", 1) + "/connection/websocket"
    async with connect(url, ping_interval=None, close_timeout=0.1) as socket:
        found = Client(socket)
        reading = asyncio.create_task(found.read())
        found.name = (await found.ask("connect"))["client"]
        await found.ask("subscribe", channel=TOPIC)
        yield found
        reading.cancel()


@asynccontextmanager
async def crowd(hub: HubProcess, size: int = CROWD) -> AsyncIterator[list[Client]]:
    entered = [client(hub) for _ in range(size)]
    yield [await each.__aenter__() for each in entered]
    for each in entered:
        with suppress(ConnectionClosed, OSError):
            await each.__aexit__(None, None, None)


@contextmanager
def hubs(url: str, folder: Path, count: int) -> Iterator[list[HubProcess]]:
    folders = [folder / f"hub-{number}" for number in range(count)]
    started: list[HubProcess] = []
    try:
        for each in folders:
            each.mkdir()
            (each / "hub.yaml").write_text(CONFIG.format(url=url))
            started.append(HubProcess("serve", cwd=each).__enter__())
        for hub in started:
            hub.url()
        yield started
    finally:
        for hub in started:
            hub.__exit__(None, None, None)


async def until(holds: Callable[[], Any], within: float) -> float:
    """Returns after how many seconds something held; it may be asked of a hub."""
    began = time.monotonic()
    seen = None
    while time.monotonic() - began < within:
        seen = holds()
        if asyncio.iscoroutine(seen):
            seen = await seen
        if seen is True:
            return time.monotonic() - began
        await asyncio.sleep(0.1)
    raise AssertionError(f"it did not hold within {within:g} s")


async def counted(of: Client, wanted: int) -> bool:
    return await of.count() == wanted


@pytest.mark.parametrize("store", SHARED)
async def test_clients_of_a_killed_hub_leave_within_its_lease_and_each_once(
    request: pytest.FixtureRequest, store: str, tmp_path: Path
) -> None:
    with hubs(url_of(request, store), tmp_path, 3) as (one, two, dying):
        async with client(one) as here, client(two) as there, crowd(dying) as clients:
            names = {each.name for each in clients}
            for each in (here, there):
                await until(lambda each=each: counted(each, CROWD + 2), 5)
                await until(lambda each=each: names <= set(each.joins()), 5)
            await asyncio.sleep(LEASE_SECONDS + 1)  # by when the others may judge it
            assert here.leaves() == there.leaves() == {}
            dying.process.kill()
            await asyncio.sleep(LEASE_SECONDS / 2)
            assert await here.count() == CROWD + 2  # it may come back
            await until(lambda: counted(here, 2), LEASE_SECONDS / 2 + 2)
            await asyncio.sleep(2)
            for each in (here, there):
                assert each.leaves() == dict.fromkeys(names, 1)
                assert await each.count() == 2


async def test_nobody_leaves_or_joins_because_redis_hung(redis_server: RedisServer, tmp_path: Path) -> None:
    with hubs(redis_server.url, tmp_path, 2) as (one, two):
        async with client(one) as here, crowd(one) as near, crowd(two) as far:
            await until(lambda: counted(here, 2 * CROWD + 1), 5)
            await asyncio.sleep(LEASE_SECONDS + 1)
            before = dict(here.told)
            redis_server.freeze()
            await asyncio.sleep(LEASE_SECONDS + 2)
            redis_server.thaw()
            await until(lambda: counted(here, 2 * CROWD + 1), 15)
            await asyncio.sleep(LEASE_SECONDS + 4)  # beyond the time at which the first may sweep again
            assert dict(here.told) == before
            assert await here.count() == 2 * CROWD + 1
            assert len({each.name for each in (*near, *far)}) == 2 * CROWD


@pytest.mark.parametrize("store", SHARED)
async def test_counts_are_right_again_after_a_hub_hung_beyond_its_lease(
    request: pytest.FixtureRequest, store: str, tmp_path: Path
) -> None:
    with hubs(url_of(request, store), tmp_path, 2) as (one, hanging):
        async with client(one) as here, crowd(hanging) as clients:
            names = {each.name for each in clients}
            await until(lambda: counted(here, CROWD + 1), 5)
            await until(lambda: names <= set(here.joins()), 5)
            await asyncio.sleep(LEASE_SECONDS + 1)
            hanging.process.send_signal(signal.SIGSTOP)
            try:
                await until(lambda: counted(here, 1), LEASE_SECONDS + 3)
                await until(lambda: here.leaves() == dict.fromkeys(names, 1), 3)
            finally:
                hanging.process.send_signal(signal.SIGCONT)
            await until(lambda: counted(here, CROWD + 1), LEASE_SECONDS)
            await until(lambda: here.joins() == {here.name: 1, **dict.fromkeys(names, 2)}, 5)
            assert here.leaves() == dict.fromkeys(names, 1)
            assert await clients[0].count() == CROWD + 1
