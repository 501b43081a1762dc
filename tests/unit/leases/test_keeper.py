from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress

import pytest

from hub.errors import BrokerError, LeaseLost
from hub.leases.base import Grant
from hub.leases.held import Lease
from hub.leases.keeper import MARGIN, POLL_SECONDS, Leases
from hub.leases.memory import MemoryLeases, Shelf
from tests.services.jumping import now

TERM = 0.6
SOON = POLL_SECONDS[1] + 0.3


class Store(MemoryLeases):
    """A store in memory that can be away, and counts what it is asked."""

    def __init__(self, owner: str, shelf: Shelf) -> None:
        super().__init__(owner, TERM, now, shelf)
        self.away = False
        self.calls: list[str] = []

    async def acquire(self, names: Sequence[str], seconds: float | None = None) -> list[Grant]:
        self._say("acquire")
        return await super().acquire(names, seconds)

    async def renew(self, grants: Sequence[Grant]) -> list[Grant]:
        self._say("renew")
        return await super().renew(grants)

    async def release(self, grants: Sequence[Grant]) -> None:
        self._say("release")
        await super().release(grants)

    def _say(self, call: str) -> None:
        self.calls.append(call)
        if self.away:
            raise BrokerError("away")


class Node:
    def __init__(self, owner: str, shelf: Shelf) -> None:
        self.ahead = 0.0
        self.store = Store(owner, shelf)
        self.leases = Leases(self.store, clock=lambda: now() + self.ahead)


@pytest.fixture
async def nodes() -> AsyncIterator[tuple[Node, Node]]:
    shelf = Shelf()
    one, two = Node("one", shelf), Node("two", shelf)
    for node in (one, two):
        await node.leases.start()
    yield one, two
    for node in (one, two):
        await node.leases.stop()


async def hold(node: Node, name: str, *, began: asyncio.Event | None = None) -> str:
    """Holds until something ends it; what that was."""
    try:
        async with node.leases.hold(name):
            if began is not None:
                began.set()
            await asyncio.Event().wait()
    except LeaseLost as error:
        return str(error)
    return "never"


async def holding(node: Node, name: str) -> asyncio.Task[str]:
    began = asyncio.Event()
    task = asyncio.create_task(hold(node, name, began=began))
    await asyncio.wait_for(began.wait(), SOON)
    return task


async def end(task: asyncio.Task[str]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def test_body_of_a_lease_is_entered_by_one_task_at_a_time(nodes: tuple[Node, Node]) -> None:
    inside, most, numbers = 0, 0, []

    async def work(node: Node) -> None:
        nonlocal inside, most
        async with node.leases.hold("work") as lease:
            inside += 1
            most = max(most, inside)
            numbers.append(lease.number)
            await asyncio.sleep(0.01)
            assert lease.held
            inside -= 1

    await asyncio.gather(*(work(node) for node in nodes * 4))
    assert most == 1
    assert numbers == sorted(set(numbers))


async def test_lease_is_kept_as_long_as_the_body_runs(nodes: tuple[Node, Node]) -> None:
    one, two = nodes
    task = await holding(one, "work")
    other = asyncio.create_task(hold(two, "work"))
    await asyncio.sleep(3 * TERM)
    assert not task.done()
    async with two.leases.try_hold("work") as lease:
        assert lease is None
    await end(task)
    await end(other)


async def test_all_leases_are_renewed_together_and_idle_nodes_ask_nothing(nodes: tuple[Node, Node]) -> None:
    one, two = nodes
    tasks = [await holding(one, f"work-{number}") for number in range(30)]
    one.store.calls.clear()
    await asyncio.sleep(2 * TERM)
    assert set(one.store.calls) == {"renew"}
    assert len(one.store.calls) <= 8
    assert two.store.calls == []
    for task in tasks:
        await end(task)


async def test_those_who_wait_ask_together(nodes: tuple[Node, Node]) -> None:
    one, two = nodes
    held = [await holding(one, f"work-{number}") for number in range(10)]
    waiting = [asyncio.create_task(hold(two, f"work-{number}")) for number in range(10)]
    await asyncio.sleep(0.1)
    assert two.store.calls == ["acquire"]
    for task in (*held, *waiting):
        await end(task)


async def test_given_back_lease_is_had_by_another_node_soon(nodes: tuple[Node, Node]) -> None:
    one, two = nodes
    task = await holding(one, "work")
    waiting = asyncio.create_task(holding(two, "work"))
    await asyncio.sleep(0)
    await end(task)
    await end(await asyncio.wait_for(waiting, SOON))


async def test_work_ends_before_its_lease_does_when_the_store_is_away(nodes: tuple[Node, Node]) -> None:
    one, two = nodes
    began = now()
    task = await holding(one, "work")
    one.store.away = True
    assert "its term ended before the store renewed it" in await asyncio.wait_for(task, TERM)
    assert now() - began < TERM
    await end(await asyncio.wait_for(holding(two, "work"), SOON + TERM))


async def test_work_goes_on_when_the_store_is_away_for_less_than_a_term(nodes: tuple[Node, Node]) -> None:
    one, _ = nodes
    task = await holding(one, "work")
    for _ in range(3):
        one.store.away = True
        await asyncio.sleep(TERM * 0.4)
        one.store.away = False
        await asyncio.sleep(TERM * 0.5)
    assert not task.done()
    await end(task)


async def test_work_is_cancelled_when_the_store_has_forgotten_its_lease(nodes: tuple[Node, Node]) -> None:
    one, _ = nodes
    task = await holding(one, "work")
    one.store._shelf.held.clear()
    assert "no longer knows it" in await asyncio.wait_for(task, TERM)


async def test_paused_holder_knows_that_it_holds_nothing_before_anybody_tells_it(
    nodes: tuple[Node, Node],
) -> None:
    one, _ = nodes
    seen = []

    async def work() -> None:
        async with one.leases.hold("work") as lease:
            seen.append(lease.held)
            one.ahead += TERM * (1 - MARGIN)  # as if the process had been stopped right here
            seen.append(lease.held)
            await asyncio.Event().wait()

    with pytest.raises(LeaseLost):
        await asyncio.wait_for(work(), TERM * 2)
    assert seen == [True, False]


async def test_try_gives_a_free_lease_and_none_for_one_that_is_held_or_cannot_be_asked_for(
    nodes: tuple[Node, Node],
) -> None:
    one, two = nodes
    async with one.leases.try_hold("work") as lease:
        assert isinstance(lease, Lease)
        for node in nodes:
            async with node.leases.try_hold("work") as none:
                assert none is None
    two.store.away = True
    async with two.leases.try_hold("work") as none:
        assert none is None
    two.store.away = False
    async with two.leases.try_hold("work") as lease:
        assert lease is not None


async def test_other_cancellations_and_errors_pass_through(nodes: tuple[Node, Node]) -> None:
    one, _ = nodes
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05), one.leases.hold("work"):
            await asyncio.Event().wait()
    with pytest.raises(KeyError):
        async with one.leases.hold("work"):
            raise KeyError
    task = await holding(one, "work")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    task = await holding(one, "work")
    one.store._shelf.held.clear()
    assert "lost" in await asyncio.wait_for(task, TERM), "and the task that lost it goes on"
    async with asyncio.timeout(SOON), one.leases.hold("work"):
        await asyncio.sleep(0)


async def test_cancelled_from_outside_and_lost_at_once_is_cancelled(nodes: tuple[Node, Node]) -> None:
    one, _ = nodes
    task = await holding(one, "work")
    one.leases._held["work"].lose("for this test")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_lease_granted_to_somebody_who_just_went_is_free_again(nodes: tuple[Node, Node]) -> None:
    one, two = nodes
    for turns in range(8):
        task = asyncio.create_task(hold(one, "work"))
        for _ in range(turns):
            await asyncio.sleep(0)
        await end(task)
        await asyncio.sleep(0.01)
        assert one.leases._held == {}
        async with two.leases.try_hold("work") as lease:
            assert lease is not None, turns


async def test_lease_is_asked_for_only_while_it_is_wanted(nodes: tuple[Node, Node]) -> None:
    one, _ = nodes
    wanted, entered = False, asyncio.Event()

    async def work() -> None:
        async with one.leases.hold("work", lambda: wanted):
            entered.set()

    task = asyncio.create_task(work())
    await asyncio.sleep(0.05)
    assert one.store.calls == []
    wanted = True
    await asyncio.wait_for(entered.wait(), SOON)
    await task


async def test_node_that_leaves_ends_its_work_and_releases_at_once(nodes: tuple[Node, Node]) -> None:
    one, two = nodes
    task, waiting = await holding(one, "work"), asyncio.create_task(hold(one, "other"))
    cleaned = []

    async def careful() -> None:
        with suppress(LeaseLost):
            async with one.leases.hold("slow"):
                try:
                    await asyncio.Event().wait()
                finally:
                    await asyncio.sleep(0.2)
                    async with two.leases.try_hold("slow") as none:
                        cleaned.append(none)

    slow = asyncio.create_task(careful())
    await asyncio.sleep(0.05)
    await end(waiting)
    began = now()
    await one.leases.leave()
    assert 0.2 <= now() - began < 0.3
    assert "the node leaves" in await task
    await slow
    assert cleaned == [None], "released only when the work has ended"
    for name in ("work", "slow"):
        async with two.leases.try_hold(name) as lease:
            assert lease is not None
    waiting = asyncio.create_task(hold(one, "work"))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    async with one.leases.try_hold("work") as none:
        assert none is None
    await end(waiting)


async def test_claim_is_good_for_its_time_and_its_owner_alone(nodes: tuple[Node, Node]) -> None:
    one, two = nodes
    assert await one.leases.claim("run", 0.4)
    assert not await two.leases.claim("run", 0.4)
    assert await one.leases.claim("run", 0.4)
    await asyncio.sleep(0.45)
    assert await two.leases.claim("run", 0.4)
    assert not await one.leases.claim("run", 0.4)


@pytest.mark.parametrize("name", ["", "x" * 501])
async def test_impossible_names_are_refused(nodes: tuple[Node, Node], name: str) -> None:
    with pytest.raises(ValueError, match="1 to 500 characters"):
        nodes[0].leases.hold(name)
