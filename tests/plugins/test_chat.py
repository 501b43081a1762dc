from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
from sqlalchemy import text
from websockets.sync.client import connect as connect_socket

from hub.errors import ReplyError
from hub.testing import HubClient, InProcessHub, LiveHub
from hub_chat import rooms

ROOM = "/api/chat/rooms/lobby/messages"


def config(topics: Mapping[str, Any] | None = None, **settings: Any) -> dict[str, Any]:
    return {"plugins": {"chat": {"settings": settings}}, "topics": dict(topics or {})}


@pytest.fixture
async def hub() -> AsyncIterator[InProcessHub]:
    async with InProcessHub(config()) as hub:
        yield hub


async def enter(hub: InProcessHub, user: str, room: str = "lobby", **claims: Any) -> HubClient:
    client = await hub.connect(user, **claims)
    await client.subscribe(f"chat:{room}")
    return client


async def stored(hub: InProcessHub, room: str = "lobby", **query: Any) -> list[dict[str, Any]]:
    path = f"/api/chat/rooms/{room}/messages"
    answer = await hub.http.get(path, params=query, headers=hub.bearer("reader"))
    assert answer.status_code == 200, answer.text
    messages: list[dict[str, Any]] = answer.json()["messages"]
    return messages


async def refused(attempt: Any) -> ReplyError:
    with pytest.raises(ReplyError) as caught:
        await attempt
    return caught.value


def error_of(answer: Any) -> tuple[int, int, str]:
    body = answer.json()["error"]
    return answer.status_code, body["code"], body["message"]


# Saying something


async def test_what_one_says_reaches_everybody_with_id_name_and_time(hub: InProcessHub) -> None:
    ann = await enter(hub, "ann", name="Ann Lee")
    bob = await enter(hub, "bob")
    before = int(hub.clock.time() * 1_000)
    await ann.publish("chat:lobby", {"text": "hello", "nonce": "n1"})
    for client in (ann, bob):
        message = await client.expect_publication("chat:lobby")
        assert before <= message.pop("time") <= int(hub.clock.time() * 1_000)
        assert message == {
            "kind": "message",
            "id": 1,
            "room": "lobby",
            "user": "ann",
            "name": "Ann Lee",
            "text": "hello",
            "nonce": "n1",
        }


@pytest.mark.parametrize(
    ("data", "said"), [("just text", "just text"), ({"text": " two\nlines "}, " two\nlines "), (42, "42")]
)
async def test_a_bare_text_is_a_message_too(hub: InProcessHub, data: Any, said: str) -> None:
    ann = await enter(hub, "ann")
    await ann.publish("chat:lobby", data)
    message = await ann.expect_publication("chat:lobby")
    assert message["text"] == said
    assert message["name"] == "ann"
    assert await stored(hub) == [message]


async def test_rest_and_rpc_send_as_their_user_and_return_what_everybody_sees(hub: InProcessHub) -> None:
    ann = await enter(hub, "ann")
    answer = await hub.http.post(ROOM, json={"text": "by rest"}, headers=hub.bearer("bob", name="Bob"))
    assert answer.status_code == 201
    push = await ann.expect_push("chat:lobby", "pub")
    assert push["data"] == answer.json()
    assert push["info"]["user"] == answer.json()["user"] == "bob"
    by_rpc = await ann.rpc("chat.send", {"room": "lobby", "text": "by rpc"})
    assert await ann.expect_publication("chat:lobby") == by_rpc
    assert await stored(hub) == [answer.json(), by_rpc]


def test_plain_sockets_send_text_and_receive_messages() -> None:
    with LiveHub(config()) as hub:
        url = f"{hub.ws_url}/ws/chat:lobby?token="
        with connect_socket(url + hub.token("ann")) as ann, connect_socket(url + hub.token("bob")) as bob:
            ann.send("hi there")
            for socket in (ann, bob):
                message = json.loads(socket.recv(timeout=5))
                assert (message["user"], message["text"], message["id"]) == ("ann", "hi there", 1)
            ann.send("   ")
            assert json.loads(ann.recv(timeout=5))["error"] == {
                "code": 107,
                "message": "bad request: the text is empty",
            }


async def test_the_operators_handlers_are_asked_whichever_way_a_message_comes() -> None:
    moderated = {"chat:{room}": {"handlers": {"publish": "tests.plugins.moderation:no_swearing"}}}
    async with InProcessHub(config(moderated)) as hub:
        ann = await enter(hub, "ann")
        assert (await refused(ann.publish("chat:lobby", "darn it"))).code == 1_499
        assert (await refused(ann.rpc("chat.send", {"room": "lobby", "text": "darn it"}))).code == 1_499
        answer = await hub.http.post(ROOM, json={"text": "darn it"}, headers=hub.bearer("ann"))
        assert error_of(answer)[1:] == (1_499, "mind your language")
        assert await stored(hub) == []
        await ann.publish("chat:lobby", "oh well")
        assert (await ann.expect_publication("chat:lobby"))["text"] == "oh well"


# Bad requests

BAD_MESSAGES = [
    ({}, "text: Field required"),
    ({"text": ""}, "the text is empty"),
    ({"text": " \n "}, "the text is empty"),
    ({"text": 7}, "text: Input should be a valid string"),
    ({"text": "x" * 4_001}, "text: has 4001 characters, 4000 at most"),
    ({"text": "a\0b"}, "the payload holds the character NUL"),
    ({"text": "hi", "colour": "red"}, "colour: Extra inputs are not permitted"),
    ({"text": "hi", "nonce": ""}, "nonce: String should have at least 1 character"),
    ({"text": "hi", "nonce": "n" * 101}, "nonce: String should have at most 100 characters"),
    (["hi"], 'a message is a text, or {"text": …, "nonce": …}'),
]


@pytest.mark.parametrize(("body", "complaint"), BAD_MESSAGES)
async def test_a_bad_message_is_refused_with_the_field_and_the_rule(
    hub: InProcessHub, body: Any, complaint: str
) -> None:
    ann = await enter(hub, "ann")
    answer = await hub.http.post(ROOM, json=body, headers=hub.bearer("ann"))
    assert error_of(answer) == (400, 107, f"bad request: {complaint}")
    error = await refused(ann.publish("chat:lobby", body))
    assert (error.code, error.message) == (107, f"bad request: {complaint}")
    assert await stored(hub) == []
    await ann.publish("chat:lobby", "the next one is none the worse")
    assert (await ann.expect_publication("chat:lobby"))["id"] == 1


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b'{"text": "\\ud800"}', b"[" * 5_000])
async def test_a_body_that_is_no_message_is_no_traceback(hub: InProcessHub, body: bytes) -> None:
    answer = await hub.http.post(ROOM, content=body, headers=hub.bearer("ann"))
    assert error_of(answer)[:2] == (400, 107)


@pytest.mark.parametrize(
    ("query", "complaint"),
    [
        ({"limit": "0"}, "limit: Input should be greater than or equal to 1"),
        ({"limit": "ten"}, "limit: Input should be a valid integer, unable to parse string as an integer"),
        ({"before": "3", "after": "1"}, "give before or after, not both"),
        ({"befor": "3"}, "befor: Extra inputs are not permitted"),
        ({"before": str(2**63)}, "before: Input should be less than or equal to 9223372036854775807"),
    ],
)
async def test_a_bad_question_is_answered_with_what_is_wrong(
    hub: InProcessHub, query: dict[str, str], complaint: str
) -> None:
    answer = await hub.http.get(ROOM, params=query, headers=hub.bearer("ann"))
    assert error_of(answer) == (400, 107, f"bad request: {complaint}")


async def test_the_longest_text_is_a_setting() -> None:
    async with InProcessHub(config(text_length=3)) as hub:
        ann = await enter(hub, "ann")
        await ann.publish("chat:lobby", "äöü")
        assert (await refused(ann.publish("chat:lobby", "long"))).code == 107


# Retries


async def test_a_retry_is_stored_and_sent_once(hub: InProcessHub) -> None:
    ann = await enter(hub, "ann")
    said = {"text": "once", "nonce": "n1"}
    await ann.publish("chat:lobby", said)
    first = await ann.expect_publication("chat:lobby")
    await ann.publish("chat:lobby", said)
    assert await ann.rpc("chat.send", {"room": "lobby", **said}) == first
    answer = await hub.http.post(ROOM, json=said, headers=hub.bearer("ann"))
    assert answer.json() == first
    await ann.publish("chat:lobby", "twice")
    assert (await ann.expect_publication("chat:lobby"))["text"] == "twice"
    assert [message["text"] for message in await stored(hub)] == ["once", "twice"]


async def test_retries_at_the_same_time_are_one_message(database_url: str) -> None:
    async with InProcessHub({**config(), "database": {"url": database_url}}) as hub:
        headers = hub.bearer("ann")
        attempts = (hub.http.post(ROOM, json={"text": "hi", "nonce": "n"}, headers=headers) for _ in range(8))
        answers = await asyncio.gather(*attempts)
        assert {answer.status_code for answer in answers} == {201}
        assert len({answer.json()["id"] for answer in answers}) == 1
        assert len(await stored(hub)) == 1
        several = (hub.http.post(ROOM, json={"text": f"{n}"}, headers=headers) for n in range(10))
        assert len({answer.json()["id"] for answer in await asyncio.gather(*several)}) == 10
        assert len(await stored(hub)) == 11


async def test_a_nonce_is_its_users_and_its_rooms(hub: InProcessHub) -> None:
    ann, bob = await enter(hub, "ann"), await enter(hub, "bob")
    said = {"text": "same", "nonce": "n"}
    await ann.publish("chat:lobby", said)
    await bob.publish("chat:lobby", said)
    await ann.publish("chat:garden", said)
    assert [message["user"] for message in await stored(hub)] == ["ann", "bob"]
    assert len(await stored(hub, "garden")) == 1


async def test_a_nonce_cannot_serve_two_texts(hub: InProcessHub) -> None:
    ann = await enter(hub, "ann")
    await ann.publish("chat:lobby", {"text": "one", "nonce": "n"})
    error = await refused(ann.publish("chat:lobby", {"text": "two", "nonce": "n"}))
    assert error.code == 1_409
    answer = await hub.http.post(ROOM, json={"text": "two", "nonce": "n"}, headers=hub.bearer("ann"))
    assert error_of(answer) == (409, 1_409, "the nonce was used for another message")


async def test_a_backends_idempotency_key_is_as_good_as_a_nonce(hub: InProcessHub) -> None:
    ann = await enter(hub, "ann")
    headers = {**hub.api_key, "Idempotency-Key": "job-7"}
    for _ in range(2):
        answer = await hub.http.post("/api/topics/chat:lobby", content="from the backend", headers=headers)
        assert answer.status_code == 200, answer.text
    message = await ann.expect_publication("chat:lobby")
    assert (message["user"], message["name"], message["text"]) == ("", "", "from the backend")
    as_ann = {**hub.bearer("ann"), "Idempotency-Key": "k" * 255}
    first, again = [await hub.http.post(ROOM, json="once", headers=as_ann) for _ in range(2)]
    assert first.json() == again.json() == await ann.expect_publication("chat:lobby")
    await ann.publish("chat:lobby", "from ann")
    assert (await ann.expect_publication("chat:lobby"))["text"] == "from ann"
    assert len(await stored(hub)) == 3


async def test_what_cannot_be_stored_is_not_sent(hub: InProcessHub) -> None:
    ann, bob = await enter(hub, "ann"), await enter(hub, "bob")
    async with hub.hub.database.connection() as connection:
        await connection.execute(text("ALTER TABLE chat_message RENAME TO chat_gone"))
        await connection.commit()
    error = await refused(ann.publish("chat:lobby", {"text": "hi", "nonce": "n"}))
    assert (error.code, error.temporary) == (100, True)
    answer = await hub.http.post(ROOM, json={"text": "hi"}, headers=hub.bearer("ann"))
    assert answer.status_code == 503
    assert answer.headers["retry-after"]
    async with hub.hub.database.connection() as connection:
        await connection.execute(text("ALTER TABLE chat_gone RENAME TO chat_message"))
        await connection.commit()
    await ann.publish("chat:lobby", {"text": "hi", "nonce": "n"})
    assert (await bob.expect_publication("chat:lobby"))["text"] == "hi"
    assert len(await stored(hub)) == 1


# Reading back


async def test_history_is_read_in_pages_over_rest_and_rpc(hub: InProcessHub) -> None:
    ann = await enter(hub, "ann")
    for number in range(1, 8):
        await ann.publish("chat:lobby", f"{number}")
    await ann.publish("chat:elsewhere", "not here")

    async def read(**query: Any) -> tuple[list[str], bool]:
        answer = await hub.http.get(ROOM, params=query, headers=hub.bearer("ann"))
        page = answer.json()
        assert page["room"] == "lobby"
        assert await ann.rpc("chat.history", {"room": "lobby", **query}) == page
        return [message["text"] for message in page["messages"]], page["more"]

    assert await read() == (["1", "2", "3", "4", "5", "6", "7"], False)
    assert await read(limit=3) == (["5", "6", "7"], True)
    assert await read(limit=3, before=5) == (["2", "3", "4"], True)
    assert await read(limit=3, before=2) == (["1"], False)
    assert await read(limit=3, after=0) == (["1", "2", "3"], True)
    assert await read(limit=3, after=5) == (["6", "7"], False)
    assert await read(after=7) == ([], False)


async def test_a_page_is_bounded_by_the_settings() -> None:
    async with InProcessHub(config(page_size=2, page_limit=3)) as hub:
        ann = await enter(hub, "ann")
        for number in range(5):
            await ann.publish("chat:lobby", f"{number}")
        assert len(await stored(hub)) == 2
        assert len(await stored(hub, limit=100)) == 3


async def test_whoever_was_away_recovers_from_the_topic_and_then_from_the_store(hub: InProcessHub) -> None:
    ann, bob = await hub.connect("ann"), await enter(hub, "bob")
    at = await ann.subscribe("chat:lobby")
    await ann.close()
    await bob.publish("chat:lobby", "missed")
    ann = await hub.connect("ann")
    again = await ann.subscribe("chat:lobby", recover=True, offset=at.get("offset", 0), epoch=at["epoch"])
    assert again["recovered"]
    assert [publication["data"]["text"] for publication in again["publications"]] == ["missed"]
    assert [message["text"] for message in await stored(hub, after=0)] == ["missed"]


async def test_what_is_stored_is_read_by_those_whom_the_topics_history_admits() -> None:
    async with InProcessHub(config({"chat:{room}": {"allow": {"history": "role:staff"}}})) as hub:
        ann, boss = await enter(hub, "ann"), await enter(hub, "boss", role="staff")
        await ann.publish("chat:lobby", "hi")
        assert (await refused(ann.rpc("chat.history", {"room": "lobby"}))).code == 103
        assert error_of(await hub.http.get(ROOM, headers=hub.bearer("ann")))[:2] == (403, 103)
        assert len((await boss.rpc("chat.history", {"room": "lobby"}))["messages"]) == 1


async def test_nobody_without_a_token_reads_or_writes(hub: InProcessHub) -> None:
    nobody = await hub.connect()
    assert (await refused(nobody.subscribe("chat:lobby"))).code == 103
    assert (await refused(nobody.publish("chat:lobby", "hi"))).code == 103
    assert (await refused(nobody.rpc("chat.send", {"room": "lobby", "text": "hi"}))).code == 103
    assert error_of(await hub.http.get(ROOM))[:2] == (401, 101)
    assert error_of(await hub.http.post(ROOM, json={"text": "hi"}))[:2] == (401, 101)
    assert error_of(await hub.http.get(ROOM, headers={"Authorization": "Bearer x.y.z"}))[:2] == (401, 101)


async def test_a_token_may_stand_in_the_query(hub: InProcessHub) -> None:
    answer = await hub.http.get(ROOM, params={"token": hub.token("ann"), "limit": "5"})
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"


async def test_an_operator_may_let_anybody_in() -> None:
    anyone = {"chat:{room}": {"allow": {"subscribe": "anyone", "publish": "anyone"}}}
    async with InProcessHub(config(anyone)) as hub:
        nobody = await enter(hub, "")
        await nobody.publish("chat:lobby", "hi")
        message = await nobody.expect_publication("chat:lobby")
        assert (message["user"], message["name"]) == ("", "")
        assert (await hub.http.get(ROOM)).status_code == 200
        await nobody.subscribe("chat-typing:lobby")


# Rooms


async def test_a_room_comes_into_being_with_its_first_message(hub: InProcessHub) -> None:
    ann = await enter(hub, "ann", "garden")
    assert await ann.rpc("chat.rooms") == {"rooms": [], "next": None}
    assert await stored(hub, "garden") == []
    await ann.publish("chat:garden", "hi")
    [room] = (await ann.rpc("chat.rooms"))["rooms"]
    assert (room["name"], room["title"], room["created_by"]) == ("garden", "garden", "ann")
    answer = await hub.http.get("/api/chat/rooms/garden", headers=hub.bearer("bob"))
    assert answer.json() == room


async def test_rooms_are_created_listed_in_pages_and_shown(hub: InProcessHub) -> None:
    headers = hub.bearer("ann")
    for name in ("c", "a", "b"):
        body = {"name": name, "title": f"Room {name}"}
        assert (await hub.http.post("/api/chat/rooms", json=body, headers=headers)).status_code == 201
    first = (await hub.http.get("/api/chat/rooms?limit=2", headers=headers)).json()
    assert [room["name"] for room in first["rooms"]] == ["a", "b"]
    rest = (await hub.http.get(f"/api/chat/rooms?limit=2&after={first['next']}", headers=headers)).json()
    assert [room["title"] for room in rest["rooms"]] == ["Room c"]
    assert rest["next"] is None
    assert error_of(await hub.http.get("/api/chat/rooms/none", headers=headers)) == (
        404,
        1_404,
        "there is no room none",
    )


async def test_creating_a_room_again_gives_it_again_to_its_creator_alone(hub: InProcessHub) -> None:
    body = {"name": "garden", "title": "The Garden"}
    first = await hub.http.post("/api/chat/rooms", json=body, headers=hub.bearer("ann"))
    again = await hub.http.post("/api/chat/rooms", json=body, headers=hub.bearer("ann"))
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json() == again.json()
    answer = await hub.http.post("/api/chat/rooms", json=body, headers=hub.bearer("bob"))
    assert error_of(answer) == (409, 1_409, "there is a room garden already")


async def test_a_room_that_was_not_created_is_refused_where_rooms_are_closed() -> None:
    async with InProcessHub(config(open_rooms=False)) as hub:
        ann = await hub.connect("ann")
        for attempt in (
            ann.subscribe("chat:lobby"),
            ann.publish("chat:lobby", "hi"),
            ann.rpc("chat.history", {"room": "lobby"}),
            ann.subscribe("chat-typing:lobby"),
        ):
            error = await refused(attempt)
            assert (error.code, error.message) == (1_404, "there is no room lobby")
        answer = await hub.http.post(ROOM, json={"text": "hi"}, headers=hub.bearer("ann"))
        assert answer.status_code == 404
        await hub.http.post("/api/chat/rooms", json={"name": "lobby"}, headers=hub.bearer("ann"))
        await ann.subscribe("chat:lobby")
        await ann.publish("chat:lobby", "hi")
        assert (await ann.expect_publication("chat:lobby"))["text"] == "hi"


async def test_creating_rooms_may_be_left_to_a_role_and_to_backends() -> None:
    async with InProcessHub(config(creators=["host"])) as hub:
        path, body = "/api/chat/rooms", {"name": "lobby"}
        assert error_of(await hub.http.post(path, json=body))[0] == 401
        assert error_of(await hub.http.post(path, json=body, headers=hub.bearer("ann"))) == (
            403,
            103,
            "only some roles may create rooms here",
        )
        host = hub.bearer("eve", roles=["host"])
        assert (await hub.http.post(path, json=body, headers=host)).status_code == 201
        by_key = await hub.http.post(path, json={"name": "hall"}, headers=hub.api_key)
        assert (by_key.status_code, by_key.json()["created_by"]) == (201, "")
        wrong = await hub.http.post(path, json={"name": "x"}, headers={"X-API-Key": "wrong"})
        assert error_of(wrong) == (401, 101, "no such API key")


async def test_an_api_key_needs_the_plugins_scope() -> None:
    keys = {"api_keys": {"other": {"key": "another-key-for-tests-0123456789abcdef", "allow": "publish"}}}
    async with InProcessHub({**config(), "auth": keys}) as hub:
        headers = {"X-API-Key": "another-key-for-tests-0123456789abcdef"}
        answer = await hub.http.post("/api/chat/rooms", json={"name": "hall"}, headers=headers)
        assert error_of(answer) == (403, 103, "the API key 'other' has no scope 'chat'")


@pytest.mark.parametrize("name", ["", "two words", "a.b", "a:b", "x" * 65, "{room}", "a/b"])
async def test_a_name_that_no_room_can_have_is_refused(hub: InProcessHub, name: str) -> None:
    answer = await hub.http.post("/api/chat/rooms", json={"name": name}, headers=hub.bearer("ann"))
    assert error_of(answer)[0] == 400
    ann = await hub.connect("ann")
    if name:
        assert (await refused(ann.subscribe(f"chat:{name}"))).code in {103, 1_400}
        assert (await refused(ann.publish(f"chat:{name}", "hi"))).code in {103, 1_400}
    assert (await refused(ann.rpc("chat.history", {"room": name}))).code == 1_400


async def test_rooms_that_one_may_not_enter_are_not_listed() -> None:
    staff = {"chat:{room}": {"allow": {"subscribe": ["role:staff"]}}}
    async with InProcessHub(config(staff)) as hub:
        ann = await hub.connect("ann")
        await ann.publish("chat:lobby", "hi")
        assert (await ann.rpc("chat.rooms"))["rooms"] == []
        boss = await hub.connect("boss", role="staff")
        assert [room["name"] for room in (await boss.rpc("chat.rooms"))["rooms"]] == ["lobby"]


@pytest.mark.parametrize("examined", [1_000, 3])
async def test_no_page_of_rooms_names_one_that_is_not_for_the_reader(
    monkeypatch: pytest.MonkeyPatch, examined: int
) -> None:
    monkeypatch.setattr(rooms, "MAX_EXAMINED", examined)
    monkeypatch.setattr(rooms, "_AT_ONCE", 2)
    own = {"chat:{room}": {"allow": {"subscribe": ["token"]}}}
    async with InProcessHub(config(own)) as hub:
        for name in ("b", "a1", "c9", "c2", "d", "c5", "e", "a2"):
            answer = await hub.http.post("/api/chat/rooms", json={"name": name}, headers=hub.api_key)
            assert answer.status_code == 201
        for mine in ([], ["b"], ["b", "c5"], ["b", "c5", "e"], ["e"], ["a1", "a2", "b"]):
            headers = hub.bearer("ann", topics=[f"chat:{name}" for name in mine])
            shown, after, told = [], "", []
            while after is not None:
                path = f"/api/chat/rooms?limit=1&after={after}"  # as it was given, and not quoted
                page = (await hub.http.get(path, headers=headers)).json()
                shown += [room["name"] for room in page["rooms"]]
                after = page["next"]
                told.append(after)
            assert shown == mine
            named = {text.partition("~")[0] for text in told if text}
            assert named <= {"", *mine}


async def test_what_is_for_a_handler_to_decide_is_neither_listed_nor_told_of_by_the_plugin() -> None:
    gate = {"subscribe": "tests.integration.permission_handlers:gate"}
    async with InProcessHub(
        config({"chat:{room}": {"allow": {"subscribe": "handler"}, "handlers": gate}})
    ) as hub:
        ann = await enter(hub, "ann")
        await ann.publish("chat:lobby", "hi")
        eve = await hub.connect("eve")
        for topic in ("chat:lobby", "chat-typing:lobby"):
            assert (await refused(eve.subscribe(topic))).code == 103
        assert (await eve.rpc("chat.rooms"))["rooms"] == []
        assert (await refused(eve.rpc("chat.history", {"room": "lobby"}))).code == 103
        answer = await hub.http.get("/api/chat/rooms/lobby", headers=hub.bearer("eve"))
        assert answer.status_code == 403


# Who is there, who is typing


async def test_coming_and_going_is_told_and_presence_knows(hub: InProcessHub) -> None:
    ann = await enter(hub, "ann")
    bob = await enter(hub, "bob")
    joins = [await ann.expect_push("chat:lobby", "join") for _ in range(2)]
    assert [join["info"]["user"] for join in joins] == ["ann", "bob"]
    assert {info["user"] for info in (await ann.presence("chat:lobby")).values()} == {"ann", "bob"}
    await bob.close()
    assert {info["user"] for info in (await ann.presence("chat:lobby")).values()} == {"ann"}
    hub.clock.advance(5.5)
    assert (await ann.expect_push("chat:lobby", "leave"))["info"]["user"] == "bob"


async def test_who_loads_the_page_anew_has_not_left(hub: InProcessHub) -> None:
    ann = await enter(hub, "ann")
    bob = await enter(hub, "bob")
    for _ in range(2):
        await ann.expect_push("chat:lobby", "join")
    await bob.close()
    bob = await enter(hub, "bob")
    hub.clock.advance(5.5)
    await ann.expect_nothing("chat:lobby")
    await bob.unsubscribe("chat:lobby")
    for _ in range(2):
        assert (await ann.expect_push("chat:lobby", "leave"))["info"]["user"] == "bob"


async def test_typing_is_told_with_its_user_and_kept_nowhere(hub: InProcessHub) -> None:
    ann, bob = await enter(hub, "ann", name="Ann"), await enter(hub, "bob")
    await bob.subscribe("chat-typing:lobby")
    for typing in (True, False):
        await ann.publish(
            "chat-typing:lobby",
            {
                "typing": typing,
            },
        )
        assert await bob.expect_publication("chat-typing:lobby") == {
            "kind": "typing",
            "room": "lobby",
            "user": "ann",
            "name": "Ann",
            "typing": typing,
        }
    assert (await refused(bob.history("chat-typing:lobby"))).code == 103
    assert await stored(hub) == []


@pytest.mark.parametrize(
    "data", [{}, {"typing": "yes"}, {"typing": True, "user": "eve"}, "typing", "x" * 2_000]
)
async def test_a_bad_typing_notice_is_refused(hub: InProcessHub, data: Any) -> None:
    ann = await hub.connect("ann")
    assert (await refused(ann.publish("chat-typing:lobby", data))).code == 107


async def test_typing_follows_the_rules_of_the_room() -> None:
    rules = {"chat:{room}": {"allow": {"publish": "role:speaker"}}}
    async with InProcessHub(config(rules)) as hub:
        ann, bob = await hub.connect("ann", role="speaker"), await hub.connect("bob")
        await bob.subscribe("chat-typing:lobby")
        assert (await refused(bob.publish("chat-typing:lobby", {"typing": True}))).code == 103
        await ann.publish("chat-typing:lobby", {"typing": True})
        assert (await bob.expect_publication("chat-typing:lobby"))["user"] == "ann"
