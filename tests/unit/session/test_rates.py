"""Sessions whose clients send too fast: what they are told, when they are ended, and who is not to be held up."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from hub import metrics
from hub.credentials import Credentials
from hub.errors import ReplyError
from hub.outbox import Unit
from hub.protocol.wires import PLAIN_TEXT
from hub.session.one_way import OneWaySession
from hub.session.plain import PlainSession
from hub.settings.model import LimitSettings
from hub.testing import HubClient, InProcessHub

MANIFEST = """
name: speaker
api: 1
rpc: {say: "handlers:say", say_as: "handlers:say_as"}
topics:
  "asked:{x}":
    allow: {subscribe: anyone, publish: anyone}
    handlers: {publish: "handlers:look"}
"""
HANDLERS = """
from hub.plugin import Context

async def say(ctx: Context, data):
    for number in range(data):
        await ctx.publish("open:1", number)

async def say_as(ctx: Context, data):
    for number in range(data):
        await ctx.submit("open:1", number)

async def look(ctx: Context, pub):
    return None
"""
ANYONE = {"subscribe": "anyone", "publish": "anyone"}
PUBLISH = '{"id":%d,"publish":{"channel":"open:1","data":1}}'


def config(folder: Path, limits: Mapping[str, Any]) -> dict[str, Any]:
    (folder / "plugin.yaml").write_text(MANIFEST)
    (folder / "handlers.py").write_text(HANDLERS)
    return {
        "plugins": {"speaker": {"use": str(folder)}},
        "client": {"subscriptions": 3, "ping": 600},
        "limits": dict(limits),
        "topics": {"open:{x}": {"allow": ANYONE}, "own:{user}": {"allow": {"publish": "user:{user}"}}},
    }


@pytest.fixture
async def hub(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[InProcessHub]:
    limits = getattr(request, "param", {"commands": 0.5})
    folder = tmp_path / "speaker"
    folder.mkdir()
    async with InProcessHub(config(folder, limits)) as running:
        yield running


def limited(limit: str) -> float:
    return metrics.REGISTRY.get_sample_value("hub_limited_total", {"limit": limit}) or 0.0


commands = pytest.mark.parametrize("hub", [{"commands": 0.5}], indirect=True)
"""One command in two seconds, and five at once: as many as the subscriptions, and two."""
users = pytest.mark.parametrize("hub", [{"publishes_per_user": 2}], indirect=True)
topics = pytest.mark.parametrize("hub", [{"publishes_per_topic": 2}], indirect=True)


async def codes(client: HubClient, times: int, topic: str = "open:1") -> list[int]:
    """How so many publishes in a row are answered; 0 for those that were done."""
    found = []
    for _ in range(times):
        try:
            await client.publish(topic, 1)
        except ReplyError as error:
            found.append(error.code)
        else:
            found.append(0)
    return found


@commands
async def test_commands_beyond_the_burst_get_error_111_and_the_session_goes_on(hub: InProcessHub) -> None:
    ann = await hub.connect("ann")
    before = limited("commands")
    assert await codes(ann, 7) == [0] * 4 + [111] * 3, "the connect command was the fifth"
    assert limited("commands") == before + 3
    hub.clock.advance(2)
    assert await codes(ann, 2) == [0, 111]


@commands
async def test_whoever_goes_on_is_ended_with_3013(hub: InProcessHub) -> None:
    ann = await hub.connect("ann")
    assert await codes(ann, 9) == [0] * 4 + [111] * 5, "a whole burst of refusals is borne"
    ann.send_text(PUBLISH % 99)
    assert await ann.expect_close() == (3013, "too many requests")
    assert ann.session.closed


@commands
async def test_whoever_slows_down_after_refusals_is_not_ended(hub: InProcessHub) -> None:
    ann = await hub.connect("ann")
    await codes(ann, 9)
    for _ in range(20):
        hub.clock.advance(2)
        assert await codes(ann, 2) == [0, 111]
    assert not ann.session.closed


@commands
@pytest.mark.parametrize(
    "command",
    [
        '"subscribe":{"channel":"open:2"}',
        '"unsubscribe":{"channel":"open:1"}',
        '"presence":{"channel":"open:1"}',
        '"history":{"channel":"open:1"}',
        '"rpc":{"method":"say","data":0}',
        '"publish":{"channel":"asked:1","data":1}',
    ],
)
async def test_every_command_counts(hub: InProcessHub, command: str) -> None:
    ann = await hub.connect("ann")
    await codes(ann, 4)
    ann.send_text(f'{{"id":77,{command}}}')
    with pytest.raises(ReplyError) as caught:
        await ann.expect_reply(77, "any")
    assert caught.value.code == 111


@commands
async def test_many_commands_in_one_frame_count_as_many(hub: InProcessHub) -> None:
    ann = await hub.connect("ann")
    ann.send_text("\n".join(PUBLISH % number for number in range(50, 56)))
    for number in range(50, 54):
        await ann.expect_reply(number, "publish")
    for number in (54, 55):
        with pytest.raises(ReplyError) as caught:
            await ann.expect_reply(number, "publish")
        assert caught.value.code == 111


@commands
async def test_a_client_that_comes_back_may_ask_for_all_its_subscriptions_at_once(hub: InProcessHub) -> None:
    ann = await hub.connect("ann")
    for number in range(3):
        await ann.subscribe(f"open:{number}")


@commands
async def test_messages_without_a_reply_are_counted_and_end_it_at_last(hub: InProcessHub) -> None:
    ann = await hub.connect("ann")
    ann.send_text("\n".join(['{"send":{"data":1}}'] * 20))
    code, _ = await ann.expect_close()
    assert code in {3013, 3508}


@commands
async def test_pings_and_small_fragments_of_the_transport_count_as_commands_do(hub: InProcessHub) -> None:
    ann = await hub.connect("ann")
    assert [ann.session.control() for _ in range(9)] == [True] * 4 + [False] * 5
    assert not ann.session.closed
    assert ann.session.control() is False
    assert await ann.expect_close() == (3013, "too many requests")


async def test_frames_of_more_than_a_hundred_commands_are_refused_whole(hub: InProcessHub) -> None:
    ann, bob = await hub.connect("ann"), await hub.connect("bob")
    await bob.subscribe("open:1")
    before = limited("frame_commands")
    ann.send_text("\n".join(PUBLISH % number for number in range(1, 102)))
    code, reason = await ann.expect_close()
    assert (code, "more than 100 commands" in reason) == (3501, True)
    assert limited("frame_commands") == before + 1
    await bob.expect_nothing("open:1")


class _Ended:
    """A transport that notes how it was ended, and what was written before."""

    socket = None

    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self.closed: tuple[int, str] | None = None

    def write(self, unit: Unit) -> None:
        self.frames.append(bytes(unit) if isinstance(unit, bytes) else b"".join(unit))

    def buffered(self) -> int:
        return 0

    def close(self, code: int, reason: str) -> None:
        self.closed = self.closed or (code, reason)

    def abort(self) -> None:
        """Cut."""

    def ping(self) -> bool:
        return True

    def pause_reading(self, paused: bool) -> None:
        """Nothing is read."""


@commands
async def test_a_plain_socket_is_told_in_a_frame_and_ended_with_4009(hub: InProcessHub) -> None:
    transport = _Ended()
    session = PlainSession(hub.hub.node, transport, PLAIN_TEXT, "websocket")
    await session.open_topic("open:1", Credentials())
    for number in range(10):
        session.receive(b"%d" % number)
    session.outbox.flush()
    told = b"".join(transport.frames)
    assert told.count(b'{"error":{"code":111,') == 5
    assert transport.closed is None
    session.receive(b"again")
    assert transport.closed == (4009, "too many requests")


@commands
async def test_frames_to_a_one_way_session_are_passed_over_and_end_it_when_they_are_many(
    hub: InProcessHub,
) -> None:
    transport = _Ended()
    session = OneWaySession(hub.hub.node, transport, PLAIN_TEXT, "uni_websocket")
    session.receive(b"{}")
    for _ in range(10):
        session.receive(b"{}")
    assert transport.closed is None
    session.receive(b"{}")
    assert transport.closed == (3013, "too many requests")


@users
async def test_a_user_publishes_so_often_over_all_connections(hub: InProcessHub) -> None:
    one, two, bob = await hub.connect("ann"), await hub.connect("ann"), await hub.connect("bob")
    before = limited("publishes_per_user")
    assert await codes(one, 3) + await codes(two, 3, "asked:1") == [0, 0, 0, 0, 111, 111]
    assert limited("publishes_per_user") == before + 2
    assert await codes(bob, 1) == [0]
    hub.clock.advance(1)
    assert await codes(two, 3, "own:ann") == [0, 0, 111]
    assert not two.session.closed


@users
async def test_anonymous_clients_do_not_share_a_users_rate(hub: InProcessHub) -> None:
    assert await codes(await hub.connect(), 50) == [0] * 50


@users
async def test_what_may_not_be_published_uses_up_nothing(hub: InProcessHub) -> None:
    ann = await hub.connect("ann")
    assert await codes(ann, 9, "own:bob") == [103] * 9
    assert await codes(ann, 4) == [0] * 4


@topics
async def test_a_topic_takes_so_many_from_all_clients_together(hub: InProcessHub) -> None:
    before = limited("publishes_per_topic")
    found = [code for user in ("ann", "bob", "", "") for code in await codes(await hub.connect(user), 2)]
    assert found == [0] * 4 + [111] * 4
    assert limited("publishes_per_topic") == before + 4
    assert await codes(await hub.connect("ann"), 2, "open:2") == [0, 0]


@pytest.mark.parametrize("hub", [{"publishes_per_topic": 2, "publishes_per_user": 2}], indirect=True)
async def test_what_plugins_and_the_server_publish_is_not_counted(hub: InProcessHub) -> None:
    ann = await hub.connect("ann")
    await ann.rpc("say", 50)
    for _ in range(50):
        answer = await hub.http.post(
            "/api/publish", json={"channel": "open:1", "data": 1}, headers=hub.api_key
        )
        assert "result" in answer.json()
    assert await codes(ann, 4) == [0] * 4


@users
async def test_what_a_plugin_publishes_as_a_user_is_the_users(hub: InProcessHub) -> None:
    ann = await hub.connect("ann")
    with pytest.raises(ReplyError) as caught:
        await ann.rpc("say_as", 5)
    assert caught.value.code == 111
    assert await codes(ann, 1) == [111]


def test_the_defaults_are_those_of_the_settings_page() -> None:
    found = LimitSettings()
    assert (found.commands, found.publishes_per_user) == (50, 50)
    assert (found.publishes_per_topic, found.api_requests) == (200, 5_000)
