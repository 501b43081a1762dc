from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pytest

from hub.handlers import Handler, HandlerTable, Schedule
from hub.leases.keeper import POLL_SECONDS, Leases
from hub.leases.memory import MemoryLeases, Shelf
from hub.schedules import LOOK_SECONDS, Scheduler
from hub.tasks import Tasks
from hub.topics import PatternTable
from tests.services.jumping import now

TERM = 0.6
SOON = POLL_SECONDS[1] + LOOK_SECONDS + 0.3
Run = Callable[[], Awaitable[None]]


@dataclass
class Node:
    """A node with one schedule; `watched` is how many subscribers the topic has there."""

    name: str
    shelf: Shelf
    ran: list[tuple[str, float]]
    run: Run | None = None
    every: float = 0.1
    topic: str | None = None
    once: bool = True
    watched: int = 0
    tasks: Tasks = field(default_factory=Tasks)

    async def start(self) -> None:
        async def handler(ctx: Any) -> None:
            self.ran.append((self.name, now()))
            if self.run is not None:
                await self.run()

        named = Handler("plugin:it", "it", handler, None, logging.getLogger("test"))
        schedule = Schedule("it:tick", self.every, named, self.topic, self.once)
        self.store = MemoryLeases(self.name, TERM, now, self.shelf)
        self.leases = Leases(self.store, clock=now)
        await self.leases.start()
        table = HandlerTable(PatternTable([]), schedules=(schedule,))
        self.scheduler = Scheduler(table, self.tasks, lambda _: self.watched, self.leases)
        self.scheduler.start()

    async def die(self) -> None:
        """Ends as a process does that is killed: nothing is released."""
        await self.leases.stop()
        await self.scheduler.stop()

    async def stop(self) -> None:
        await self.leases.leave()
        await self.scheduler.stop()
        await self.leases.stop()


@dataclass
class Site:
    shelf: Shelf = field(default_factory=Shelf)
    ran: list[tuple[str, float]] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)

    async def node(self, name: str, **options: Any) -> Node:
        node = Node(name, self.shelf, self.ran, **options)
        await node.start()
        self.nodes.append(node)
        return node

    async def until(self, name: str, within: float = SOON) -> None:
        """Waits until a node runs it, from now on."""
        seen = len(self.ran)
        async with asyncio.timeout(within):
            while name not in {each for each, _ in self.ran[seen:]}:
                await asyncio.sleep(0.01)

    async def runners(self, seconds: float) -> set[str]:
        """Those that run it in the time to come."""
        seen = len(self.ran)
        await asyncio.sleep(seconds)
        return {name for name, _ in self.ran[seen:]}


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    found = Site()
    yield found
    for node in found.nodes:
        await node.stop()


async def test_schedule_runs_on_every_node_unless_it_is_once(site: Site) -> None:
    await site.node("one", once=False)
    await site.node("two", once=False)
    assert await site.runners(0.5) == {"one", "two"}


async def test_once_runs_on_one_node_in_its_rhythm(site: Site) -> None:
    await site.node("one")
    await site.until("one")
    await site.node("two")
    assert await site.runners(2 * TERM) == {"one"}
    times = [at for _, at in site.ran]
    assert all(0.05 < later - earlier < 0.3 for earlier, later in pairwise(times))


async def test_another_node_takes_over_within_a_term_when_the_holder_dies(site: Site) -> None:
    one = await site.node("one")
    await site.until("one")
    await site.node("two")
    await one.die()
    died = now()
    await site.until("two", TERM + 2)
    assert max(at for name, at in site.ran if name == "one") <= died
    assert await site.runners(0.5) == {"two"}


async def test_node_that_leaves_hands_over_at_once(site: Site) -> None:
    one = await site.node("one")
    await site.until("one")
    await site.node("two")
    await one.leases.leave()
    assert await site.runners(0.3) <= {"two"}
    await site.until("two", POLL_SECONDS[1] + 0.3)


async def test_run_under_way_is_cancelled_when_the_lease_is_lost(site: Site) -> None:
    cancelled = asyncio.Event()

    async def long() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    one = await site.node("one", run=long)
    await site.until("one")
    site.shelf.held.clear()
    await asyncio.wait_for(cancelled.wait(), TERM)
    await site.until("one")
    assert one.scheduler._running[0].done() is False


async def test_once_with_a_topic_runs_where_the_subscribers_are(site: Site) -> None:
    one = await site.node("one", topic="news", watched=1)
    two = await site.node("two", topic="news")
    await site.until("one")
    assert await site.runners(TERM) == {"one"}
    one.watched, two.watched = 0, 1
    await site.until("two")
    assert await site.runners(TERM) == {"two"}
    one.watched = 1
    assert await site.runners(2 * TERM) == {"two"}
    one.watched = two.watched = 0
    await asyncio.sleep(0.2)
    assert await site.runners(TERM) == set()
    assert not any(name.startswith("schedule") for name in site.shelf.held)


async def test_slow_schedule_follows_the_subscribers_before_its_next_run(site: Site) -> None:
    one = await site.node("one", topic="news", watched=1, every=1.9)
    two = await site.node("two", topic="news", every=1.9)
    await site.until("one")
    one.watched, two.watched = 0, 1
    await site.until("two")


async def test_all_nodes_keep_one_rhythm_whoever_runs_it(site: Site) -> None:
    one = await site.node("one", every=3.0)
    await site.until("one")
    await site.node("two", every=3.0)
    await one.stop()
    await site.until("two", 5)
    (_, first), (_, second) = site.ran
    assert second - first == pytest.approx(3.5, abs=0.6)


async def test_run_that_was_cut_short_is_done_again_by_the_next_holder(site: Site) -> None:
    async def long() -> None:
        await asyncio.sleep(4)

    one = await site.node("one", every=60.0, run=long)
    await site.until("one")
    await site.node("two", every=60.0)
    await one.stop()
    await site.until("two", POLL_SECONDS[1] + 2 * LOOK_SECONDS + 0.3)


async def test_run_that_fails_is_no_end_of_its_schedule(site: Site) -> None:
    async def fail() -> None:
        raise ValueError("no")

    await site.node("one", run=fail)
    await site.until("one")
    await site.until("one")
