"""Publish, presence, history, rpc, send: what they answer, and what they refuse."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hub.errors import ReplyError
from hub.testing import HubClient, InProcessHub

MANIFEST = """
name: asker
api: 1
rpc: {double: "handlers:double", moody: "handlers:moody", broken: "handlers:broken", slow: "handlers:slow"}
handlers: {message: "handlers:heard", connect: "handlers:greet"}
topics:
  "loud:{x}":
    allow: {subscribe: anyone, publish: anyone}
    handlers: {publish: "handlers:louder", subscribe: "handlers:welcome"}
"""
HANDLERS = """
from hub.plugin import Accept, Context, Disconnect, Publication, ReplyError

async def double(ctx: Context, data):
    return {"doubled": data * 2, "user": ctx.user, "method": ctx.method}

async def moody(ctx: Context, data):
    if data == "leave":
        raise Disconnect(4500, "go away")
    raise ReplyError(1000, "not today", temporary=True)

async def broken(ctx: Context, data):
    return 1 / 0

async def slow(ctx: Context, data):
    import asyncio
    await asyncio.sleep(60)

async def heard(ctx: Context, data):
    await ctx.publish("heard:all", {"from": ctx.user, "data": data})

async def greet(ctx: Context):
    if ctx.user == "banned":
        raise Disconnect(4501, "banned")
    if ctx.user == "guest":
        return Accept(data={"hello": ctx.user}, topics=("loud:guest",))

async def louder(ctx: Context, pub: Publication):
    if pub.data == "swear":
        raise ReplyError(400, "no swearing")
    return pub.replace(data=str(pub.data).upper())

async def welcome(ctx: Context):
    return Accept(data={"room": ctx.params["x"]}, info={"seat": 1})
"""
ANYONE = {"subscribe": "anyone", "publish": "anyone"}


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[InProcessHub]:
    folder = tmp_path / "asker"
    folder.mkdir()
    (folder / "plugin.yaml").write_text(MANIFEST)
    (folder / "handlers.py").write_text(HANDLERS)
    config = {
        "plugins": {"asker": {"use": str(folder)}},
        "client": {"history_page": 3},
        "topics": {
            "news:{x}": {"allow": ANYONE, "history": {"size": 10}},
            "read:{x}": {"allow": {"subscribe": "anyone"}, "max_bytes": 20},
            "hidden:{x}": {
                "allow": {**ANYONE, "history": "nobody", "presence": "nobody"},
                "history": {"size": 10},
                "presence": True,
            },
            "heard:{x}": {"allow": ANYONE},
            "prices:{x}": {"allow": ANYONE, "slow": "conflate:share"},
            "typed:{x}": {
                "allow": ANYONE,
                "schema": {
                    "type": "object",
                    "required": ["text"],
                    "properties": {"text": {"type": "string"}},
                },
            },
        },
    }
    async with InProcessHub(config) as hub:
        yield hub


@pytest.fixture
async def ann(hub: InProcessHub) -> HubClient:
    return await hub.connect("ann")


async def refused(client: HubClient, method: str, request: dict[str, object]) -> ReplyError:
    with pytest.raises(ReplyError) as caught:
        await client.command(method, request)
    return caught.value


async def test_a_publication_reaches_everybody_with_its_publishers_info(
    hub: InProcessHub, ann: HubClient
) -> None:
    bob = await hub.connect("bob")
    await bob.subscribe("news:1")
    await ann.publish("news:1", {"x": 1})
    push = await bob.expect_push("news:1", "pub")
    assert push["data"] == {"x": 1}
    assert push["info"] == {"user": "ann", "client": ann.connection["client"]}
    assert push["offset"] == 1


async def test_null_is_a_payload_and_none_is_not(hub: InProcessHub, ann: HubClient) -> None:
    await ann.subscribe("news:1")
    await ann.publish("news:1", None)
    assert await ann.expect_publication("news:1") is None
    assert (await refused(ann, "publish", {"channel": "news:1"})).code == 107


async def test_publishing_needs_permission_a_topic_and_a_size(ann: HubClient) -> None:
    assert (await refused(ann, "publish", {"channel": "read:1", "data": 1})).code == 103
    assert (await refused(ann, "publish", {"channel": "nowhere", "data": 1})).code == 103
    assert (await refused(ann, "publish", {"channel": "", "data": 1})).code == 107


async def test_a_payload_must_fit_the_schema_and_is_told_where_not(ann: HubClient) -> None:
    await ann.publish("typed:1", {"text": "fine"})
    error = await refused(ann, "publish", {"channel": "typed:1", "data": {"text": 5}})
    assert error.code == 107
    assert "data/text" in error.message
    assert "required" in (await refused(ann, "publish", {"channel": "typed:1", "data": {}})).message


async def test_a_publish_handler_changes_or_refuses(hub: InProcessHub, ann: HubClient) -> None:
    await ann.subscribe("loud:1")
    await ann.publish("loud:1", "hello")
    assert await ann.expect_publication("loud:1") == "HELLO"
    error = await refused(ann, "publish", {"channel": "loud:1", "data": "swear"})
    assert (error.code, error.message) == (400, "no swearing")


async def test_a_subscribe_handler_adds_data_and_info(ann: HubClient) -> None:
    assert (await ann.subscribe("loud:5"))["data"] == {"room": "5"}


async def test_a_connect_handler_refuses_or_subscribes(hub: InProcessHub) -> None:
    guest = await hub.connect("guest")
    assert guest.connection["data"] == {"hello": "guest"}
    assert list(guest.connection["subs"]) == ["loud:guest"]
    banned = hub.client()
    with pytest.raises(AssertionError):
        await banned.connect(token=hub.token("banned"))
    assert await banned.expect_close() == (4501, "banned")


async def test_rpc_answers_refuses_and_contains_faults(hub: InProcessHub, ann: HubClient) -> None:
    assert await ann.rpc("double", 21) == {"doubled": 42, "user": "ann", "method": "double"}
    assert (await refused(ann, "rpc", {"method": "nope"})).code == 108
    moody = await refused(ann, "rpc", {"method": "moody", "data": "x"})
    assert (moody.code, moody.message, moody.temporary) == (1000, "not today", True)
    assert (await refused(ann, "rpc", {"method": "broken"})).code == 100
    assert await ann.rpc("double", 1) == {"doubled": 2, "user": "ann", "method": "double"}
    ann.send_text('{"id":77,"rpc":{"method":"moody","data":"leave"}}')
    assert await ann.expect_close() == (4500, "go away")


async def test_a_message_reaches_its_handler_and_has_no_reply(hub: InProcessHub, ann: HubClient) -> None:
    await ann.subscribe("heard:all")
    ann.send_text('{"send":{"data":{"n":1}}}')
    assert await ann.expect_publication("heard:all") == {"from": "ann", "data": {"n": 1}}


async def test_a_message_without_a_handler_ends_the_session() -> None:
    async with InProcessHub() as hub:
        ann = await hub.connect("ann")
        ann.send_text('{"send":{"data":1}}')
        assert await ann.expect_close() == (3508, "not available")


@pytest.mark.parametrize(
    ("request_", "offsets"),
    [
        ({}, []),
        ({"limit": 2}, [1, 2]),
        ({"limit": 2, "since": {"offset": 2}}, [3, 4]),
        ({"limit": 2, "reverse": True}, [4, 3]),
        ({"limit": 2, "since": {"offset": 3}, "reverse": True}, [2, 1]),
        ({"limit": -1}, [1, 2, 3]),
        ({"limit": 10, "since": {"offset": 9}}, []),
        ({"limit": 10, "since": {"offset": 2**63 - 1}}, []),
        ({"limit": -5}, [1, 2, 3]),
    ],
)
async def test_history_pages_as_the_protocol_says(
    hub: InProcessHub, ann: HubClient, request_: dict[str, object], offsets: list[int]
) -> None:
    for number in range(1, 5):
        await hub.publish("news:1", number)
    result = await ann.command("history", {"channel": "news:1", **request_})
    assert [found["offset"] for found in result["publications"]] == offsets
    assert result["offset"] == 4
    assert result["epoch"]


async def test_history_and_presence_are_108_where_off_and_103_where_forbidden(ann: HubClient) -> None:
    for method in ("history", "presence", "presence_stats"):
        assert (await refused(ann, method, {"channel": "read:1"})).code == 108
        assert (await refused(ann, method, {"channel": "hidden:1"})).code == 103
        assert (await refused(ann, method, {"channel": "nowhere"})).code == 103


async def test_history_from_another_epoch_is_112(hub: InProcessHub, ann: HubClient) -> None:
    await hub.publish("news:1", 1)
    error = await refused(
        ann, "history", {"channel": "news:1", "limit": 1, "since": {"offset": 1, "epoch": "no"}}
    )
    assert error.code == 112


async def test_a_slow_reader_of_a_conflated_topic_gets_the_latest(hub: InProcessHub, ann: HubClient) -> None:
    await ann.subscribe("prices:1")
    ann.unread = 500_000
    for price in (1, 2, 3):
        await hub.publish("prices:1", {"share": "x", "price": price})
    await ann.expect_nothing("prices:1")
    ann.catch_up()
    assert await ann.expect_publication("prices:1") == {"share": "x", "price": 3}
    await ann.expect_nothing("prices:1")


async def test_a_slow_reader_is_ended_and_nobody_else_is(hub: InProcessHub, ann: HubClient) -> None:
    bob = await hub.connect("bob")
    await ann.subscribe("news:1")
    await bob.subscribe("news:1")
    bob.unread = 2_000_000
    await hub.publish("news:1", 1)
    assert await ann.expect_publication("news:1") == 1
    assert await bob.expect_close() == (3008, "slow")
    await hub.publish("news:1", 2)
    assert await ann.expect_publication("news:1") == 2
