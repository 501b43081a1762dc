"""Two hubs linked by one real PostgreSQL, and an application that publishes with SQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

from hub.testing import InProcessHub
from tests.contract.bridged import eventually
from tests.services.postgres import PostgresServer

ANYONE = {"subscribe": "anyone", "publish": "anyone"}
TOPICS = {
    "news:{x}": {"allow": ANYONE, "history": {"size": 2}, "presence": True},
    "plain:{x}": {"allow": ANYONE},
}
Nodes = tuple[InProcessHub, InProcessHub]


@pytest.fixture
async def nodes(postgres_url: str) -> AsyncIterator[Nodes]:
    config = {"broker": {"url": postgres_url}, "topics": TOPICS}
    async with InProcessHub(config) as one, InProcessHub(config) as two:
        await eventually(lambda: one.hub.bridge.ready and two.hub.bridge.ready)
        yield one, two


async def test_publications_presence_and_recovery_cross_nodes(nodes: Nodes) -> None:
    one, two = nodes
    ann, bob = await one.connect("ann"), await two.connect("bob")
    position = await ann.subscribe("news:1")
    assert (await bob.subscribe("news:1"))["epoch"] == position["epoch"]
    await bob.publish("news:1", 1)
    assert (await ann.expect_push("news:1", "pub"))["offset"] == 1
    assert (await one.hub.presence.stats("news:1")).clients == 2
    await ann.close()
    for number in (2, 3):
        await one.publish("news:1", number)
    assert [(await bob.expect_push("news:1", "pub"))["offset"] for _ in range(3)] == [1, 2, 3]
    again = await two.connect("ann")
    result = await again.subscribe("news:1", recover=True, offset=1, epoch=position["epoch"])
    assert result["recovered"] is True
    assert [found["offset"] for found in result["publications"]] == [2, 3]


async def test_sql_of_an_application_reaches_clients_and_keeps_to_the_topic_s_history(
    nodes: Nodes, postgres_url: str
) -> None:
    one, two = nodes
    ann, bob = await one.connect("ann"), await two.connect("bob")
    for client in (ann, bob):
        await client.subscribe("news:2")
        await client.subscribe("plain:2")
    app = await asyncpg.connect(postgres_url)
    await app.execute("CREATE TABLE orders (id int)")
    for number in range(1, 4):
        async with app.transaction():
            await app.execute("INSERT INTO orders VALUES ($1)", number)
            await app.execute("SELECT hub_publish('news:2', jsonb_build_object('order', $1::int))", number)
    await app.execute("SELECT hub_publish('plain:2', '\"done\"'), hub_publish('unknown:2', '1')")
    await app.close()
    for client in (ann, bob):
        offsets = [(await client.expect_push("news:2", "pub"))["offset"] for _ in range(3)]
        assert offsets == [1, 2, 3]
        assert await client.expect_publication("plain:2") == "done"
    late = await two.connect("eve")
    result = await late.subscribe("news:2", recover=True, offset=1, epoch=(await _epoch(one)))
    assert [found["data"] for found in result["publications"]] == [{"order": 2}, {"order": 3}]


async def _epoch(hub: InProcessHub) -> str:
    return (await hub.hub.bridge.position("news:2")).epoch


async def test_clients_outlive_a_crash_of_postgresql_without_losing_a_publication(
    nodes: Nodes, postgres_server: PostgresServer
) -> None:
    one, two = nodes
    ann = await one.connect("ann")
    await ann.subscribe("news:3")
    await one.publish("news:3", 1)
    postgres_server.kill()
    await eventually(lambda: not one.hub.bridge.ready and not two.hub.bridge.ready)
    postgres_server.start()
    await eventually(lambda: one.hub.bridge.ready and two.hub.bridge.ready, within=12)
    await asyncio.sleep(0.1)
    await two.publish("news:3", 2)
    assert [(await ann.expect_push("news:3", "pub"))["offset"] for _ in range(2)] == [1, 2]
