"""Backends and users that ask too fast over HTTP: 429, and after how many seconds to come again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from hub import metrics
from hub.testing import InProcessHub

ANYONE = {"subscribe": "anyone", "publish": "anyone"}
ROUTES = """
from starlette.responses import JSONResponse
from starlette.routing import Route

async def hello(request):
    return JSONResponse("hello")

routes = [Route("/hello", hello)]
"""
CONFIG: dict[str, Any] = {
    "auth": {"api_keys": {"other": {"key": "the-key-of-another-backend", "allow": "*"}}},
    "limits": {"api_requests": 2, "publishes_per_user": 1, "publishes_per_topic": 2},
    "topics": {
        "news:{x}": {"allow": ANYONE, "history": {"size": 10}},
        "own:{user}": {"allow": {"publish": "user:{user}"}},
    },
}
OTHER = {"X-API-Key": "the-key-of-another-backend"}
PUBLISH = {"channel": "news:a", "data": 1}


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[InProcessHub]:
    folder = tmp_path / "polls"
    folder.mkdir()
    (folder / "plugin.yaml").write_text('name: polls\napi: 1\nroutes: "routes:routes"\n')
    (folder / "routes.py").write_text(ROUTES)
    async with InProcessHub({**CONFIG, "plugins": {"polls": {"use": str(folder)}}}) as running:
        yield running


@pytest.fixture(params=["at once", "awaited"])
def both_ways(request: pytest.FixtureRequest, hub: InProcessHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub.hub.broker, "prompt", request.param == "at once")


def limited(limit: str) -> float:
    return metrics.REGISTRY.get_sample_value("hub_limited_total", {"limit": limit}) or 0.0


@pytest.mark.usefixtures("both_ways")
async def test_a_key_that_asks_too_fast_is_answered_429_until_it_may_again(hub: InProcessHub) -> None:
    before = limited("api_requests")
    for _ in range(4):
        assert (await hub.http.post("/api/publish", json=PUBLISH, headers=hub.api_key)).status_code == 200
    refused = await hub.http.post("/api/publish", json=PUBLISH, headers=hub.api_key)
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
    assert refused.json()["error"] == {"code": 111, "message": "too many requests"}
    assert limited("api_requests") == before + 1
    assert (await hub.http.post("/api/info", json={}, headers=hub.api_key)).status_code == 429
    assert (await hub.http.post("/api/publish", json=PUBLISH, headers=OTHER)).status_code == 200
    hub.clock.advance(1)
    assert (await hub.http.post("/api/info", json={}, headers=hub.api_key)).status_code == 200


@pytest.mark.usefixtures("both_ways")
@pytest.mark.parametrize(
    ("method", "request_", "counts"),
    [
        ("batch", {"commands": [{"publish": PUBLISH}] * 3}, 3),
        ("batch", {"commands": [{"publish": PUBLISH}] * 3, "parallel": True}, 3),
        ("batch", {"commands": []}, 1),
        ("broadcast", {"channels": ["news:a", "news:b", "news:c"], "data": 1}, 3),
        ("batch", {"commands": [{"broadcast": {"channels": ["news:a", "news:b"], "data": 1}}]}, 2),
    ],
)
async def test_a_request_counts_as_many_as_its_commands(
    hub: InProcessHub, method: str, request_: Any, counts: int
) -> None:
    assert (await hub.http.post(f"/api/{method}", json=request_, headers=hub.api_key)).status_code == 200
    statuses = [
        (await hub.http.post("/api/publish", json=PUBLISH, headers=hub.api_key)).status_code for _ in range(4)
    ]
    assert statuses.count(200) == 4 - counts


async def test_a_batch_of_more_than_ever_may_be_is_refused_for_good_and_does_nothing(
    hub: InProcessHub,
) -> None:
    batch = {"commands": [{"publish": PUBLISH}] * 10}
    answer = await hub.http.post("/api/batch", json=batch, headers=hub.api_key)
    assert answer.status_code == 200
    assert answer.json()["error"]["code"] == 107
    assert (await hub.http.get("/api/topics/news:a", headers=OTHER)).json()["publications"] == []


async def test_a_batch_for_which_there_is_no_room_now_is_429_and_does_nothing(hub: InProcessHub) -> None:
    await hub.http.post("/api/info", json={}, headers=hub.api_key)
    batch = {"commands": [{"publish": PUBLISH}] * 4}
    answer = await hub.http.post("/api/batch", json=batch, headers=hub.api_key)
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
    assert (await hub.http.get("/api/topics/news:a", headers=OTHER)).json()["publications"] == []


@pytest.mark.parametrize(
    ("verb", "path"),
    [
        ("POST", "/api/topics/news:a"),
        ("GET", "/api/topics/news:a"),
        ("GET", "/api/polls/hello"),
        ("POST", "/api/ticket"),
        ("POST", "/api/explain"),
    ],
)
async def test_a_keys_rate_holds_at_every_door(hub: InProcessHub, verb: str, path: str) -> None:
    async def ask() -> Any:
        body = '{"user":"ann"}' if verb == "POST" else None
        return await hub.http.request(verb, path, content=body, headers=hub.api_key)

    answers = [await ask() for _ in range(6)]
    assert {answer.status_code for answer in answers[:4]} <= {200, 400}
    assert [answer.status_code for answer in answers[4:]] == [429, 429]
    assert answers[-1].headers["retry-after"] == "1"


async def test_a_user_that_publishes_too_fast_is_answered_429(hub: InProcessHub) -> None:
    before = limited("publishes_per_user")
    ann = hub.bearer("ann")
    statuses = [
        (await hub.http.post("/api/topics/own:ann", content="1", headers=ann)).status_code for _ in range(3)
    ]
    assert statuses == [200, 200, 429]
    assert limited("publishes_per_user") == before + 1
    refused = await hub.http.post("/api/topics/news:a", content="1", headers=ann)
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
    assert refused.json()["error"]["code"] == 111
    hub.clock.advance(1)
    assert (await hub.http.post("/api/topics/news:a", content="1", headers=ann)).status_code == 200


async def test_users_share_their_rate_with_their_sockets(hub: InProcessHub) -> None:
    ann = await hub.connect("ann")
    await ann.publish("own:ann", 1)
    await ann.publish("own:ann", 2)
    answer = await hub.http.post("/api/topics/own:ann", content="3", headers=hub.bearer("ann"))
    assert answer.status_code == 429


async def test_a_topic_that_is_published_on_too_fast_is_answered_429_and_still_open_to_the_server(
    hub: InProcessHub,
) -> None:
    statuses = [(await hub.http.post("/api/topics/news:a", content="1")).status_code for _ in range(6)]
    assert statuses == [200] * 4 + [429] * 2
    for headers in (hub.api_key, OTHER):
        assert (await hub.http.post("/api/topics/news:a", content="1", headers=headers)).status_code == 200
    assert await hub.publish("news:a", 1) is not None


async def test_whoever_may_not_publish_uses_nothing_up(hub: InProcessHub) -> None:
    ann = hub.bearer("ann")
    for _ in range(5):
        assert (await hub.http.post("/api/topics/own:bob", content="1", headers=ann)).status_code == 403
    assert (await hub.http.post("/api/topics/own:ann", content="1", headers=ann)).status_code == 200


async def test_a_wrong_key_is_401_however_often(hub: InProcessHub) -> None:
    for _ in range(9):
        answer = await hub.http.post("/api/publish", json=PUBLISH, headers={"X-API-Key": "wrong"})
        assert answer.status_code == 401
    assert (await hub.http.post("/api/publish", json=PUBLISH, headers=hub.api_key)).status_code == 200
