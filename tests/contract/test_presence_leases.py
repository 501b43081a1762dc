"""What stores promise that several nodes share: one lease for each node, and a sweep when it has ended."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable

import pytest

from hub.model import ClientInfo, PresenceStats
from hub.presence.base import Entry, Lease, Presence
from tests.contract.presences import (
    ANN,
    ANN_TOO,
    BOB,
    LEASE,
    NOBODY,
    SHARED,
    TOPIC,
    Nodes,
    all_swept,
    as_entries,
    counts,
    crowd,
    first_swept,
    in_order,
    persistently,
    url_of,
)


@pytest.fixture(params=SHARED)
async def nodes(request: pytest.FixtureRequest) -> AsyncIterator[Nodes]:
    found = Nodes(url_of(request, request.param))
    yield found
    await found.stop()


async def test_store_says_that_nodes_share_it(nodes: Nodes) -> None:
    assert (await nodes.node("a")).shared


async def test_nodes_see_one_anothers_clients_and_count_users_once(nodes: Nodes) -> None:
    here, there = await nodes.node("here"), await nodes.node("there")
    await asyncio.gather(here.add(TOPIC, ANN), there.add(TOPIC, BOB), there.add(TOPIC, ANN_TOO))
    everybody = {info.client: info for info in (ANN, BOB, ANN_TOO)}
    assert await here.get(TOPIC) == await there.get(TOPIC) == everybody
    for node in (here, there):
        await counts(node, TOPIC, PresenceStats(3, 2))
    await here.remove(TOPIC, "c-1", "ann")
    for node in (here, there):
        await counts(node, TOPIC, PresenceStats(2, 2))
    await there.remove(TOPIC, "c-2", "ann")
    for node in (here, there):
        await counts(node, TOPIC, PresenceStats(1, 1))
    assert await here.get(TOPIC) == await there.get(TOPIC) == {"c-3": BOB}


async def test_first_renewal_is_told_as_lost_and_later_ones_as_kept(nodes: Nodes) -> None:
    node = await nodes.node("a")  # which asserts LOST
    assert [await node.renew() for _ in range(3)] == [Lease.KEPT] * 3


async def test_nobody_is_swept_who_renews(nodes: Nodes) -> None:
    alive, other = await nodes.node("alive", lease=LEASE), await nodes.node("other")
    await alive.add(TOPIC, ANN)
    ends = time.monotonic() + 2 * LEASE
    while time.monotonic() < ends:
        assert await alive.renew() is Lease.KEPT
        assert await other.sweep(100) == []
        assert await alive.sweep(100) == []
        await asyncio.sleep(LEASE / 5)
    assert await other.get(TOPIC) == {"c-1": ANN}


async def test_clients_of_a_silent_node_are_each_swept_by_one_of_two(nodes: Nodes) -> None:
    silent, one, two = (
        await nodes.node("silent", lease=LEASE),
        await nodes.node("one"),
        await nodes.node("two"),
    )
    gone = {TOPIC: crowd(150, users=40, name="s"), **{f"t:{number}": crowd(3) for number in range(30)}}
    for topic, infos in gone.items():
        await asyncio.gather(*(silent.add(topic, info) for info in infos))
    await one.add(TOPIC, ANN)
    await one.add("t:1", BOB)
    began = time.monotonic()
    found: list[Entry] = []

    async def sweeping(node: Presence) -> None:
        while len(found) < 240:  # one of them may be done before the other has begun
            piece = await node.sweep(7)
            assert len(piece) <= 14
            found.extend(piece)
            await asyncio.sleep(0 if piece else 0.05)

    await asyncio.gather(sweeping(one), sweeping(two))
    for node in (one, two):
        assert await node.sweep(7) == []
    assert in_order(found) == in_order(as_entries(gone))
    assert time.monotonic() - began < LEASE + 12
    assert await two.get(TOPIC) == {"c-1": ANN}
    await counts(two, TOPIC, PresenceStats(1, 1))
    await counts(two, "t:1", PresenceStats(1, 1))
    await counts(two, "t:2", PresenceStats(0, 0))


async def test_late_node_that_nobody_swept_keeps_its_lease(nodes: Nodes) -> None:
    late, other = await nodes.node("late", lease=LEASE), await nodes.node("other")
    await late.add(TOPIC, ANN)
    await asyncio.sleep(2 * LEASE)
    assert await other.get(TOPIC) == {"c-1": ANN}
    assert await late.renew() is Lease.KEPT
    assert await other.sweep(100) == []
    assert await other.get(TOPIC) == {"c-1": ANN}


async def test_swept_node_learns_it_and_is_told_who_had_gone(nodes: Nodes) -> None:
    late, other = await nodes.node("late", lease=LEASE), await nodes.node("other")
    clients = {TOPIC: crowd(200, users=50), "t:2": [ANN, BOB, NOBODY]}
    assert in_order(await late.restore(clients)) == in_order(as_entries(clients))
    gone = await first_swept(other, 40)
    assert 0 < len(gone) < 203
    assert await late.renew() is Lease.TAKEN
    restored = await late.restore(clients)
    assert in_order(restored) == in_order(gone)
    assert await late.restore(clients) == []
    for _ in range(4):  # what is left of the former lease holds nothing that is under the new one
        assert await late.renew() is Lease.KEPT
        assert await other.sweep(100) == []
        await asyncio.sleep(LEASE / 5)
    for topic, infos in clients.items():
        assert await other.get(topic) == {info.client: info for info in infos}
        await counts(other, topic, PresenceStats(len(infos), len({info.user for info in infos})))


async def test_swept_node_may_be_swept_again(nodes: Nodes) -> None:
    late, other = await nodes.node("late", lease=LEASE), await nodes.node("other")
    clients = {TOPIC: [ANN, BOB]}
    await late.restore(clients)
    for _ in range(2):
        assert in_order(await all_swept(other)) == in_order(as_entries(clients))
        assert await late.renew() is Lease.TAKEN
        assert in_order(await late.restore(clients)) == in_order(as_entries(clients))
    await late.remove(TOPIC, "c-1", "ann")
    assert await all_swept(other) == [(TOPIC, BOB)]
    await counts(other, TOPIC, PresenceStats(0, 0))


async def test_client_that_came_after_the_sweep_is_not_lost(nodes: Nodes) -> None:
    late, other = await nodes.node("late", lease=LEASE), await nodes.node("other")
    await late.add(TOPIC, ANN)
    assert await all_swept(other) == [(TOPIC, ANN)]
    await late.add(TOPIC, BOB)  # it does not know yet that its lease was taken
    assert await late.renew() is Lease.TAKEN
    restored = await late.restore({TOPIC: [ANN, BOB]})
    assert (TOPIC, ANN) in restored
    assert await late.renew() is Lease.KEPT
    assert await other.sweep(100) == []
    assert await other.get(TOPIC) == {"c-1": ANN, "c-3": BOB}
    await counts(other, TOPIC, PresenceStats(2, 2))


async def test_emptied_store_is_told_and_filled_again(nodes: Nodes) -> None:
    node, other = await nodes.node("a"), await nodes.node("b")
    clients = {TOPIC: crowd(300, users=100), "t:2": [ANN]}
    await node.restore(clients)
    await other.add("t:2", BOB)
    await nodes.empty()
    await persistently(node.renew, lambda lease: lease is Lease.LOST)
    restored = await persistently(lambda: node.restore(clients))
    assert in_order(restored) == in_order(as_entries(clients))
    assert await node.renew() is Lease.KEPT
    await persistently(other.renew, lambda lease: lease is Lease.LOST)
    await persistently(lambda: other.restore({"t:2": [BOB]}))
    assert await other.get(TOPIC) == {info.client: info for info in clients[TOPIC]}
    assert await node.get("t:2") == {"c-1": ANN, "c-3": BOB}
    await counts(node, TOPIC, PresenceStats(300, 100))
    await counts(node, "t:2", PresenceStats(2, 2))


async def test_client_that_leaves_while_all_are_restored_stays_away(nodes: Nodes) -> None:
    node = await nodes.node("a")
    everybody = crowd(1000, users=50)
    restoring = asyncio.create_task(node.restore({TOPIC: everybody}))
    await asyncio.sleep(0)
    await asyncio.gather(*(node.remove(TOPIC, info.client, info.user) for info in everybody[:900]))
    await restoring
    assert set(await node.get(TOPIC)) == {info.client for info in everybody[900:]}
    await counts(node, TOPIC, PresenceStats(100, 50))


async def test_node_that_stops_leaves_nothing_behind(nodes: Nodes) -> None:
    leaver, other = await nodes.node("leaver"), await nodes.node("other")
    await leaver.add(TOPIC, ANN)
    await leaver.add("t:2", NOBODY)
    await other.add(TOPIC, BOB)
    nodes.started.remove(leaver)
    await leaver.stop()
    began = time.monotonic()
    assert in_order(await all_swept(other)) == [(TOPIC, ANN), ("t:2", NOBODY)]
    assert time.monotonic() - began < 15  # though its lease would have lasted longer
    assert await other.get(TOPIC) == {"c-3": BOB}
    await counts(other, TOPIC, PresenceStats(1, 1))
    await counts(other, "t:2", PresenceStats(0, 0))


async def test_other_prefix_is_another_hub(nodes: Nodes) -> None:
    node = await nodes.node("silent", lease=LEASE)
    await node.add(TOPIC, ANN)
    from_elsewhere = Nodes(nodes.url, prefix="other")
    elsewhere = await from_elsewhere.node("other")
    assert await elsewhere.get(TOPIC) == {}
    await asyncio.sleep(1.5 * LEASE)
    assert await elsewhere.sweep(100) == []
    await from_elsewhere.stop()
    assert await node.get(TOPIC) == {"c-1": ANN}


@pytest.mark.timeout(90)
async def test_topic_of_ten_thousand_is_swept_in_pieces(nodes: Nodes) -> None:
    silent, other = await nodes.node("silent", lease=LEASE), await nodes.node("other")
    everybody = crowd(10_000, users=6_000)
    await silent.restore({TOPIC: everybody})
    await counts(other, TOPIC, PresenceStats(10_000, 6_000))
    swept = await all_swept(other, 500)
    assert in_order(swept) == in_order(as_entries({TOPIC: everybody}))
    await counts(other, TOPIC, PresenceStats(0, 0))
    assert await other.get(TOPIC) == {}


async def test_odd_names_are_swept_as_they_were_given(nodes: Nodes) -> None:
    silent, other = await nodes.node("a node: {1}", lease=LEASE), await nodes.node("other")
    odd = ["a", "a}", "}", "{a}", "%7D", "a b", "a:b", "é", "日本", "*", ">", "a.b", "x" * 255]
    clients = {
        topic: [ClientInfo(user, f"{user}/{topic}") for user in ("", ":", "1:u", "{u}", "u\x00", "日 本")]
        for topic in odd
    }
    await silent.restore(clients)
    for topic, infos in clients.items():
        assert await other.get(topic) == {info.client: info for info in infos}
    assert in_order(await all_swept(other)) == in_order(as_entries(clients))


class Life:
    """A node whose clients come and go by chance, and that once is silent for longer than its lease."""

    def __init__(self, node: Presence, name: str, chance: random.Random, silent: float) -> None:
        self.node = node
        self.clients: dict[str, dict[str, ClientInfo]] = {topic: {} for topic in ("t:1", "t:2", "t:3")}
        self.fates: set[Lease] = set()
        self._name = name
        self._chance = chance
        self._silent = silent

    async def live(self, seconds: float) -> None:
        began = time.monotonic()
        while (now := time.monotonic() - began) < seconds:
            if now > self._silent:
                self._silent = seconds
                await asyncio.sleep(1.4)
            await asyncio.gather(*[self._change() for _ in range(4)])
            await self.keep()
            await self.node.sweep(self._chance.choice([1, 5, 100]))

    async def keep(self, *, restore: bool = False) -> None:
        fate = await self.node.renew()
        self.fates.add(fate)
        if restore or fate is not Lease.KEPT:
            await self.node.restore({topic: list(infos.values()) for topic, infos in self.clients.items()})

    def _change(self) -> Awaitable[None]:
        topic = self._chance.choice(list(self.clients))
        info = ClientInfo(f"u{self._chance.randrange(6)}", f"{self._name}-{self._chance.randrange(8)}")
        if self._chance.random() < 0.6:
            self.clients[topic][info.client] = info
            return self.node.add(topic, info)
        self.clients[topic].pop(info.client, None)
        return self.node.remove(topic, info.client, info.user)


@pytest.mark.timeout(90)
@pytest.mark.parametrize("seed", range(3))
async def test_whatever_nodes_do_at_once_counts_are_those_of_the_clients(nodes: Nodes, seed: int) -> None:
    chance = random.Random(seed)
    lives = [
        Life(await nodes.node(name, lease=1.0), name, chance, 0.3 + 1.2 * at) for at, name in enumerate("abc")
    ]
    await asyncio.gather(*(life.live(4.5) for life in lives))
    assert Lease.TAKEN in set().union(*(life.fates for life in lives))
    for life in lives:
        await life.keep(restore=True)
    for topic in lives[0].clients:
        infos = {client: info for life in lives for client, info in life.clients[topic].items()}
        assert await lives[1].node.get(topic) == infos
        users = {info.user for info in infos.values()}
        await counts(lives[2].node, topic, PresenceStats(len(infos), len(users)))
    last = await nodes.node("last")
    for life in lives:
        nodes.started.remove(life.node)
        await life.node.stop()
    await all_swept(last)
    for topic in lives[0].clients:
        assert await last.get(topic) == {}
        await counts(last, topic, PresenceStats(0, 0))
