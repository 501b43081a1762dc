"""Who may do what, at every door of the hub: one table of rules, one of doors, and all that can be done at each.

Whoever may not is told the same as of a topic that is none, to the letter; and `explain` says the same as the doors.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote

import httpx2
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from hub.testing import LiveHub
from tests.integration.event_reader import EventReader

ALLOWED: Final = "allowed"
EVERY: Final = ("subscribe", "publish", "presence", "history")
KEPT: Final[dict[str, Any]] = {"history": {"size": 10}, "presence": True}
HANDLERS: Final = "tests.integration.permission_handlers"
Outcome = str | tuple[object, ...]


@dataclass(frozen=True)
class Rule:
    """A rule, a topic under it, and what tells her who may from her who may not; "" stands for no token."""

    name: str
    topic: str
    allow: Any
    good: dict[str, Any] = field(default_factory=dict)
    bad: dict[str, Any] = field(default_factory=dict)
    who: str = "ann"
    other: str = "ann"
    pattern: str = ""
    handlers: dict[str, str] = field(default_factory=dict)
    actions: tuple[str, ...] = EVERY
    listens: str = ""
    """A topic under the same rule for publish that everybody may listen to; "" where there can be none."""


ALL: Final = ["sub", "pub", "presence", "history"]
RULES: Final = (
    Rule("role", "staff:1", "role:editor", {"role": "editor"}, {"role": "editors"}, listens="staff-open:1"),
    Rule("one of several roles", "staff:2", "role:editor", {"roles": ["x", "editor"]}, {"roles": "editor"}),
    Rule("owner", "own:ann", "user:{user}", other="bob", pattern="own:{user}", listens="own-open:ann"),
    Rule(
        "owner, and a name that reads as a pattern",
        "own:ann",
        "user:{user}",
        other="{user}",
        pattern="own:{user}",
    ),
    Rule("name", "members:1", "authenticated", other="", listens="members-open:1"),
    Rule(
        "capability",
        "cap:lobby",
        "token",
        {"topics": {"cap:{room}": ALL, "cap-open:{room}": ALL}},
        {"topics": {"cap:{room}.x": ALL, "caps:*": ALL}},
        listens="cap-open:lobby",
    ),
    Rule("capability, all actions", "cap:lobby", "token", {"topics": ["cap:*"]}, {"topics": ["ca:*"]}),
    Rule(
        "capability of one's own",
        "cap:ann",
        "token",
        {"topics": ["cap:{sub}"]},
        {"topics": ["cap:{sub}"]},
        other="bob",
    ),
    *(
        Rule(
            f"capability of one's own, and the name {name}",
            "cap:ann",
            "token",
            {"topics": ["cap:{sub}"]},
            {"topics": ["cap:{sub}", "cap:{sub:rest}"]},
            other=name,
        )
        for name in ("*", "{sub}", "{x:rest}", "[^:]*", "ann,bob", "a", "ann:")
    ),
    *(
        Rule(
            f"capability for {action} alone",
            "cap:lobby",
            "token",
            {"topics": {"cap:*": [action]}},
            {"topics": {"cap:*": [other for other in ALL if other not in (action, action[:3])]}},
            actions=(action,),
        )
        for action in EVERY
    ),
    Rule("users in the name", "room:1#bob,ann", "authenticated", other="eve", pattern="room:{x:rest}"),
    Rule("users in the name, and one with a comma", "room:1#bob,ann", "authenticated", other="bob,ann"),
    Rule("users in the name, and one who is a part of it", "room:1#bob,ann", "anyone", other="an"),
    Rule("users in the name, and nobody", "room-any:1#,ann", "anyone", other=""),
    Rule(
        "handler",
        "gate:1",
        "handler",
        other="bob",
        actions=("subscribe", "publish"),
        listens="gate-open:1",
        handlers={"subscribe": f"{HANDLERS}:gate", "publish": f"{HANDLERS}:say"},
    ),
)
PRIVATE: Final = "$secret:1"


def _topics() -> dict[str, Any]:
    topics: dict[str, Any] = {}
    for rule in RULES:
        pattern = rule.pattern or f"{rule.topic.split(':')[0]}:{{x:rest}}"
        topics.setdefault(
            pattern,
            {"allow": dict.fromkeys(rule.actions, rule.allow), "handlers": rule.handlers, **KEPT},
        )
        if rule.listens:
            space, _, capture = pattern.partition(":")
            handlers = {"publish": rule.handlers["publish"]} if rule.handlers else {}
            topics[f"{space}-open:{capture}"] = {
                "allow": {"subscribe": "anyone", "publish": rule.allow},
                "handlers": handlers,
                **KEPT,
            }
    topics["cap:{x:rest}"]["allow"] = dict.fromkeys(EVERY, "token")
    topics["$secret:{x}"] = {"allow": {"subscribe": "anyone", "publish": "role:editor"}, **KEPT}
    topics["$read:{x}"] = {"allow": dict.fromkeys(EVERY, "authenticated"), **KEPT}
    topics["chat:{room}"] = {"allow": {"subscribe": "authenticated", "publish": "role:writer"}}
    return topics


CONFIG: Final[dict[str, Any]] = {
    "plugins": {"chat": {}},
    "topics": _topics(),
    "rpc": {
        "report": {"run": f"{HANDLERS}:report", "allow": ["role:editor", "role:boss"]},
        "open": f"{HANDLERS}:report",
    },
    "sockets": {"/me": {"topic": "own:{user}"}},
}


@pytest.fixture(scope="module")
def hub() -> Iterator[LiveHub]:
    with LiveHub(CONFIG) as hub:
        yield hub


@pytest.fixture(scope="module")
def asgi() -> Iterator[LiveHub]:
    """The same hub, its sockets served through plain ASGI."""
    with LiveHub(CONFIG, detached=False) as hub:
        yield hub


@dataclass(frozen=True)
class Asking:
    """A client at a door: which hub, with what token, what about."""

    hub: LiveHub
    token: str
    topic: str
    listens: str = ""

    @property
    def query(self) -> str:
        return f"?token={self.token}" if self.token else ""

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}


async def frames(socket: ClientConnection) -> list[Any]:
    text = await asyncio.wait_for(socket.recv(), 10)
    return [json.loads(line) for line in str(text).split("\n")]


def ended(closed: ConnectionClosed) -> tuple[int, str]:
    return (closed.rcvd.code, closed.rcvd.reason) if closed.rcvd else (1006, "")


# The doors. Each says "allowed", or all that the client is told but for the topic's name.


async def command(asking: Asking, method: str, /, **request: Any) -> Outcome:
    async with connect(f"{asking.hub.ws_url}/connection/websocket") as socket:
        token = {"token": asking.token} if asking.token else {}
        await socket.send(json.dumps({"id": 1, "connect": token}))
        assert "connect" in (await frames(socket))[0]
        await socket.send(json.dumps({"id": 2, method: request}))
        while True:
            for frame in await frames(socket):
                if frame.get("id") == 2:
                    return tuple(sorted(frame["error"].items())) if "error" in frame else ALLOWED


async def client_subscribe(asking: Asking) -> Outcome:
    return await command(asking, "subscribe", channel=asking.topic)


async def client_recover(asking: Asking) -> Outcome:
    return await command(asking, "subscribe", channel=asking.topic, recover=True, offset=1, epoch="x")


async def client_publish(asking: Asking) -> Outcome:
    return await command(asking, "publish", channel=asking.topic, data={})


async def client_presence(asking: Asking) -> Outcome:
    return await command(asking, "presence", channel=asking.topic)


async def client_presence_stats(asking: Asking) -> Outcome:
    return await command(asking, "presence_stats", channel=asking.topic)


async def client_history(asking: Asking) -> Outcome:
    return await command(asking, "history", channel=asking.topic, limit=1)


async def plain_subscribe(asking: Asking) -> Outcome:
    """A socket that is refused is closed; one that is not hears what is published."""
    headers = {"X-API-Key": asking.hub.api_key}
    path = f"{asking.hub.ws_url}/ws/{quote(asking.topic, safe='')}{asking.query}"
    async with httpx2.AsyncClient(trust_env=False, headers=headers) as client, connect(path) as socket:
        first = asyncio.ensure_future(socket.recv())
        while not (await asyncio.wait([first], timeout=0.1))[0]:
            await client.post(f"{asking.hub.url}/api/publish", json={"channel": asking.topic, "data": 1})
        try:
            assert first.result() == "1"
        except ConnectionClosed as closed:
            return ended(closed)
        return ALLOWED


async def plain_publish(asking: Asking) -> Outcome:
    """What is published on an open socket comes back, or a refusal comes in its place."""
    async with connect(f"{asking.hub.ws_url}/ws/{quote(asking.listens, safe='')}{asking.query}") as socket:
        await socket.send('{"said":1}')
        told = (await frames(socket))[0]
        return tuple(sorted(told["error"].items())) if "error" in told else ALLOWED


async def stream(asking: Asking, headers: dict[str, str]) -> Outcome:
    def read() -> Outcome:
        with EventReader(asking.hub, asking.topic, asking.query[1:], **headers) as reader:
            if reader.status == 200:
                return ALLOWED
            error = {name: value for name, value in reader.error.items() if name != "topic"}
            return (reader.status, *sorted(error.items()))

    return await asyncio.to_thread(read)


async def sse_subscribe(asking: Asking) -> Outcome:
    return await stream(asking, {})


async def sse_recover(asking: Asking) -> Outcome:
    return await stream(asking, {"Last_Event_ID": "1:x"})


async def one_way(asking: Asking, request: dict[str, Any]) -> Outcome:
    """A topic that is refused is left out, as if it had not been asked for."""
    asked = {"subs": {asking.topic: request}, **({"token": asking.token} if asking.token else {})}
    query = quote(json.dumps(asked))
    async with connect(f"{asking.hub.ws_url}/connection/uni_websocket?cf_connect={query}") as socket:
        result = (await frames(socket))[0]["connect"]
        if asking.topic in result.get("subs", {}):
            return ALLOWED
        return tuple(
            (name, value) for name, value in result.items() if name not in ("client", "session", "ttl")
        )


async def one_way_subscribe(asking: Asking) -> Outcome:
    return await one_way(asking, {})


async def one_way_recover(asking: Asking) -> Outcome:
    return await one_way(asking, {"recover": True, "offset": 1, "epoch": "x"})


async def over_http(asking: Asking, method: str, **more: Any) -> Outcome:
    async with httpx2.AsyncClient(trust_env=False) as client:
        answer = await client.request(
            method,
            f"{asking.hub.url}/api/topics/{quote(asking.topic, safe='')}",
            headers=asking.headers,
            **more,
        )
    if answer.status_code == 200:
        return ALLOWED
    error = answer.json()["error"]
    assert error.pop("topic", asking.topic) == asking.topic
    headers = sorted(
        (name, value) for name, value in answer.headers.items() if name not in ("date", "content-length")
    )
    return (answer.status_code, *sorted(error.items()), *headers)


async def http_publish(asking: Asking) -> Outcome:
    return await over_http(asking, "POST", content="hi")


async def http_history(asking: Asking) -> Outcome:
    return await over_http(asking, "GET")


@dataclass(frozen=True)
class Door:
    """A way to do something, and how those who may not are refused: with a name, and without one."""

    way: Callable[[Asking], Awaitable[Outcome]]
    action: str
    named: int
    nameless: int


DOORS: Final = (
    Door(client_subscribe, "subscribe", 103, 103),
    Door(client_recover, "subscribe", 103, 103),
    Door(client_publish, "publish", 103, 103),
    Door(client_presence, "presence", 103, 103),
    Door(client_presence_stats, "presence", 103, 103),
    Door(client_history, "history", 103, 103),
    Door(plain_subscribe, "subscribe", 4003, 4001),
    Door(plain_publish, "publish", 103, 103),
    Door(sse_subscribe, "subscribe", 403, 401),
    Door(sse_recover, "subscribe", 403, 401),
    Door(one_way_subscribe, "subscribe", 0, 0),
    Door(one_way_recover, "subscribe", 0, 0),
    Door(http_publish, "publish", 403, 401),
    Door(http_history, "history", 403, 401),
)
CASES: Final = [
    pytest.param(door, rule, id=f"{door.way.__name__}, {rule.name}")
    for door in DOORS
    for rule in RULES
    if door.action in rule.actions and (rule.listens or door.way is not plain_publish)
]


def told_in(outcome: Outcome, number: int) -> bool:
    """Whether a refusal is of that number; 0 stands for silence."""
    if number == 0:
        return outcome != ALLOWED and "error" not in str(outcome)
    return outcome != ALLOWED and (number in outcome or ("code", number) in outcome)


def token(hub: LiveHub, user: str, claims: dict[str, Any]) -> str:
    return hub.token(user, **claims) if user else ""


async def explained(hub: LiveHub, action: str, topic: str, **who: Any) -> dict[str, Any]:
    async with httpx2.AsyncClient(trust_env=False) as client:
        answer = await client.post(
            f"{hub.url}/api/explain",
            headers={"X-API-Key": hub.api_key},
            json={"action": action, "topic": topic, **who},
        )
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()["result"]
    return found


@pytest.mark.parametrize(("door", "rule"), CASES)
async def test_who_may_is_let_in_and_who_may_not_is_told_as_of_no_topic(
    hub: LiveHub, door: Door, rule: Rule
) -> None:
    await both_ways(hub, door, rule)


@pytest.mark.parametrize("door", DOORS, ids=lambda door: door.way.__name__)
async def test_the_same_holds_where_another_server_serves_the_sockets(asgi: LiveHub, door: Door) -> None:
    await both_ways(asgi, door, RULES[0])


async def both_ways(hub: LiveHub, door: Door, rule: Rule) -> None:
    topic = rule.listens if door.way is plain_publish else rule.topic
    good = token(hub, rule.who, rule.good)
    bad = token(hub, rule.other, rule.bad)
    assert await door.way(Asking(hub, good, topic, rule.listens)) == ALLOWED
    refusal = await door.way(Asking(hub, bad, topic, rule.listens))
    assert told_in(refusal, door.named if bad else door.nameless), refusal
    if door.way is not plain_publish:  # on a topic that is none, nobody can have a socket open
        unknown = f"nons{topic[4:]}" if len(topic) > 4 else "nons"
        assert await door.way(Asking(hub, bad, unknown)) == refusal
        assert await door.way(Asking(hub, good, unknown)) != ALLOWED
    for bearer, allowed in ((good, True), (bad, False)):
        said = await explained(hub, door.action, topic, **({"token": bearer} if bearer else {}))
        decided_later = rule.allow == "handler"
        assert said["allowed"] is (allowed or decided_later), said
        assert (said["error"] == 0) is (allowed or decided_later)
        assert said["handlers"] if decided_later else not said["handlers"]


SUBSCRIBING: Final = [door for door in DOORS if door.action == "subscribe"]


@pytest.mark.parametrize("door", SUBSCRIBING, ids=lambda door: door.way.__name__)
@pytest.mark.parametrize("user", ["ann", ""])
async def test_no_rule_lets_anybody_into_a_private_topic(hub: LiveHub, door: Door, user: str) -> None:
    bearer = token(hub, user, {"role": "editor", "topics": ["*"]})
    refusal = await door.way(Asking(hub, bearer, PRIVATE))
    assert told_in(refusal, door.named if user else door.nameless)
    assert await door.way(Asking(hub, bearer, "$nons:1")) == refusal
    said = await explained(hub, "subscribe", PRIVATE, **({"token": bearer} if bearer else {}))
    assert (said["allowed"], said["error"]) == (False, 103)
    assert said["marks"][0]["what"] == "$"


@pytest.mark.parametrize("way", [client_presence, client_history, http_history], ids=lambda way: way.__name__)
async def test_presence_and_history_of_a_private_topic_do_not_go_by_subscribe(
    hub: LiveHub, way: Callable[[Asking], Awaitable[Outcome]]
) -> None:
    """Its subscribe says anyone, and is not asked; where they have rules of their own, those count."""
    ann = hub.token("ann")
    assert await way(Asking(hub, ann, PRIVATE)) == await way(Asking(hub, ann, "$nons:1")) != ALLOWED
    assert await way(Asking(hub, ann, "$read:1")) == ALLOWED


async def test_a_subscription_token_goes_before_all_rules_for_its_topic_and_user_alone(hub: LiveHub) -> None:
    async def with_token(topic: str, bearer: str, **claims: Any) -> Outcome:
        given = hub.token(str(claims.pop("sub", "ann")), **claims)
        said = await explained(hub, "subscribe", topic, token=bearer, subscription_token=given)
        try:
            outcome = await command(Asking(hub, bearer, topic), "subscribe", channel=topic, token=given)
        except ConnectionClosed as closed:
            outcome = (("code", ended(closed)[0]),)
        assert ("code", said["error"]) in outcome if said["error"] else outcome == ALLOWED, (said, outcome)
        return outcome

    ann = hub.token("ann")
    for topic in (PRIVATE, "staff:1", "own:bob", "room:1#bob"):
        assert await with_token(topic, ann, channel=topic) == ALLOWED
    for topic in (PRIVATE, "staff:1", "nons:1"):
        assert ("code", 3500) in await with_token(topic, ann, channel="staff:2")
        assert ("code", 3500) in await with_token(topic, ann, channel=topic, sub="bob")
        assert ("code", 109) in await with_token(topic, ann, channel=topic, exp=1)
    assert ("code", 102) in await with_token("nons:1", ann, channel="nons:1")


RPC: Final = [({"role": "editor"}, True), ({"roles": ["boss"]}, True), ({"role": "edit"}, False), ({}, False)]


@pytest.mark.parametrize(("claims", "allowed"), RPC)
async def test_a_method_is_for_whom_its_rules_name_and_none_at_all_for_others(
    hub: LiveHub, claims: dict[str, Any], allowed: bool
) -> None:
    ann = hub.token("ann", **claims)
    outcome = await command(Asking(hub, ann, ""), "rpc", method="report", data={})
    said = await explained(hub, "rpc", "report", token=ann)
    assert said["allowed"] is allowed
    if allowed:
        assert outcome == ALLOWED
    else:
        assert outcome == await command(Asking(hub, ann, ""), "rpc", method="nons", data={})
        assert ("code", said["error"]) in outcome
    assert await command(Asking(hub, "", ""), "rpc", method="open", data={}) == ALLOWED


@pytest.mark.parametrize("door", [client_subscribe, client_publish], ids=lambda way: way.__name__)
async def test_typing_is_for_those_who_may_write(
    hub: LiveHub, door: Callable[[Asking], Awaitable[Outcome]]
) -> None:
    writer, reader = hub.token("ann", role="writer"), hub.token("bob")
    topic = "chat-typing:lobby"

    async def typing(bearer: str, named: str) -> Outcome:
        if door is client_publish:
            return await command(Asking(hub, bearer, named), "publish", channel=named, data={"typing": True})
        return await door(Asking(hub, bearer, named))

    assert await typing(writer, topic) == ALLOWED
    if door is client_publish:
        assert await typing(reader, topic) == await typing(reader, "nons:lobby") != ALLOWED
    assert await typing("", topic) == await typing("", "nons:lobby") != ALLOWED


@pytest.mark.parametrize(
    ("user", "code"),
    [("bob", 0), ("{user}", 0), ("bob:1", 4003), ("x#bob", 4003), ("x#bob,x#bob", 4003), ("", 4001)],
)
async def test_a_name_that_stands_in_a_sockets_topic_opens_ones_own_or_none(
    hub: LiveHub, user: str, code: int
) -> None:
    bearer = token(hub, user, {})
    async with connect(f"{hub.ws_url}/me{Asking(hub, bearer, '').query}") as socket:
        if code:
            with pytest.raises(ConnectionClosed) as caught:
                await asyncio.wait_for(socket.recv(), 10)
            assert ended(caught.value)[0] == code
        else:
            await socket.send("mine")
            assert await asyncio.wait_for(socket.recv(), 10) == "mine"
