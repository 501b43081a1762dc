"""Presence on Redis: what it does when Redis is lost."""

from __future__ import annotations

import time

import pytest

from hub.errors import BrokerError
from hub.model import ClientInfo, PresenceStats
from hub.presence.factory import make_presence
from tests.services.redis import RedisServer

TOPIC = "chat:lobby"
ANN = ClientInfo("ann", "c-1", b'{"name": "Ann"}', None)
BOB = ClientInfo("bob", "c-3", b"\xff\x00", b"")


async def test_two_nodes_see_each_others_clients(redis_url: str) -> None:
    here, there = (make_presence(redis_url, prefix="test", node="n", lease=30) for _ in range(2))
    await here.add(TOPIC, ANN)
    await there.add(TOPIC, BOB)
    assert await here.get(TOPIC) == await there.get(TOPIC) == {"c-1": ANN, "c-3": BOB}
    await there.remove(TOPIC, "c-1", "ann")
    assert await here.stats(TOPIC) == PresenceStats(1, 1)
    await here.stop()
    assert await there.stats(TOPIC) == PresenceStats(1, 1)
    await there.stop()


async def test_lost_redis_is_a_broker_error_within_seconds_and_mends_itself(
    redis_server: RedisServer,
) -> None:
    presence = make_presence(redis_server.url, prefix="test", node="n", lease=30)
    await presence.add(TOPIC, ANN)
    redis_server.kill()
    began = time.monotonic()
    with pytest.raises(BrokerError):
        await presence.add(TOPIC, BOB)
    with pytest.raises(BrokerError):
        await presence.get(TOPIC)
    assert time.monotonic() - began < 3
    redis_server.restart()
    assert await presence.get(TOPIC) == {}
    await presence.keep({TOPIC: [ANN]})
    assert await presence.get(TOPIC) == {"c-1": ANN}
    redis_server.freeze()
    with pytest.raises(BrokerError):
        await presence.stats(TOPIC)
    assert time.monotonic() - began < 12
    redis_server.thaw()
    assert await presence.get(TOPIC) == {"c-1": ANN}
    await presence.stop()
