"""What every broker promises, seen through the bridge by which the hub uses it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from hub.broker.base import Outgoing, PublishResult
from hub.broker.broadcast import Bridge
from hub.broker.factory import make_broker
from hub.broker.inbox import Inbox
from hub.broker.memory import MemoryBroker
from hub.errors import BrokerError
from hub.model import ClientInfo, HistoryOptions, HistoryQuery, Position, Publication
from tests.contract.bridged import ALL, KEPT, TOPIC, Hub, eventually, position, running


@pytest.fixture(params=["memory", "redis", "redis_sentinel", "redis_cluster", "nats", "postgresql"])
def url(request: pytest.FixtureRequest) -> str:
    if request.param == "memory":
        return "memory://"
    return request.getfixturevalue(
        "postgres_url" if request.param == "postgresql" else f"{request.param}_url"
    )


@pytest.fixture
async def hub(url: str) -> AsyncIterator[Hub]:
    async with running(make_broker(url, prefix="test")) as hub:
        yield hub


async def test_offsets_rise_by_one_under_concurrent_publishers(hub: Hub) -> None:
    await hub.bridge.subscribe(TOPIC)
    results = await asyncio.gather(*(hub.publish(b"%d" % number) for number in range(200)))
    assert sorted(position(result).offset for result in results) == list(range(1, 201))
    assert len({position(result).epoch for result in results}) == 1
    await eventually(lambda: len(hub.recorder.publications(TOPIC)) == 200)
    assert hub.recorder.offsets(TOPIC) == list(range(1, 201))
    by_offset = {position(result).offset: b"%d" % number for number, result in enumerate(results)}
    assert hub.recorder.raws(TOPIC) == [by_offset[offset] for offset in range(1, 201)]
    assert hub.recorder.gaps(TOPIC) == []


async def test_publisher_that_waits_sees_its_order_kept(hub: Hub) -> None:
    await hub.bridge.subscribe(TOPIC)
    for number in range(50):
        assert position(await hub.publish(b"%d" % number)).offset == number + 1
    await eventually(lambda: len(hub.recorder.publications(TOPIC)) == 50)
    assert hub.recorder.raws(TOPIC) == [b"%d" % number for number in range(50)]


async def test_delivered_publication_is_the_one_published(hub: Hub) -> None:
    await hub.bridge.subscribe(TOPIC)
    info = ClientInfo("ann", "c-1", b'{"name":\n"Ann \xc3\xa9"}', None)
    sent = Publication(TOPIC, b'{"a": 1}', info=info, tags={"k": "v\n"}, time=1_700_000_000_000)
    result = await hub.bridge.publish(Outgoing(sent, KEPT))
    await eventually(lambda: len(hub.recorder.publications(TOPIC)) == 1)
    placed = sent.replace(offset=1, epoch=position(result).epoch)
    assert hub.recorder.publications(TOPIC) == [placed]
    page = await hub.bridge.history(TOPIC, ALL)
    assert page.publications == [placed]
    assert page.position == result.position


@pytest.mark.parametrize(
    "raw", [b' { "a" : 1 } ', b'"\\u00e9 \xc3\xa9"', b"1e5", b'"\xff\x00\n\r"', b"x" * 200_000, b""]
)
async def test_payload_arrives_byte_for_byte(hub: Hub, raw: bytes) -> None:
    await hub.bridge.subscribe(TOPIC)
    await hub.publish(raw)
    await hub.publish(raw, history=None)
    await eventually(lambda: len(hub.recorder.publications(TOPIC)) == 2)
    assert hub.recorder.raws(TOPIC) == [raw, raw]
    assert await hub.raws() == [raw]


async def test_topic_without_history_has_no_position(hub: Hub) -> None:
    await hub.bridge.subscribe(TOPIC)
    assert (await hub.publish(b"1", history=None)).position is None
    await eventually(lambda: len(hub.recorder.publications(TOPIC)) == 1)
    assert hub.recorder.publications(TOPIC) == [Publication(TOPIC, b"1")]
    assert await hub.raws() == []


async def test_concurrent_first_subscribers_share_one_subscription(hub: Hub) -> None:
    asked: list[str] = []
    subscribe = hub.broker.subscribe

    async def counted(topic: str) -> None:
        asked.append(topic)
        await asyncio.sleep(0.02)
        await subscribe(topic)

    hub.broker.subscribe = counted  # type: ignore[method-assign]
    await asyncio.gather(*(hub.bridge.subscribe(TOPIC) for _ in range(20)))
    assert asked == [TOPIC]
    await hub.publish(b"1")
    await eventually(lambda: hub.recorder.raws(TOPIC) == [b"1"])


async def test_subscription_is_in_force_when_subscribe_returns(hub: Hub) -> None:
    for number in range(50):
        topic = f"t:{number}"
        await hub.bridge.subscribe(topic)
        await hub.publish(b"1", topic)
    await eventually(lambda: all(hub.recorder.raws(f"t:{number}") == [b"1"] for number in range(50)))


async def test_subscribe_and_unsubscribe_in_any_order_end_as_the_last_one_said(hub: Hub) -> None:
    for _ in range(40):
        subscribing = asyncio.create_task(hub.bridge.subscribe(TOPIC))
        await hub.bridge.unsubscribe(TOPIC)
        await asyncio.sleep(0)
        again = asyncio.create_task(hub.bridge.unsubscribe(TOPIC))
        await asyncio.gather(subscribing, again)
        await asyncio.gather(hub.bridge.unsubscribe(TOPIC), hub.bridge.subscribe(TOPIC))
    await hub.publish(b"kept")
    await eventually(lambda: hub.recorder.raws(TOPIC) == [b"kept"])
    await hub.bridge.unsubscribe(TOPIC)
    await eventually(lambda: hub.bridge.topics == 0)
    await hub.publish(b"unheard")
    await hub.bridge.subscribe(TOPIC)
    await hub.publish(b"heard")
    await eventually(lambda: len(hub.recorder.raws(TOPIC)) == 2)
    assert hub.recorder.raws(TOPIC) == [b"kept", b"heard"]


async def test_topic_dropped_and_taken_again_at_once_receives(hub: Hub) -> None:
    for number in range(40):
        await hub.broker.unsubscribe(TOPIC)
        await hub.broker.subscribe(TOPIC)
        await hub.publish(b"%d" % number)
    await hub.broker.unsubscribe(TOPIC)
    await hub.bridge.subscribe(TOPIC)
    await hub.publish(b"last")
    await eventually(lambda: hub.recorder.raws(TOPIC)[-1:] == [b"last"])


async def test_empty_topic_lingers_and_is_kept_when_subscribed_again(url: str) -> None:
    async with running(make_broker(url, prefix="test")) as hub:
        hub.bridge._linger = 30.0
        await hub.bridge.subscribe(TOPIC)
        await hub.bridge.unsubscribe(TOPIC)
        await hub.publish(b"1")
        await hub.bridge.subscribe(TOPIC)
        await hub.publish(b"2")
        await eventually(lambda: hub.recorder.raws(TOPIC) == [b"1", b"2"])


async def test_burst_on_one_topic_costs_few_deliveries(hub: Hub) -> None:
    await hub.bridge.subscribe(TOPIC)
    await asyncio.gather(*(hub.publish(b"%d" % number) for number in range(500)))
    await eventually(lambda: len(hub.recorder.publications(TOPIC)) == 500)
    assert hub.recorder.deliveries < 60


async def test_raising_receiver_is_told_a_gap_and_goes_on(hub: Hub, caplog: pytest.LogCaptureFixture) -> None:
    def fail(topic: str) -> None:
        raise RuntimeError("of this test")

    await hub.bridge.subscribe(TOPIC)
    hub.recorder.fail = fail
    await hub.publish(b"1")
    await eventually(lambda: len(hub.recorder.gaps(TOPIC)) == 1)
    assert hub.bridge.receiver_errors == 1
    assert "of this test" in caplog.text
    hub.recorder.fail = None
    await hub.publish(b"2")
    await eventually(lambda: hub.recorder.after_gap(TOPIC) == [b"2"])


async def test_history_reads_pages_both_ways(hub: Hub) -> None:
    for number in range(1, 11):
        last = await hub.publish(b"%d" % number)
    epoch = position(last).epoch
    at = Position(4, epoch)

    async def read(**query: object) -> list[int]:
        return [int(raw) for raw in await hub.raws(query=HistoryQuery(**query))]  # type: ignore[arg-type]

    assert await read(limit=None) == []
    assert await read(limit=0) == []
    assert await read(limit=-1) == [*range(1, 11)]
    assert await read(limit=3) == [1, 2, 3]
    assert await read(limit=3, reverse=True) == [10, 9, 8]
    assert await read(limit=-1, since=at) == [*range(5, 11)]
    assert await read(limit=2, since=at) == [5, 6]
    assert await read(limit=-1, since=at, reverse=True) == [3, 2, 1]
    assert await read(limit=2, since=at, reverse=True) == [3, 2]
    assert await read(limit=-1, since=Position(10, epoch)) == []
    assert await read(limit=-1, since=Position(99, epoch)) == []
    assert await read(limit=-1, since=Position(0, epoch), reverse=True) == []
    assert await read(limit=-1, since=Position(8, "")) == [9, 10]
    assert await read(limit=-1, since=Position(8, "another")) == []
    assert (await hub.bridge.history(TOPIC, HistoryQuery())).position == last.position


async def test_history_keeps_no_more_than_its_size(hub: Hub) -> None:
    for number in range(20):
        await hub.publish(b"%d" % number, history=HistoryOptions(size=5, ttl=60))
    page = await hub.bridge.history(TOPIC, ALL)
    assert [publication.offset for publication in page.publications] == [16, 17, 18, 19, 20]
    assert page.position.offset == 20
    since = HistoryQuery(limit=-1, since=Position(3, page.position.epoch))
    assert len((await hub.bridge.history(TOPIC, since)).publications) == 5


async def test_publication_older_than_ttl_is_gone_and_the_position_stays(hub: Hub) -> None:
    first = await hub.publish(b"1", history=HistoryOptions(size=10, ttl=0.2))
    await hub.publish(b"2", history=HistoryOptions(size=10, ttl=60))
    assert await hub.raws() == [b"1", b"2"]
    await asyncio.sleep(0.3)
    assert await hub.raws() == [b"2"]
    assert await hub.bridge.position(TOPIC) == Position(2, position(first).epoch)


async def test_position_outlives_its_publications(hub: Hub) -> None:
    first = await hub.publish(b"1", history=HistoryOptions(size=10, ttl=0.2))
    await asyncio.sleep(0.3)
    assert await hub.raws() == []
    assert await hub.bridge.position(TOPIC) == first.position
    assert position(await hub.publish(b"2")) == Position(2, position(first).epoch)


async def test_forgotten_position_begins_a_new_epoch(hub: Hub) -> None:
    first = await hub.publish(b"1", history=HistoryOptions(size=10, ttl=0.1, meta_ttl=0.2))
    await asyncio.sleep(0.3)
    again = await hub.bridge.position(TOPIC)
    assert again.offset == 0
    assert again.epoch != position(first).epoch
    assert position(await hub.publish(b"2")) == Position(1, again.epoch)
    assert await hub.raws() == [b"2"]


async def test_history_that_lives_longer_than_its_position_keeps_it(hub: Hub) -> None:
    first = await hub.publish(b"1", history=HistoryOptions(size=10, ttl=60, meta_ttl=0.1))
    await asyncio.sleep(0.2)
    page = await hub.bridge.history(TOPIC, ALL)
    assert [each.position for each in page.publications] == [page.position] == [first.position]


async def test_position_of_a_topic_never_published_to_is_good_for_recovery(hub: Hub) -> None:
    start = await hub.bridge.position(TOPIC)
    assert start.offset == 0
    assert len(start.epoch) >= 8
    assert await hub.bridge.position(TOPIC) == start
    assert position(await hub.publish(b"1")) == Position(1, start.epoch)
    assert await hub.raws(query=HistoryQuery(limit=-1, since=start)) == [b"1"]


async def test_removed_history_keeps_the_position(hub: Hub) -> None:
    await hub.publish(b"1")
    last = await hub.publish(b"2")
    await hub.bridge.remove_history(TOPIC)
    page = await hub.bridge.history(TOPIC, ALL)
    assert page.publications == []
    assert page.position == last.position
    await hub.publish(b"3")
    page = await hub.bridge.history(TOPIC, ALL)
    assert [publication.offset for publication in page.publications] == [3]
    await hub.bridge.remove_history("never:seen")


async def test_same_idempotency_key_is_stored_once_and_answers_as_the_first(hub: Hub) -> None:
    await hub.bridge.subscribe(TOPIC)
    first = await hub.publish(b"1", key="k")
    assert not first.suppressed
    await hub.publish(b"2")
    again = await hub.publish(b"1", key="k")
    assert again == PublishResult(first.position, suppressed=True)
    other = await hub.publish(b"3", key="k", topic="news:other")
    assert not other.suppressed
    without = [await hub.publish(b"4", key="n", history=None) for _ in range(2)]
    assert without == [PublishResult(), PublishResult(suppressed=True)]
    await eventually(lambda: len(hub.recorder.publications(TOPIC)) == 3)
    assert hub.recorder.raws(TOPIC) == [b"1", b"2", b"4"]
    assert await hub.raws() == [b"1", b"2"]


async def test_idempotency_key_is_forgotten_after_its_time(hub: Hub) -> None:
    for number in (1, 2):
        outgoing = Outgoing(Publication(TOPIC, b"1"), KEPT, idempotency_key="k", idempotency_ttl=0.1)
        assert position(await hub.bridge.publish(outgoing)).offset == number
        await asyncio.sleep(0.2)


async def test_concurrent_publishes_with_one_key_are_stored_once(hub: Hub) -> None:
    results = await asyncio.gather(*(hub.publish(b"1", key="same") for _ in range(30)))
    assert sum(not result.suppressed for result in results) == 1
    assert {position(result).offset for result in results} == {1}


@pytest.mark.parametrize("history", [KEPT, None])
async def test_only_newer_versions_pass(hub: Hub, history: HistoryOptions | None) -> None:
    await hub.bridge.subscribe(TOPIC)

    async def versioned(version: int, epoch: str = "") -> bool:
        publication = Publication(TOPIC, b'"%d%s"' % (version, epoch.encode()))
        outgoing = Outgoing(publication, history, version=version, version_epoch=epoch)
        return not (await hub.bridge.publish(outgoing)).suppressed

    assert [await versioned(version) for version in (5, 5, 4, 6, 2**53 + 1, 2**53)] == [
        True,
        False,
        False,
        True,
        True,
        False,
    ]
    assert await versioned(1, "second")
    assert not await versioned(1, "second")
    assert not (await hub.publish(b'"free"', history=history)).suppressed
    expected = [b'"5"', b'"6"', b'"9007199254740993"', b'"1second"', b'"free"']
    await eventually(lambda: len(hub.recorder.raws(TOPIC)) == 5)
    assert hub.recorder.raws(TOPIC) == expected


async def test_topics_with_odd_names_are_kept_apart(hub: Hub) -> None:
    names = [
        "a", "A", "a:b", "a.b", "a b", " a", "a ", "{a}", "a}", "}a", "{", "}", "{}", "{a}{b}", "%7D", "%", "a%7Db",
        "*", "a*", "?", "[a]", "\\", "'", '"', "é", "E", "日本", "😀", "ß", "SS", ":", "::", "m:{a}", "a}:1",
        "x" * 255, "x" * 254, "é" * 127,
    ]  # fmt: skip
    for name in names:
        await hub.bridge.subscribe(name)
    await asyncio.gather(*(hub.publish(name.encode(), name) for name in names))
    await eventually(lambda: all(hub.recorder.seen[name] for name in names))
    for name in names:
        assert hub.recorder.raws(name) == [name.encode()]
        assert hub.recorder.publications(name)[0].topic == name
        page = await hub.bridge.history(name, ALL)
        assert [publication.raw for publication in page.publications] == [name.encode()]
        assert page.position.offset == 1


async def test_idempotency_keys_are_kept_apart_from_topics_and_keys_of_the_store(hub: Hub) -> None:
    topics, keys = ("a", "a:b", "a}", "a}:x"), ("k", "b:k", "}:k", "x}:k", "m", "日")
    for topic in topics:
        for key in keys:
            assert not (await hub.publish(b"1", topic, key=key)).suppressed
    assert [await hub.raws(topic) for topic in topics] == [[b"1"] * len(keys)] * len(topics)


async def test_bridge_becomes_ready_and_is_not_after_stop(url: str) -> None:
    async with running(make_broker(url, prefix="test")) as hub:
        await eventually(lambda: hub.bridge.ready)
    assert not hub.bridge.ready
    with pytest.raises(BrokerError):
        await hub.publish(b"1")
    with pytest.raises(BrokerError):
        await hub.bridge.subscribe(TOPIC)


async def test_control_messages_reach_this_node_too(hub: Hub) -> None:
    got: list[bytes] = []
    hub.bridge.on_control = got.append
    await hub.bridge.control(b"\x00one")
    await hub.bridge.control(b"two")
    await eventually(lambda: got == [b"\x00one", b"two"])


async def test_broker_can_be_connected_again_after_disconnect(hub: Hub) -> None:
    await hub.bridge.subscribe(TOPIC)
    first = await hub.publish(b"1")
    await hub.broker.disconnect()
    await hub.broker.disconnect()
    assert not hub.broker.connected
    await hub.broker.connect()
    await eventually(lambda: hub.broker.connected)
    await asyncio.sleep(0.1)
    second = await hub.publish(b"2")
    assert second.position == Position(2, position(first).epoch)
    await eventually(lambda: b"2" in hub.recorder.raws(TOPIC))


async def test_dead_listener_is_replaced_and_gaps_are_told(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    hub = Hub(make_broker(url, prefix="test"))
    hub.bridge = Bridge(hub.broker, hub.recorder, node="n", linger=1, probe_every=0.05, probe_grace=0.3)
    await hub.bridge.start()
    await hub.bridge.subscribe(TOPIC)
    await eventually(lambda: hub.bridge.ready)
    listener = hub.bridge._broadcast._listener_task
    listener.cancel()
    await asyncio.wait([listener])
    await hub.publish(b"lost")
    await eventually(lambda: hub.bridge.rebuilds == 1)
    await eventually(lambda: bool(hub.recorder.gaps(TOPIC)) and hub.bridge.ready)
    await hub.publish(b"heard")
    await eventually(lambda: hub.recorder.after_gap(TOPIC)[-1:] == [b"heard"])
    assert hub.bridge.rebuilds == 1
    await hub.bridge.stop()


async def test_full_inbox_gives_a_gap_in_place_of_what_it_dropped(url: str) -> None:
    broker = make_broker(url, prefix="test", inbox=Inbox(max_count=50))
    async with running(broker) as hub:
        await hub.bridge.subscribe(TOPIC)
        await hub.bridge.subscribe("calm")
        listener = hub.bridge._broadcast._listener_task
        listener.cancel()
        await asyncio.wait([listener])
        await asyncio.gather(*(hub.publish(b"%d" % number) for number in range(200)))
        await hub.publish(b"1", "calm")
        await eventually(lambda: broker.overflows > 0)
        await asyncio.sleep(0.1)
        hub.bridge._broadcast._listener_task = asyncio.create_task(hub.bridge._broadcast._listener())
        await eventually(lambda: b"199" in hub.recorder.raws(TOPIC) or not hub.recorder.after_gap(TOPIC))
        await eventually(lambda: bool(hub.recorder.gaps(TOPIC)))
        await hub.publish(b"later")
        await eventually(lambda: hub.recorder.after_gap(TOPIC)[-1:] == [b"later"])
        offsets = hub.recorder.offsets(TOPIC)
        assert offsets == list(range(offsets[0], 202))
        assert hub.recorder.seen["calm"]


async def test_stop_during_subscribes_leaves_nobody_waiting(url: str) -> None:
    hub = Hub(make_broker(url, prefix="test"))
    await hub.bridge.start()
    subscribing = [asyncio.create_task(hub.bridge.subscribe(f"t:{number}")) for number in range(20)]
    await asyncio.sleep(0)
    await hub.bridge.stop()
    done = await asyncio.gather(*subscribing, return_exceptions=True)
    assert all(each is None or isinstance(each, BrokerError) for each in done)


async def test_many_topics_are_dropped_when_nobody_wants_them(url: str) -> None:
    async with AsyncExitStack() as stack:
        hub = await stack.enter_async_context(running(make_broker(url, prefix="test")))
        topics = [f"t:{number}" for number in range(300)]
        await asyncio.gather(*(hub.bridge.subscribe(topic) for topic in topics))
        assert hub.bridge.topics == 300
        await asyncio.gather(*(hub.bridge.unsubscribe(topic) for topic in topics))
        await eventually(lambda: hub.bridge.topics == 0)
        if isinstance(hub.broker, MemoryBroker):
            assert not hub.broker._wanted & set(topics)
