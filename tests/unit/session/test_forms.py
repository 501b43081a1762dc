"""Subscriptions that ask for differences or for some publications only."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from hub.errors import ReplyError
from hub.protocol import fossil
from hub.testing import HubClient, InProcessHub

ANYONE = {"subscribe": "anyone", "publish": "anyone"}
CONFIG = {
    "client": {"recovery_page": 50},
    "topics": {
        "delta:{x}": {"allow": ANYONE, "history": {"size": 10}, "delta": True, "filter": True},
        "cache:{x}": {"allow": ANYONE, "history": {"size": 1}, "recovery": "cache", "delta": True},
        "tags:{x}": {"allow": ANYONE, "history": {"size": 10}, "filter": True, "join_leave": True},
        "plain:{x}": {"allow": ANYONE, "history": {"size": 10}},
    },
}
ONLY_A = {"key": "t", "cmp": "eq", "val": "a"}
ROWS = [{"n": n, "text": f"row number {n}"} for n in range(30)]


@pytest.fixture
async def hub() -> AsyncIterator[InProcessHub]:
    async with InProcessHub(CONFIG) as hub:
        yield hub


@pytest.fixture
async def ann(hub: InProcessHub) -> HubClient:
    return await hub.connect("ann")


async def publish(hub: InProcessHub, topic: str, data: Any, **tags: str) -> None:
    answer = await hub.http.post(
        "/api/publish", json={"channel": topic, "data": data, "tags": tags}, headers=hub.api_key
    )
    assert "result" in answer.json()


def changed(number: int) -> list[dict[str, Any]]:
    return [*ROWS, {"n": "last", "text": f"version {number}"}]


async def refused(client: HubClient, topic: str, **request: Any) -> ReplyError:
    with pytest.raises(ReplyError) as caught:
        await client.subscribe(topic, **request)
    return caught.value


async def test_differences_follow_a_whole_payload(hub: InProcessHub, ann: HubClient) -> None:
    result = await ann.subscribe("delta:1", delta="fossil")
    assert result["delta"] is True
    await hub.publish("delta:1", changed(1))
    await hub.publish("delta:1", changed(2))
    first, second = [await ann.expect_push("delta:1", "pub") for _ in range(2)]
    assert "delta" not in first
    assert second["delta"] is True
    assert fossil.apply(first["data"].encode(), second["data"].encode()).endswith(b'"version 2"}]')


async def test_whoever_does_not_ask_has_payloads_as_they_are(hub: InProcessHub, ann: HubClient) -> None:
    bob, cid = await hub.connect("bob"), await hub.connect("cid")
    assert "delta" not in await ann.subscribe("delta:1")
    assert "delta" not in await bob.subscribe("plain:1", delta="fossil")
    assert "delta" not in await cid.subscribe("delta:1", delta="other")
    await hub.publish("delta:1", {"a": 1})
    await hub.publish("plain:1", {"a": 1})
    for client, topic in ((ann, "delta:1"), (bob, "plain:1"), (cid, "delta:1")):
        assert await client.expect_publication(topic) == {"a": 1}


async def test_a_recovered_list_begins_whole(hub: InProcessHub, ann: HubClient) -> None:
    position = await hub.publish("delta:1", changed(0))
    assert position is not None
    for number in (1, 2, 3):
        await hub.publish("delta:1", changed(number))
    result = await ann.subscribe("delta:1", delta="fossil", recover=True, offset=1, epoch=position.epoch)
    assert (result["recovered"], result["offset"]) == (True, 1)
    told = result["publications"]
    assert [(found["offset"], found.get("delta", False)) for found in told] == [
        (2, False),
        (3, True),
        (4, True),
    ]
    await hub.publish("delta:1", changed(4))
    assert "delta" not in await ann.expect_push("delta:1", "pub")


async def test_the_latest_of_a_cache_is_whole(hub: InProcessHub, ann: HubClient) -> None:
    await hub.publish("cache:1", {"a": 1})
    result = await ann.subscribe("cache:1", delta="fossil", recover=True)
    assert result["publications"] == [{"data": '{"a":1}', "offset": 1, "epoch": result["epoch"]}]


async def test_history_knows_no_differences(hub: InProcessHub, ann: HubClient) -> None:
    await ann.subscribe("delta:1", delta="fossil")
    await hub.publish("delta:1", {"a": 1})
    assert (await ann.history("delta:1"))["publications"][0]["data"] == {"a": 1}


async def test_only_what_the_filter_admits_arrives(hub: InProcessHub, ann: HubClient) -> None:
    await ann.subscribe("tags:1", tf=ONLY_A)
    await publish(hub, "tags:1", 1, t="b")
    await publish(hub, "tags:1", 2, t="a")
    await publish(hub, "tags:1", 3)
    found = await ann.expect_push("tags:1", "pub")
    assert (found["data"], found["offset"], found["tags"]) == (2, 2, {"t": "a"})
    await (await hub.connect("bob")).subscribe("tags:1")
    joins = [await ann.expect_push("tags:1", "join") for _ in range(2)]
    assert [join["info"]["user"] for join in joins] == ["ann", "bob"]


async def test_what_was_missed_is_filtered_and_still_recovered(hub: InProcessHub, ann: HubClient) -> None:
    epoch = (await ann.subscribe("tags:1"))["epoch"]
    for number, tag in enumerate("abab", 1):
        await publish(hub, "tags:1", number, t=tag)
    bob = await hub.connect("bob")
    result = await bob.subscribe("tags:1", tf=ONLY_A, recover=True, offset=0, epoch=epoch)
    assert (result["recovered"], result.get("offset", 0)) == (True, 0)
    assert [found["offset"] for found in result["publications"]] == [1, 3]
    cid = await hub.connect("cid")
    result = await cid.subscribe("tags:1", tf=ONLY_A, recover=True, offset=3, epoch=epoch)
    assert (result["recovered"], result["offset"], "publications" in result) == (True, 4, False)


async def test_filters_are_refused_where_they_are_wrong_or_not_offered(ann: HubClient) -> None:
    assert (await refused(ann, "plain:1", tf=ONLY_A)).code == 107
    assert "cmp is one of" in (await refused(ann, "tags:1", tf={"key": "t", "cmp": "like"})).message
    assert "cannot be read" in (await refused(ann, "tags:1", tf={"key": "t", "cmp": "eq", "val": 1})).message
    assert "exclude" in (await refused(ann, "delta:1", tf=ONLY_A, delta="fossil")).message
    assert (await refused(ann, "nowhere:1", tf=ONLY_A)).code == 103
    assert await ann.subscribe("plain:1", tf=None)
    assert await ann.subscribe("tags:1", tf=ONLY_A)


async def test_subscriptions_of_the_connect_command_have_forms_too(hub: InProcessHub) -> None:
    client = hub.client()
    result = await client.connect(
        token=hub.token("ann"),
        subs={"delta:1": {"delta": "fossil"}, "tags:1": {"tf": ONLY_A}, "tags:2": {"tf": {}}},
    )
    assert sorted(result["subs"]) == ["delta:1", "tags:1"]
    assert result["subs"]["delta:1"]["delta"] is True
    await publish(hub, "tags:1", 1, t="b")
    await publish(hub, "tags:1", 2, t="a")
    await hub.publish("delta:1", {"a": 1})
    assert await client.expect_publication("tags:1") == 2
    assert await client.expect_publication("delta:1") == '{"a":1}'
