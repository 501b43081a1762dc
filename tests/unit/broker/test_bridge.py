"""What the bridge does when what lies under it fails."""

from __future__ import annotations

import asyncio

import pytest
from broadcaster import Event

from hub.broker import pump
from hub.broker.base import Outgoing
from hub.broker.broadcast import Bridge
from hub.broker.memory import MemoryBroker
from hub.broker.probe import Probe
from hub.errors import BrokerError
from hub.model import Publication
from tests.contract.bridged import Recorder, eventually


class Faulty(MemoryBroker):
    """A broker that breaks its promises where a test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.faults: list[str] = []
        self.subscribes = 0

    def _fault(self, where: str) -> None:
        if where in self.faults:
            self.faults.remove(where)
            raise RuntimeError(f"fault in {where}")

    async def connect(self) -> None:
        self._fault("connect")
        await super().connect()

    async def subscribe(self, topic: str) -> None:
        self.subscribes += 1
        self._fault("subscribe")
        await super().subscribe(topic)

    async def next_published(self) -> Event:
        event = await super().next_published()
        self._fault("next_published")
        return event

    async def publish(self, channel: str, message: Outgoing) -> None:
        if "publish" in self.faults:
            raise BrokerError("away")
        if "swallow" in self.faults:
            return
        await super().publish(channel, message)


@pytest.fixture
def broker() -> Faulty:
    return Faulty()


@pytest.fixture
async def bridge(broker: Faulty, monkeypatch: pytest.MonkeyPatch) -> Bridge:
    monkeypatch.setattr(pump, "RESTART_SECONDS", 0.01)
    return Bridge(broker, Recorder(), node="n", linger=0.01, probe_every=0.02, probe_grace=0.1)


def recorder(bridge: Bridge) -> Recorder:
    assert isinstance(bridge._receiver, Recorder)
    return bridge._receiver


async def test_listener_that_dies_is_noticed_and_replaced(bridge: Bridge, broker: Faulty) -> None:
    await bridge.start()
    await bridge.subscribe("t")
    await eventually(lambda: bridge.ready)
    broker.faults.append("next_published")
    await eventually(lambda: bridge.rebuilds == 1 and bridge.ready)
    assert recorder(bridge).gaps("t") == ["the node had to subscribe anew"]
    await bridge.publish(Outgoing(Publication("t", b"1")))
    await eventually(lambda: recorder(bridge).after_gap("t") == [b"1"])
    await bridge.stop()


async def test_rebuild_that_fails_is_tried_again(bridge: Bridge, broker: Faulty) -> None:
    await bridge.start()
    await bridge.subscribe("t")
    await eventually(lambda: bridge.ready)
    broker.faults += ["next_published", "connect", "connect"]
    await eventually(lambda: bridge.rebuilds == 3 and bridge.ready)
    await bridge.publish(Outgoing(Publication("t", b"1")))
    await eventually(lambda: recorder(bridge).after_gap("t") == [b"1"])
    await bridge.stop()


async def test_subscription_that_fails_is_made_again_with_a_gap(bridge: Bridge, broker: Faulty) -> None:
    await bridge.start()
    broker.faults.append("subscribe")
    await bridge.subscribe("t")
    assert bridge.pump_restarts == 1
    await bridge.publish(Outgoing(Publication("t", b"1")))
    await eventually(lambda: recorder(bridge).after_gap("t") == [b"1"])
    assert len(recorder(bridge).gaps("t")) == 1
    await bridge.stop()


async def test_bridge_is_not_ready_while_no_probe_passes(bridge: Bridge, broker: Faulty) -> None:
    await bridge.start()
    await eventually(lambda: bridge.ready)
    broker.faults.append("publish")
    await eventually(lambda: not bridge.ready)
    assert bridge.rebuilds == 0
    broker.faults.clear()
    await eventually(lambda: bridge.ready)
    await bridge.stop()


async def test_publish_without_an_answer_is_unknown(bridge: Bridge, broker: Faulty) -> None:
    await bridge.start()
    broker.faults.append("swallow")
    with pytest.raises(BrokerError) as error:
        await bridge.publish(Outgoing(Publication("t", b"1")))
    assert error.value.unknown
    await bridge.stop()


async def test_receiver_whose_gap_raises_too_is_survived(bridge: Bridge) -> None:
    await bridge.start()
    await bridge.subscribe("t")

    def fail(topic: str) -> None:
        raise RuntimeError("of this test")

    recorder(bridge).fail = recorder(bridge).on_gap = fail
    await bridge.publish(Outgoing(Publication("t", b"1")))
    await eventually(lambda: bridge.receiver_errors == 2)
    recorder(bridge).fail = recorder(bridge).on_gap = None
    await bridge.publish(Outgoing(Publication("t", b"2")))
    await eventually(lambda: recorder(bridge).raws("t") == [b"2"])
    await bridge.stop()


async def test_control_handler_that_raises_is_survived(bridge: Bridge) -> None:
    got: list[bytes] = []

    def take(message: bytes) -> None:
        got.append(message)
        raise RuntimeError("of this test")

    bridge.on_control = take
    await bridge.start()
    await bridge.control(b"1")
    await eventually(lambda: got == [b"1"])
    await bridge.control(b"2")
    await eventually(lambda: got == [b"1", b"2"])
    await bridge.stop()


async def test_start_tells_what_hinders_it_and_stop_is_safe_afterwards(
    bridge: Bridge, broker: Faulty
) -> None:
    broker.faults.append("connect")
    with pytest.raises(RuntimeError):
        await bridge.start()
    await bridge.stop()
    await bridge.stop()


async def test_cancelled_subscriber_does_not_hinder_the_next(bridge: Bridge, broker: Faulty) -> None:
    gate = asyncio.Event()
    subscribe = broker.subscribe

    async def slow(topic: str) -> None:
        await gate.wait()
        await subscribe(topic)

    await bridge.start()
    broker.subscribe = slow  # type: ignore[method-assign]
    first = asyncio.create_task(bridge.subscribe("t"))
    second = asyncio.create_task(bridge.subscribe("t"))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    gate.set()
    await second
    await bridge.publish(Outgoing(Publication("t", b"1")))
    await eventually(lambda: recorder(bridge).raws("t") == [b"1"])
    await bridge.stop()


async def test_subscriber_who_comes_while_the_topic_is_dropped_is_subscribed(
    bridge: Bridge, broker: Faulty
) -> None:
    gate, dropping = asyncio.Event(), asyncio.Event()
    unsubscribe = broker.unsubscribe

    async def slow(topic: str) -> None:
        dropping.set()
        await gate.wait()
        await unsubscribe(topic)

    await bridge.start()
    await bridge.subscribe("t")
    broker.unsubscribe = slow  # type: ignore[method-assign]
    await bridge.unsubscribe("t")
    await dropping.wait()
    newcomer = asyncio.create_task(bridge.subscribe("t"))
    await asyncio.sleep(0)
    gate.set()
    await newcomer
    await bridge.publish(Outgoing(Publication("t", b"1")))
    await eventually(lambda: recorder(bridge).raws("t") == [b"1"])
    await bridge.stop()


async def test_subscriber_who_comes_just_before_the_linger_ends_keeps_the_topic(
    bridge: Bridge, broker: Faulty
) -> None:
    await bridge.start()
    await bridge.subscribe("t")
    await bridge.unsubscribe("t")
    entry = bridge._topics["t"]
    await entry.lock.acquire()
    newcomer = asyncio.create_task(bridge.subscribe("t"))
    await eventually(lambda: entry.linger is None)  # it ends while the newcomer waits for the lock
    entry.lock.release()
    await newcomer
    before = broker.subscribes
    await eventually(lambda: not any("drop" in task.get_name() for task in bridge._tasks))
    await bridge.publish(Outgoing(Publication("t", b"1")))
    await eventually(lambda: recorder(bridge).raws("t") == [b"1"])
    assert broker.subscribes == before
    await bridge.stop()


def test_probe_is_lost_only_when_none_came_back_for_the_grace() -> None:
    now = [0.0]
    probe = Probe(2.0, 6.0, lambda: now[0])
    assert not probe.fresh
    first = probe.next()
    now[0] = 2.0
    probe.next()
    now[0] = 5.0
    probe.returned(first)
    now[0] = 7.0
    assert probe.fresh
    assert not probe.lost
    now[0] = 11.5
    assert not probe.fresh
    assert probe.lost
    probe.forget()
    assert not probe.lost


async def test_what_waits_is_handed_over_at_once_however_much_it_is(bridge: Bridge, broker: Faulty) -> None:
    topics = [f"t{number}" for number in range(20)]
    await bridge.start()
    for topic in topics:
        await bridge.subscribe(topic)
    await asyncio.sleep(0)
    taken = recorder(bridge).deliveries
    for _ in range(50):
        for topic in topics:
            bridge.publish_now(Outgoing(Publication(topic, b"1")))
    for _ in range(3):  # the listener is woken once, and then each topic's pump
        await asyncio.sleep(0)
    assert [len(recorder(bridge).raws(topic)) for topic in topics] == [50] * 20
    assert recorder(bridge).deliveries == taken + 20
    await bridge.stop()
