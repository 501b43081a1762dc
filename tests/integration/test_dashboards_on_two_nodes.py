"""A dashboard that is watched on two nodes shows the figures of one of them, until that one falls silent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress

import pytest

from hub.testing import HubClient, InProcessHub, PushTimeoutError

SYSTEM = "dashboards:system"
INTERVAL = 2.0
SILENCE = 5.0
"""The `ttl` of the topic's history: how long a node is waited for."""


@pytest.fixture
async def nodes(redis_url: str) -> AsyncIterator[tuple[InProcessHub, InProcessHub]]:
    config = {"broker": {"url": redis_url}, "plugins": {"dashboards": {}}}
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(InProcessHub(config))
        # Out of step, as nodes are; in step, two nodes that begin at once would both publish their first snapshot.
        await asyncio.sleep(INTERVAL / 4)
        second = await stack.enter_async_context(InProcessHub(config))
        yield first, second


async def watching(hub: InProcessHub) -> tuple[HubClient, str]:
    """A watcher, and the node whose figures it saw first."""
    client = await hub.connect("ann")
    return client, (await client.subscribe(SYSTEM))["data"]["node"]


async def seen_for(client: HubClient, seconds: float) -> list[str]:
    """The nodes behind the snapshots that come for some time."""
    seen: list[str] = []
    try:
        async with asyncio.timeout(seconds):
            while True:
                with suppress(PushTimeoutError):
                    seen.append((await client.expect_publication(SYSTEM))["node"])
    except TimeoutError:
        return seen


async def test_watchers_on_both_nodes_see_one_node_in_its_own_rhythm(
    nodes: tuple[InProcessHub, InProcessHub],
) -> None:
    first, second = nodes
    ann, leader = await watching(first)
    assert leader == first.hub.node.id
    bob, shown = await watching(second)
    assert shown == leader
    by_ann, by_bob = await asyncio.gather(seen_for(ann, 3.4 * INTERVAL), seen_for(bob, 3.4 * INTERVAL))
    assert by_ann == by_bob
    assert by_ann in ([leader] * 3, [leader] * 4)


async def test_the_other_node_takes_over_when_the_first_falls_silent(
    nodes: tuple[InProcessHub, InProcessHub],
) -> None:
    first, second = nodes
    ann, leader = await watching(first)
    bob, _ = await watching(second)
    await bob.expect_publication(SYSTEM)
    await ann.close()
    seen = await seen_for(bob, SILENCE + 2 * INTERVAL)
    node = second.hub.node.id
    assert seen[-1] == node
    assert set(seen) <= {leader, node}
    # Whoever comes back follows the node that leads now.
    back, shown = await watching(first)
    assert shown == node
    assert set(await seen_for(back, 2.5 * INTERVAL)) == {node}
