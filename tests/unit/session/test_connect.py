"""Who connects, with what, and for how long."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from hub.errors import ReplyError
from hub.testing import InProcessHub

TOPICS = {
    "open:{x}": {
        "allow": {"subscribe": "anyone", "publish": "anyone"},
        "history": {"size": 10},
        "presence": True,
    },
    "own:{user}": {"allow": {"subscribe": "user:{user}"}},
}


@pytest.fixture
async def hub() -> AsyncIterator[InProcessHub]:
    async with InProcessHub({"topics": TOPICS}) as hub:
        yield hub


async def test_the_reply_names_client_version_and_beat(hub: InProcessHub) -> None:
    ann = await hub.connect("ann", exp=None)
    assert set(ann.connection) == {"client", "version", "expires", "ttl", "ping", "pong"} - {"expires", "ttl"}
    assert (ann.connection["ping"], ann.connection["pong"]) == (25, True)


async def test_a_token_with_an_end_tells_its_ttl(hub: InProcessHub) -> None:
    ann = await hub.connect("ann", exp=int(hub.clock.time()) + 300)
    assert ann.connection["expires"] is True
    assert 298 <= ann.connection["ttl"] <= 300


@pytest.mark.parametrize("token", ["garbage", "a.b.c", "e30.e30.", "x" * 10_000])
async def test_a_bad_token_ends_the_session_with_3500(hub: InProcessHub, token: str) -> None:
    client = hub.client()
    with pytest.raises(AssertionError, match="3500"):
        await client.connect(token=token)
    assert await client.expect_close() == (3500, "invalid token")


async def test_an_expired_token_is_error_109_and_the_session_unusable(hub: InProcessHub) -> None:
    client = hub.client()
    with pytest.raises(ReplyError) as caught:
        await client.connect(token=hub.token("ann", exp=int(hub.clock.time()) - 100))
    assert caught.value.code == 109
    client.send_text('{"id":9,"subscribe":{"channel":"open:1"}}')
    assert (await client.expect_close())[0] == 3501


async def test_without_a_token_only_where_anonymous_clients_are_allowed() -> None:
    async with InProcessHub({"topics": TOPICS, "auth": {"anonymous": False}}) as hub:
        client = hub.client()
        with pytest.raises(AssertionError):
            await client.connect()
        assert (await client.expect_close())[0] == 3501


@pytest.mark.parametrize(
    "text",
    [
        '{"id":1,"subscribe":{"channel":"open:1"}}',
        '{"id":1}',
        '{"id":1,"nope":{}}',
        '{"connect":{}}',
        "",
        "[]",
        '{"id":1,"ping":{}}',
    ],
)
async def test_anything_but_connect_first_is_3501(hub: InProcessHub, text: str) -> None:
    client = hub.client()
    client.send_text(text)
    assert (await client.expect_close())[0] == 3501


async def test_a_second_connect_is_3501(hub: InProcessHub) -> None:
    ann = await hub.connect("ann")
    ann.send_text('{"id":7,"connect":{}}')
    assert (await ann.expect_close())[0] == 3501


async def test_connect_and_what_follows_may_come_in_one_frame(hub: InProcessHub) -> None:
    client = hub.client()
    client.send_text(
        '{"id":1,"connect":{}}\n{"id":2,"subscribe":{"channel":"open:1"}}\n{"id":3,"presence":{"channel":"open:1"}}\n'
    )
    await client.expect_reply(1, "connect")
    await client.expect_reply(2, "subscribe")
    assert len((await client.expect_reply(3, "presence"))["presence"]) == 1


async def test_who_never_connects_is_stale(hub: InProcessHub) -> None:
    client = hub.client()
    hub.clock.advance(9)
    assert client.closed is None
    hub.clock.advance(2)
    assert await client.expect_close() == (3502, "stale")


async def test_pings_come_and_who_does_not_answer_is_gone(hub: InProcessHub) -> None:
    ann, mute = await hub.connect("ann"), await hub.connect("bob")
    mute.pong = False
    for _ in range(12):
        hub.clock.advance(5)
        await ann.expect_nothing("-", within=0.001)
    assert ann.closed is None
    assert await mute.expect_close() == (3012, "no pong")


async def test_a_pong_that_nobody_asked_for_is_3501(hub: InProcessHub) -> None:
    ann = await hub.connect("ann")
    ann.send_text("{}")
    assert (await ann.expect_close())[0] == 3501


async def test_a_session_ends_when_its_token_is_not_refreshed(hub: InProcessHub) -> None:
    ann = await hub.connect("ann", exp=int(hub.clock.time()) + 20)
    for _ in range(8):
        hub.clock.advance(5)
        await ann.expect_nothing("-", within=0.001)
    assert ann.closed is None
    hub.clock.advance(6)
    assert await ann.expect_close() == (3005, "connection expired")


async def test_a_fresh_token_keeps_a_session(hub: InProcessHub) -> None:
    ann = await hub.connect("ann", exp=int(hub.clock.time()) + 20)
    hub.clock.advance(15)
    result = await ann.command("refresh", {"token": hub.token("ann", exp=int(hub.clock.time()) + 100)})
    assert result["expires"] is True
    assert 98 <= result["ttl"] <= 100
    assert result["client"] == ann.connection["client"]
    for _ in range(10):
        hub.clock.advance(5)
        await ann.expect_nothing("-", within=0.001)
    assert ann.closed is None


@pytest.mark.parametrize(("user", "token"), [("bob", None), ("ann", "garbage"), ("ann", "")])
async def test_a_refresh_with_a_bad_or_foreign_token_ends_the_session(
    hub: InProcessHub, user: str, token: str | None
) -> None:
    ann = await hub.connect("ann")
    ann.send_text('{"id":5,"refresh":{"token":"%s"}}' % (hub.token(user) if token is None else token))
    assert (await ann.expect_close())[0] in (3500, 3501)


async def test_server_side_subscriptions_come_with_the_token(hub: InProcessHub) -> None:
    ann = await hub.connect("ann", channels=["open:1", "own:ann"])
    assert set(ann.connection["subs"]) == {"open:1", "own:ann"}
    assert ann.connection["subs"]["open:1"]["recoverable"] is True
    await hub.publish("open:1", 1)
    assert await ann.expect_publication("open:1") == 1


async def test_a_server_side_subscription_that_fails_fails_the_connect(hub: InProcessHub) -> None:
    client = hub.client()
    with pytest.raises(ReplyError) as caught:
        await client.connect(token=hub.token("ann", channels=["open:1", "nowhere"]))
    assert caught.value.code == 102
    await hub.publish("open:1", 1)
    await client.expect_nothing("open:1")
    watcher = await hub.connect("bob")
    assert await watcher.presence("open:1") == {}
    assert len(hub.hub.node.sessions) == 1


async def test_a_client_gets_back_what_it_held_and_may_have(hub: InProcessHub) -> None:
    position = await hub.publish("open:1", "seen")
    assert position is not None
    await hub.publish("open:1", "missed")
    client = hub.client()
    connected = await client.connect(
        token=hub.token("ann"),
        subs={
            "open:1": {"recover": True, "epoch": position.epoch, "offset": 1},
            "own:bob": {},
            "nowhere": {},
        },
    )
    assert set(connected["subs"]) == {"open:1"}
    sub = connected["subs"]["open:1"]
    assert (sub["recovered"], [publication["data"] for publication in sub["publications"]]) == (
        True,
        ["missed"],
    )


async def test_ten_connects_cut_at_once_leave_nothing_behind(hub: InProcessHub) -> None:
    for _ in range(10):
        client = hub.client()
        client.send_text('{"id":1,"connect":{}}\n{"id":2,"subscribe":{"channel":"open:1"}}')
        await client.close()
    watcher = await hub.connect("ann")
    assert await watcher.presence("open:1") == {}
    assert len(hub.hub.node.sessions) == 1
    assert hub.hub.router.subscribers("open:1") == 0


async def test_unknown_fields_are_ignored_and_ids_may_repeat(hub: InProcessHub) -> None:
    ann = await hub.connect("ann")
    ann.send_text('{"id":50,"presence_stats":{"channel":"open:1","new":1},"later":true}')
    await ann.expect_reply(50, "presence_stats")
    ann.send_text('{"id":50,"presence_stats":{"channel":"open:1"}}')
    result: dict[str, Any] = await ann.expect_reply(50, "presence_stats")
    assert result == {"num_clients": 0, "num_users": 0}
