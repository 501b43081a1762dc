from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
from websockets.sync.client import connect as connect_socket

from hub.errors import ReplyError
from hub.testing import HubClient, InProcessHub, LiveHub

PATH = "/api/notifications"


def config(**settings: Any) -> dict[str, Any]:
    return {"plugins": {"notifications": {"settings": settings}}}


@pytest.fixture
async def hub() -> AsyncIterator[InProcessHub]:
    async with InProcessHub(config()) as hub:
        yield hub


async def device(hub: InProcessHub, user: str) -> HubClient:
    client = await hub.connect(user)
    await client.subscribe(f"notifications:{user}")
    return client


async def notify(hub: InProcessHub, user: str = "ann", title: str = "Hello", **fields: Any) -> dict[str, Any]:
    body = {"user": user, "title": title, **fields}
    answer = await hub.http.post(PATH, json=body, headers=hub.api_key)
    assert answer.status_code in {200, 201}, answer.text
    sent: dict[str, Any] = answer.json()
    return sent


async def get(hub: InProcessHub, path: str = "", user: str = "ann", **query: Any) -> dict[str, Any]:
    answer = await hub.http.get(PATH + path, params=query, headers=hub.bearer(user))
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def post(hub: InProcessHub, path: str, user: str = "ann", **body: Any) -> dict[str, Any]:
    answer = await hub.http.post(PATH + path, json=body, headers=hub.bearer(user))
    assert answer.status_code == 200, answer.text
    done: dict[str, Any] = answer.json()
    return done


async def titles(hub: InProcessHub, **query: Any) -> list[str]:
    return [one["title"] for one in (await get(hub, **query))["notifications"]]


async def refused(attempt: Any) -> ReplyError:
    with pytest.raises(ReplyError) as caught:
        await attempt
    return caught.value


def error_of(answer: Any) -> tuple[int, int, str]:
    body = answer.json()["error"]
    return answer.status_code, body["code"], body["message"]


# Sending


async def test_a_notification_reaches_all_devices_of_its_user_and_nobody_else(hub: InProcessHub) -> None:
    phone, laptop, other = await device(hub, "ann"), await device(hub, "ann"), await device(hub, "bob")
    said = {
        "title": "Build failed",
        "body": "main is red",
        "priority": 5,
        "tags": ["ci", "main"],
        "click": "https://ci.example/7",
        "data": {"build": 7},
    }
    answer = await hub.http.post(PATH, json={"user": "ann", **said}, headers=hub.api_key)
    assert answer.status_code == 201
    sent = answer.json()
    assert sent.pop("user") == "ann"
    for client in (phone, laptop):
        push = await client.expect_publication("notifications:ann")
        assert push == {"kind": "notification", **sent, "unread": 1, "changes": 1}
        assert {name: push[name] for name in said} == said
        assert (push["id"], push["sender"], push["read"]) == (1, "key:tests", None)
        assert abs(push["time"] - hub.clock.time() * 1_000) < 10_000
    await other.expect_nothing("notifications:bob")
    assert (await get(hub))["notifications"] == [sent]


async def test_what_is_left_out_has_a_default(hub: InProcessHub) -> None:
    sent = await notify(hub)
    defaults = {name: sent[name] for name in ("body", "priority", "tags", "click", "data")}
    assert defaults == {"body": "", "priority": 3, "tags": [], "click": "", "data": None}


async def test_the_role_of_a_sender_is_a_setting() -> None:
    async with InProcessHub(config(senders=["robot"])) as hub:
        body = {"user": "ann", "title": "Hi"}
        answer = await hub.http.post(PATH, json=body, headers=hub.bearer("r2", role="robot"))
        assert (answer.status_code, answer.json()["sender"]) == (201, "user:r2")
        answer = await hub.http.post(PATH, json=body, headers=hub.bearer("n", role="notifier"))
        assert error_of(answer)[:2] == (403, 103)


async def test_whoever_has_no_right_sends_nothing(hub: InProcessHub) -> None:
    body = {"user": "ann", "title": "Hi"}
    assert error_of(await hub.http.post(PATH, json=body))[:2] == (401, 101)
    assert error_of(await hub.http.post(PATH, json=body, headers=hub.bearer("bob")))[:2] == (403, 103)
    wrong = await hub.http.post(PATH, json=body, headers={"X-API-Key": "wrong"})
    assert error_of(wrong) == (401, 101, "no such API key")
    answer = await hub.http.post(PATH, json=body, headers=hub.bearer("n", roles=["notifier"]))
    assert answer.status_code == 201
    assert await titles(hub) == ["Hi"]


async def test_an_api_key_needs_the_plugins_scope() -> None:
    def key(letter: str, *scopes: str) -> dict[str, Any]:
        return {"key": f"{letter}-key-for-tests-of-notifications-0123456789", "allow": list(scopes)}

    keys = {"some": key("a", "publish"), "this": key("b", "publish", "notifications")}
    async with InProcessHub({**config(), "auth": {"api_keys": keys}}) as hub:
        body = {"user": "ann", "title": "Hi"}
        answer = await hub.http.post(PATH, json=body, headers={"X-API-Key": keys["some"]["key"]})
        assert error_of(answer) == (403, 103, "the API key 'some' has no scope 'notifications'")
        headers = {"Authorization": f"apikey {keys['this']['key']}"}
        answer = await hub.http.post(PATH, json=body, headers=headers)
        assert (answer.status_code, answer.json()["sender"]) == (201, "key:this")


async def test_nobody_subscribes_to_anothers_notifications_or_publishes_there(hub: InProcessHub) -> None:
    for client in (await hub.connect("bob"), await hub.connect()):
        assert (await refused(client.subscribe("notifications:ann"))).code == 103
        assert (await refused(client.publish("notifications:ann", {"title": "fake"}))).code == 103
        assert (await refused(client.history("notifications:ann"))).code == 103
    ann = await device(hub, "ann")
    assert (await refused(ann.publish("notifications:ann", {"title": "fake"}))).code == 103


async def test_users_with_dots_colons_and_accents_have_inboxes(hub: InProcessHub) -> None:
    for user in ("ann.lee@example.org", "oidc:https://id.example/ünal"):
        client = await device(hub, user)
        await notify(hub, user, "Hi")
        assert (await client.expect_publication(f"notifications:{user}"))["title"] == "Hi"
        assert (await get(hub, user=user))["unread"] == 1


BAD_BODIES: list[tuple[dict[str, Any], str]] = [
    ({"user": None}, "user: Input should be a valid string"),
    ({"user": ""}, "user: String should have at least 1 character"),
    ({"title": " "}, "title: must not be blank"),
    ({"title": "x" * 201}, "title: String should have at most 200 characters"),
    ({"title": "a\0"}, "the payload holds the character NUL"),
    ({"body": "x" * 4_001}, "body: has 4001 characters, 4000 at most"),
    ({"priority": 6}, "priority: Input should be less than or equal to 5"),
    ({"priority": "5"}, "priority: Input should be a valid integer"),
    ({"tags": ["t"] * 11}, "tags: List should have at most 10 items after validation, not 11"),
    ({"tags": ["x" * 41]}, "tags.0: String should have at most 40 characters"),
    ({"tags": "ci"}, "tags: Input should be a valid array"),
    (
        {"click": "javascript:alert(1)"},
        "click: must be an http or https address, or a path that begins with a single /",
    ),
    (
        {"click": "//evil.example"},
        "click: must be an http or https address, or a path that begins with a single /",
    ),
    ({"data": "x" * 5_000}, "data: has 5002 bytes, 4096 at most"),
    ({"key": ""}, "key: String should have at least 1 character"),
    ({"colour": "red"}, "colour: Extra inputs are not permitted"),
]


@pytest.mark.parametrize(("fields", "complaint"), BAD_BODIES)
async def test_a_bad_notification_is_refused_with_the_field_and_the_rule(
    hub: InProcessHub, fields: dict[str, Any], complaint: str
) -> None:
    body = {"user": "ann", "title": "Hi", **fields}
    answer = await hub.http.post(PATH, json=body, headers=hub.api_key)
    assert error_of(answer) == (400, 107, f"bad request: {complaint}")
    assert await titles(hub) == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{",
        b'"Hi"',
        b'{"user": "ann", "title": "Hi", "data": NaN}',
        b'{"user": "ann", "title": "Hi", "data": 1e999}',
    ],
)
async def test_a_body_that_is_no_notification_is_no_traceback(hub: InProcessHub, body: bytes) -> None:
    answer = await hub.http.post(PATH, content=body, headers=hub.api_key)
    assert error_of(answer)[:2] == (400, 107)


@pytest.mark.parametrize("user", ["a\u202eb", "x" * 200 + "ü" * 40, "e\u0301"])
async def test_a_user_that_no_topic_can_have_is_refused_and_nothing_stored(
    hub: InProcessHub, user: str
) -> None:
    answer = await hub.http.post(PATH, json={"user": user, "title": "Hi"}, headers=hub.api_key)
    assert error_of(answer)[:2] == (400, 107)


async def test_a_body_that_is_too_large_is_413(hub: InProcessHub) -> None:
    answer = await hub.http.post(PATH, content=b" " * 8_000_000, headers=hub.api_key)
    assert answer.status_code == 413


# Retries


async def test_a_retry_with_the_same_key_is_the_first_one(hub: InProcessHub) -> None:
    ann = await device(hub, "ann")
    first = await notify(hub, key="job-7")
    headers = {**hub.api_key, "Idempotency-Key": "job-7"}
    again = await hub.http.post(PATH, json={"user": "ann", "title": "Hello"}, headers=headers)
    assert (again.status_code, again.json()) == (200, first)
    await notify(hub, title="Another")
    heard = [(await ann.expect_publication("notifications:ann"))["title"] for _ in range(2)]
    assert heard == ["Hello", "Another"]
    assert await titles(hub) == ["Another", "Hello"]


async def test_a_key_is_its_senders_and_its_users(hub: InProcessHub) -> None:
    await notify(hub, key="k")
    await notify(hub, "bob", key="k")
    body = {"user": "ann", "title": "Hello", "key": "k"}
    answer = await hub.http.post(PATH, json=body, headers=hub.bearer("n", role="notifier"))
    assert answer.status_code == 201
    assert await titles(hub) == ["Hello", "Hello"]
    assert await titles(hub, user="bob") == ["Hello"]


async def test_a_key_cannot_serve_two_notifications(hub: InProcessHub) -> None:
    await notify(hub, key="k")
    body = {"user": "ann", "title": "Bye", "key": "k"}
    answer = await hub.http.post(PATH, json=body, headers=hub.api_key)
    assert error_of(answer) == (409, 1_409, "the key was used for another notification")


async def test_senders_at_the_same_time_lose_nothing_and_the_last_count_is_right(database_url: str) -> None:
    async with InProcessHub({**config(), "database": {"url": database_url}}) as hub:
        ann = await device(hub, "ann")
        await asyncio.gather(*(notify(hub, title=f"{n}", key=f"{n % 10}-{n}") for n in range(20)))
        await asyncio.gather(*(notify(hub, title="same", key="same") for _ in range(6)))
        pushes = [await ann.expect_publication("notifications:ann") for _ in range(21)]
        assert sorted(push["id"] for push in pushes) == sorted({push["id"] for push in pushes})
        assert max(pushes, key=lambda push: push["changes"])["unread"] == 21
        assert await get(hub, "/unread") == {"unread": 21, "changes": 21}


# Reading


async def test_the_inbox_is_read_in_pages_over_rest_and_rpc(hub: InProcessHub) -> None:
    ann = await hub.connect("ann")
    for number in range(1, 6):
        await notify(hub, title=f"{number}")
    await notify(hub, "bob", "not hers")
    await post(hub, "/4/read")

    async def read(**query: Any) -> tuple[list[str], bool]:
        page = await get(hub, **query)
        assert await ann.rpc("notifications.list", query) == page
        assert (page["unread"], page["changes"]) == (4, 6)
        return [one["title"] for one in page["notifications"]], page["more"]

    assert await read() == (["5", "4", "3", "2", "1"], False)
    assert await read(limit=2) == (["5", "4"], True)
    assert await read(limit=2, before=4) == (["3", "2"], True)
    assert await read(limit=2, before=2) == (["1"], False)
    assert await read(unread=1, limit=2) == (["5", "3"], True)
    assert await read(unread=1, before=3) == (["2", "1"], False)


async def test_a_page_is_bounded_by_the_settings() -> None:
    async with InProcessHub(config(page_size=2, page_limit=3)) as hub:
        for number in range(5):
            await notify(hub, title=f"{number}")
        assert len(await titles(hub)) == 2
        assert len(await titles(hub, limit=100)) == 3


@pytest.mark.parametrize(
    ("query", "complaint"),
    [
        ({"limit": "0"}, "limit: Input should be greater than or equal to 1"),
        ({"before": "x"}, "before: Input should be a valid integer, unable to parse string as an integer"),
        ({"unread": "maybe"}, "unread: Input should be a valid boolean, unable to interpret input"),
        ({"page": "2"}, "page: Extra inputs are not permitted"),
    ],
)
async def test_a_bad_question_is_answered_with_what_is_wrong(
    hub: InProcessHub, query: dict[str, str], complaint: str
) -> None:
    answer = await hub.http.get(PATH, params=query, headers=hub.bearer("ann"))
    assert error_of(answer) == (400, 107, f"bad request: {complaint}")


async def test_an_inbox_is_seen_by_its_user_alone(hub: InProcessHub) -> None:
    await notify(hub)
    assert (await get(hub, user="bob"))["notifications"] == []
    nobody = await hub.connect()
    for path in ("", "/unread"):
        assert error_of(await hub.http.get(PATH + path))[:2] == (401, 101)
        assert error_of(await hub.http.get(PATH + path, headers=hub.api_key))[:2] == (403, 103)
    assert error_of(await hub.http.post(f"{PATH}/1/read"))[:2] == (401, 101)
    for method in ("list", "unread", "read_all"):
        assert (await refused(nobody.rpc(f"notifications.{method}"))).code == 103
    assert error_of(await hub.http.post(f"{PATH}/1/read", headers=hub.bearer("bob"))) == (
        404,
        1_404,
        "there is no notification 1",
    )
    assert await get(hub, "/unread") == {"unread": 1, "changes": 1}


# Marking as read


async def test_marking_one_read_is_seen_on_the_other_device(hub: InProcessHub) -> None:
    phone, laptop = await device(hub, "ann"), await device(hub, "ann")
    for number in range(3):
        await notify(hub, title=f"{number}")
    assert [(await laptop.expect_publication("notifications:ann"))["unread"] for _ in range(3)] == [1, 2, 3]
    told = {"ids": [2], "up_to": 0, "unread": 2, "changes": 4}
    assert await post(hub, "/2/read") == told
    assert await laptop.expect_publication("notifications:ann") == {"kind": "read", **told}
    told = {"ids": [1, 3], "up_to": 0, "unread": 0, "changes": 5}
    assert await phone.rpc("notifications.read", {"ids": [3, 1, 3]}) == told
    assert await laptop.expect_publication("notifications:ann") == {"kind": "read", **told}
    assert await laptop.rpc("notifications.unread") == {"unread": 0, "changes": 5}
    page = await get(hub)
    assert all(one["read"] >= one["time"] for one in page["notifications"])
    assert await titles(hub, unread=1) == []


async def test_marking_again_changes_nothing_but_is_told(hub: InProcessHub) -> None:
    ann = await device(hub, "ann")
    await notify(hub)
    await ann.expect_publication("notifications:ann")
    first = await post(hub, "/1/read")
    read_at = (await get(hub))["notifications"][0]["read"]
    hub.clock.advance(5)
    assert await post(hub, "/1/read") == first
    assert [await ann.expect_publication("notifications:ann") for _ in range(2)] == [
        {"kind": "read", **first}
    ] * 2
    assert (await get(hub))["notifications"][0]["read"] == read_at


async def test_marking_all_read_goes_as_far_as_the_device_knows(hub: InProcessHub) -> None:
    ann = await device(hub, "ann")
    for number in range(1, 5):
        await notify(hub, title=f"{number}")
        await ann.expect_publication("notifications:ann")
    told = {"ids": [], "up_to": 3, "unread": 1, "changes": 5}
    assert await post(hub, "/read-all", up_to=3) == told
    assert await ann.expect_publication("notifications:ann") == {"kind": "read", **told}
    assert await titles(hub, unread=1) == ["4"]
    answer = await hub.http.post(f"{PATH}/read-all", headers=hub.bearer("ann"))
    assert answer.json() == {"ids": [], "up_to": 4, "unread": 0, "changes": 6}
    beyond = await ann.rpc("notifications.read_all", {"up_to": 1_000})
    assert beyond == {"ids": [], "up_to": 4, "unread": 0, "changes": 6}


async def test_an_empty_inbox_can_be_marked_read(hub: InProcessHub) -> None:
    assert await post(hub, "/read-all") == {"ids": [], "up_to": 0, "unread": 0, "changes": 0}


async def test_one_unknown_id_leaves_all_unread(hub: InProcessHub) -> None:
    ann = await device(hub, "ann")
    await notify(hub)
    await ann.expect_publication("notifications:ann")
    error = await refused(ann.rpc("notifications.read", {"ids": [1, 99]}))
    assert (error.code, error.message) == (1_404, "there is no notification 99")
    answer = await hub.http.post(f"{PATH}/{10**30}/read", headers=hub.bearer("ann"))
    assert error_of(answer)[:2] == (404, 1_404)
    assert await get(hub, "/unread") == {"unread": 1, "changes": 1}


@pytest.mark.parametrize("data", [None, {}, {"ids": []}, {"ids": [0]}, {"ids": ["1"]}, {"ids": [1] * 101}])
async def test_a_bad_read_is_refused(hub: InProcessHub, data: Any) -> None:
    ann = await hub.connect("ann")
    assert (await refused(ann.rpc("notifications.read", data))).code == 107


# Being away


async def test_a_device_that_was_away_recovers_what_it_missed(hub: InProcessHub) -> None:
    ann = await hub.connect("ann")
    at = await ann.subscribe("notifications:ann")
    await ann.close()
    await notify(hub, title="missed")
    await post(hub, "/1/read")
    ann = await hub.connect("ann")
    again = await ann.subscribe(
        "notifications:ann", recover=True, offset=at.get("offset", 0), epoch=at["epoch"]
    )
    assert again["recovered"]
    kinds = [publication["data"]["kind"] for publication in again["publications"]]
    assert kinds == ["notification", "read"]


def test_a_plain_socket_is_a_device_too() -> None:
    with LiveHub(config()) as hub:
        url = f"{hub.ws_url}/ws/notifications:ann?token={hub.token('ann')}"
        with connect_socket(url) as socket:
            body = {"user": "ann", "title": "Hi"}
            answer = httpx2.post(hub.url + PATH, json=body, headers={"X-API-Key": hub.api_key})
            assert answer.status_code == 201
            push = json.loads(socket.recv(timeout=5))
            assert (push["kind"], push["title"], push["unread"]) == ("notification", "Hi", 1)
