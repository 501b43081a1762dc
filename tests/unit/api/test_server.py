from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import pytest

from hub.errors import BrokerError
from hub.testing import InProcessHub


@pytest.fixture(params=["at once", "awaited"], autouse=True)
def broker_answers(
    request: pytest.FixtureRequest, hub: InProcessHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All holds with a broker that answers at once, and with one that has to be waited for as those elsewhere have."""
    monkeypatch.setattr(hub.hub.broker, "prompt", request.param == "at once")


async def call(hub: InProcessHub, method: str, request: Any, **headers: str) -> Any:
    response = await hub.http.post(f"/api/{method}", json=request, headers=hub.api_key | headers)
    assert response.status_code == 200, response.text
    return response.json()


async def code_of(hub: InProcessHub, method: str, request: Any, **headers: str) -> int:
    return int((await call(hub, method, request, **headers))["error"]["code"])


@pytest.mark.parametrize(
    ("headers", "query"),
    [
        ({"X-API-Key": "an-api-key-for-tests-only"}, ""),
        ({"Authorization": "apikey an-api-key-for-tests-only"}, ""),
        ({}, "?api_key=an-api-key-for-tests-only"),
    ],
)
async def test_a_key_is_taken_from_each_of_its_three_places(
    hub: InProcessHub, headers: dict[str, str], query: str
) -> None:
    response = await hub.http.post(f"/api/info{query}", json={}, headers=headers)
    assert response.status_code == 200


@pytest.mark.parametrize(
    "headers", [{}, {"X-API-Key": "wrong"}, {"Authorization": "Bearer an-api-key-for-tests-only"}]
)
async def test_without_a_good_key_the_answer_is_401_and_nothing_else(
    hub: InProcessHub, headers: dict[str, str]
) -> None:
    response = await hub.http.post("/api/publish", json={"channel": "news:a", "data": 1}, headers=headers)
    assert (response.status_code, response.content) == (401, b"")


async def test_publish_answers_the_position_and_empty_without_history(hub: InProcessHub) -> None:
    first = (await call(hub, "publish", {"channel": "news:a", "data": {"i": 1}}))["result"]
    second = (await call(hub, "publish", {"channel": "news:a", "data": {"i": 2}}))["result"]
    assert (first["offset"], second["offset"]) == (1, 2)
    assert first["epoch"] == second["epoch"] != ""
    assert await call(hub, "publish", {"channel": "plain:a", "data": None}) == {"result": {}}


async def test_a_payload_keeps_its_bytes_but_for_line_breaks(hub: InProcessHub) -> None:
    ann = await hub.connect("ann")
    await ann.subscribe("plain:a")
    frames: list[bytes] = []
    ann.take = frames.append  # type: ignore[method-assign]
    for body in (
        b'{"channel":"plain:a","data":{"b" : 1.0,"a":[ ]}}',
        b'{"channel":"plain:a","data":{\n"b": 2}}',
    ):
        response = await hub.http.post("/api/publish", content=body, headers=hub.api_key)
        assert response.json() == {"result": {}}
    async with asyncio.timeout(5):
        while b'"data":{"b":2}' not in b"".join(frames):
            await asyncio.sleep(0.005)
    text = b"\n".join(frames)
    assert b'"data":{"b" : 1.0,"a":[ ]}' in text
    assert b'"data":{"b":2}' in text


async def test_tags_reach_subscribers_and_no_info_is_made_up(hub: InProcessHub) -> None:
    ann = await hub.connect("ann")
    await ann.subscribe("plain:a")
    await call(hub, "publish", {"channel": "plain:a", "data": 1, "tags": {"k": "v"}})
    assert await ann.expect_push("plain:a", "pub") == {"data": 1, "tags": {"k": "v"}}


async def test_fields_that_are_null_count_as_left_out(hub: InProcessHub) -> None:
    request = {
        "channel": "news:a",
        "data": 1,
        "tags": None,
        "idempotency_key": None,
        "skip_history": None,
        "delta": None,
    }
    assert (await call(hub, "publish", request))["result"]["offset"] == 1


async def test_the_same_idempotency_key_publishes_once(hub: InProcessHub) -> None:
    request = {"channel": "news:a", "data": 1, "idempotency_key": "k1"}
    assert await call(hub, "publish", request) == await call(hub, "publish", request)
    page = (await call(hub, "history", {"channel": "news:a", "limit": -1}))["result"]
    assert len(page["publications"]) == 1


async def test_skip_history_publishes_without_keeping(hub: InProcessHub) -> None:
    assert await call(hub, "publish", {"channel": "news:a", "data": 1, "skip_history": True}) == {
        "result": {}
    }
    page = (await call(hub, "history", {"channel": "news:a", "limit": -1}))["result"]
    assert (page["publications"], page["offset"]) == ([], 0)


async def test_an_older_version_is_not_published(hub: InProcessHub) -> None:
    for version in (3, 2):
        await call(hub, "publish", {"channel": "news:a", "data": version, "version": version})
    page = (await call(hub, "history", {"channel": "news:a", "limit": -1}))["result"]
    assert [publication["data"] for publication in page["publications"]] == [3]


async def test_json_in_base64_is_published_as_json(hub: InProcessHub) -> None:
    data = base64.b64encode(b'{"x": 1}').decode()
    await call(hub, "publish", {"channel": "news:a", "b64data": data})
    page = (await call(hub, "history", {"channel": "news:a", "limit": 1}))["result"]
    assert page["publications"][0]["data"] == {"x": 1}


@pytest.mark.parametrize("binary", [b"\xff\xfe", b'"\xff"', b"no json"])
async def test_base64_that_holds_no_json_is_refused(hub: InProcessHub, binary: bytes) -> None:
    data = base64.b64encode(binary).decode()
    assert await code_of(hub, "publish", {"channel": "news:a", "b64data": data}) == 107


async def test_data_that_is_missing_is_said_so(hub: InProcessHub) -> None:
    error = (await call(hub, "publish", {"channel": "news:a"}))["error"]
    assert error == {"code": 107, "message": "bad request: data is missing"}


@pytest.mark.parametrize(
    ("topic", "code"), [("nons:1", 102), ("", 107), ("x" * 256, 107), ("a\u0007b", 107), ("small:a", 107)]
)
async def test_publishing_where_it_cannot_be_is_a_numbered_error(
    hub: InProcessHub, topic: str, code: int
) -> None:
    assert await code_of(hub, "publish", {"channel": topic, "data": "more than ten bytes"}) == code


async def test_publish_passes_schema_and_handlers(hub: InProcessHub) -> None:
    error = (await call(hub, "publish", {"channel": "strict:a", "data": {"text": 1}}))["error"]
    assert error["code"] == 107
    assert "data/text" in error["message"]
    assert (await call(hub, "publish", {"channel": "guarded:a", "data": "refuse"}))["error"] == {
        "code": 1_234,
        "message": "not today",
    }
    broken = (await call(hub, "publish", {"channel": "guarded:a", "data": "break"}))["error"]
    assert broken == {"code": 100, "message": "internal server error"}
    assert await code_of(hub, "publish", {"channel": "guarded:a", "data": "end"}) == 103


@pytest.mark.parametrize(("unknown", "code"), [(False, 100), (True, 300)])
async def test_a_broker_that_is_away_is_error_100_and_one_that_may_have_stored_it_300(
    hub: InProcessHub, monkeypatch: pytest.MonkeyPatch, *, unknown: bool, code: int
) -> None:
    async def away(*_: Any) -> None:
        raise BrokerError("redis://:password@secret is gone", unknown=unknown)

    monkeypatch.setattr(hub.hub.broker, "publish", away)
    error = (await call(hub, "publish", {"channel": "plain:a", "data": 1}))["error"]
    assert error["code"] == code
    assert "secret" not in error["message"]


@pytest.mark.parametrize(
    ("method", "request_"),
    [
        ("history", {"channel": "news:a"}),
        ("history_remove", {"channel": "news:a"}),
        ("presence", {"channel": "news:a"}),
        ("presence_stats", {"channel": "news:a"}),
        ("disconnect", {"user": "ann"}),
    ],
)
async def test_what_may_simply_be_done_again_is_never_unknown(
    hub: InProcessHub, monkeypatch: pytest.MonkeyPatch, method: str, request_: dict[str, Any]
) -> None:
    async def away(*_: Any) -> None:
        raise BrokerError("no answer", unknown=True)

    for name in ("publish", "history", "remove_history"):
        monkeypatch.setattr(hub.hub.broker, name, away)
    for name in ("get", "stats"):
        monkeypatch.setattr(hub.hub.presence, name, away)
    assert await code_of(hub, method, request_) == 100


async def test_broadcast_answers_for_each_topic_in_order(hub: InProcessHub) -> None:
    request = {"channels": ["news:a", "plain:1", "nons:1"], "data": {"b": 1}}
    responses = (await call(hub, "broadcast", request))["result"]["responses"]
    assert responses[0]["result"]["offset"] == 1
    assert responses[1:] == [{"result": {}}, {"error": {"code": 102, "message": "unknown channel"}}]


@pytest.mark.parametrize("request_", [{"data": 1}, {"channels": [], "data": 1}, {"channels": ["plain:a"]}])
async def test_a_broadcast_without_topics_or_data_is_refused(
    hub: InProcessHub, request_: dict[str, Any]
) -> None:
    assert await code_of(hub, "broadcast", request_) == 107


async def test_a_broadcast_to_more_topics_than_are_done_at_once_reaches_all(hub: InProcessHub) -> None:
    topics = [f"plain:{number}" for number in range(200)]
    responses = (await call(hub, "broadcast", {"channels": topics, "data": 1}))["result"]["responses"]
    assert responses == [{"result": {}}] * 200


async def test_presence_and_its_counts(hub: InProcessHub) -> None:
    ann = await hub.connect("ann", info={"name": "Ann"})
    await ann.subscribe("news:a")
    presence = (await call(hub, "presence", {"channel": "news:a"}))["result"]["presence"]
    client = ann.connection["client"]
    assert presence == {client: {"user": "ann", "client": client, "conn_info": {"name": "Ann"}}}
    stats = await call(hub, "presence_stats", {"channel": "news:a"})
    assert stats == {"result": {"num_clients": 1, "num_users": 1}}
    assert await call(hub, "presence", {"channel": "news:b"}) == {"result": {"presence": {}}}


@pytest.mark.parametrize("method", ["presence", "presence_stats", "history", "history_remove"])
async def test_what_a_topic_does_not_have_is_108_and_an_unknown_topic_102(
    hub: InProcessHub, method: str
) -> None:
    assert await code_of(hub, method, {"channel": "plain:a"}) == 108
    assert await code_of(hub, method, {"channel": "nons:a"}) == 102
    assert await code_of(hub, method, {}) == 107


async def test_history_pages_as_asked_and_never_beyond_the_page_limit(hub: InProcessHub) -> None:
    for number in range(1, 7):
        await hub.publish("news:a", number)

    async def offsets(**request: Any) -> list[int]:
        page = (await call(hub, "history", {"channel": "news:a", **request}))["result"]
        assert page["offset"] == 6
        return [publication["offset"] for publication in page["publications"]]

    assert await offsets() == []
    assert await offsets(limit=2) == [1, 2]
    assert await offsets(limit=2, since={"offset": 2, "epoch": ""}) == [3, 4]
    assert await offsets(limit=2, reverse=True) == [6, 5]
    assert await offsets(limit=-1) == [1, 2, 3, 4]
    assert await offsets(limit=1_000) == [1, 2, 3, 4]
    assert (
        await code_of(
            hub, "history", {"channel": "news:a", "limit": 1, "since": {"offset": 1, "epoch": "no"}}
        )
        == 112
    )


async def test_history_remove_keeps_the_position(hub: InProcessHub) -> None:
    position = await hub.publish("news:a", 1)
    assert position is not None
    assert await call(hub, "history_remove", {"channel": "news:a"}) == {"result": {}}
    page = (await call(hub, "history", {"channel": "news:a", "limit": -1}))["result"]
    assert page == {"publications": [], "offset": 1, "epoch": position.epoch}


async def test_channels_are_those_with_subscribers_that_match_the_glob(hub: InProcessHub) -> None:
    ann, bob = await hub.connect("ann"), await hub.connect("bob")
    await ann.subscribe("news:a")
    await bob.subscribe("news:a")
    await bob.subscribe("plain:b")
    both = await call(hub, "channels", {})
    assert both["result"]["channels"] == {"news:a": {"num_clients": 2}, "plain:b": {"num_clients": 1}}
    assert list((await call(hub, "channels", {"pattern": "plain:*"}))["result"]["channels"]) == ["plain:b"]


async def test_info_tells_of_this_node(hub: InProcessHub) -> None:
    for _ in range(2):
        await (await hub.connect("ann")).subscribe("news:a")
    hub.clock.advance(5)
    (node,) = (await call(hub, "info", {}))["result"]["nodes"]
    assert node["uid"] == hub.hub.node.id
    assert (node["num_clients"], node["num_users"], node["num_subs"], node["num_channels"]) == (2, 1, 2, 1)
    assert node["uptime"] >= 5
    assert node["process"]["rss"] > 1_000_000
    assert node["name"]
    assert node["version"]


async def test_disconnect_ends_a_users_sessions_but_for_those_on_the_white_list(hub: InProcessHub) -> None:
    first, second, other = [await hub.connect(user) for user in ("ann", "ann", "bob")]
    keep = second.connection["client"]
    assert await call(hub, "disconnect", {"user": "ann", "whitelist": [keep]}) == {"result": {}}
    assert await first.expect_close() == (3_503, "force disconnect")
    assert (second.closed, other.closed) == (None, None)
    assert await call(hub, "disconnect", {"user": "nobody"}) == {"result": {}}


async def test_disconnect_with_a_code_of_its_own(hub: InProcessHub) -> None:
    ann = await hub.connect("ann")
    await call(hub, "disconnect", {"user": "ann", "disconnect": {"code": 4_001, "reason": "custom"}})
    assert await ann.expect_close() == (4_001, "custom")


@pytest.mark.parametrize(
    "request_", [{}, {"session": "s", "client": "c"}, {"user": None, "client": ""}, {"whitelist": ["x"]}]
)
async def test_an_order_that_names_nobody_is_refused_rather_than_meant_for_all(
    hub: InProcessHub, request_: dict[str, Any]
) -> None:
    anonymous = await hub.connect()
    assert await code_of(hub, "disconnect", request_) == 107
    assert anonymous.closed is None


async def test_subscribe_and_unsubscribe_by_the_server(hub: InProcessHub) -> None:
    ann = await hub.connect("ann")
    assert await call(hub, "subscribe", {"user": "ann", "channel": "plain:a"}) == {"result": {}}
    await ann.expect_push("plain:a", "subscribe")
    await hub.publish("plain:a", 1)
    assert await ann.expect_publication("plain:a") == 1
    assert await call(hub, "unsubscribe", {"user": "ann", "channel": "plain:a"}) == {"result": {}}
    assert await ann.expect_push("plain:a", "unsubscribe") == {"code": 2_000, "reason": "server unsubscribe"}


@pytest.mark.parametrize("method", ["subscribe", "unsubscribe"])
async def test_orders_about_unknown_topics_or_nobody_are_refused(hub: InProcessHub, method: str) -> None:
    assert await code_of(hub, method, {"user": "ann", "channel": "nons:a"}) == 102
    assert await code_of(hub, method, {"channel": "plain:a"}) == 107


async def test_a_subscribe_option_that_is_not_offered_is_refused_by_name(hub: InProcessHub) -> None:
    request = {"user": "ann", "channel": "plain:a", "expire_at": 1}
    assert "expire_at" in (await call(hub, "subscribe", request))["error"]["message"]


@pytest.mark.parametrize("parallel", [False, True])
async def test_a_batch_answers_each_command_in_its_place(hub: InProcessHub, parallel: bool) -> None:
    commands: list[Any] = [
        {"publish": {"channel": "plain:a", "data": 1}},
        {"presence_stats": {"channel": "news:a"}},
        {"publish": {"channel": "nons:1", "data": 1}},
        {"publish": {"channel": 7}},
        {"fly": {}},
        {"batch": {"commands": []}},
        {},
    ]
    replies = (await call(hub, "batch", {"commands": commands, "parallel": parallel}))["replies"]
    assert replies[:2] == [{"publish": {}}, {"presence_stats": {"num_clients": 0, "num_users": 0}}]
    assert [reply["error"]["code"] for reply in replies[2:]] == [102, 107, 104, 104, 107]
    assert await code_of(hub, "batch", {}) == 107


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b'"text"',
        b'{"channel": 7, "data": 1}',
        b'{"channel": "news:a", "data": nope}',
        b'{"channel": "news:a", "data": "\xff"}',
        b'{"channel": "news:a", "data": 1, "b64data": "!"}',
        json.dumps({"channel": "news:a", "data": 1, "idempotency_key": "k" * 256}).encode(),
    ],
)
async def test_a_body_that_is_no_request_is_400(hub: InProcessHub, body: bytes) -> None:
    response = await hub.http.post("/api/publish", content=body, headers=hub.api_key)
    assert response.status_code == 400
    assert response.text.startswith("Bad Request")
    assert (await call(hub, "history", {"channel": "news:a"}))["result"]["offset"] == 0


async def test_a_body_over_the_limit_is_413(hub: InProcessHub) -> None:
    content = json.dumps({"channel": "news:a", "data": "x" * 5_000})
    response = await hub.http.post("/api/publish", content=content, headers=hub.api_key)
    assert response.status_code == 413


async def test_an_empty_body_stands_for_no_fields(hub: InProcessHub) -> None:
    response = await hub.http.post("/api/info", headers=hub.api_key)
    assert response.json()["result"]["nodes"]


@pytest.mark.parametrize("method", ["rpc", "fly", "map_publish"])
async def test_a_method_that_is_not_offered_is_404(hub: InProcessHub, method: str) -> None:
    response = await hub.http.post(f"/api/{method}", json={}, headers=hub.api_key)
    assert response.status_code == 404


async def test_other_http_methods_are_405(hub: InProcessHub) -> None:
    response = await hub.http.get("/api/publish", headers=hub.api_key)
    assert (response.status_code, response.headers["allow"]) == (405, "POST")


@pytest.mark.parametrize(
    ("method", "request_", "status", "code"),
    [
        ("publish", {"channel": "nons:1", "data": 1}, 404, 102),
        ("publish", {"channel": "news:a"}, 400, 107),
        ("presence", {"channel": "plain:a"}, 400, 108),
        ("history", {"channel": "news:a", "limit": 1, "since": {"offset": 1, "epoch": "x"}}, 416, 112),
        ("publish", {"channel": "guarded:a", "data": "break"}, 500, 100),
        ("publish", {"channel": "guarded:a", "data": "refuse"}, 400, 1_234),
    ],
)
async def test_transport_error_mode_gives_bare_errors_with_statuses(
    hub: InProcessHub, method: str, request_: dict[str, Any], status: int, code: int
) -> None:
    headers = hub.api_key | {"X-Centrifugo-Error-Mode": "transport"}
    response = await hub.http.post(f"/api/{method}", json=request_, headers=headers)
    assert (response.status_code, response.json()["code"]) == (status, code)
    assert set(response.json()) == {"code", "message"}


async def test_a_key_acts_within_its_scopes_only(hub: InProcessHub) -> None:
    chat, reader = {"X-API-Key": "key-of-the-chat-only"}, {"X-API-Key": "key-of-readers-only"}
    assert "result" in await call(hub, "publish", {"channel": "chat:a", "data": 1}, **chat)
    assert await code_of(hub, "publish", {"channel": "news:a", "data": 1}, **chat) == 103
    assert await code_of(hub, "info", {}, **chat) == 103
    assert await code_of(hub, "disconnect", {"user": "ann"}, **chat) == 103
    assert "result" in await call(hub, "presence", {"channel": "news:a"}, **reader)
    assert await code_of(hub, "publish", {"channel": "news:a", "data": 1}, **reader) == 103
    for method in ("history_remove", "subscribe", "unsubscribe", "presence_stats", "channels"):
        assert await code_of(hub, method, {"channel": "news:a", "user": "ann"}, **reader) == 103


async def test_a_broadcast_and_a_batch_reach_no_further_than_the_keys_scopes(hub: InProcessHub) -> None:
    chat = {"X-API-Key": "key-of-the-chat-only"}
    request = {"channels": ["chat:a", "news:a"], "data": 1}
    responses = (await call(hub, "broadcast", request, **chat))["result"]["responses"]
    assert "result" in responses[0]
    assert responses[1]["error"]["code"] == 103
    commands = [{"publish": {"channel": "chat:a", "data": 1}}, {"publish": {"channel": "news:a", "data": 1}}]
    replies = (await call(hub, "batch", {"commands": commands}, **chat))["replies"]
    assert "publish" in replies[0]
    assert replies[1]["error"]["code"] == 103
