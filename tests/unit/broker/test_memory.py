from __future__ import annotations

from collections.abc import Iterator

import pytest

from hub.broker import memory
from hub.broker.base import Outgoing, PublishResult
from hub.broker.memory import MemoryBroker
from hub.model import HistoryOptions, HistoryQuery, Publication

ALL = HistoryQuery(limit=-1)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def broker(clock: Clock) -> Iterator[MemoryBroker]:
    return MemoryBroker(clock=clock)


async def publish(
    broker: MemoryBroker,
    topic: str = "t",
    *,
    size: int = 10,
    ttl: float = 60,
    meta_ttl: float = 600,
    key: str = "",
) -> PublishResult:
    outgoing = Outgoing(Publication(topic, b"1"), HistoryOptions(size, ttl, meta_ttl), idempotency_key=key)
    await broker.publish(topic, outgoing)
    assert outgoing.result is not None
    return outgoing.result


async def test_publications_leave_exactly_at_their_age(broker: MemoryBroker, clock: Clock) -> None:
    await publish(broker)
    clock.now += 59.9
    assert len((await broker.history("t", ALL)).publications) == 1
    clock.now += 0.1
    assert (await broker.history("t", ALL)).publications == []


async def test_position_is_forgotten_meta_ttl_after_the_last_publication(
    broker: MemoryBroker, clock: Clock
) -> None:
    first = await publish(broker)
    clock.now += 599
    assert await broker.position("t") == first.position
    await publish(broker)
    clock.now += 599
    again = await broker.position("t")
    assert first.position is not None
    assert (again.offset, again.epoch) == (2, first.position.epoch)
    clock.now += 1
    fresh = await broker.position("t")
    assert fresh.offset == 0
    assert fresh.epoch != again.epoch


async def test_history_that_lives_longer_than_meta_keeps_it(broker: MemoryBroker, clock: Clock) -> None:
    await publish(broker, ttl=60, meta_ttl=1)
    clock.now += 59
    page = await broker.history("t", ALL)
    assert [each.position for each in page.publications] == [page.position]


async def test_sweep_frees_what_nobody_asks_for(broker: MemoryBroker, clock: Clock) -> None:
    for number in range(100):
        await publish(broker, f"t:{number}", ttl=30, key="k")
    clock.now += memory.LOOK_AGAIN_SECONDS
    broker.sweep()
    assert sum(len(stream.kept) for stream in broker._streams.values()) == 0
    assert len(broker._streams) == len(broker._due) == 100
    for _ in range(20):
        clock.now += memory.LOOK_AGAIN_SECONDS
        broker.sweep()
    assert not broker._streams
    assert not broker._due
    assert not broker._results


async def test_sweep_knows_each_topic_once(broker: MemoryBroker, clock: Clock) -> None:
    for _ in range(50):
        await publish(broker, ttl=1, meta_ttl=2)
        clock.now += 3
        assert (await broker.position("t")).offset == 0
        broker.sweep()
        assert len(broker._due) <= 1


async def test_results_of_idempotency_keys_are_bounded(
    broker: MemoryBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "MAX_RESULTS", 3)
    for key in "abcd":
        await publish(broker, key=key)
    assert (await publish(broker, key="d")).suppressed
    assert (await publish(broker, key="b")).suppressed
    assert not (await publish(broker, key="a")).suppressed


async def test_shrunk_history_keeps_the_latest(broker: MemoryBroker) -> None:
    for _ in range(5):
        await publish(broker)
    await publish(broker, size=2)
    assert [each.offset for each in (await broker.history("t", ALL)).publications] == [5, 6]
