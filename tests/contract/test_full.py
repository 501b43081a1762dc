"""A broker that takes no more writes, on real servers: publishes are refused as such, and what it took is not lost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import redis.asyncio

from hub.broker.factory import make_broker
from hub.errors import BrokerError, broker_refusal
from hub.leases.factory import make_lease_store
from hub.model import HistoryOptions
from hub.presence.factory import make_presence
from tests.contract.bridged import TOPIC, Hub, eventually, position, running
from tests.contract.presences import ANN, BOB, persistently
from tests.services.missing import find_program, unavailable
from tests.services.nats import REMEDY
from tests.services.ports import free_port
from tests.services.process import ServerProcess
from tests.services.redis import RedisServer

PLAIN = "plain:topic"
MANY = HistoryOptions(size=10_000, ttl=300)
LARGE = b"x" * 40_000
"""Such that a small store is full before long."""


@dataclass(frozen=True, slots=True)
class Limited:
    """A server's URL, and what makes it take no writes while it is entered.

    `sends` says whether publications on topics without history pass meanwhile; else a node that was refused looks for
    another server, and can read nothing either.
    """

    url: str
    full: Callable[[], AbstractAsyncContextManager[None]]
    sends: bool


def _configured(server: RedisServer, name: str, value: str) -> Limited:
    @asynccontextmanager
    async def full() -> AsyncIterator[None]:
        async with redis.asyncio.from_url(server.url, decode_responses=True) as client:
            before = (await client.config_get(name))[name] or ""
            await client.config_set(name, value)
            try:
                yield
            finally:
                await client.config_set(name, before)

    return Limited(server.url, full, sends=True)


@pytest.fixture
def redis_memory(redis_server: RedisServer) -> Limited:
    """`maxmemory` is reached; the policy is Redis's own, noeviction."""
    return _configured(redis_server, "maxmemory", "1")


@pytest.fixture
def redis_replicas(redis_server: RedisServer) -> Limited:
    """There are fewer replicas than `min-replicas-to-write` asks for."""
    return _configured(redis_server, "min-replicas-to-write", "1")


@pytest.fixture
def redis_disk(redis_server: RedisServer) -> Limited:
    """Redis could not save to its disk, since a folder lies where the file is to be."""

    @asynccontextmanager
    async def full() -> AsyncIterator[None]:
        async with redis.asyncio.from_url(redis_server.url, decode_responses=True) as client:
            hindrance = Path((await client.config_get("dir"))["dir"] or "") / "dump.rdb"
            hindrance.mkdir()
            try:
                await client.config_set("save", "3600 1")
                await client.bgsave()
                async with asyncio.timeout(15):
                    while (await client.info("persistence"))["rdb_last_bgsave_status"] != "err":
                        await asyncio.sleep(0.02)
                yield
            finally:
                hindrance.rmdir()
                await client.config_set("save", "")

    return Limited(redis_server.url, full, sends=True)


@pytest.fixture
def nats_storage(tmp_path: Path) -> Iterator[Limited]:
    """`max_file_store` of the server is reached, until it is given a larger one."""
    program = find_program("nats-server")
    if program is None:
        unavailable("nats-server", REMEDY)
    port, settings, log = free_port(), tmp_path / "nats.conf", tmp_path / "nats.log"
    url = f"nats://127.0.0.1:{port}"
    server = ServerProcess([program, "-c", settings, "-a", "127.0.0.1", "-p", str(port)], log)

    def start(size: str) -> None:
        settings.write_text(f'jetstream {{ store_dir: "{tmp_path}/store", max_file_store: {size} }}')
        log.write_bytes(b"")
        server.start(lambda: b"Server is ready" in log.read_bytes())

    @asynccontextmanager
    async def full() -> AsyncIterator[None]:
        async with running(make_broker(url, prefix="test")) as filler:
            for _ in range(200):
                with suppress(BrokerError):
                    await filler.publish(LARGE, "other:topic", history=MANY)
        yield
        server.kill()
        await asyncio.to_thread(start, "100MB")

    start("2MB")
    yield Limited(url, full, sends=True)
    server.kill()


@pytest.fixture
def postgresql_read_only(postgres_url: str) -> Limited:
    """`default_transaction_read_only` is on for everybody, as hosts set it before a disk is full."""

    async def alter(statement: str) -> None:
        connection: Any = await asyncpg.connect(
            postgres_url, server_settings={"default_transaction_read_only": "off"}
        )
        try:
            await connection.execute(statement)
            await connection.execute("SELECT pg_reload_conf()")
        finally:
            await connection.close()

    @asynccontextmanager
    async def full() -> AsyncIterator[None]:
        await alter("ALTER SYSTEM SET default_transaction_read_only = on")
        try:
            await asyncio.sleep(
                0.3
            )  # the server's processes take it with their next command, once they were told
            yield
        finally:
            await alter("ALTER SYSTEM RESET default_transaction_read_only")

    return Limited(postgres_url, full, sends=False)


@pytest.fixture(
    params=["redis_memory", "redis_replicas", "redis_disk", "nats_storage", "postgresql_read_only"]
)
def limited(request: pytest.FixtureRequest) -> Limited:
    found: Limited = request.getfixturevalue(request.param)
    return found


async def refused(hub: Hub, raw: bytes, *, key: str = "", version: int = 0) -> None:
    """Publishes, and is told at once that nothing was done and that it may be tried again."""
    began = time.monotonic()
    with pytest.raises(BrokerError) as raised:
        await hub.publish(raw, history=MANY, key=key, version=version)
    assert (raised.value.unknown, raised.value.lasting) == (False, False), raised.value
    assert broker_refusal(raised.value).temporary
    assert time.monotonic() - began < 10


async def taken(hub: Hub, raw: bytes, key: str) -> int:
    """The offset of a publication that is repeated with its key until it is stored."""
    async with asyncio.timeout(15):
        while True:
            try:
                return position(await hub.publish(raw, history=MANY, key=key)).offset
            except BrokerError:
                await asyncio.sleep(0.05)


@pytest.mark.timeout(60)
async def test_publishes_are_refused_and_may_be_repeated_and_nothing_is_lost_or_doubled(
    limited: Limited,
) -> None:
    async with (
        running(make_broker(limited.url, prefix="test")) as here,
        running(make_broker(limited.url, prefix="test")) as there,
    ):
        await there.bridge.subscribe(TOPIC)
        await there.bridge.subscribe(PLAIN)
        for number in (1, 2, 3):
            assert (
                position(await here.publish(b"%d" % number, history=MANY, key=f"k{number}")).offset == number
            )
        epoch = (await here.bridge.position(TOPIC)).epoch
        async with limited.full():
            await refused(here, LARGE)
            await refused(here, b"4" + LARGE, key="k4")
            await refused(here, LARGE, version=1)
            assert await there.raws() == [b"1", b"2", b"3"]
            if limited.sends:
                await here.publish(b"plain", PLAIN, history=None)
                await eventually(lambda: there.recorder.raws(PLAIN) == [b"plain"])
            await asyncio.sleep(7)  # for longer than a probe may take
            assert here.bridge.ready is limited.sends
            if limited.sends:
                assert await here.raws() == [b"1", b"2", b"3"]
            else:
                with pytest.raises(BrokerError, match="takes no writes"):
                    await here.raws()
        assert await taken(here, b"4" + LARGE, "k4") == 4
        assert await taken(there, b"5", "k5") == 5
        assert await taken(here, b"3", "k3") == 3
        wanted = [b"1", b"2", b"3", b"4" + LARGE, b"5"]
        assert await there.raws() == wanted
        assert (await there.bridge.position(TOPIC)).epoch == epoch
        await eventually(lambda: there.recorder.raws(TOPIC) == wanted)
        assert there.bridge.rebuilds == 0
        await eventually(lambda: here.bridge.ready)
        assert position(await here.publish(b"6", history=MANY, version=1)).offset == 6


@pytest.mark.timeout(60)
async def test_node_stays_subscribed_to_a_redis_whose_disk_takes_no_more(redis_disk: Limited) -> None:
    async with running(make_broker(redis_disk.url, prefix="test")) as here, redis_disk.full():
        await here.bridge.subscribe(PLAIN)
        async with running(make_broker(redis_disk.url, prefix="test")) as late:
            await late.bridge.subscribe(PLAIN)
            await asyncio.sleep(5)  # for longer than a silent server is believed
            assert here.bridge.ready
            assert late.bridge.ready
            await late.publish(b"1", PLAIN, history=None)
            for hub in (here, late):
                await eventually(lambda hub=hub: hub.recorder.raws(PLAIN) == [b"1"])  # type: ignore[misc]
                assert hub.recorder.gaps(PLAIN) == []


async def test_presence_shows_nobody_as_gone_and_can_be_changed_afterwards(limited: Limited) -> None:
    store, other = (make_presence(limited.url, prefix="test", node=node, lease=30) for node in ("a", "b"))
    await store.start()
    await other.start()
    try:
        await store.renew()
        await other.renew()
        await store.add(TOPIC, ANN)
        async with limited.full():
            for change in (store.renew, partial(store.add, TOPIC, BOB), partial(other.sweep, 10)):
                with suppress(BrokerError):
                    await change()
            if limited.sends:
                assert ANN.client in await other.get(TOPIC)
        await persistently(lambda: store.add(TOPIC, BOB))
        await persistently(lambda: store.remove(TOPIC, ANN.client, ANN.user))
        assert await persistently(lambda: other.get(TOPIC)) == {BOB.client: BOB}
    finally:
        await store.stop()
        await other.stop()


async def test_lease_that_is_held_is_renewed_by_a_redis_without_memory_and_none_is_granted(
    redis_memory: Limited,
) -> None:
    store = make_lease_store([redis_memory.url], prefix="test", owner="node", term=1.0, clock=time.monotonic)
    await store.open()
    try:
        async with asyncio.timeout(15):
            while not (held := await store.acquire(["held"])):
                await asyncio.sleep(0.1)
        async with redis_memory.full():
            for _ in range(5):
                assert await store.renew(held) == held
                with pytest.raises(BrokerError):
                    await store.acquire(["other"])
                await asyncio.sleep(0.3)
        assert [grant.name for grant in await store.acquire(["other"])] == ["other"]
    finally:
        await store.close()
