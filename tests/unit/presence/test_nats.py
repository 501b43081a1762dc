"""The parts of presence on NATS that need no server: order of changes, what is known of clients, names of messages."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.errors import BrokerError
from hub.model import ClientInfo
from hub.presence.nats.lane import Clients, Lane
from hub.presence.nats.members import Change, Members
from hub.presence.nats.plan import MAX_CHANGES
from hub.presence.nats.records import DEPTH, Subjects, owner_of, topic_of

changes = st.builds(
    lambda topic, client, user: Change(topic, client, None if user is None else ClientInfo(user, client)),
    st.sampled_from("ab"),
    st.sampled_from("123"),
    st.sampled_from(["ann", "bob", None]),
)


class Store:
    """Takes lots of changes, one after another, when it is let."""

    def __init__(self) -> None:
        self.lots: list[list[Change]] = []
        self.let = asyncio.Event()
        self.error: BaseException | None = None

    async def change(self, lot: list[Change]) -> Clients:
        self.lots.append(lot)
        await self.let.wait()
        if self.error is not None:
            raise self.error
        return {each.key: each.info for each in lot if each.info is not None}


def coming(number: int) -> Change:
    return Change("t", f"c{number}", ClientInfo("u", f"c{number}"))


async def test_changes_are_gathered_in_order_while_others_are_stored() -> None:
    store = Store()
    lane = Lane(store.change)
    calls = [asyncio.create_task(lane.run([coming(number)])) for number in range(MAX_CHANGES + 50)]
    store.let.set()
    for number, fresh in enumerate(await asyncio.gather(*calls)):
        assert list(fresh) == [("t", f"c{number}")]
    assert [change.client for lot in store.lots for change in lot] == [f"c{n}" for n in range(len(calls))]
    assert len(store.lots) < 5
    assert max(map(len, store.lots)) == MAX_CHANGES


async def test_call_that_was_given_up_before_it_was_sent_is_not_sent() -> None:
    store = Store()
    lane = Lane(store.change)
    first = asyncio.create_task(lane.run([coming(1)]))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    given_up, last = (asyncio.create_task(lane.run([coming(number)])) for number in (2, 3))
    await asyncio.sleep(0)
    given_up.cancel()
    await asyncio.sleep(0)
    store.let.set()
    await asyncio.gather(first, last)
    assert [[change.client for change in lot] for lot in store.lots] == [["c1"], ["c3"]]
    await lane.close()


async def test_failure_is_told_to_each_who_waits_for_it_and_the_next_may_succeed() -> None:
    store = Store()
    store.let.set()
    store.error = BrokerError("away", unknown=True)
    lane = Lane(store.change)
    results = await asyncio.gather(lane.run([coming(1)]), lane.run([]), return_exceptions=True)
    for each in results:
        assert isinstance(each, BrokerError)
        assert each.unknown
    store.error = None
    assert await lane.run([]) == {}


@given(st.lists(changes))
def test_what_is_known_of_clients_is_what_was_applied(applied: list[Change]) -> None:
    members, model = Members(), dict[tuple[str, str], ClientInfo]()
    for change in applied:
        members.apply(change)
        model.pop(change.key, None)
        if change.info is not None:
            model[change.key] = change.info
    assert bool(members) == bool(model)
    users = Counter((topic, info.user) for (topic, _), info in model.items())
    for topic in "ab":
        assert members.clients(topic) == sum(each[0] == topic for each in model)
        assert [members.of_user(topic, user) for user in ("ann", "bob")] == [
            users[topic, user] for user in ("ann", "bob")
        ]
    assert {(topic, info.client): info for topic, info in members.first(10)} == model
    assert len(members.first(1)) == min(1, len(model))
    members.forget("a")
    assert not members.clients("a")


@pytest.mark.parametrize("name", ["", "a.b", "*", ">", "日", "x y", "%", "x" * 255])
def test_any_name_is_one_part_of_a_subject(name: str) -> None:
    subjects = Subjects("hub")
    entry = subjects.client(name, "node%231", name)
    assert topic_of(entry) == name
    assert len(entry.split(".")) == len(subjects.all[0].split(".")) == 5 + DEPTH
    assert len(subjects.user(name, name).split(".")) == len(subjects.all[1].split("."))
    tally = subjects.tally(name, "node%231")
    assert len(tally.split(".")) == len(subjects.all[2].split("."))
    assert tally.endswith(".node%231")
    assert owner_of(subjects.hold("node%231")) == "node%231"
    assert entry.isascii()
