"""Publications that wait for a broker that is away: once, in order, bounded, and never acknowledged too early."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from hub import metrics
from hub.broker.base import Outgoing, PublishResult
from hub.errors import BrokerError
from hub.model import Position, Publication
from hub.sender import OVERHEAD, TOGETHER, Sender
from hub.tasks import Tasks

AWAY = BrokerError("away")
LOST = BrokerError("no answer", unknown=True)


class FlakyBroker:
    """Stores by key, once, and fails as it is told: `fail` is raised, after storing when it is unknown."""

    def __init__(self) -> None:
        self.stored: dict[str, bytes] = {}
        self.keys: list[str] = []
        self.attempts = 0
        self.fail: BrokerError | None = None
        self.stores_what_it_loses = True
        self.gate: asyncio.Event | None = None

    async def publish(self, outgoing: Outgoing) -> PublishResult:
        self.attempts += 1
        self.keys.append(outgoing.idempotency_key)
        fail = self.fail
        if self.gate is not None:
            await self.gate.wait()
        if fail is not None and not (fail.unknown and self.stores_what_it_loses):
            raise self._error(fail)
        key = outgoing.idempotency_key or f"none {self.attempts}"
        seen = key in self.stored
        self.stored.setdefault(key, outgoing.publication.raw)
        if fail is not None:
            raise self._error(fail)
        return PublishResult(Position([*self.stored].index(key) + 1, "e"), suppressed=seen)

    @staticmethod
    def _error(told: BrokerError) -> BrokerError:
        return BrokerError(str(told), unknown=told.unknown, lasting=told.lasting)

    @property
    def raws(self) -> list[bytes]:
        return list(self.stored.values())


@pytest.fixture
def broker() -> FlakyBroker:
    return FlakyBroker()


@pytest.fixture
async def tasks() -> AsyncIterator[Tasks]:
    tasks = Tasks()
    yield tasks
    await tasks.cancel()


@pytest.fixture
def sender(broker: FlakyBroker, tasks: Tasks) -> Sender:
    sender = Sender(tasks, max_count=5, max_bytes=10_000)
    sender.attach(broker.publish, own_keys=True)
    return sender


def outgoing(raw: bytes = b"1", topic: str = "t", key: str = "") -> Outgoing:
    return Outgoing(Publication(topic, raw), idempotency_key=key)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not holds():
            await asyncio.sleep(0)


def begun(sender: Sender, raw: bytes, *, topic: str = "t", wait: float = 20) -> asyncio.Task[PublishResult]:
    return asyncio.create_task(sender.send(outgoing(raw, topic), wait))


async def failure(sending: asyncio.Task[PublishResult]) -> BrokerError:
    with pytest.raises(BrokerError) as caught:
        await sending
    return caught.value


async def test_without_a_wait_a_publish_fails_at_once_and_has_no_key(
    sender: Sender, broker: FlakyBroker
) -> None:
    await sender.send(outgoing(), 0)
    broker.fail = AWAY
    assert not (await failure(begun(sender, b"2", wait=0))).unknown
    assert (broker.attempts, broker.keys) == (2, ["", ""])


async def test_what_waited_is_acknowledged_when_it_is_stored_and_not_before(
    sender: Sender, broker: FlakyBroker
) -> None:
    broker.fail = AWAY
    sending = begun(sender, b"1")
    await until(lambda: sender.count == 1)
    assert (sending.done(), broker.stored) == (False, {})
    broker.fail = None
    assert (await sending).position == Position(1, "e")
    assert (sender.count, sender.bytes) == (0, 0)


async def test_what_waits_goes_first_and_in_order(sender: Sender, broker: FlakyBroker) -> None:
    broker.fail = AWAY
    sendings = [begun(sender, b"%d" % number) for number in range(3)]
    await until(lambda: sender.count == 3)
    broker.fail = None
    later = begun(sender, b"3")
    await asyncio.gather(*sendings, later)
    assert broker.raws == [b"0", b"1", b"2", b"3"]


async def test_many_that_waited_keep_their_order(broker: FlakyBroker, tasks: Tasks) -> None:
    sender = Sender(tasks)
    sender.attach(broker.publish, own_keys=True)
    broker.fail = AWAY
    sendings = [begun(sender, b"%d" % number) for number in range(3 * TOGETHER)]
    await until(lambda: sender.count == 3 * TOGETHER)
    broker.fail = None
    await asyncio.gather(*sendings)
    assert broker.raws == [b"%d" % number for number in range(3 * TOGETHER)]


async def test_a_topic_that_waits_keeps_no_other_back(sender: Sender, broker: FlakyBroker) -> None:
    broker.fail = AWAY
    waiting = begun(sender, b"1", topic="a")
    await until(lambda: sender.count == 1)
    gate = broker.gate = asyncio.Event()
    await until(lambda: len(broker.keys) >= 2)  # one of topic a hangs
    broker.gate = broker.fail = None
    await sender.send(outgoing(b"2", "b"), 20)
    assert not waiting.done()
    gate.set()
    await waiting


async def test_an_unknown_outcome_is_made_certain_by_a_key_of_the_nodes_own(
    sender: Sender, broker: FlakyBroker
) -> None:
    broker.fail = LOST
    sending = begun(sender, b"1")
    await until(lambda: broker.attempts == 2)
    broker.fail = None
    result = await sending
    assert (result.position, result.suppressed) == (Position(1, "e"), False)
    assert broker.raws == [b"1"]
    assert len(set(broker.keys)) == 1


async def test_the_publishers_own_key_is_kept(sender: Sender, broker: FlakyBroker) -> None:
    await sender.send(outgoing(b"1", key="mine"), 20)
    assert (await sender.send(outgoing(b"1", key="mine"), 20)).suppressed
    assert broker.keys == ["mine", "mine"]


async def test_a_wait_that_ends_without_an_attempt_that_may_have_stored_it_is_a_refusal(
    sender: Sender, broker: FlakyBroker
) -> None:
    broker.fail = AWAY
    assert not (await failure(begun(sender, b"1", wait=0.05))).unknown
    broker.fail = None
    await sender.send(outgoing(b"2"), 20)
    assert broker.raws == [b"2"]


async def test_a_wait_that_ends_after_one_is_unknown(sender: Sender, broker: FlakyBroker) -> None:
    broker.fail = LOST
    sending = begun(sender, b"1", wait=0.1)
    await until(lambda: sender.count == 1)
    broker.fail = AWAY
    assert (await failure(sending)).unknown


async def test_a_wait_that_ends_during_an_attempt_has_its_outcome(
    sender: Sender, broker: FlakyBroker
) -> None:
    broker.fail = AWAY
    sending = begun(sender, b"1", wait=0.1)
    await until(lambda: sender.count == 1)
    broker.fail, broker.gate, before = None, asyncio.Event(), broker.attempts
    await until(lambda: broker.attempts > before)
    await asyncio.sleep(0.15)
    assert not sending.done()
    broker.gate.set()
    assert (await sending).position == Position(1, "e")


async def test_beyond_the_bounds_a_publish_is_refused_at_once(sender: Sender, broker: FlakyBroker) -> None:
    full = metrics.total(metrics.PUBLISH_OVERFLOWS)
    broker.fail = AWAY
    waiting = [begun(sender, b"%d" % number) for number in range(5)]
    await until(lambda: sender.count == 5)
    assert "wait already" in str(await failure(begun(sender, b"5")))
    broker.fail = LOST
    assert (await failure(begun(sender, b"6", topic="other"))).unknown
    assert metrics.total(metrics.PUBLISH_OVERFLOWS) == full + 2
    broker.fail = None
    await asyncio.gather(*waiting)


async def test_bytes_are_bounded_too(sender: Sender, broker: FlakyBroker) -> None:
    broker.fail = AWAY
    large = begun(sender, b"x" * (10_000 - OVERHEAD))
    await until(lambda: sender.count == 1)
    assert sender.bytes == 10_000
    await failure(begun(sender, b"", topic="other"))
    broker.fail = None
    await large


async def test_the_gauge_says_what_waits(sender: Sender, broker: FlakyBroker) -> None:
    before = metrics.total(metrics.PUBLISH_WAITING)
    broker.fail = AWAY
    sending = begun(sender, b"1")
    await until(lambda: sender.count == 1)
    assert metrics.total(metrics.PUBLISH_WAITING) == before + 1
    broker.fail = None
    await sending
    assert metrics.total(metrics.PUBLISH_WAITING) == before


async def test_one_that_nobody_waits_for_any_more_is_not_sent(sender: Sender, broker: FlakyBroker) -> None:
    broker.fail = AWAY
    sending = begun(sender, b"1")
    await until(lambda: sender.count == 1)
    sending.cancel()
    await asyncio.wait([sending])
    assert sender.count == 0
    broker.fail = None
    await sender.send(outgoing(b"2"), 20)
    assert broker.raws == [b"2"]


async def test_what_no_retry_helps_keeps_nothing_back(sender: Sender, broker: FlakyBroker) -> None:
    broker.fail = BrokerError("too large", lasting=True)
    assert (await failure(begun(sender, b"1"))).lasting
    broker.fail = AWAY
    first = begun(sender, b"2")
    await until(lambda: sender.count == 1)
    broker.fail = BrokerError("too large", lasting=True)
    assert (await failure(first)).lasting


async def test_a_node_that_stops_tells_those_who_wait(sender: Sender, broker: FlakyBroker) -> None:
    broker.fail = AWAY
    refused = begun(sender, b"1", topic="a")
    await until(lambda: sender.count == 1)
    broker.fail = LOST
    unknown = begun(sender, b"2", topic="b")
    await until(lambda: sender.count == 2)
    broker.fail = AWAY
    sender.close()
    assert not (await failure(refused)).unknown
    assert (await failure(unknown)).unknown
    await failure(begun(sender, b"3"))
    broker.fail = None
    await sender.send(outgoing(b"4"), 20)
    assert broker.raws[-1] == b"4"


async def test_tasks_that_are_cancelled_leave_nobody_waiting(
    sender: Sender, broker: FlakyBroker, tasks: Tasks
) -> None:
    broker.fail = AWAY
    sending = begun(sender, b"1")
    await until(lambda: sender.count == 1)
    await tasks.cancel()
    await failure(sending)
    assert sender.count == 0


async def test_without_keys_of_its_own_the_node_makes_none(broker: FlakyBroker, tasks: Tasks) -> None:
    sender = Sender(tasks)
    sender.attach(broker.publish, own_keys=False)
    await sender.send(outgoing(), 20)
    assert broker.keys == [""]


async def test_what_is_under_way_to_a_slow_broker_is_bounded_in_bytes(
    sender: Sender, broker: FlakyBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hub.sender.MAX_UNDER_WAY_BYTES", 3 * (1_000 + OVERHEAD))
    broker.gate = asyncio.Event()
    sending = [
        asyncio.create_task(sender.send(Outgoing(Publication("t", bytes(1_000))), 0)) for _ in range(5)
    ]
    done, _ = await asyncio.wait(sending, return_when=asyncio.FIRST_EXCEPTION)
    assert [isinstance(each.exception(), BrokerError) for each in done] == [True, True]
    assert not any(each.exception().unknown for each in done)  # type: ignore[union-attr]
    broker.gate.set()
    results = await asyncio.gather(*sending, return_exceptions=True)
    assert sum(isinstance(each, PublishResult) for each in results) == 3
    assert (sender.under_way, sender.under_way_bytes) == (0, 0)


async def test_what_is_under_way_to_a_slow_broker_is_bounded_in_number(
    sender: Sender, broker: FlakyBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hub.sender.MAX_UNDER_WAY", 2)
    broker.gate = asyncio.Event()
    sending = [asyncio.create_task(sender.send(Outgoing(Publication("t", b"1")), 0)) for _ in range(3)]
    await asyncio.wait(sending, return_when=asyncio.FIRST_EXCEPTION)
    broker.gate.set()
    results = await asyncio.gather(*sending, return_exceptions=True)
    assert [isinstance(each, BrokerError) for each in results] == [False, False, True]
