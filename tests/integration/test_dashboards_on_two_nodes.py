"""A dashboard that is watched on two nodes shows the figures of one of them, until that one stops."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress

import pytest

from hub.leases.base import TERM_SECONDS
from hub.testing import HubClient, InProcessHub, PushTimeoutError

pytestmark = pytest.mark.timeout(60)

SYSTEM = "dashboards:system"
INTERVAL = 2.0


class Site:
    """Two nodes; `leader` measures, `other` does not."""

    def __init__(self, redis_url: str) -> None:
        self._config = {"broker": {"url": redis_url}, "plugins": {"dashboards": {}}}
        self.stacks: dict[str, AsyncExitStack] = {}

    async def begin(self) -> None:
        # A Redis that is new grants no leases for a term, so whoever is first will not be the leader by that alone.
        nodes = [await self._join() for _ in range(2)]
        async with asyncio.timeout(TERM_SECONDS + 4):
            while not (leaders := [node for node in nodes if node.hub.leases._held]):
                await asyncio.sleep(0.05)
        (self.leader,) = leaders
        (self.other,) = [node for node in nodes if node is not self.leader]

    async def _join(self) -> InProcessHub:
        node = InProcessHub(self._config)
        stack = self.stacks[node.hub.node.id] = AsyncExitStack()
        await stack.enter_async_context(node)
        return node

    async def stop(self, node: InProcessHub) -> None:
        await self.stacks.pop(node.hub.node.id).aclose()

    async def end(self) -> None:
        for stack in self.stacks.values():
            await stack.aclose()


@pytest.fixture
async def site(redis_url: str) -> AsyncIterator[Site]:
    found = Site(redis_url)
    await found.begin()
    yield found
    await found.end()


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


async def test_watchers_on_both_nodes_see_one_node_in_its_own_rhythm(site: Site) -> None:
    leader = site.leader.hub.node.id
    ann, first = await watching(site.other)
    assert first == site.other.hub.node.id, "who begins to watch waits for nobody"
    assert (await ann.expect_publication(SYSTEM))["node"] in {first, leader}
    bob, shown = await watching(site.leader)
    while (await ann.expect_publication(SYSTEM))["node"] != leader:
        assert shown != leader
    await seen_for(bob, 0.3)
    by_ann, by_bob = await asyncio.gather(seen_for(ann, 3.4 * INTERVAL), seen_for(bob, 3.4 * INTERVAL))
    assert by_ann == by_bob
    assert by_ann in ([leader] * 3, [leader] * 4)


async def test_figures_stay_those_of_one_node_wherever_the_watchers_are(site: Site) -> None:
    ann, _ = await watching(site.leader)
    bob, shown = await watching(site.other)
    assert shown == site.leader.hub.node.id
    await ann.close()
    assert set(await seen_for(bob, 2.5 * INTERVAL)) == {site.leader.hub.node.id}
    await bob.close()
    services = site.other.blueprint.table.services
    assert services is not None
    before = (await services.history(SYSTEM, 0, None, False)).position.offset
    await asyncio.sleep(1.5 * INTERVAL)
    assert (await services.history(SYSTEM, 0, None, False)).position.offset == before, "nobody watches"


async def test_the_other_node_takes_over_when_the_first_stops(site: Site) -> None:
    bob, _ = await watching(site.other)
    assert (await seen_for(bob, 1.5 * INTERVAL))[-1] == site.leader.hub.node.id
    await site.stop(site.leader)
    seen = await seen_for(bob, 2.5 * INTERVAL)
    assert seen[-1] == site.other.hub.node.id
    assert len(seen) >= 2
