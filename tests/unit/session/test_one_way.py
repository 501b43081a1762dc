"""Clients that only listen: a connect request up, pushes down, and every fault an end."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from hub import metrics
from hub.credentials import Credentials
from hub.errors import (
    BAD_REQUEST,
    EXPIRED,
    PERMISSION_DENIED,
    TOKEN_EXPIRED,
    TOO_MANY_REQUESTS,
    Disconnect,
    ReplyError,
)
from hub.handlers import Handler
from hub.outbox import Unit
from hub.protocol.wires import ONE_WAY_TEXT
from hub.session.one_way import OneWaySession
from hub.testing import InProcessHub

ANYONE = {"subscribe": "anyone", "publish": "anyone"}
CONFIG = {
    "client": {"queue_bytes": 65_536},
    "topics": {
        "open:{x}": {"allow": ANYONE, "history": {"size": 3}, "presence": True, "join_leave": True},
        "plain:{x}": {"allow": ANYONE},
        "delta:{x}": {"allow": ANYONE, "history": {"size": 3}, "delta": True},
        "own:{user}": {"allow": {"subscribe": "user:{user}"}},
    },
}


class Listener:
    """The far end of a one-way session, in memory: a transport that keeps what comes."""

    socket = None

    def __init__(self, hub: InProcessHub, *, token: str = "") -> None:
        self.heard: list[dict[str, Any]] = []
        self.closed: tuple[int, str] | None = None
        self.alive = True
        self.unread = 0
        self.session = OneWaySession(hub.hub.node, self, ONE_WAY_TEXT, "test", brought=Credentials(token))

    def write(self, unit: Unit) -> None:
        assert isinstance(unit, tuple), "each push stands in a frame of its own"
        self.heard += [json.loads(text) for text in unit]

    def buffered(self) -> int:
        return self.unread

    def close(self, code: int, reason: str) -> None:
        self.closed = (code, reason)

    def abort(self) -> None:
        self.closed = (1006, "")

    def ping(self) -> bool:
        return self.alive

    def pause_reading(self, paused: bool) -> None:
        """Nothing is read that could be left unread."""

    def send(self, text: str) -> None:
        self.session.receive(text.encode())

    async def connected(self, **request: Any) -> dict[str, Any]:
        self.send(json.dumps(request))
        found: dict[str, Any] = await self.next("connect")
        return found

    async def next(self, kind: str, topic: str = "") -> Any:
        """The body of the next push of a kind; those before it are passed over."""

        def found() -> int:
            for index, push in enumerate(self.heard):
                if kind in push and push.get("channel", "") == topic:
                    return index
            return -1

        await self._until(lambda: found() >= 0)
        push = self.heard[found()]
        del self.heard[: found() + 1]
        assert set(push) <= {kind, "channel"}
        return push[kind]

    async def end(self) -> tuple[int, str]:
        await self._until(lambda: self.closed is not None)
        assert self.closed is not None
        return self.closed

    async def _until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(5):
            while not condition():
                await asyncio.sleep(0)


@pytest.fixture
async def hub() -> AsyncIterator[InProcessHub]:
    async with InProcessHub(CONFIG) as hub:
        yield hub


@pytest.fixture
async def ann(hub: InProcessHub) -> Listener:
    listener = Listener(hub)
    await listener.connected(token=hub.token("ann", exp=None), subs={"open:1": {}})
    await listener.next("join", "open:1")
    return listener


def handler(function: Callable[..., Any]) -> Handler:
    return Handler("test", "test", function, None, logging.getLogger("test"))


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_the_first_frame_is_the_connect_request_and_its_answer_a_push(hub: InProcessHub) -> None:
    listener = Listener(hub)
    result = await listener.connected(token=hub.token("ann", exp=None))
    client = listener.session.client
    assert result == {
        "client": client,
        "version": hub.hub.node.version,
        "ping": 25,
        "session": client,
    }
    assert listener.session.identity.user == "ann"


async def test_a_token_with_an_end_tells_its_ttl(hub: InProcessHub) -> None:
    result = await Listener(hub).connected(token=hub.token("ann", exp=int(hub.clock.time()) + 300))
    assert result["expires"] is True
    assert 298 <= result["ttl"] <= 300


async def test_the_token_of_the_handshake_serves_where_the_request_has_none(hub: InProcessHub) -> None:
    listener = Listener(hub, token=hub.token("ann"))
    await listener.connected()
    assert listener.session.identity.user == "ann"


@pytest.mark.parametrize(
    "text", ["{}", "null", '{\n "name": "reader"\n}', '{"id":1,"connect":{"token":"x"}}']
)
async def test_whatever_names_no_token_connects_the_anonymous(hub: InProcessHub, text: str) -> None:
    listener = Listener(hub)
    listener.send(text)
    assert (await listener.next("connect"))["client"] == listener.session.client
    assert listener.session.identity.user == ""


@pytest.mark.parametrize("text", ["garbage", "", "[]", '{"token":7}', '{"subs":[]}', "1"])
async def test_a_first_frame_that_is_no_request_is_3501(hub: InProcessHub, text: str) -> None:
    listener = Listener(hub)
    listener.send(text)
    assert await listener.end() == (3501, "bad request")


async def test_bytes_that_are_no_utf8_are_3501(hub: InProcessHub) -> None:
    listener = Listener(hub)
    listener.session.receive(b'{"name":"\xff"}')
    assert (await listener.end())[0] == 3501


async def test_a_bad_token_ends_the_session_with_a_push_and_a_close(hub: InProcessHub) -> None:
    listener = Listener(hub)
    listener.send('{"token":"garbage"}')
    assert await listener.end() == (3500, "invalid token")
    assert listener.heard == [{"disconnect": {"code": 3500, "reason": "invalid token"}}]


async def test_an_expired_token_is_3005(hub: InProcessHub) -> None:
    listener = Listener(hub)
    listener.send(json.dumps({"token": hub.token("ann", exp=int(hub.clock.time()) - 100)}))
    assert await listener.end() == (3005, "connection expired")


async def test_without_a_token_only_where_anonymous_clients_are_allowed() -> None:
    async with InProcessHub({"topics": CONFIG["topics"], "auth": {"anonymous": False}}) as hub:
        listener = Listener(hub)
        listener.send("{}")
        assert (await listener.end())[0] == 3501


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ReplyError(TOKEN_EXPIRED), 3005),
        (ReplyError(EXPIRED), 3005),
        (ReplyError(TOO_MANY_REQUESTS), 3013),
        (ReplyError(PERMISSION_DENIED), 3507),
        (ReplyError(BAD_REQUEST), 3004),
        (ReplyError(400, "no"), 3004),
        (Disconnect(4007, "banned"), 4007),
        (RuntimeError("broken"), 3004),
    ],
)
async def test_what_refuses_a_connect_becomes_an_end(hub: InProcessHub, error: Exception, code: int) -> None:
    async def refuse(*_: Any) -> None:
        raise error

    hub.blueprint.table.connect = (handler(refuse),)
    listener = Listener(hub)
    listener.send("{}")
    assert (await listener.end())[0] == code
    assert len(hub.hub.node.sessions) == 0


async def test_a_granted_topic_that_cannot_be_had_refuses_the_connect(hub: InProcessHub) -> None:
    listener = Listener(hub)
    listener.send(json.dumps({"token": hub.token("ann", channels=["open:1", "no:thing"])}))
    assert await listener.end() == (3004, "internal server error")
    await settled()
    assert not listener.session.subscriptions


async def test_topics_come_from_the_token_and_from_the_request(hub: InProcessHub) -> None:
    listener = Listener(hub)
    result = await listener.connected(
        token=hub.token("ann", channels=["own:bob"]), subs={"open:1": {}, "own:eve": {}, "no:thing": {}}
    )
    assert set(result["subs"]) == {"own:bob", "open:1"}
    assert result["subs"]["open:1"]["positioned"] is True
    assert (await listener.next("join", "open:1"))["info"]["user"] == "ann"


async def test_publications_joins_and_leaves_come_without_a_wrapper(hub: InProcessHub, ann: Listener) -> None:
    await hub.publish("open:1", {"n": 1})
    epoch = (await ann.next("pub", "open:1"))["epoch"]
    assert len(epoch) == 10
    bob = await hub.connect("bob")
    await bob.subscribe("open:1")
    about = {"user": "bob", "client": bob.connection["client"]}
    assert (await ann.next("join", "open:1")) == {"info": about}
    await bob.publish("open:1", [2])
    assert await ann.next("pub", "open:1") == {"data": [2], "info": about, "offset": 2}
    await bob.close()
    assert (await ann.next("leave", "open:1")) == {"info": about}


async def test_several_publications_at_once_come_each_in_a_frame_of_its_own(
    hub: InProcessHub, ann: Listener
) -> None:
    await asyncio.gather(*(hub.publish("open:1", number) for number in range(20)))
    assert [(await ann.next("pub", "open:1"))["data"] for _ in range(20)] == list(range(20))


async def test_missed_publications_come_with_the_connect(hub: InProcessHub) -> None:
    for number in (1, 2, 3):
        await hub.publish("open:2", number)
    subs = {"open:2": {"recover": True, "offset": 1}}
    found = (await Listener(hub).connected(subs=subs))["subs"]["open:2"]
    assert [publication["data"] for publication in found["publications"]] == [2, 3]
    assert found["recovered"] is True


async def test_differences_are_told_as_to_others(hub: InProcessHub) -> None:
    listener = Listener(hub)
    result = await listener.connected(subs={"delta:1": {"delta": "fossil"}})
    assert result["subs"]["delta:1"]["delta"] is True
    rows = [f"row number {number}" for number in range(50)]
    for number in (1, 2):
        await hub.publish("delta:1", [*rows, number])
    first, second = [await listener.next("pub", "delta:1") for _ in range(2)]
    assert json.loads(first["data"])[-1] == 1
    assert second["delta"] is True


async def test_the_server_subscribes_unsubscribes_and_refreshes(hub: InProcessHub, ann: Listener) -> None:
    async def order(method: str, **request: Any) -> None:
        body = {"session": ann.session.client, **request}
        answer = await hub.http.post(f"/api/{method}", json=body, headers=hub.api_key)
        assert answer.json() == {"result": {}}

    await order("subscribe", channel="plain:1")
    assert await ann.next("subscribe", "plain:1") == {}
    await order("unsubscribe", channel="plain:1")
    assert await ann.next("unsubscribe", "plain:1") == {"code": 2000, "reason": "server unsubscribe"}
    await order("refresh", expire_at=int(hub.clock.time()) + 100)
    assert (await ann.next("refresh"))["expires"] is True
    await order("disconnect")
    assert await ann.next("disconnect") == {"code": 3503, "reason": "force disconnect"}
    assert await ann.end() == (3503, "force disconnect")


async def test_frames_behind_the_request_are_passed_over(hub: InProcessHub, ann: Listener) -> None:
    for text in ("garbage", "{}", '{"id":1,"connect":{}}', '{"id":2,"subscribe":{"channel":"plain:1"}}'):
        ann.send(text)
    await settled()
    assert (ann.closed, ann.heard) == (None, [])
    assert set(ann.session.subscriptions) == {"open:1"}


async def test_frames_that_come_while_a_client_is_admitted_are_passed_over(hub: InProcessHub) -> None:
    go_on = asyncio.Event()

    async def wait(*_: Any) -> None:
        await go_on.wait()

    hub.blueprint.table.connect = (handler(wait),)
    listener = Listener(hub)
    listener.send("{}")
    await settled()
    for _ in range(200):
        listener.send("garbage")
    go_on.set()
    await listener.next("connect")
    await settled()
    assert (listener.closed, listener.heard) == (None, [])


async def test_pings_want_no_pong(hub: InProcessHub, ann: Listener) -> None:
    for _ in range(24):
        hub.clock.advance(5)
        await settled()
    assert ann.closed is None
    assert ann.heard in ([{}] * 4, [{}] * 5)


async def test_a_peer_that_is_gone_is_noticed_by_the_transport(hub: InProcessHub, ann: Listener) -> None:
    ann.alive = False
    for _ in range(6):
        hub.clock.advance(5)
        await settled()
    assert ann.session.closed
    assert ann.heard == []
    assert len(hub.hub.node.sessions) == 0


async def test_who_sends_no_request_is_stale(hub: InProcessHub) -> None:
    listener = Listener(hub)
    hub.clock.advance(9)
    assert listener.closed is None
    hub.clock.advance(2)
    assert await listener.end() == (3502, "stale")


async def test_a_session_ends_some_time_after_its_token(hub: InProcessHub) -> None:
    listener = Listener(hub)
    await listener.connected(token=hub.token("ann", exp=int(hub.clock.time()) + 20))
    for _ in range(8):
        hub.clock.advance(5)
    await settled()
    assert listener.closed is None
    hub.clock.advance(6)
    assert await listener.end() == (3005, "connection expired")
    assert listener.heard[-1] == {"disconnect": {"code": 3005, "reason": "connection expired"}}


async def test_who_reads_too_slowly_is_sent_away_without_what_waits(hub: InProcessHub, ann: Listener) -> None:
    ann.unread = 70_000
    await hub.publish("open:1", 1)
    assert await ann.end() == (3008, "slow")
    assert ann.heard == []


async def test_missed_publications_end_the_session_since_it_cannot_subscribe_again(
    hub: InProcessHub, ann: Listener
) -> None:
    ann.session.insufficient("open:1")
    assert await ann.end() == (3010, "insufficient state")
    assert await ann.next("disconnect") == {"code": 3010, "reason": "insufficient state"}


async def test_who_leaves_is_present_no_more(hub: InProcessHub, ann: Listener) -> None:
    watcher = await hub.connect("bob")
    assert set(await watcher.presence("open:1")) == {ann.session.client}
    ann.session.lost()
    await settled()
    assert await watcher.presence("open:1") == {}


async def test_it_counts_as_a_connect_command(hub: InProcessHub) -> None:
    def counted() -> float:
        metrics.COMMANDS.collect()
        return metrics.REGISTRY.get_sample_value("hub_commands_total", {"method": "connect"}) or 0

    before = counted()
    await Listener(hub).connected()
    assert counted() == before + 1
