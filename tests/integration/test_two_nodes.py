"""Two hubs linked by one real Redis, used by clients that do not know which of them they are on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from hub.cluster import NodeAway
from hub.errors import ReplyError
from hub.testing import HubClient, InProcessHub
from tests.services.redis import RedisServer

ANYONE = {"subscribe": "anyone", "publish": "anyone"}
TOPICS = {
    "news:{x}": {"allow": ANYONE, "history": {"size": 100}, "presence": True, "join_leave": True},
    "plain:{x}": {"allow": ANYONE},
}


async def until(condition: object, what: str, seconds: float = 12.0) -> None:
    for _ in range(int(seconds / 0.05)):
        if condition():  # type: ignore[operator]
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"{what} did not happen within {seconds} s")


@pytest.fixture
async def nodes(redis_server: RedisServer) -> AsyncIterator[tuple[InProcessHub, InProcessHub]]:
    config = {"broker": {"url": redis_server.url}, "topics": TOPICS}
    async with InProcessHub(config) as one, InProcessHub(config) as two:
        await until(lambda: one.hub.bridge.ready and two.hub.bridge.ready, "both nodes ready")
        yield one, two


async def seen(client: HubClient, topic: str, count: int) -> list[int]:
    return [(await client.expect_push(topic, "pub"))["offset"] for _ in range(count)]


async def test_a_publish_on_one_node_arrives_on_the_other_with_redis_offsets(
    nodes: tuple[InProcessHub, InProcessHub],
) -> None:
    one, two = nodes
    ann, bob = await one.connect("ann"), await two.connect("bob")
    epochs = [(await client.subscribe("news:1"))["epoch"] for client in (ann, bob)]
    assert epochs[0] == epochs[1]
    await asyncio.gather(*(client.publish("news:1", number) for number in range(20) for client in (ann, bob)))
    assert await seen(ann, "news:1", 40) == list(range(1, 41))
    assert await seen(bob, "news:1", 40) == list(range(1, 41))
    await ann.subscribe("plain:1")
    await bob.publish("plain:1", "hello")
    assert await ann.expect_publication("plain:1") == "hello"


async def test_a_client_recovers_on_another_node_than_it_was_on(
    nodes: tuple[InProcessHub, InProcessHub],
) -> None:
    one, two = nodes
    ann = await one.connect("ann")
    position = await ann.subscribe("news:2")
    await one.publish("news:2", 1)
    assert await seen(ann, "news:2", 1) == [1]
    await ann.close()
    for number in (2, 3):
        await one.publish("news:2", number)
    again = await two.connect("ann")
    result = await again.subscribe("news:2", recover=True, offset=1, epoch=position["epoch"])
    assert result["recovered"] is True
    assert [found["offset"] for found in result["publications"]] == [2, 3]


async def test_presence_joins_and_orders_cross_nodes(nodes: tuple[InProcessHub, InProcessHub]) -> None:
    one, two = nodes
    ann, bob = await one.connect("ann"), await two.connect("bob")
    await ann.subscribe("news:3")
    await ann.expect_push("news:3", "join")
    await bob.subscribe("news:3")
    assert (await ann.expect_push("news:3", "join"))["info"]["user"] == "bob"
    assert {info["user"] for info in (await ann.presence("news:3")).values()} == {"ann", "bob"}
    services = one.blueprint.table.services
    assert services is not None
    await services.disconnect("bob", "", 4500, "enough")
    assert await bob.expect_close() == (4500, "enough")
    assert (await ann.expect_push("news:3", "leave"))["info"]["user"] == "bob"
    assert {info["user"] for info in (await ann.presence("news:3")).values()} == {"ann"}


@pytest.mark.timeout(60)
async def test_a_killed_redis_is_told_and_on_its_return_nothing_is_silently_missing(
    nodes: tuple[InProcessHub, InProcessHub], redis_server: RedisServer
) -> None:
    one, two = nodes
    ann = await two.connect("ann")
    await ann.subscribe("news:4")
    await one.publish("news:4", 1)
    assert await seen(ann, "news:4", 1) == [1]
    redis_server.kill()
    await until(lambda: not one.hub.bridge.ready, "the node to be unready")
    assert (await one.http.get("/health/ready")).status_code == 503
    assert (await one.http.get("/health/live")).status_code == 200
    with pytest.raises(ReplyError) as caught:
        await one.publish("news:4", 2)
    assert (caught.value.code, caught.value.temporary) == (100, True)
    bob = await one.connect("bob")
    with pytest.raises(ReplyError) as caught:
        await bob.subscribe("news:5")
    assert (caught.value.code, caught.value.temporary) == (100, True)
    redis_server.restart()
    await until(lambda: one.hub.bridge.ready and two.hub.bridge.ready, "both nodes ready again")
    # The history is gone, so the subscriber must have been told that it cannot have followed.
    assert await ann.expect_push("news:4", "unsubscribe") == {"code": 2500, "reason": "insufficient state"}
    result = await ann.subscribe("news:4", recover=True, offset=1, epoch="before")
    assert "recovered" not in result
    await one.publish("news:4", "again")
    assert await ann.expect_publication("news:4") == "again"


@pytest.mark.timeout(60)
async def test_a_redis_that_comes_back_with_its_data_goes_on_counting_under_a_new_epoch(
    nodes: tuple[InProcessHub, InProcessHub], redis_server: RedisServer
) -> None:
    one, two = nodes
    ann = await two.connect("ann")
    before = await ann.subscribe("news:6")
    for number in range(3):
        await one.publish("news:6", number)
    redis_server.restart(keep_data=True)
    # A server that was started anew may have lost its latest offsets, so its word for them is not taken.
    assert await ann.expect_push("news:6", "unsubscribe") == {"code": 2500, "reason": "insufficient state"}
    await until(lambda: one.hub.bridge.ready and two.hub.bridge.ready, "both nodes ready again")
    after = await ann.subscribe("news:6", recover=True, offset=3, epoch=before["epoch"])
    assert "recovered" not in after
    assert (after["offset"], after["epoch"] != before["epoch"]) == (3, True)
    for number in range(3, 8):
        await one.publish("news:6", number)
    assert await seen(ann, "news:6", 8) == list(range(1, 9))


async def test_any_node_tells_of_all_and_passes_orders_on(nodes: tuple[InProcessHub, InProcessHub]) -> None:
    one, two = nodes

    async def api(hub: InProcessHub, method: str, **request: object) -> dict[str, Any]:
        answer = (await hub.http.post(f"/api/{method}", json=request, headers=hub.api_key)).json()
        assert "error" not in answer, answer
        result: dict[str, Any] = answer["result"]
        return result

    ann, bob = await one.connect("ann"), await two.connect("bob")
    await ann.subscribe("news:7")
    await bob.subscribe("news:7")
    await until(
        lambda: len(one.hub.cluster.nodes()) == 2 and len(two.hub.cluster.nodes()) == 2, "both to be known"
    )
    for hub in nodes:
        info = await api(hub, "info")
        assert {node["uid"] for node in info["nodes"]} == {one.hub.node.id, two.hub.node.id}
        assert sum(node["num_clients"] for node in info["nodes"]) == 2
        assert (await api(hub, "channels"))["channels"] == {"news:7": {"num_clients": 2}}
    await api(one, "subscribe", user="bob", channel="plain:7")
    await bob.expect_push("plain:7", "subscribe")
    await api(one, "refresh", user="bob", expire_at=int(one.clock.time()) + 100)
    assert 98 <= (await bob.expect_push("", "refresh"))["ttl"] <= 100
    await api(one, "unsubscribe", user="bob", channel="plain:7")
    assert (await bob.expect_push("plain:7", "unsubscribe"))["code"] == 2000
    await api(one, "refresh", user="bob", expired=True)
    assert await bob.expect_close() == (3005, "connection expired")
    await api(two, "disconnect", user="ann")
    assert await ann.expect_close() == (3503, "force disconnect")


async def test_a_node_answers_another_and_its_end_is_noticed(redis_server: RedisServer) -> None:
    config = {"broker": {"url": redis_server.url}}
    async with InProcessHub(config) as one:
        async with InProcessHub(config) as two:

            async def double(body: bytes) -> bytes:
                return body * 2

            async def fail(body: bytes) -> bytes:
                raise ValueError("no")

            two.hub.cluster.methods.update(double=double, fail=fail)
            await until(lambda: len(one.hub.cluster.nodes()) == 2, "the other to be known")
            assert await one.hub.cluster.ask(two.hub.node.id, "double", b"ab") == b"abab"
            for method in ("fail", "unknown"):
                with pytest.raises(NodeAway):
                    await one.hub.cluster.ask(two.hub.node.id, method, b"")
        await until(lambda: len(one.hub.cluster.nodes()) == 1, "the other to be gone")
        with pytest.raises(NodeAway, match="not here"):
            await one.hub.cluster.ask(two.hub.node.id, "double", b"")
