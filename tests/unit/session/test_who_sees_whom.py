"""Who is told who else is there: where a topic has rules for its presence, they hold for joins and leaves too."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from hub.testing import HubClient, InProcessHub

MODERATORS = {"subscribe": "authenticated", "publish": "authenticated", "presence": "role:moderator"}
SHOWN = {"presence": True, "join_leave": True}
TOPICS: dict[str, Any] = {
    "ward:{x}": {"allow": MODERATORS, **SHOWN},
    "kept:{x}": {"allow": MODERATORS, **SHOWN, "history": {"size": 10}, "delta": True, "filter": True},
    "slow:{x}": {"allow": MODERATORS, **SHOWN, "slow": "drop_oldest"},
    "open:{x}": {"allow": {"subscribe": "authenticated"}, **SHOWN},
    "$by-token:{x}": {"allow": {}, **SHOWN},
}


@pytest.fixture
async def hub() -> AsyncIterator[InProcessHub]:
    async with InProcessHub({"topics": TOPICS}) as hub:
        yield hub


async def come_and_go(hub: InProcessHub, topic: str, seen_by: HubClient) -> None:
    """Bob comes and goes, as who may know it is told; then something is published."""
    bob = await hub.connect("bob", info={"name": "Bob"})
    await bob.subscribe(topic)
    await bob.close()
    for kind in ("join", "leave"):
        while (await seen_by.expect_push(topic, kind))["info"]["user"] != "bob":
            pass
    await hub.publish(topic, "done")


async def told_nothing(client: HubClient, topic: str) -> bool:
    """Whether the client has been told of nothing but the publication."""
    await client.expect_publication(topic)
    client.catch_up()
    await client.expect_nothing(topic)
    return True


@pytest.mark.parametrize(
    ("topic", "form"),
    [
        ("ward:1", {}),
        ("slow:1", {}),
        ("kept:1", {}),
        ("kept:1", {"delta": "fossil"}),
        ("kept:1", {"tf": {"key": "x", "cmp": "nex"}}),
    ],
)
async def test_whoever_may_not_see_presence_is_told_of_no_joins_and_leaves(
    hub: InProcessHub, topic: str, form: dict[str, Any]
) -> None:
    ann = await hub.connect("ann")
    mod = await hub.connect("mod", role="moderator")
    for client in (mod, ann):
        await client.subscribe(topic, **form)
    await come_and_go(hub, topic, mod)
    assert await told_nothing(ann, topic)


async def test_without_rules_for_presence_all_subscribers_are_told(hub: InProcessHub) -> None:
    ann = await hub.connect("ann")
    await ann.subscribe("open:1")
    await ann.subscribe("$by-token:1", token=hub.token("ann", channel="$by-token:1"))
    await come_and_go(hub, "open:1", ann)
    assert (await ann.expect_push("$by-token:1", "join"))["info"]["user"] == "ann"


async def test_a_moderator_who_is_none_any_more_is_told_no_more(hub: InProcessHub) -> None:
    other, mod = [await hub.connect(name, role="moderator") for name in ("other", "mod")]
    await other.subscribe("ward:1")
    await mod.subscribe("ward:1")
    while (await mod.expect_push("ward:1", "join"))["info"]["user"] != "mod":
        pass
    await mod.subscribe("open:1")
    await mod.command("refresh", {"token": hub.token("mod", role="moderator")})
    assert set(mod.session.subscriptions) == {"ward:1", "open:1"}
    await mod.command("refresh", {"token": hub.token("mod")})
    assert (await mod.expect_push("ward:1", "unsubscribe"))["code"] == 2500
    await mod.subscribe("ward:1")
    await come_and_go(hub, "ward:1", other)
    assert await told_nothing(mod, "ward:1")
    assert set(mod.session.subscriptions) == {"ward:1", "open:1"}
    await mod.command("refresh", {"token": hub.token("mod")})
    assert set(mod.session.subscriptions) == {"ward:1", "open:1"}
