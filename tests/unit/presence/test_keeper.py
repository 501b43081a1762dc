"""The keeper of presence: when it restores, when it sweeps, and of whom it tells."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest

from hub.errors import BrokerError
from hub.model import ClientInfo, PresenceStats
from hub.presence.amends import Amends
from hub.presence.base import Entry, Lease, Presence
from hub.presence.keeper import PIECE, PresenceKeeper

LEASE = 10.0
ANN, BOB, EVE = (ClientInfo(name, f"c-{name}") for name in ("ann", "bob", "eve"))


class Scripted(Presence):
    """Answers as the test has written down, and notes what it was asked to do."""

    shared = True

    def __init__(self) -> None:
        self.fates: list[Lease] = []
        self.gone: list[Entry] = []
        self.dead: list[Entry] = []
        self.away = False
        self.restored: list[Mapping[str, list[ClientInfo]]] = []
        self.sweeps: list[int] = []
        self.renewals = 0
        self.changes: list[tuple[str, str, str]] = []

    def _answer(self) -> None:
        if self.away:
            raise BrokerError("away")

    async def add(self, topic: str, info: ClientInfo) -> None:
        self._answer()
        self.changes.append(("add", topic, info.client))

    async def remove(self, topic: str, client: str, user: str) -> None:
        self._answer()
        self.changes.append(("remove", topic, client))

    async def get(self, topic: str) -> Mapping[str, ClientInfo]:
        raise AssertionError("the keeper does not read clients")

    async def stats(self, topic: str) -> PresenceStats:
        raise AssertionError("nor does it count them")

    async def renew(self) -> Lease:
        self.renewals += 1
        self._answer()
        return self.fates.pop(0) if self.fates else Lease.KEPT

    async def restore(self, entries: Mapping[str, list[ClientInfo]]) -> list[Entry]:
        self._answer()
        self.restored.append(entries)
        gone, self.gone = self.gone, []
        return gone

    async def sweep(self, limit: int) -> list[Entry]:
        self._answer()
        self.sweeps.append(limit)
        found, self.dead = self.dead[:limit], self.dead[limit:]
        return found


class Bench:
    """A keeper with its store, its clock and what it told in the test's hands."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.store = Scripted()
        self.clients: dict[str, list[ClientInfo]] = {"t:1": [ANN], "t:2": [ANN, BOB]}
        self.left: list[Entry] = []
        self.joined: list[Entry] = []
        self.mended = 0
        self.presence = Amends(self.store)
        self.keeper = PresenceKeeper(
            self.presence,
            clients=lambda: self.clients,
            left=self.left.extend,
            joined=self.joined.extend,
            mended=lambda: self.mended,
            clock=lambda: self.now,
            lease=LEASE,
        )

    async def beat(self, seconds: float = LEASE / 4) -> None:
        """One renewal and one look, after so many seconds."""
        self.now += seconds
        await self.keeper.renew()
        await self.keeper.tend()

    async def settle(self) -> None:
        """A first lease, and all that follows on it."""
        self.store.fates = [Lease.LOST]
        for _ in range(6):
            await self.beat()
        assert self.keeper.steady
        self.store.restored.clear()
        self.store.sweeps.clear()


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def test_first_lease_is_filled_without_a_word(bench: Bench) -> None:
    bench.store.fates = [Lease.LOST]
    bench.store.gone = [("t:1", ANN)]
    await bench.beat()
    assert bench.store.restored == [bench.clients]
    assert (bench.joined, bench.left) == ([], [])


async def test_clients_are_entered_once_more_half_a_lease_after_the_first_time(bench: Bench) -> None:
    bench.store.fates = [Lease.LOST]
    await bench.beat()
    await bench.beat(LEASE / 4)
    assert len(bench.store.restored) == 1
    bench.clients["t:3"] = [EVE]  # who was just subscribing
    await bench.beat(LEASE / 4)
    assert len(bench.store.restored) == 2
    assert bench.store.restored[1]["t:3"] == [EVE]
    for _ in range(8):
        await bench.beat()
    assert len(bench.store.restored) == 2


async def test_joins_are_told_of_those_alone_who_had_been_said_to_be_gone(bench: Bench) -> None:
    await bench.settle()
    bench.store.fates = [Lease.TAKEN]
    bench.store.gone = [("t:2", BOB)]
    await bench.beat()
    assert bench.joined == [("t:2", BOB)]
    bench.store.gone = [("t:1", ANN)]  # swept between renewal and restoring
    await bench.beat(LEASE / 2)
    assert bench.joined == [("t:2", BOB), ("t:1", ANN)]


async def test_who_left_while_all_were_restored_is_not_said_to_be_back(bench: Bench) -> None:
    await bench.settle()
    bench.store.fates = [Lease.TAKEN]
    bench.store.gone = [("t:2", BOB), ("t:1", ANN), ("t:9", EVE)]
    calls = [{"t:1": [ANN], "t:2": [BOB]}, {"t:1": [ANN]}]
    bench.keeper._clients = lambda: calls.pop(0)
    await bench.beat()
    assert bench.joined == [("t:1", ANN)]


async def test_restoring_that_failed_is_tried_until_it_succeeds(bench: Bench) -> None:
    await bench.settle()
    bench.store.fates = [Lease.TAKEN]
    bench.store.gone = [("t:2", BOB)]
    bench.now += 1
    await bench.keeper.renew()
    bench.store.away = True
    await bench.keeper.tend()
    await bench.keeper.renew()
    bench.store.away = False
    await bench.keeper.renew()
    assert bench.joined == []
    await bench.keeper.tend()
    assert bench.joined == [("t:2", BOB)]


async def test_nobody_is_swept_before_a_whole_lease_was_kept(bench: Bench) -> None:
    bench.store.dead = [("t:1", EVE)]
    for _ in range(4):
        await bench.beat()
        assert bench.store.sweeps == []
    await bench.beat()
    assert bench.left == [("t:1", EVE)]


@pytest.mark.parametrize("fate", [Lease.TAKEN, Lease.LOST])
async def test_whoever_lost_a_lease_does_not_judge_others_for_a_lease(bench: Bench, fate: Lease) -> None:
    await bench.settle()
    bench.store.fates = [fate]
    bench.store.dead = [("t:1", EVE)]
    for _ in range(4):
        await bench.beat()
    assert bench.left == []
    await bench.beat()
    assert bench.left == [("t:1", EVE)]


async def test_outage_of_the_store_ends_with_nobody_gone_and_all_entered_quietly(bench: Bench) -> None:
    await bench.settle()
    bench.store.away = True
    for _ in range(6):
        await bench.beat()
    bench.store.away = False
    bench.store.dead = [("t:1", EVE)]  # all leases have ended: those who did not come back yet count as dead
    bench.store.gone = [("t:1", ANN)]
    for _ in range(4):
        await bench.beat()
    assert bench.store.restored[0] == bench.clients
    assert (bench.left, bench.joined) == ([], [])


async def test_one_failed_renewal_puts_sweeping_off(bench: Bench) -> None:
    await bench.settle()
    bench.store.away = True
    await bench.beat()
    bench.store.away = False
    bench.store.dead = [("t:1", EVE)]
    for _ in range(4):
        await bench.beat()
        assert bench.left == []
    await bench.beat()
    assert bench.left == [("t:1", EVE)]


async def test_node_that_was_halted_does_not_judge_others_when_it_goes_on(bench: Bench) -> None:
    await bench.settle()
    bench.store.dead = [("t:1", EVE)]
    bench.now += 2 * LEASE
    await bench.keeper.tend()
    await bench.keeper.renew()
    await bench.keeper.tend()
    assert bench.store.sweeps == []
    for _ in range(4):
        await bench.beat()
    assert bench.left == [("t:1", EVE)]


async def test_node_that_was_halted_learns_that_it_was_taken_before_it_restores(bench: Bench) -> None:
    bench.store.fates = [Lease.LOST]
    await bench.beat()  # so that all are to be entered once more, quietly
    bench.store.restored.clear()
    bench.now += 2 * LEASE
    bench.store.fates = [Lease.TAKEN]
    bench.store.gone = [("t:1", ANN)]
    await bench.keeper.tend()
    assert bench.store.restored == []
    await bench.keeper.renew()
    await bench.keeper.tend()
    assert bench.joined == [("t:1", ANN)]


@pytest.mark.parametrize("renewed", [True, False])
async def test_who_left_a_halted_node_is_said_to_have_left_by_it_or_by_others_never_by_both(
    bench: Bench, renewed: bool
) -> None:
    await bench.settle()
    bench.now += 2 * LEASE
    bench.store.fates = [Lease.TAKEN]
    bench.store.gone = [("t:2", BOB), ("t:1", EVE)]
    if renewed:
        await bench.keeper.renew()
    leaving = [asyncio.create_task(bench.presence.part(topic, EVE)) for topic in ("t:1", "t:2")]
    await asyncio.sleep(0.05)
    assert not any(task.done() for task in leaving)
    if not renewed:
        await bench.keeper.renew()
    await bench.keeper.tend()
    assert await asyncio.gather(*leaving) == [False, True]
    assert bench.store.changes == [("remove", "t:1", EVE.client), ("remove", "t:2", EVE.client)]
    assert bench.joined == [("t:2", BOB)]
    assert await bench.presence.part("t:1", EVE)


async def test_who_left_a_halted_node_that_kept_its_lease_is_said_to_have_left(bench: Bench) -> None:
    await bench.settle()
    bench.now += 0.8 * LEASE
    leaving = asyncio.create_task(bench.presence.part("t:1", ANN))
    await asyncio.sleep(0.05)
    await bench.keeper.renew()
    assert await leaving


async def test_leave_in_doubt_is_not_held_up_for_long(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hub.presence.amends.DOUBT_SECONDS", 0.05)
    await bench.settle()
    bench.now += 2 * LEASE
    assert await bench.presence.part("t:1", ANN)
    assert bench.store.changes == [("remove", "t:1", ANN.client)]


async def test_mended_connection_has_all_entered_again_quietly(bench: Bench) -> None:
    await bench.settle()
    bench.mended += 1
    bench.store.gone = [("t:1", ANN)]
    await bench.beat()
    assert bench.store.restored == [bench.clients]
    await bench.beat()
    assert len(bench.store.restored) == 1
    assert bench.joined == []
    assert bench.keeper.steady


async def test_crowd_is_swept_in_pieces_between_which_others_have_their_turn(bench: Bench) -> None:
    await bench.settle()
    crowd = [("t:1", ClientInfo("u", f"c{number}")) for number in range(3 * PIECE)]
    bench.store.dead = list(crowd)
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    running = asyncio.create_task(other())
    await bench.beat()
    running.cancel()
    assert bench.left == crowd
    assert bench.store.sweeps == [PIECE] * 4
    assert turns >= 3


async def test_sweep_that_fails_is_taken_up_again(bench: Bench) -> None:
    await bench.settle()
    bench.store.dead = [("t:1", EVE)]
    bench.store.away = True
    await bench.keeper.tend()
    assert bench.left == []
    bench.store.away = False
    await bench.keeper.tend()
    assert bench.left == [("t:1", EVE)]


async def test_outage_is_logged_once(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    await bench.settle()
    bench.store.away = True
    for _ in range(5):
        await bench.beat()
    bench.store.away = False
    for _ in range(5):
        await bench.beat()
    lines = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert lines == ["presence could not be renewed: away", "presence is renewed again"]


async def test_running_keeper_goes_on_after_what_nobody_foresaw(caplog: pytest.LogCaptureFixture) -> None:
    store = Scripted()
    failures = [ValueError("no")]

    async def renew() -> Lease:
        store.renewals += 1
        if failures:
            raise failures.pop()
        return Lease.KEPT

    store.renew = renew  # type: ignore[method-assign]
    keeper = PresenceKeeper(
        Amends(store),
        clients=dict,
        left=lambda _: None,
        joined=lambda _: None,
        mended=lambda: 0,
        clock=asyncio.get_running_loop().time,
        lease=0.02,
    )
    await keeper.start()
    async with asyncio.timeout(5):
        while store.renewals < 3:
            await asyncio.sleep(0.005)
    await keeper.stop()
    assert "in an unforeseen way" in caplog.text


async def test_store_of_one_node_is_left_alone(bench: Bench) -> None:
    bench.presence.shared = False
    await bench.keeper.start()
    await asyncio.sleep(0)
    await bench.keeper.stop()
    assert bench.store.renewals == 0


async def test_removal_that_failed_is_made_good(bench: Bench) -> None:
    await bench.settle()
    bench.store.away = True
    with pytest.raises(BrokerError):
        await bench.presence.remove("t:1", "c-ann", "ann")
    with pytest.raises(BrokerError):
        await bench.presence.add("t:1", BOB)  # who is told so, and yet may have been entered
    await bench.beat()
    assert bench.store.changes == []
    bench.store.away = False
    await bench.beat()
    await bench.beat()
    assert bench.store.changes == [("remove", "t:1", "c-ann"), ("remove", "t:1", "c-bob")]


async def test_client_that_came_again_is_not_removed_for_what_failed_before(bench: Bench) -> None:
    await bench.settle()
    bench.store.away = True
    for client in ("c-ann", "c-bob"):
        with pytest.raises(BrokerError):
            await bench.presence.remove("t:1", client, "x")
    bench.store.away = False
    await bench.presence.add("t:1", ANN)
    await bench.beat()
    assert bench.store.changes == [("add", "t:1", "c-ann"), ("remove", "t:1", "c-bob")]


async def test_removals_that_are_owed_have_a_bound(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("hub.presence.amends.MAX_OWED", 2)
    bench.store.away = True
    for number in range(3):
        with pytest.raises(BrokerError):
            await bench.presence.remove("t:1", f"c{number}", "u")
    bench.store.away = False
    await bench.presence.settle()
    assert bench.store.changes == [("remove", "t:1", "c0"), ("remove", "t:1", "c1")]
    assert "c2 is present until this node stops" in caplog.text
