"""Topics with `recovery: off`: publications have positions, and nobody recovers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from hub.model import Position
from hub.router import TOLD_AT_ONCE
from hub.testing import HubClient, InProcessHub

ANYONE = {"subscribe": "anyone", "publish": "anyone"}
CONFIG = {
    "topics": {
        "placed:{x}": {"allow": ANYONE, "history": {"size": 10}, "recovery": "off"},
        "kept:{x}": {"allow": ANYONE, "history": {"size": 10}},
        "bare:{x}": {"allow": ANYONE},
    }
}


@pytest.fixture
async def hub() -> AsyncIterator[InProcessHub]:
    async with InProcessHub(CONFIG) as hub:
        yield hub


@pytest.fixture
async def ann(hub: InProcessHub) -> HubClient:
    return await hub.connect("ann")


async def at(hub: InProcessHub, topic: str, data: Any) -> Position:
    position = await hub.publish(topic, data)
    assert position is not None
    return position


async def test_publications_have_positions_and_the_reply_says_that_nothing_is_recovered(
    hub: InProcessHub, ann: HubClient
) -> None:
    top = await at(hub, "placed:a", 1)
    assert await ann.subscribe("placed:a") == {"positioned": True, "epoch": top.epoch, "offset": 1}
    await hub.publish("placed:a", 2)
    assert (await ann.expect_push("placed:a", "pub"))["offset"] == 2


@pytest.mark.parametrize("offset", [0, 1, 2])
@pytest.mark.parametrize("flag", [0, 2])
async def test_who_asks_to_recover_is_subscribed_where_the_topic_is_now(
    hub: InProcessHub, ann: HubClient, offset: int, flag: int
) -> None:
    await at(hub, "placed:a", 1)
    top = await at(hub, "placed:a", 2)
    told = await ann.subscribe("placed:a", recover=True, offset=offset, epoch=top.epoch, flag=flag)
    assert told == {"positioned": True, "epoch": top.epoch, "offset": 2}


async def test_a_gap_is_told_though_history_has_what_was_missed(hub: InProcessHub, ann: HubClient) -> None:
    told = await ann.subscribe("placed:a")
    await hub.hub.broker.unsubscribe("placed:a")
    await hub.publish("placed:a", 1)
    await hub.hub.broker.subscribe("placed:a")
    await hub.publish("placed:a", 2)
    assert (await ann.expect_push("placed:a", "unsubscribe"))["code"] == 2500
    assert (await ann.subscribe("placed:a")) == {"positioned": True, "epoch": told["epoch"], "offset": 2}


async def test_very_many_are_told_of_a_gap_a_few_at_a_time_and_who_comes_meanwhile_misses_nothing(
    hub: InProcessHub, ann: HubClient
) -> None:
    crowd = [await hub.connect(f"user-{number}") for number in range(2 * TOLD_AT_ONCE + 1)]
    for client in crowd:
        await client.subscribe("placed:a")
    router = hub.hub.router
    live = router._topics["placed:a"]
    live.part()
    live.release(await at(hub, "placed:elsewhere", 1))
    telling = asyncio.create_task(router._tell(live))
    turns = 0
    while live.parted:
        before = len(live.parted)
        await asyncio.sleep(0)
        turns += 1
        assert before - len(live.parted) <= TOLD_AT_ONCE
        if turns == 2:
            # One comes, one of those yet to be told leaves and comes back, all while others are told.
            last = next(each for each in crowd if "placed:a" in each.session.subscriptions)
            last.session.drop("placed:a")
            await ann.subscribe("placed:a")
            await last.subscribe("placed:a")
    await telling
    assert router.subscribers("placed:a") == 2
    for client in crowd:
        if client is not last:
            assert (await client.expect_push("placed:a", "unsubscribe"))["code"] == 2500


async def test_a_comparison_that_finds_nothing_missing_tells_nothing(
    hub: InProcessHub, ann: HubClient
) -> None:
    await ann.subscribe("placed:a")
    hub.hub.router.gap("placed:a", "looking")
    await hub.publish("placed:a", 1)
    assert await ann.expect_publication("placed:a") == 1


async def test_what_the_server_subscribes_says_the_same(hub: InProcessHub) -> None:
    client = hub.client()
    reply = await client.connect(token=hub.token("ann", channels=["placed:a"]))
    assert "recoverable" not in reply["subs"]["placed:a"]
    assert reply["subs"]["placed:a"]["positioned"] is True


@pytest.mark.parametrize("asked", [{}, {"positioned": True}, {"recoverable": True}])
async def test_the_topic_decides_whatever_the_client_asks(
    hub: InProcessHub, ann: HubClient, asked: dict[str, bool]
) -> None:
    kept = await ann.subscribe("kept:a", **asked)
    assert (kept["positioned"], kept["recoverable"]) == (True, True)
    assert await ann.subscribe("bare:a", **asked) == {}
    placed = await ann.subscribe("placed:a", **asked)
    assert "recoverable" not in placed


async def test_a_comparison_mends_what_was_lost_at_the_end(hub: InProcessHub, ann: HubClient) -> None:
    """On a fake clock: a publication that the broker kept and never delivered."""
    await ann.subscribe("kept:a")
    broker = hub.hub.broker
    await broker.unsubscribe("kept:a")
    await hub.publish("kept:a", "lost")
    await broker.subscribe("kept:a")
    for _ in range(50):
        hub.clock.advance(1)
        await asyncio.sleep(0)
    assert await ann.expect_publication("kept:a") == "lost"
