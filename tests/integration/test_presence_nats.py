"""Presence on NATS: how it counts, and what it does when NATS is lost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

import pytest

from hub.errors import BrokerError
from hub.model import ClientInfo, PresenceStats
from hub.presence.base import Presence
from hub.presence.factory import make_presence
from tests.services.nats import NatsServer

TOPIC = "chat:lobby"
ANN = ClientInfo("ann", "c-1", b'{"name": "Ann"}', None)
BOB = ClientInfo("bob", "c-3", b"\xff\x00", b"")


async def test_two_nodes_on_nats_see_each_others_clients(nats_url: str) -> None:
    here, there = (make_presence(nats_url, prefix="test", node="n", lease=30) for _ in range(2))
    await asyncio.gather(here.add(TOPIC, ANN), there.add(TOPIC, BOB))
    assert await here.get(TOPIC) == await there.get(TOPIC) == {"c-1": ANN, "c-3": BOB}
    await there.remove(TOPIC, "c-1", "ann")
    assert await here.stats(TOPIC) == PresenceStats(1, 1)
    await here.stop()
    assert await there.stats(TOPIC) == PresenceStats(1, 1)
    await there.stop()


async def test_crowd_on_nats_is_counted_without_being_read(nats_url: str) -> None:
    here, there = (make_presence(nats_url, prefix="test", node="n", lease=30) for _ in range(2))
    crowd = [ClientInfo(f"u{number % 1500}", f"c{number}") for number in range(3000)]
    await asyncio.gather(here.keep({TOPIC: crowd[:2000]}), there.keep({TOPIC: crowd[2000:]}))
    assert await there.stats(TOPIC) == PresenceStats(3000, 1500)
    assert len(await here.get(TOPIC)) == 3000
    await asyncio.gather(*(here.remove(TOPIC, info.client, info.user) for info in crowd[:500]))
    async with asyncio.timeout(5):
        while await there.stats(TOPIC) != PresenceStats(2500, 1000 + 500):
            await there.keep({TOPIC: crowd[2000:]})
            await asyncio.sleep(0.1)
    await asyncio.gather(here.stop(), there.stop())


async def test_lost_nats_is_a_broker_error_within_seconds_and_mends_itself(nats_server: NatsServer) -> None:
    presence = make_presence(nats_server.url, prefix="test", node="n", lease=30)
    await presence.add(TOPIC, ANN)
    nats_server.kill()
    began = time.monotonic()
    with pytest.raises(BrokerError):
        await presence.add(TOPIC, BOB)
    with pytest.raises(BrokerError):
        await presence.get(TOPIC)
    assert time.monotonic() - began < 3
    nats_server.restart(keep_data=True)
    assert await presence.get(TOPIC) == {}
    await presence.keep({TOPIC: [ANN]})
    assert await presence.get(TOPIC) == {"c-1": ANN}
    began = time.monotonic()
    nats_server.freeze()
    with pytest.raises(BrokerError):
        await presence.stats(TOPIC)
    assert time.monotonic() - began < 5
    nats_server.thaw()
    async with asyncio.timeout(8):
        while await _or_none(presence) != {"c-1": ANN}:
            await asyncio.sleep(0.1)
    await presence.stop()


async def _or_none(presence: Presence) -> Mapping[str, ClientInfo] | None:
    try:
        return await presence.get(TOPIC)
    except BrokerError:
        return None
