"""Publishing without a task: order behind what waits, errors, the end of a session, and when it is not to be."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from hub import metrics
from hub.broker.base import Outgoing
from hub.broker.memory import MemoryBroker
from hub.errors import BrokerError, ReplyError
from hub.model import Publication
from hub.outbox import Outbox, Tick
from hub.protocol.wires import JSON_FRAMES, JSON_TEXT, PLAIN_TEXT
from hub.session.base import MAX_GRANTS, Session
from hub.testing import HubClient, InProcessHub

MANIFEST = """
name: gate
api: 1
rpc: {slow: "handlers:slow"}
topics:
  "checked:{x}":
    allow: {subscribe: anyone, publish: anyone}
    handlers: {publish: "handlers:check"}
"""
HANDLERS = """
import asyncio
from hub.plugin import Context, Publication, ReplyError

async def slow(ctx: Context, data):
    await asyncio.sleep(0.05)
    return "done"

async def check(ctx: Context, pub: Publication):
    if pub.data == "refuse":
        raise ReplyError(1000, "refused")
    if pub.data == "fail":
        raise RuntimeError("on purpose")
    await asyncio.sleep(0.05)
"""
ANYONE = {"subscribe": "anyone", "publish": "anyone"}


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[InProcessHub]:
    folder = tmp_path / "gate"
    folder.mkdir()
    (folder / "plugin.yaml").write_text(MANIFEST)
    (folder / "handlers.py").write_text(HANDLERS)
    config = {
        "plugins": {"gate": {"use": str(folder)}},
        "topics": {
            "news:{x}": {"allow": ANYONE, "history": {"size": 100}},
            "own:{user}": {"allow": {"subscribe": "anyone", "publish": "user:{user}"}},
            "small:{x}": {"allow": ANYONE, "max_bytes": 8},
            "typed:{x}": {"allow": ANYONE, "schema": {"type": "object"}},
            "patient:{x}": {"allow": ANYONE, "publish_wait": "1s"},
        },
    }
    async with InProcessHub(config) as hub:
        yield hub


@pytest.fixture
async def ann(hub: InProcessHub) -> HubClient:
    return await hub.connect("ann")


def session_of(hub: InProcessHub, client: HubClient) -> Session:
    (found,) = hub.hub.node.sessions.find("", client.connection["client"])
    assert isinstance(found, Session)
    return found


@pytest.fixture
def spawned(hub: InProcessHub, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The names of the tasks that frames were given."""
    names: list[str] = []
    spawn = hub.hub.node.tasks.spawn

    def counting(work: Any, name: str) -> Any:
        names.append(name)
        return spawn(work, name)

    monkeypatch.setattr(hub.hub.node.tasks, "spawn", counting)
    return names


async def test_a_publish_that_waits_for_nothing_has_no_task(
    hub: InProcessHub, ann: HubClient, spawned: list[str]
) -> None:
    await ann.subscribe("news:1")
    spawned.clear()
    await ann.publish("news:1", 1)
    assert await ann.expect_publication("news:1") == 1
    assert "frames" not in spawned
    await ann.publish("checked:1", 1)
    assert "frames" in spawned


async def test_a_publish_behind_a_slow_command_is_done_and_answered_after_it(
    hub: InProcessHub, ann: HubClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    bob = await hub.connect("bob")
    await bob.subscribe("checked:1")
    await bob.subscribe("news:1")
    session = session_of(hub, ann)
    done: list[bytes] = []
    push = Outbox.push

    def watched(outbox: Outbox, piece: bytes) -> None:
        if outbox is session.outbox:
            done.append(piece)
        push(outbox, piece)

    monkeypatch.setattr(Outbox, "push", watched)
    session.receive(b'{"id":101,"publish":{"channel":"checked:1","data":1}}')
    session.receive(b'{"id":102,"publish":{"channel":"news:1","data":2}}\n{"id":103,"rpc":{"method":"slow"}}')
    session.receive(b'{"id":104,"publish":{"channel":"news:1","data":3}}')
    assert done == []
    assert await bob.expect_publication("checked:1") == 1
    assert await bob.expect_publication("news:1") == 2
    assert await bob.expect_publication("news:1") == 3
    assert [piece.split(b",")[0] for piece in done] == [b'{"id":%d' % number for number in range(101, 105)]


async def test_of_several_methods_in_one_command_the_first_is_read(hub: InProcessHub, ann: HubClient) -> None:
    session = session_of(hub, ann)
    session.receive(b'{"id":9,"publish":{"channel":"news:1","data":1},"unsubscribe":{"channel":"news:1"}}')
    await asyncio.sleep(0)
    assert (await hub.hub.node.router.bridge.position("news:1")).offset == 0


@pytest.mark.parametrize(
    ("topic", "data", "code"),
    [
        ("own:bob", 1, 103),
        ("none", 1, 103),
        ("news:\n", 1, 107),
        ("small:1", "too long for it", 107),
        ("typed:1", 1, 107),
        ("checked:1", "refuse", 1000),
        ("checked:1", "fail", 100),
    ],
)
async def test_what_is_refused_is_refused_each_time(
    ann: HubClient, topic: str, data: object, code: int
) -> None:
    for _ in range(2):
        with pytest.raises(ReplyError) as caught:
            await ann.publish(topic, data)
        assert caught.value.code == code


async def test_a_broker_that_fails_answers_the_command_and_keeps_the_session(
    hub: InProcessHub, ann: HubClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(channel: str, message: Outgoing) -> None:
        raise BrokerError("away", unknown=True)

    failures = metrics.total(metrics.PUBLISH_FAILURES)
    with monkeypatch.context() as patch:
        patch.setattr(hub.hub.broker, "publish", away)
        with pytest.raises(ReplyError) as caught:
            await ann.publish("news:1", 1)
    assert caught.value.code == 300
    assert metrics.total(metrics.PUBLISH_FAILURES) == failures + 1
    await ann.publish("news:1", 1)


async def test_a_fault_ends_the_session_alone(
    hub: InProcessHub, ann: HubClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("on purpose")

    bob = await hub.connect("bob")
    session = session_of(hub, ann)
    with monkeypatch.context() as patch:
        patch.setattr(hub.hub.node.router, "publish_now", broken)
        session.receive(b'{"id":9,"publish":{"channel":"news:1","data":1}}')
    assert session.closed
    await bob.publish("news:1", 1)


async def test_nothing_is_published_for_a_session_that_is_gone(hub: InProcessHub, ann: HubClient) -> None:
    session = session_of(hub, ann)
    session.receive(b'{"id":8,"publish":{"channel":"checked:1","data":1}}')
    session.receive(b'{"id":9,"publish":{"channel":"news:1","data":1}}')
    session.lost()
    session.receive(b'{"id":10,"publish":{"channel":"news:1","data":1}}')
    await hub.hub.node.tasks.settle(5)
    assert (await hub.hub.node.router.bridge.position("news:1")).offset == 0


async def test_what_a_session_may_is_asked_anew_when_its_identity_changes(
    hub: InProcessHub, ann: HubClient
) -> None:
    session = session_of(hub, ann)
    await ann.publish("own:ann", 1)
    assert session.publish_now("own:ann", b"1")
    session.identity = session_of(hub, await hub.connect("bob")).identity
    assert not session.publish_now("own:ann", b"1")
    assert session.publish_now("own:bob", b"1")


async def test_a_session_remembers_so_many_topics_and_no_more(hub: InProcessHub, ann: HubClient) -> None:
    session = session_of(hub, ann)
    for number in range(3 * MAX_GRANTS):
        assert session.publish_now(f"news:{number}", b"1")
        assert session._grants is not None
        assert 0 < len(session._grants) <= MAX_GRANTS


async def test_publications_that_wait_on_a_topic_are_not_overtaken(
    hub: InProcessHub, ann: HubClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    bob = await hub.connect("bob")
    await bob.subscribe("patient:1")
    session = session_of(hub, ann)
    publish, refusals = hub.hub.broker.publish, [True, True]

    async def hesitant(channel: str, message: Outgoing) -> None:
        if channel == "patient:1" and refusals and refusals.pop():
            raise BrokerError("away")
        await publish(channel, message)

    monkeypatch.setattr(hub.hub.broker, "publish", hesitant)
    waiting = asyncio.create_task(hub.hub.node.router.publish("patient:1", b"1"))
    while not hub.hub.node.router.sender.count:
        await asyncio.sleep(0)
    assert not session.publish_now("patient:1", b"2")
    await ann.publish("patient:1", 2)
    await waiting
    assert await bob.expect_publication("patient:1") == 1
    assert await bob.expect_publication("patient:1") == 2


async def test_a_patient_topic_keeps_waiting_for_a_broker_that_fails_at_once(
    hub: InProcessHub, ann: HubClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish, refusals = hub.hub.broker.publish, [True]

    async def hesitant(channel: str, message: Outgoing) -> None:
        if channel == "patient:1" and refusals and refusals.pop():
            raise BrokerError("away")
        await publish(channel, message)

    monkeypatch.setattr(hub.hub.broker, "publish", hesitant)
    await ann.publish("patient:1", 1)
    assert not refusals


async def test_the_prompt_broker_never_waits() -> None:
    broker = MemoryBroker()
    publishing = broker.publish("t", Outgoing(Publication("t", b"1")))
    with pytest.raises(StopIteration):
        publishing.send(None)


class Peer:
    """A transport that keeps what is written."""

    socket = None

    def __init__(self) -> None:
        self.units: list[object] = []

    def write(self, unit: object) -> None:
        self.units.append(unit)

    def buffered(self) -> int:
        return 0

    def close(self, code: int, reason: str) -> None: ...

    def abort(self) -> None: ...

    def ping(self) -> bool:
        return True

    def pause_reading(self, paused: bool) -> None: ...


@pytest.mark.parametrize(
    ("wire", "unit", "written"),
    [
        (JSON_FRAMES, b"\x81\x01x", [b"\x81\x02{}\x81\x01x"]),
        (JSON_TEXT, b"x", [b"{}\nx"]),
        (PLAIN_TEXT, (b"x",), [(b"{}", b"x")]),
        (JSON_FRAMES, b"x" * 65_536, [b"\x81\x02{}", b"x" * 65_536]),
    ],
)
async def test_what_a_session_is_told_leaves_with_the_publication_behind_it(
    wire: Any, unit: Any, written: list[object]
) -> None:
    peer = Peer()
    outbox = Outbox(peer, wire, Tick(asyncio.get_running_loop().call_soon), 1_000_000)
    outbox.push(b"{}")
    outbox.write(unit)
    assert peer.units == written
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert peer.units == written


async def test_what_a_session_is_told_leaves_without_a_publication_too() -> None:
    peer = Peer()
    outbox = Outbox(peer, JSON_TEXT, Tick(asyncio.get_running_loop().call_soon), 1_000_000)
    outbox.push(b"1")
    await asyncio.sleep(0)
    outbox.push(b"2")
    for _ in range(3):
        await asyncio.sleep(0)
    assert peer.units == [b"1\n2"]
    outbox.push(b"3")
    for _ in range(3):
        await asyncio.sleep(0)
    assert peer.units == [b"1\n2", b"3"]
