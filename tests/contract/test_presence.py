"""What every presence store promises of the clients of one node."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from hub.errors import HubError
from hub.model import ClientInfo, PresenceStats
from hub.presence.base import Lease, Presence
from hub.presence.factory import make_presence
from tests.contract.presences import ANN, ANN_TOO, BOB, NOBODY, STORES, TOPIC, counts, url_of


@pytest.fixture(params=STORES)
async def store(request: pytest.FixtureRequest) -> AsyncIterator[Presence]:
    presence = make_presence(url_of(request, request.param), prefix="test", node="n", lease=30)
    await presence.start()
    yield presence
    await presence.stop()


async def test_added_clients_are_there_as_they_were_given(store: Presence) -> None:
    for info in (ANN, ANN_TOO, BOB, NOBODY):
        await store.add(TOPIC, info)
    assert await store.get(TOPIC) == {info.client: info for info in (ANN, ANN_TOO, BOB, NOBODY)}
    await counts(store, TOPIC, PresenceStats(clients=4, users=3))
    assert await store.get("chat:other") == {}
    assert await store.stats("chat:other") == PresenceStats(0, 0)


async def test_user_counts_once_until_the_last_client_has_left(store: Presence) -> None:
    await store.add(TOPIC, ANN)
    await store.add(TOPIC, ANN_TOO)
    await store.add(TOPIC, ANN_TOO)
    await counts(store, TOPIC, PresenceStats(2, 1))
    await store.remove(TOPIC, "c-1", "ann")
    await store.remove(TOPIC, "c-1", "ann")
    await counts(store, TOPIC, PresenceStats(1, 1))
    await store.remove(TOPIC, "c-2", "ann")
    await counts(store, TOPIC, PresenceStats(0, 0))
    assert await store.get(TOPIC) == {}
    await store.remove("never:seen", "c-9", "x")


async def test_adding_again_takes_the_new_info(store: Presence) -> None:
    await store.add(TOPIC, ANN)
    renamed = ClientInfo("eve", "c-1", b"1", b"2")
    await store.add(TOPIC, renamed)
    assert await store.get(TOPIC) == {"c-1": renamed}
    await counts(store, TOPIC, PresenceStats(1, 1))
    await store.remove(TOPIC, "c-1", "eve")
    await counts(store, TOPIC, PresenceStats(0, 0))


async def test_changes_are_made_in_the_order_of_their_calls(store: Presence) -> None:
    for number in range(20):
        stays, goes = f"t:stays-{number}", f"t:goes-{number}"
        await asyncio.gather(
            store.add(stays, ANN),
            store.remove(stays, "c-1", "ann"),
            store.add(goes, ANN),
            store.add(stays, ANN),
            store.remove(goes, "c-1", "ann"),
        )
        assert await store.get(stays) == {"c-1": ANN}
        assert await store.get(goes) == {}
        await counts(store, stays, PresenceStats(1, 1))
        await counts(store, goes, PresenceStats(0, 0))


async def test_odd_names_are_kept_apart(store: Presence) -> None:
    topics = ["a", "A", "a}", "}", "{a}", "%7D", "a b", "é", "日本", "x" * 255]
    users = ["u", "1:u", "", ":", "日", "u\x00"]
    for topic in topics:
        for user in users:
            await store.add(topic, ClientInfo(user, f"{topic}/{user}"))
    for topic in topics:
        assert {info.user for info in (await store.get(topic)).values()} == set(users)
        await counts(store, topic, PresenceStats(len(users), len(users)))


async def test_alone_it_keeps_its_lease_and_sweeps_nothing(store: Presence) -> None:
    await store.add(TOPIC, ANN)
    await store.renew()
    assert await store.renew() is Lease.KEPT
    assert await store.sweep(100) == []
    assert await store.get(TOPIC) == {"c-1": ANN}


@pytest.mark.parametrize(
    "url", ["nats://x/path", "nats://x?replicas=2", "kafka://x", "redis://x?nonsense=1", "redis://x:port"]
)
def test_url_that_cannot_be_used_is_refused(url: str) -> None:
    with pytest.raises(HubError):
        make_presence(url, prefix="test", node="n", lease=1)
