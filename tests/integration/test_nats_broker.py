"""The broker on a real NATS that is killed with and without its data, frozen, robbed of its stream, shared by nodes."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import nats
import pytest

from hub.broker.factory import make_broker
from hub.broker.nats.broker import NatsBroker
from hub.errors import BrokerError, HubError
from hub.model import HistoryOptions, HistoryQuery, Position
from tests.contract.bridged import ALL, KEPT, TOPIC, Hub, eventually, position, running
from tests.services.missing import find_program, unavailable
from tests.services.nats import REMEDY, NatsServer, delete_stream
from tests.services.ports import free_port
from tests.services.process import ServerProcess

PLAIN = "plain:topic"


def broker_of(hub: Hub) -> NatsBroker:
    assert isinstance(hub.broker, NatsBroker)
    return hub.broker


async def call(url: str, name: str, wanted: dict[str, Any] | None = None) -> dict[str, Any]:
    """What the API of JetStream answers."""
    client = await nats.connect(url)
    try:
        request = json.dumps(wanted).encode() if wanted is not None else b""
        answer: dict[str, Any] = json.loads(
            (await client.request(f"$JS.API.{name}", request, timeout=5)).data
        )
        return answer
    finally:
        await client.close()


async def deleted(url: str, stream: str) -> None:
    """Takes a stream away beneath whoever uses it."""
    client = await nats.connect(url)
    try:
        await delete_stream(client, stream)
    finally:
        await client.close()


async def stored(url: str, subject: str) -> int:
    """How many messages of a subject lie in the stream."""
    info = await call(url, "STREAM.INFO.test-topics", {"subjects_filter": subject})
    return int((info["state"].get("subjects") or {}).get(subject, 0))


async def published(hub: Hub, raw: bytes, *, within: float = 15) -> Position:
    """Publishes as a backend does: again and again, with one idempotency key, until the broker takes it."""
    async with asyncio.timeout(within):
        while True:
            try:
                return position(await hub.publish(raw, key=raw.decode()))
            except BrokerError:
                await asyncio.sleep(0.05)


async def test_two_publishers_at_once_give_every_offset_once_and_all_nodes_see_one_order(
    nats_url: str,
) -> None:
    async with AsyncExitStack() as stack:
        hubs = [
            await stack.enter_async_context(running(make_broker(nats_url, prefix="test"))) for _ in range(3)
        ]
        for hub in hubs:
            await hub.bridge.subscribe(TOPIC)

        async def publish(hub: Hub, number: int) -> Position:
            await asyncio.sleep(number % 20 / 1000)
            return position(await hub.publish(b"%d" % number))

        results = await asyncio.gather(*(publish(hubs[number % 2], number) for number in range(200)))
        assert sorted(result.offset for result in results) == list(range(1, 201))
        assert len({result.epoch for result in results}) == 1
        by_offset = {result.offset: b"%d" % number for number, result in enumerate(results)}
        for hub in hubs:
            await eventually(lambda hub=hub: len(hub.recorder.publications(TOPIC)) == 200)  # type: ignore[misc]
            assert hub.recorder.offsets(TOPIC) == list(range(1, 201))
            assert hub.recorder.raws(TOPIC) == [by_offset[offset] for offset in range(1, 201)]
            assert hub.recorder.gaps(TOPIC) == []
            assert await hub.raws() == hub.recorder.raws(TOPIC)


async def test_key_used_on_two_nodes_at_once_is_stored_once(nats_url: str) -> None:
    async with AsyncExitStack() as stack:
        hubs = [
            await stack.enter_async_context(running(make_broker(nats_url, prefix="test"))) for _ in range(2)
        ]
        for key in ("a", "b", "c"):
            results = await asyncio.gather(*(hubs[number % 2].publish(b"1", key=key) for number in range(10)))
            assert sum(not result.suppressed for result in results) == 1
            assert len({position(result).offset for result in results}) == 1
        assert len(await hubs[0].raws()) == 3


@pytest.mark.usefixtures("patient")
async def test_publishes_with_keys_on_many_topics_share_batches_and_each_is_counted_right(
    nats_url: str,
) -> None:
    topics = [f"t:{number}" for number in range(30)]
    async with AsyncExitStack() as stack:
        one, other = [
            await stack.enter_async_context(running(make_broker(nats_url, prefix="test"))) for _ in range(2)
        ]
        await asyncio.gather(*(one.publish(b"1", topic, key="first") for topic in topics))
        for topic in topics:
            known = broker_of(one)._topics.known(topic)
            assert known is not None
            assert known.sequence == (await broker_of(one)._topics.load(topic)).sequence
        results = await asyncio.gather(
            *(
                hub.publish(b"%s %d" % (name, number), topic, key=f"{name!r} {number}")
                for topic in topics
                for number in range(3)
                for name, hub in ((b"one", one), (b"other", other))
            )
        )
        assert not any(result.suppressed for result in results)
        for topic in topics:
            assert len(set(await one.raws(topic))) == 7
            assert (await other.bridge.position(topic)).offset == 7
        again = await asyncio.gather(*(other.publish(b"1", topic, key="first") for topic in topics))
        assert all(result.suppressed and position(result).offset == 1 for result in again)


async def test_control_messages_reach_every_node(nats_url: str) -> None:
    async with AsyncExitStack() as stack:
        hubs = [
            await stack.enter_async_context(running(make_broker(nats_url, prefix="test"))) for _ in range(2)
        ]
        got: list[list[bytes]] = [[], []]
        for hub, into in zip(hubs, got, strict=True):
            hub.bridge.on_control = into.append
        await hubs[0].bridge.control(b"now")
        await eventually(lambda: got == [[b"now"], [b"now"]])


async def test_prefixes_keep_hubs_apart(nats_url: str) -> None:
    async with AsyncExitStack() as stack:
        one, *others = [
            await stack.enter_async_context(running(make_broker(nats_url, prefix=prefix)))
            for prefix in ("test", "test2", "test.h", "Test")
        ]
        for hub in (one, *others):
            await hub.bridge.subscribe(TOPIC)
        await one.publish(b"1")
        for hub in others:
            assert position(await hub.publish(b"other")).offset == 1
            await eventually(lambda hub=hub: hub.recorder.raws(TOPIC) == [b"other"])  # type: ignore[misc]
        assert one.recorder.raws(TOPIC) == [b"1"]


@pytest.mark.parametrize("keep_data", [False, True])
async def test_killed_nats_fails_fast_and_comes_back_with_a_gap(
    nats_server: NatsServer, keep_data: bool
) -> None:
    async with running(make_broker(nats_server.url, prefix="test")) as hub:
        await hub.bridge.subscribe(TOPIC)
        await hub.bridge.subscribe(PLAIN)
        before = position(await hub.publish(b"before"))
        await eventually(lambda: hub.bridge.ready)
        nats_server.kill()
        await eventually(lambda: not hub.bridge.ready)
        for _ in range(3):
            began = time.monotonic()
            with pytest.raises(BrokerError) as refused:
                await hub.publish(b"between")
            assert not refused.value.unknown
            with pytest.raises(BrokerError):
                await hub.bridge.history(TOPIC, ALL)
            assert time.monotonic() - began < 3
        began = time.monotonic()
        await hub.bridge.subscribe("made:meanwhile")
        assert time.monotonic() - began < 2.5
        nats_server.restart(keep_data=keep_data)
        after = await published(hub, b"after")
        if keep_data:
            assert after == Position(2, before.epoch)
            assert await hub.raws() == [b"before", b"after"]
        else:
            assert after.offset == 1
            assert after.epoch != before.epoch
            assert await hub.raws(query=HistoryQuery(limit=-1, since=before)) == []
        topics = (TOPIC, PLAIN, "made:meanwhile")
        await eventually(lambda: all(hub.recorder.gaps(topic) for topic in topics))
        for topic in topics:
            await hub.publish(b"later", topic, history=None)
            await eventually(lambda topic=topic: hub.recorder.after_gap(topic)[-1:] == [b"later"])  # type: ignore[misc]
            assert len(hub.recorder.gaps(topic)) == 1
        await eventually(lambda: hub.bridge.ready)
        assert hub.broker.reconnects == 1
        assert hub.bridge.rebuilds == 0


async def test_history_read_upon_a_gap_closes_it(nats_url: str) -> None:
    """A gap told too early would leave those lost that came after the reading and before the subscription."""
    async with AsyncExitStack() as stack:
        hub, other = [
            await stack.enter_async_context(running(make_broker(nats_url, prefix="test"))) for _ in range(2)
        ]
        tops: dict[int, asyncio.Task[Position]] = {}

        def read(topic: str) -> None:
            tops[len(hub.recorder.seen[topic])] = asyncio.create_task(hub.bridge.position(topic))

        async def publish() -> None:
            while len(tops) < 5:
                await other.publish(b"1")

        hub.recorder.on_gap = read
        await hub.bridge.subscribe(TOPIC)
        publisher = asyncio.create_task(publish())
        for number in range(1, 6):
            link = broker_of(hub)._jetstream.link
            assert link is not None
            await link.close()
            await eventually(lambda number=number: len(tops) == number)  # type: ignore[misc]
            await asyncio.wait(tops.values())
        await publisher
        last = position(await other.publish(b"last"))
        await eventually(lambda: hub.recorder.offsets(TOPIC)[-1:] == [last.offset])
        known = missed = 0
        for at, each in enumerate(hub.recorder.seen[TOPIC]):
            if at in tops:
                top = (await tops[at]).offset
                missed += max(0, top - known)
                known = max(known, top)
            if not isinstance(each, str):
                assert each.offset <= known + 1
                known = max(known, each.offset)
        assert known == last.offset


async def test_frozen_nats_makes_publishes_unknown_and_keeps_its_promises_after(
    nats_server: NatsServer,
) -> None:
    async with running(make_broker(nats_server.url, prefix="test")) as hub:
        await hub.bridge.subscribe(TOPIC)
        first = position(await hub.publish(b"first"))
        await eventually(lambda: hub.bridge.ready)
        nats_server.freeze()
        began = time.monotonic()
        with pytest.raises(BrokerError) as lost:
            await hub.publish(b"frozen", key="frozen")
        assert time.monotonic() - began < 8
        assert lost.value.unknown
        await eventually(lambda: not hub.broker.connected)
        with pytest.raises(BrokerError) as refused:
            await hub.publish(b"refused")
        assert not refused.value.unknown
        nats_server.thaw()
        again = await published(hub, b"frozen")
        assert again.epoch == first.epoch
        assert await hub.raws() == [b"first", b"frozen"]
        await eventually(lambda: bool(hub.recorder.gaps(TOPIC)))
        later = position(await hub.publish(b"later"))
        await eventually(lambda: hub.recorder.after_gap(TOPIC)[-1:] == [b"later"])
        assert later == Position(3, first.epoch)


async def test_nats_that_is_away_at_the_start_is_found_when_it_comes(nats_server: NatsServer) -> None:
    nats_server.kill()
    async with running(make_broker(nats_server.url, prefix="test")) as hub:
        assert not hub.broker.connected
        await hub.bridge.subscribe(TOPIC)
        nats_server.restart()
        await eventually(lambda: hub.bridge.ready)
        await eventually(lambda: len(hub.recorder.gaps(TOPIC)) == 1)
        await hub.publish(b"1")
        await eventually(lambda: hub.recorder.after_gap(TOPIC) == [b"1"])
        assert hub.broker.reconnects == 0


async def test_offsets_that_nats_forgot_are_not_given_out_again(nats_url: str) -> None:
    """As when its machine fails before what was acknowledged lay on the disk."""
    async with AsyncExitStack() as stack:
        hub, other = [
            await stack.enter_async_context(running(make_broker(nats_url, prefix="test"))) for _ in range(2)
        ]
        for number in range(5):
            before = position(await hub.publish(b"%d" % number))
        assert await other.bridge.position(TOPIC) == before
        last = await call(nats_url, "STREAM.INFO.test-topics")
        for back in range(2):
            gone = {"seq": last["state"]["last_seq"] - back}
            assert (await call(nats_url, "STREAM.MSG.DELETE.test-topics", gone))["success"]
        after = position(await hub.publish(b"after"))
        assert after.epoch != before.epoch
        assert await other.bridge.position(TOPIC) == after
        assert await hub.raws() == await other.raws() == [b"after"]


async def test_lost_stream_is_made_anew_with_new_epochs(nats_url: str) -> None:
    async with running(make_broker(nats_url, prefix="test")) as hub:
        await hub.bridge.subscribe(TOPIC)
        before = position(await hub.publish(b"before"))
        await deleted(nats_url, "test-topics")
        after = await published(hub, b"after")
        assert after.offset == 1
        assert after.epoch != before.epoch
        await eventually(lambda: hub.recorder.after_gap(TOPIC) == [b"after"] or not hub.recorder.gaps(TOPIC))
        assert await hub.raws() == [b"after"]


async def test_surplus_publications_leave_the_stream(nats_url: str) -> None:
    few = HistoryOptions(size=10, ttl=60)
    async with running(make_broker(nats_url, prefix="test")) as hub:
        for number in range(500):
            await hub.publish(b"%d" % number, history=few)
            if number % 50 == 0:
                await broker_of(hub)._upkeep.sweep()
        await broker_of(hub)._upkeep.sweep()
        assert await stored(nats_url, "test.h.news:all") < 250
        assert await hub.raws() == [b"%d" % number for number in range(490, 500)]
        page = await hub.bridge.history(TOPIC, HistoryQuery(limit=-1, since=Position(497, "")))
        assert [each.offset for each in page.publications] == [498, 499, 500]


async def test_expired_publications_leave_the_stream_and_the_position_stays(nats_url: str) -> None:
    async with running(make_broker(nats_url, prefix="test")) as hub:
        for number in range(20):
            last = await hub.publish(b"%d" % number, history=HistoryOptions(size=100, ttl=0.3))
        await broker_of(hub)._upkeep.sweep()
        assert await stored(nats_url, "test.h.news:all") == 20
        await asyncio.sleep(0.4)
        await broker_of(hub)._upkeep.sweep()
        assert await stored(nats_url, "test.h.news:all") == 1
        assert await hub.bridge.position(TOPIC) == last.position
        assert position(await hub.publish(b"next")).offset == 21


async def test_long_history_is_read_in_parts(nats_url: str) -> None:
    async with running(make_broker(nats_url, prefix="test")) as hub:
        for number in range(1300):
            await hub.publish(b"%d" % number, history=HistoryOptions(size=2000, ttl=60))
        assert await hub.raws() == [b"%d" % number for number in range(1300)]
        assert len(await hub.raws(query=HistoryQuery(limit=700))) == 700


async def test_smaller_size_and_removal_hold_at_once_and_a_larger_size_brings_nothing_back(
    nats_url: str,
) -> None:
    async with running(make_broker(nats_url, prefix="test")) as hub:
        for number in range(10):
            await hub.publish(b"%d" % number)
        await hub.publish(b"10", history=HistoryOptions(size=2, ttl=60))
        assert await hub.raws() == [b"9", b"10"]
        await hub.bridge.remove_history(TOPIC)
        await hub.publish(b"11")
        assert await hub.raws() == [b"11"]


async def test_publication_larger_than_nats_takes_is_refused_and_harms_nobody(nats_url: str) -> None:
    async with running(make_broker(nats_url, prefix="test")) as hub:
        await hub.bridge.subscribe(TOPIC)
        for history in (KEPT, None):
            with pytest.raises(BrokerError, match="larger than NATS takes") as refused:
                await hub.publish(b"x" * 1_048_576, history=history)
            assert not refused.value.unknown
        assert position(await hub.publish(b"x" * 1_000_000)).offset == 1
        await eventually(lambda: len(hub.recorder.raws(TOPIC)) == 1)
        assert hub.broker.reconnects == 0


async def test_nats_without_jetstream_is_named_as_the_reason(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    program = find_program("nats-server")
    if program is None:
        unavailable("nats-server", REMEDY)
    port = free_port()
    server = ServerProcess([program, "--addr", "127.0.0.1", "--port", str(port)], tmp_path / "nats.log")
    server.start(lambda: b"ready" in (tmp_path / "nats.log").read_bytes())
    try:
        async with running(make_broker(f"nats://127.0.0.1:{port}", prefix="test")) as hub:
            assert not hub.broker.connected
            with pytest.raises(BrokerError):
                await hub.publish(b"1")
            assert "JetStream is off" in caplog.text
    finally:
        server.kill()


async def test_password_is_needed_and_never_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    program = find_program("nats-server")
    if program is None:
        unavailable("nats-server", REMEDY)
    port, log = free_port(), tmp_path / "nats.log"
    command = [program, "--addr", "127.0.0.1", "--port", str(port), "-js", "--store_dir", tmp_path / "store"]
    server = ServerProcess([*command, "--user", "hub", "--pass", "s3cret"], log)
    server.start(lambda: b"ready" in log.read_bytes())
    try:
        async with running(make_broker(f"nats://hub:s3cret@127.0.0.1:{port}", prefix="test")) as hub:
            assert position(await hub.publish(b"1")).offset == 1
        async with running(make_broker(f"nats://hub:wr0ng@127.0.0.1:{port}", prefix="test")) as hub:
            assert not hub.broker.connected
        assert "Authorization" in caplog.text
        assert "wr0ng" not in caplog.text
    finally:
        server.kill()


@pytest.mark.parametrize(
    "url",
    ["nats://", "nats://h/x", "nats://h:port", "nats://h?replicas=2", "tls://h?no=1", "nats://h?storage=x"],
)
def test_url_that_cannot_be_used_is_refused(url: str) -> None:
    with pytest.raises(HubError, match="NATS URL"):
        make_broker(url)
