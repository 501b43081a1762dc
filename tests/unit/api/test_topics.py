from __future__ import annotations

from typing import Any

import pytest

from hub.errors import BrokerError
from hub.testing import InProcessHub

FORM = {"Content-Type": "application/x-www-form-urlencoded"}


async def published(hub: InProcessHub, body: str | bytes, **headers: str) -> Any:
    response = await hub.http.post("/api/topics/news:a", content=body, headers=headers)
    assert response.status_code == 200, response.text
    page = (await hub.http.get("/api/topics/news:a")).json()
    return page["publications"][-1]["data"]


async def test_curl_publishes_text_and_is_told_where_it_stands(hub: InProcessHub) -> None:
    response = await hub.http.post("/api/topics/news:a", content="hi", headers=FORM)
    assert response.status_code == 200
    answer = response.json()
    assert (answer["topic"], answer["offset"]) == ("news:a", 1)
    assert answer["epoch"]
    page = (await hub.http.get("/api/topics/news:a")).json()
    assert (page["topic"], page["offset"], page["epoch"]) == ("news:a", 1, answer["epoch"])
    assert page["publications"][0]["data"] == "hi"


async def test_without_history_the_answer_is_the_topic_alone(hub: InProcessHub) -> None:
    response = await hub.http.post("/api/topics/plain:a", content="hi")
    assert response.json() == {"topic": "plain:a"}


@pytest.mark.parametrize(
    ("body", "data"),
    [
        ('{"text": "hi"}', {"text": "hi"}),
        ("[1, 2]", [1, 2]),
        ("42", 42),
        ("null", None),
        ('"quoted"', "quoted"),
        ('""', ""),
        ("hello world & more=1", "hello world & more=1"),
        ("{broken", "{broken"),
        ("  \n", "  \n"),
        ("line 1\nline 2\n", "line 1\nline 2\n"),
        ('{\n  "text": "hi"\n}\n', {"text": "hi"}),
        ("grüße \U0001f44b", "grüße \U0001f44b"),
    ],
)
async def test_json_is_published_as_json_and_all_else_as_text(
    hub: InProcessHub, body: str, data: Any
) -> None:
    assert await published(hub, body.encode(), **FORM) == data


@pytest.mark.parametrize(
    "content_type", ["application/json", "application/json; charset=utf-8", "application/x+json"]
)
async def test_what_is_declared_as_json_has_to_be(hub: InProcessHub, content_type: str) -> None:
    response = await hub.http.post(
        "/api/topics/news:a", content="{broken", headers={"Content-Type": content_type}
    )
    assert response.status_code == 400
    assert await published(hub, '{"a": 1}', **{"Content-Type": content_type}) == {"a": 1}


async def error(hub: InProcessHub, method: str, path: str, status: int, **options: Any) -> dict[str, Any]:
    response = await hub.http.request(method, path, **options)
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    told: dict[str, Any] = response.json()["error"]
    return told


async def test_an_empty_body_and_binary_are_told_apart_and_refused(hub: InProcessHub) -> None:
    empty = await error(hub, "POST", "/api/topics/news:a", 400)
    assert (empty["code"], empty["name"], empty["topic"]) == (107, "bad_request", "news:a")
    assert "empty" in empty["message"]
    binary = await error(hub, "POST", "/api/topics/news:a", 400, content=b"\x89PNG\xff")
    assert "UTF-8" in binary["message"]


async def test_a_schema_violation_is_422_with_the_place(hub: InProcessHub) -> None:
    told = await error(hub, "POST", "/api/topics/strict:a", 422, content='{"text": 7}')
    assert (told["code"], told["name"], told["pointer"]) == (107, "payload_invalid", "/text")
    missing = await error(hub, "POST", "/api/topics/strict:a", 422, content="{}")
    assert "pointer" not in missing


async def test_a_handlers_refusal_is_422_and_its_failure_500_without_its_secrets(hub: InProcessHub) -> None:
    told = await error(hub, "POST", "/api/topics/guarded:a", 422, content="refuse")
    assert (told["code"], told["message"]) == (1_234, "not today")
    broken = await error(hub, "POST", "/api/topics/guarded:a", 500, content="break")
    assert broken["code"] == 100
    assert "secret" not in broken["message"]
    assert (await error(hub, "POST", "/api/topics/guarded:a", 403, content="end"))["message"] == "out of here"


async def test_unknown_topics_bad_names_and_features_that_are_off(hub: InProcessHub) -> None:
    assert (await error(hub, "POST", "/api/topics/nons:a", 401, content="x"))["code"] == 101
    assert (await error(hub, "GET", "/api/topics/plain:a", 404))["code"] == 108
    assert (await error(hub, "POST", "/api/topics/", 400, content="x"))["code"] == 107
    assert (await error(hub, "POST", "/api/topics/a%07b", 400, content="x"))["code"] == 107
    assert (await error(hub, "POST", "/api/topics/" + "x" * 256, 400, content="x"))["code"] == 107


async def test_too_much_is_413_for_the_hub_and_400_for_the_topic(hub: InProcessHub) -> None:
    assert (await error(hub, "POST", "/api/topics/news:a", 413, content="x" * 5_000))["code"] == 107
    assert "takes 10" in (await error(hub, "POST", "/api/topics/small:a", 400, content="x" * 11))["message"]


async def test_tokens_decide_as_for_clients(hub: InProcessHub) -> None:
    path = "/api/topics/members:a"
    anonymous = await error(hub, "POST", path, 401, content="x")
    assert anonymous["code"] == 101
    assert (await error(hub, "POST", path, 401, content="x", headers={"Authorization": "Bearer no.to.ken"}))[
        "code"
    ] == 101
    expired = hub.bearer("ann", exp=1)
    assert "expired" in (await error(hub, "POST", path, 401, content="x", headers=expired))["message"]
    assert (await hub.http.post(path, content="x", headers=hub.bearer("ann"))).status_code == 200
    assert (await hub.http.post(f"{path}?token={hub.token('ann')}", content="x")).status_code == 200
    assert (await error(hub, "POST", "/api/topics/staff:a", 403, content="x", headers=hub.bearer("ann")))[
        "code"
    ] == 103
    staff = hub.bearer("bob", role="staff")
    assert (await hub.http.post("/api/topics/staff:a", content="x", headers=staff)).status_code == 200


async def test_a_401_says_how_to_come_in(hub: InProcessHub) -> None:
    response = await hub.http.post("/api/topics/members:a", content="x")
    assert response.headers["www-authenticate"] == "Bearer"


async def test_keys_act_within_their_scopes_whatever_clients_may(hub: InProcessHub) -> None:
    assert (await hub.http.post("/api/topics/staff:a", content="x", headers=hub.api_key)).status_code == 200
    chat = {"X-API-Key": "key-of-the-chat-only"}
    assert (await hub.http.post("/api/topics/chat:a", content="x", headers=chat)).status_code == 200
    assert (await hub.http.get("/api/topics/chat:a", headers=chat)).status_code == 200
    assert (await error(hub, "POST", "/api/topics/plain:a", 403, content="x", headers=chat))["code"] == 103
    assert (await error(hub, "POST", "/api/topics/chat:a", 401, content="x", headers={"X-API-Key": "no"}))[
        "code"
    ] == 101


async def test_subscribers_see_who_published_and_handlers_too(hub: InProcessHub) -> None:
    bob = await hub.connect("bob")
    await bob.subscribe("members:a")
    await bob.subscribe("guarded:a")
    await hub.http.post(
        "/api/topics/members:a", content="hi", headers=hub.bearer("ann", info={"name": "Ann"})
    )
    push = await bob.expect_push("members:a", "pub")
    assert push == {"data": "hi", "info": {"user": "ann", "client": "", "conn_info": {"name": "Ann"}}}
    await hub.http.post("/api/topics/guarded:a", content="hi", headers=hub.bearer("ann"))
    assert await bob.expect_publication("guarded:a") == {"guarded": "hi", "by": "ann"}
    await hub.http.post("/api/topics/members:a", content="hi", headers=hub.api_key)
    assert await bob.expect_push("members:a", "pub") == {"data": "hi"}


async def test_an_idempotency_key_makes_a_retry_safe(hub: InProcessHub) -> None:
    headers = {"Idempotency-Key": "k1"}
    first = await hub.http.post("/api/topics/news:a", content="hi", headers=headers)
    again = await hub.http.post("/api/topics/news:a", content="hi", headers=headers)
    assert first.json() == again.json()
    assert len((await hub.http.get("/api/topics/news:a")).json()["publications"]) == 1
    await error(hub, "POST", "/api/topics/news:a", 400, content="x", headers={"Idempotency-Key": "k" * 256})


async def test_history_is_read_in_pages(hub: InProcessHub) -> None:
    for number in range(1, 7):
        position = await hub.publish("news:a", number)
    assert position is not None

    async def offsets(query: str) -> list[int]:
        page = (await hub.http.get(f"/api/topics/news:a{query}")).json()
        assert (page["offset"], page["epoch"]) == (6, position.epoch)
        return [publication["offset"] for publication in page["publications"]]

    assert await offsets("") == [1, 2, 3, 4]
    assert await offsets("?limit=0") == []
    assert await offsets("?limit=2&since=2") == [3, 4]
    assert await offsets(f"?since=4:{position.epoch}") == [5, 6]
    assert await offsets("?limit=2&reverse=1") == [6, 5]
    assert await offsets("?limit=2&reverse=true&since=3") == [2, 1]
    assert await offsets("?limit=99999") == [1, 2, 3, 4]
    assert (await error(hub, "GET", "/api/topics/news:a?since=4:other", 416))["code"] == 112


@pytest.mark.parametrize(
    "query",
    [
        "limit=x",
        "limit=-1",
        "limit=%D9%A3",
        "limit=" + "9" * 30,
        "since=x",
        "since=-1:e",
        "since=1.5",
        "reverse=2",
    ],
)
async def test_a_query_that_makes_no_sense_is_400(hub: InProcessHub, query: str) -> None:
    assert (await error(hub, "GET", f"/api/topics/news:a?{query}", 400))["code"] == 107


async def test_history_needs_the_permission_of_subscribers(hub: InProcessHub) -> None:
    assert (
        await hub.http.get("/api/topics/chat:a", headers={"X-API-Key": "key-of-readers-only"})
    ).status_code == 200
    assert (await error(hub, "GET", "/api/topics/chat:a", 401, headers={"X-API-Key": "no"}))["code"] == 101


@pytest.mark.parametrize(
    ("unknown", "status", "code", "advice"),
    [(False, 503, 100, "nothing was stored"), (True, 504, 300, "retry with the same idempotency key")],
)
async def test_a_broker_that_is_away_is_503_and_one_that_may_have_stored_it_504(
    hub: InProcessHub, monkeypatch: pytest.MonkeyPatch, *, unknown: bool, status: int, code: int, advice: str
) -> None:
    async def away(*_: Any) -> None:
        raise BrokerError("redis://:password@secret is gone", unknown=unknown)

    monkeypatch.setattr(hub.hub.broker, "publish", away)
    response = await hub.http.post("/api/topics/plain:a", content="x")
    assert (response.status_code, response.headers["retry-after"]) == (status, "1")
    told = response.json()["error"]
    assert told["code"] == code
    assert advice in told["message"]
    assert "secret" not in told["message"]


async def test_other_methods_are_405_and_told_which_there_are(hub: InProcessHub) -> None:
    response = await hub.http.delete("/api/topics/news:a")
    assert response.status_code == 405
    assert response.headers["allow"] == "GET, HEAD, POST, OPTIONS"
    assert (await hub.http.head("/api/topics/news:a")).status_code == 200


async def test_pages_of_other_origins_can_neither_publish_nor_read(hub: InProcessHub) -> None:
    evil = {"Origin": "https://evil.example"}
    assert (await error(hub, "POST", "/api/topics/news:a", 403, content="x", headers=evil))["code"] == 103
    response = await hub.http.get("/api/topics/news:a", headers=evil)
    assert "access-control-allow-origin" not in response.headers
    assert (await hub.http.get("/api/topics/news:a")).json()["publications"] == []


async def test_pages_of_allowed_origins_can(hub: InProcessHub) -> None:
    ours = {"Origin": "https://app.example"}
    for response in (
        await hub.http.post("/api/topics/news:a", content="x", headers=ours),
        await hub.http.post("/api/topics/nons:a", content="x", headers=ours),
        await hub.http.options("/api/topics/news:a", headers=ours),
    ):
        assert response.headers["access-control-allow-origin"] == "https://app.example"
        assert response.headers["vary"] == "Origin"
    assert response.status_code == 204
    assert "Idempotency-Key" in response.headers["access-control-allow-headers"]
    own = await hub.http.get("/api/topics/news:a", headers={"Origin": "http://hub.test"})
    assert own.status_code == 200
