"""Presence on PostgreSQL: its table, and what it does when PostgreSQL is lost."""

from __future__ import annotations

import asyncio
import time

import asyncpg
import pytest

from hub.errors import BrokerError
from hub.model import ClientInfo, PresenceStats
from hub.presence.factory import make_presence
from tests.services.postgres import PostgresServer

TOPIC = "chat:lobby"
ANN = ClientInfo("ann", "c-1", b'{"name": "Ann"}', None)
BOB = ClientInfo("bob", "c-3", b"\xff\x00", b"")


async def test_two_nodes_on_postgresql_see_each_others_clients(postgres_url: str) -> None:
    here, there = (make_presence(postgres_url, prefix="test", node="n", lease=30) for _ in range(2))
    await asyncio.gather(here.add(TOPIC, ANN), there.add(TOPIC, BOB))
    assert await here.get(TOPIC) == await there.get(TOPIC) == {"c-1": ANN, "c-3": BOB}
    await there.remove(TOPIC, "c-1", "ann")
    assert await here.stats(TOPIC) == PresenceStats(1, 1)
    await here.stop()
    assert await there.stats(TOPIC) == PresenceStats(1, 1)
    await there.stop()


async def test_lost_postgresql_is_a_broker_error_within_seconds_and_mends_itself(
    postgres_server: PostgresServer, postgres_url: str
) -> None:
    presence = make_presence(postgres_url, prefix="test", node="n", lease=30)
    await presence.add(TOPIC, ANN)
    postgres_server.kill()
    began = time.monotonic()
    with pytest.raises(BrokerError):
        await presence.add(TOPIC, BOB)
    with pytest.raises(BrokerError):
        await presence.get(TOPIC)
    assert time.monotonic() - began < 3
    postgres_server.start()
    assert await presence.get(TOPIC) == {}
    await presence.keep({TOPIC: [ANN]})
    assert await presence.get(TOPIC) == {"c-1": ANN}
    began = time.monotonic()
    with postgres_server.frozen():
        with pytest.raises(BrokerError):
            await presence.stats(TOPIC)
        assert time.monotonic() - began < 5
    assert await presence.get(TOPIC) == {"c-1": ANN}
    await presence.stop()


async def test_expired_leases_leave_the_table(postgres_url: str) -> None:
    presence = make_presence(postgres_url, prefix="test", node="n", lease=0.2)
    await presence.start()
    await presence.keep({TOPIC: [ClientInfo("u", f"c{number}") for number in range(100)]})
    connection = await asyncpg.connect(postgres_url)
    assert await connection.fetchval("SELECT count(*) FROM test_presence") == 100
    async with asyncio.timeout(5):
        while await connection.fetchval("SELECT count(*) FROM test_presence"):
            await asyncio.sleep(0.05)
    await connection.close()
    await presence.stop()
