"""Subscriptions: permission, recovery, tokens, presence, joins and leaves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from hub.errors import ReplyError
from hub.model import HistoryPage, HistoryQuery
from hub.testing import HubClient, InProcessHub

ANYONE = {"subscribe": "anyone", "publish": "anyone"}
CONFIG = {
    "client": {"subscriptions": 3, "recovery_page": 50},
    "topics": {
        "news:{x}": {
            "allow": ANYONE,
            "history": {"size": 4, "ttl": "1m"},
            "presence": True,
            "join_leave": True,
        },
        "long:{x}": {"allow": ANYONE, "history": {"size": 50}},
        "cache:{x}": {"allow": ANYONE, "history": {"size": 1}, "recovery": "cache"},
        "plain:{x}": {"allow": ANYONE},
        "staff:{x}": {"allow": {"subscribe": "role:staff"}},
        "members:{x}": {"allow": {"subscribe": "authenticated"}},
        "own:{user}": {"allow": {"subscribe": "user:{user}"}},
        "token:{x}": {"allow": {"subscribe": "token", "publish": "token"}},
    },
}


@pytest.fixture
async def hub() -> AsyncIterator[InProcessHub]:
    async with InProcessHub(CONFIG) as hub:
        yield hub


@pytest.fixture
async def ann(hub: InProcessHub) -> HubClient:
    return await hub.connect("ann")


async def refused(client: HubClient, topic: str, **request: object) -> int:
    with pytest.raises(ReplyError) as caught:
        await client.subscribe(topic, **request)
    return caught.value.code


async def test_a_topic_without_history_promises_nothing(ann: HubClient) -> None:
    assert await ann.subscribe("plain:1") == {}


async def test_a_topic_with_history_tells_its_position(hub: InProcessHub, ann: HubClient) -> None:
    position = await hub.publish("news:1", {})
    assert position is not None
    result = await ann.subscribe("news:1")
    assert result == {"recoverable": True, "positioned": True, "epoch": position.epoch, "offset": 1}


async def test_refusals_have_their_codes(hub: InProcessHub, ann: HubClient) -> None:
    assert await refused(ann, "nowhere:1") == 103
    assert await refused(ann, "staff:1") == 103
    assert await refused(ann, "own:bob") == 103
    assert await refused(ann, "x" * 256) == 107
    assert await refused(ann, "news:\x00") == 107
    await ann.subscribe("own:ann")
    assert await refused(ann, "own:ann") == 105
    boss = await hub.connect("boss", role="staff")
    assert await boss.subscribe("staff:1") == {}
    nobody = await hub.connect()
    assert await refused(nobody, "members:1") == 103


async def test_more_subscriptions_than_allowed_are_106(ann: HubClient) -> None:
    for number in range(3):
        await ann.subscribe(f"plain:{number}")
    assert await refused(ann, "plain:9") == 106
    await ann.unsubscribe("plain:0")
    await ann.subscribe("plain:9")


async def test_what_was_missed_is_recovered_exactly_once(hub: InProcessHub, ann: HubClient) -> None:
    position = await hub.publish("news:1", 1)
    assert position is not None
    for number in (2, 3):
        await hub.publish("news:1", number)
    result = await ann.subscribe("news:1", recover=True, offset=1, epoch=position.epoch)
    assert result["recovered"] is True
    assert result["was_recovering"] is True
    assert result["offset"] == 1
    assert [(found["data"], found["offset"]) for found in result["publications"]] == [(2, 2), (3, 3)]
    await hub.publish("news:1", 4)
    assert await ann.expect_publication("news:1") == 4


async def test_nothing_missed_is_recovered_with_nothing(hub: InProcessHub, ann: HubClient) -> None:
    position = await hub.publish("news:1", 1)
    assert position is not None
    result = await ann.subscribe("news:1", recover=True, offset=1, epoch=position.epoch)
    assert (result["recovered"], "publications" in result) == (True, False)


@pytest.mark.parametrize(("offset", "epoch"), [(1, "wrong"), (0, "_"), (99, ""), (2**63 - 1, "")])
async def test_a_position_that_history_does_not_reach_is_told(
    hub: InProcessHub, ann: HubClient, offset: int, epoch: str
) -> None:
    await hub.publish("news:1", 1)
    result = await ann.subscribe("news:1", recover=True, offset=offset, epoch=epoch)
    assert "recovered" not in result
    assert result["was_recovering"] is True
    assert result["offset"] == 1


async def test_a_trimmed_history_is_told(hub: InProcessHub, ann: HubClient) -> None:
    position = await hub.publish("news:1", 1)
    assert position is not None
    for number in range(2, 8):
        await hub.publish("news:1", number)
    result = await ann.subscribe("news:1", recover=True, offset=1, epoch=position.epoch)
    assert "recovered" not in result
    assert result["offset"] == 7


async def test_a_client_may_ask_for_an_error_in_place_of_a_gap(hub: InProcessHub, ann: HubClient) -> None:
    await hub.publish("news:1", 1)
    assert await refused(ann, "news:1", recover=True, offset=1, epoch="wrong", flag=2) == 112
    assert "news:1" not in ann.session.subscriptions


async def test_a_cache_topic_gives_its_latest_publication(hub: InProcessHub, ann: HubClient) -> None:
    for number in (1, 2):
        await hub.publish("cache:1", {"v": number})
    result = await ann.subscribe("cache:1", recover=True)
    assert (result["recovered"], [found["data"] for found in result["publications"]]) == (True, [{"v": 2}])


async def test_publications_during_a_recovery_come_once_and_in_order(
    hub: InProcessHub, ann: HubClient
) -> None:
    position = await hub.publish("long:1", 1)
    assert position is not None
    steady = await hub.connect("bob")
    await steady.subscribe("long:1")

    async def publish() -> None:
        for number in range(2, 40):
            await hub.publish("long:1", number)
            await asyncio.sleep(0)

    publishing = asyncio.create_task(publish())
    seen: list[int] = []
    while not publishing.done():
        result = await ann.subscribe(
            "long:1", recover=True, offset=seen[-1] if seen else 1, epoch=position.epoch
        )
        assert result.get("recovered"), result
        seen += [found["offset"] for found in result.get("publications", ())]
        while ann._pushes:
            push = ann._pushes.pop(0)
            if "pub" in push:
                seen.append(push["pub"]["offset"])
        await ann.unsubscribe("long:1")
        while ann._pushes:
            push = ann._pushes.pop(0)
            if "pub" in push:
                seen.append(push["pub"]["offset"])
    assert seen == list(range(2, 2 + len(seen)))
    assert seen[-1] >= 30


async def test_joins_and_leaves_are_told_to_all_and_the_join_to_the_newcomer(
    hub: InProcessHub, ann: HubClient
) -> None:
    await ann.subscribe("news:1")
    assert (await ann.expect_push("news:1", "join"))["info"]["user"] == "ann"
    bob = await hub.connect("bob", info={"name": "Bob"})
    await bob.subscribe("news:1")
    joined = await ann.expect_push("news:1", "join")
    assert joined["info"] == {"user": "bob", "client": bob.connection["client"], "conn_info": {"name": "Bob"}}
    assert set(await ann.presence("news:1")) == {ann.connection["client"], bob.connection["client"]}
    await bob.close()
    assert (await ann.expect_push("news:1", "leave"))["info"]["user"] == "bob"
    assert set(await ann.presence("news:1")) == {ann.connection["client"]}
    assert await ann.command("presence_stats", {"channel": "news:1"}) == {"num_clients": 1, "num_users": 1}


async def test_unsubscribe_ends_presence_and_delivery_and_may_be_repeated(
    hub: InProcessHub, ann: HubClient
) -> None:
    await ann.subscribe("news:1")
    await ann.expect_push("news:1", "join")
    await ann.unsubscribe("news:1")
    await ann.unsubscribe("news:1")
    await hub.publish("news:1", 1)
    await ann.expect_nothing("news:1")
    assert await ann.presence("news:1") == {}


async def test_subscribe_and_unsubscribe_in_one_frame_keep_their_order(
    hub: InProcessHub, ann: HubClient
) -> None:
    lines = []
    for number in range(0, 20, 2):
        lines.append('{"id":%d,"subscribe":{"channel":"news:1"}}' % (100 + number))
        lines.append('{"id":%d,"unsubscribe":{"channel":"news:1"}}' % (101 + number))
    ann.send_text("\n".join(lines))
    for number in range(0, 20, 2):
        await ann.expect_reply(100 + number, "subscribe")
        assert await ann.expect_reply(101 + number, "unsubscribe") == {}
    assert await ann.presence("news:1") == {}


def _grant(hub: InProcessHub, topic: str, user: str = "ann", **claims: object) -> str:
    return hub.token(user, channel=topic, **claims)


async def test_a_subscription_token_decides_alone(hub: InProcessHub, ann: HubClient) -> None:
    await ann.subscribe("staff:1", token=_grant(hub, "staff:1"))
    nobody = await hub.connect()
    assert await refused(nobody, "staff:1", token="garbage") == 103
    assert await refused(nobody, "staff:1", token=_grant(hub, "staff:1", "", exp=1)) == 109


@pytest.mark.parametrize("claims", [{"topic": "staff:2"}, {"user": "bob"}, {"client": "other"}])
async def test_a_subscription_token_for_something_else_ends_the_session(
    hub: InProcessHub, ann: HubClient, claims: dict[str, str]
) -> None:
    token = _grant(
        hub,
        claims.get("topic", "staff:1"),
        claims.get("user", "ann"),
        **({"client": claims["client"]} if "client" in claims else {}),
    )
    ann.send_text('{"id":9,"subscribe":{"channel":"staff:1","token":"%s"}}' % token)
    assert (await ann.expect_close())[0] == 3500


async def test_an_expiring_subscription_is_refreshed_or_taken_away(hub: InProcessHub, ann: HubClient) -> None:
    now = int(hub.clock.time())
    result = await ann.subscribe("staff:1", token=_grant(hub, "staff:1", exp=now + 20))
    assert result["expires"] is True
    assert 18 <= result["ttl"] <= 20
    refreshed = await ann.command(
        "sub_refresh", {"channel": "staff:1", "token": _grant(hub, "staff:1", exp=now + 60)}
    )
    assert 58 <= refreshed["ttl"] <= 60
    for _ in range(16):
        hub.clock.advance(5)
        await ann.expect_nothing("staff:1", within=0.001)
    hub.clock.advance(10)
    assert await ann.expect_push("staff:1", "unsubscribe") == {"code": 2501, "reason": "subscription expired"}


async def test_sub_refresh_without_subscription_is_103(hub: InProcessHub, ann: HubClient) -> None:
    with pytest.raises(ReplyError) as caught:
        await ann.command("sub_refresh", {"channel": "staff:1", "token": "x"})
    assert caught.value.code == 103


async def test_capabilities_of_the_token_open_token_topics(hub: InProcessHub, ann: HubClient) -> None:
    assert await refused(ann, "token:1") == 103
    able = await hub.connect("able", topics={"token:{x}": ["sub"]})
    await able.subscribe("token:1")
    with pytest.raises(ReplyError) as caught:
        await able.publish("token:1", 1)
    assert caught.value.code == 103


async def test_an_order_reaches_the_session(hub: InProcessHub, ann: HubClient) -> None:
    services = hub.blueprint.table.services
    assert services is not None
    await services.subscribe("ann", "staff:1", "")
    await ann.expect_push("staff:1", "subscribe")
    await hub.publish("staff:1", "hello")
    assert await ann.expect_publication("staff:1") == "hello"
    await services.unsubscribe("ann", "staff:1", "")
    assert await ann.expect_push("staff:1", "unsubscribe") == {"code": 2000, "reason": "server unsubscribe"}
    await services.disconnect("ann", "", 4500, "enough")
    assert await ann.expect_close() == (4500, "enough")


async def test_all_who_come_back_at_once_share_one_read_and_lose_nothing(
    hub: InProcessHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    position = await hub.publish("long:2", 1)
    assert position is not None
    for number in range(2, 21):
        await hub.publish("long:2", number)
    reads = 0
    history = hub.hub.bridge.history

    async def counted(topic: str, query: HistoryQuery) -> HistoryPage:
        nonlocal reads
        reads += 1
        await asyncio.sleep(0.02)
        await hub.publish("long:2", 100 + reads)
        return await history(topic, query)

    clients = [await hub.connect(f"user{number}") for number in range(30)]
    await clients[0].subscribe("long:2")
    monkeypatch.setattr(hub.hub.bridge, "history", counted)
    results = await asyncio.gather(
        *(
            client.subscribe("long:2", recover=True, offset=number % 15, epoch=position.epoch)
            for number, client in enumerate(clients[1:])
        )
    )
    assert reads == 1
    for number, (client, result) in enumerate(zip(clients[1:], results, strict=True)):
        assert result["recovered"] is True
        offsets = [found["offset"] for found in result.get("publications", ())]
        while not offsets or offsets[-1] < 21:
            offsets.append((await client.expect_push("long:2", "pub"))["offset"])
        assert offsets == list(range(number % 15 + 1, 22))


async def test_more_bytes_than_may_wait_for_a_client_are_not_recovered_but_told(hub: InProcessHub) -> None:
    position = await hub.publish("long:4", 1)
    assert position is not None
    for _ in range(20):
        await hub.publish("long:4", "x" * 50_000)
    ann = await hub.connect("ann")
    few = await ann.subscribe("long:4", recover=True, offset=15, epoch=position.epoch)
    assert len(few["publications"]) == 6
    await ann.unsubscribe("long:4")
    many = await ann.subscribe("long:4", recover=True, offset=1, epoch=position.epoch)
    assert "recovered" not in many
    assert (many["was_recovering"], many["offset"]) == (True, 21)


async def test_who_missed_more_than_may_be_recovered_costs_no_read(
    hub: InProcessHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann, bob = await hub.connect("ann"), await hub.connect("bob")
    await bob.subscribe("long:3")
    for number in range(60):
        await hub.publish("long:3", number)
        await bob.expect_publication("long:3")
    monkeypatch.setattr(hub.hub.bridge, "history", None)
    result = await ann.subscribe("long:3", recover=True, offset=1, epoch="")
    assert "recovered" not in result
