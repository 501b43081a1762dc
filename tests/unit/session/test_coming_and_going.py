"""Which ends of a subscription are told at once, and which are held back in case the user comes back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from hub.credentials import Credentials
from hub.plugin import Context
from hub.protocol.wires import PLAIN_TEXT
from hub.session.plain import PlainSession
from hub.testing import HubClient, InProcessHub

released = asyncio.Event()


async def dawdle(ctx: Context[Any]) -> None:
    """An unsubscribe handler that takes its time."""
    await released.wait()


CALM = {"allow": {"subscribe": "anyone"}, "presence": True, "join_leave": True, "leave_grace": "5s"}
CONFIG = {
    "topics": {
        "calm:{x}": CALM,
        "busy:{x}": {
            **CALM,
            "leave_grace": "0s",
            "handlers": {"unsubscribe": "tests.unit.session.test_coming_and_going:dawdle"},
        },
    }
}


@pytest.fixture
async def hub() -> AsyncIterator[InProcessHub]:
    released.clear()
    async with InProcessHub(CONFIG) as hub:
        yield hub
        released.set()


async def entered(hub: InProcessHub, user: str, *topics: str) -> HubClient:
    client = await hub.connect(user)
    for topic in topics:
        await client.subscribe(topic)
    return client


@pytest.fixture
async def watcher(hub: InProcessHub) -> HubClient:
    client = await entered(hub, "watcher", "calm:1", "busy:1", "busy:2")
    for topic in ("calm:1", "busy:1", "busy:2"):
        await client.expect_push(topic, "join")
    return client


async def test_presence_forgets_at_once_whose_leave_is_held_back(
    hub: InProcessHub, watcher: HubClient
) -> None:
    ann = await entered(hub, "ann", "calm:1")
    await watcher.expect_push("calm:1", "join")
    await ann.close()
    assert {info["user"] for info in (await watcher.presence("calm:1")).values()} == {"watcher"}
    await watcher.expect_nothing("calm:1")
    hub.clock.advance(5.5)
    assert (await watcher.expect_push("calm:1", "leave"))["info"]["client"] == ann.connection["client"]
    await watcher.expect_nothing("calm:1")


@pytest.mark.parametrize("code", [3001, 3004, 3008, 3012, 4008, 4499])
async def test_who_is_sent_away_but_may_return_is_waited_for(
    hub: InProcessHub, watcher: HubClient, code: int
) -> None:
    ann = await entered(hub, "ann", "calm:1")
    await watcher.expect_push("calm:1", "join")
    ann.session.end(code, "")
    again = await entered(hub, "ann", "calm:1")
    hub.clock.advance(5.5)
    await watcher.expect_nothing("calm:1")
    await again.unsubscribe("calm:1")
    gone = [(await watcher.expect_push("calm:1", "leave"))["info"]["client"] for _ in range(2)]
    assert gone == [ann.connection["client"], again.connection["client"]]


@pytest.mark.parametrize("code", [3500, 3503, 3999, 4001, 4003, 4500])
async def test_who_is_sent_away_for_good_has_left(hub: InProcessHub, watcher: HubClient, code: int) -> None:
    ann = await entered(hub, "ann", "calm:1")
    await watcher.expect_push("calm:1", "join")
    ann.session.end(code, "")
    assert (await watcher.expect_push("calm:1", "leave"))["info"]["user"] == "ann"


async def test_who_is_unsubscribed_has_left_unless_told_to_come_back(
    hub: InProcessHub, watcher: HubClient
) -> None:
    ann = await entered(hub, "ann", "calm:1")
    await watcher.expect_push("calm:1", "join")
    ann.session.insufficient("calm:1")
    await ann.expect_push("calm:1", "unsubscribe")
    await ann.subscribe("calm:1")
    hub.clock.advance(5.5)
    await watcher.expect_nothing("calm:1")
    assert len(await watcher.presence("calm:1")) == 2
    ann.session.order_unsubscribe("calm:1", 2000, "server unsubscribe")
    assert (await watcher.expect_push("calm:1", "leave"))["info"]["user"] == "ann"
    await watcher.expect_nothing("calm:1")


async def test_who_unsubscribes_and_subscribes_at_once_has_left_and_come_in_this_order(
    hub: InProcessHub, watcher: HubClient
) -> None:
    ann = await entered(hub, "ann", "calm:1")
    await watcher.expect_push("calm:1", "join")
    ann.send_text('{"id":7,"unsubscribe":{"channel":"calm:1"}}\n{"id":8,"subscribe":{"channel":"calm:1"}}')
    await ann.expect_reply(8, "subscribe")
    assert (await watcher.expect_push("calm:1", "leave"))["info"]["user"] == "ann"
    assert (await watcher.expect_push("calm:1", "join"))["info"]["user"] == "ann"
    assert (await ann.expect_push("calm:1", "join"))["info"]["user"] == "ann"
    assert len(await watcher.presence("calm:1")) == 2


async def test_no_slow_handler_keeps_those_present_who_are_gone(
    hub: InProcessHub, watcher: HubClient
) -> None:
    ann = await entered(hub, "ann", "busy:1", "busy:2")
    for topic in ("busy:1", "busy:2"):
        await watcher.expect_push(topic, "join")
    await ann.close()
    for topic in ("busy:1", "busy:2"):
        assert (await watcher.expect_push(topic, "leave"))["info"]["user"] == "ann"
        assert len(await watcher.presence(topic)) == 1


async def plain_socket(hub: InProcessHub, user: str) -> PlainSession:
    wire = HubClient(hub.hub.node).session.outbox.transport
    plain = PlainSession(hub.hub.node, wire, PLAIN_TEXT, "test")
    plain.joined(await plain.open_topic("calm:1", Credentials(hub.token(user))))
    return plain


async def test_a_plain_socket_is_waited_for_unless_its_topic_is_taken_away(
    hub: InProcessHub, watcher: HubClient
) -> None:
    bob = await plain_socket(hub, "bob")
    await watcher.expect_push("calm:1", "join")
    bob.lost()
    again = await plain_socket(hub, "bob")
    hub.clock.advance(5.5)
    await watcher.expect_nothing("calm:1")
    again.order_unsubscribe("calm:1", 2000, "server unsubscribe")
    gone = [(await watcher.expect_push("calm:1", "leave"))["info"]["client"] for _ in range(2)]
    assert gone == [bob.client, again.client]
