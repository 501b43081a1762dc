"""What hub.plugin promises to the routes of any plugin."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from hub.errors import StoreError
from hub.testing import InProcessHub

MANIFEST = """
name: polls
api: 1
routes: "routes:routes"
topics:
  "polls:{name}":
    allow: {subscribe: anyone, publish: authenticated}
    history: {size: 10, ttl: 1h}
    handlers: {publish: "handlers:shout"}
"""

HANDLERS = """
from hub.plugin import Context, Publication, ReplyError

async def shout(ctx: Context[None], pub: Publication) -> Publication:
    if pub.data == "refuse":
        raise ReplyError(1_422, "no")
    if pub.data == "fail":
        raise RuntimeError("a bug")
    return pub.replace(data=[pub.data.upper(), ctx.user, pub.key], key=pub.key or "fixed")
"""

ROUTES = """
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.routing import Route
from hub.plugin import ReplyError, TopicError, check_topic, context, query, validated

class Vote(BaseModel):
    choice: int

async def who(request):
    ctx = context(request)
    return JSONResponse([ctx.user, ctx.api_key, ctx.plugin, query(request)], headers={"Cache-Control": "max-age=5"})

async def submit(request):
    key = request.headers.get("idempotency-key", "")
    pub = await context(request).submit("polls:a", (await request.body()).decode(), idempotency_key=key)
    return JSONResponse({"data": pub.data, "offset": pub.offset})

async def vote(request):
    return JSONResponse(validated(Vote, await request.body()).choice)

async def refuse(request):
    raise ReplyError(int(request.path_params["code"]), "because")

async def fail(request):
    raise RuntimeError("a bug with a secret in it")

async def teapot(request):
    raise HTTPException(418)

async def topic(request):
    return JSONResponse(check_topic(request.query_params["name"]))

async def unpublished(request):
    await context(request).publish("", 1)

routes = [
    Route("/", who), Route("/submit", submit, methods=["POST"]), Route("/vote", vote, methods=["POST"]),
    Route("/refuse/{code}", refuse), Route("/fail", fail), Route("/teapot", teapot), Route("/topic", topic),
    Route("/unpublished", unpublished),
    Route("/twice", who), Route("/twice", vote, methods=["POST"]), Route("/tw{rest}", who, methods=["DELETE"]),
]
"""


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[InProcessHub]:
    folder = tmp_path / "polls"
    folder.mkdir()
    for name, text in (("plugin.yaml", MANIFEST), ("handlers.py", HANDLERS), ("routes.py", ROUTES)):
        (folder / name).write_text(text)
    async with InProcessHub({"plugins": {"polls": {"use": str(folder)}}}) as hub:
        yield hub


async def get(hub: InProcessHub, path: str, **options: Any) -> Any:
    return await hub.http.get(f"/api/polls{path}", **options)


async def test_a_route_knows_who_asks(hub: InProcessHub) -> None:
    assert (await get(hub, "/")).json() == ["", "", "polls", {}]
    assert (await get(hub, "/", headers=hub.bearer("ann"))).json() == ["ann", "", "polls", {}]
    both = {**hub.bearer("ann"), **hub.api_key}
    assert (await get(hub, "/", headers=both)).json() == ["ann", "tests", "polls", {}]
    in_query = await get(hub, "/", params={"token": hub.token("bob"), "page": "2"})
    assert in_query.json() == ["bob", "", "polls", {"page": "2"}]


async def test_a_plugins_root_answers_with_and_without_a_slash(hub: InProcessHub) -> None:
    for path in ("/api/polls", "/api/polls/"):
        answer = await hub.http.get(path)
        assert (answer.status_code, answer.json()[2]) == (200, "polls")
    assert (await hub.http.post("/api/polls")).status_code == 405


async def test_who_asks_by_a_wrong_method_is_told_those_of_all_routes_at_the_path(hub: InProcessHub) -> None:
    refused = await hub.http.put("/api/polls/twice")
    assert (refused.status_code, refused.headers["allow"]) == (405, "DELETE, GET, HEAD, POST")


async def test_a_wrong_key_or_token_never_reaches_the_route(hub: InProcessHub) -> None:
    for headers in ({"X-API-Key": "no"}, {"Authorization": "apikey no"}, {"Authorization": "Bearer no"}):
        answer = await get(hub, "/", headers=headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, 101)
    old = {"Authorization": f"Bearer {hub.token('ann', exp=1_000_000)}"}
    answer = await get(hub, "/", headers=old)
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, 109)


async def test_what_a_user_sees_is_not_cached_unless_the_route_says_so(hub: InProcessHub) -> None:
    assert (await get(hub, "/topic?name=a")).headers["cache-control"] == "no-store"
    assert (await get(hub, "/")).headers["cache-control"] == "max-age=5"


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (1_404, 404),
        (1_409, 409),
        (1_403, 403),
        (1_429, 429),
        (400, 422),
        (1_500, 422),
        (103, 401),
        (107, 400),
    ],
)
async def test_a_refusal_has_the_status_of_its_number(hub: InProcessHub, code: int, status: int) -> None:
    answer = await get(hub, f"/refuse/{code}")
    assert answer.status_code == status
    if status != 401:
        assert answer.json()["error"]["message"] == "because"


async def test_permission_denied_is_403_for_whoever_is_known(hub: InProcessHub) -> None:
    for headers in (hub.bearer("ann"), hub.api_key):
        assert (await get(hub, "/refuse/103", headers=headers)).status_code == 403


async def test_a_bug_in_a_route_is_an_error_without_its_text(
    hub: InProcessHub, caplog: pytest.LogCaptureFixture
) -> None:
    answer = await get(hub, "/fail")
    assert answer.status_code == 500
    assert answer.json()["error"]["code"] == 100
    assert "secret" not in answer.text
    assert "a bug with a secret in it" in caplog.text
    assert (await get(hub, "/")).status_code == 200


async def test_a_database_that_is_away_is_temporary(
    hub: InProcessHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any, **__: Any) -> None:
        raise StoreError("database postgresql://secret-host cannot be used")

    monkeypatch.setattr(type(hub.hub.node.table.services), "publish", away)
    answer = await get(hub, "/unpublished")
    assert answer.status_code == 503
    assert answer.headers["retry-after"]
    assert "secret-host" not in answer.text


async def test_starlettes_own_refusals_pass(hub: InProcessHub) -> None:
    assert (await get(hub, "/teapot")).status_code == 418
    assert (await get(hub, "/nothing")).status_code == 404


async def test_a_topic_that_cannot_be_is_a_bad_request(hub: InProcessHub) -> None:
    answer = await get(hub, "/topic", params={"name": "x" * 300})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, 107)


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        (b"", "choice: Field required"),
        (b'{"choice": "x"}', "choice: Input should be a valid integer, unable to parse string as an integer"),
        (b"nonsense", "Invalid JSON: JSON is malformed: invalid character (byte 1)"),
    ],
)
async def test_a_body_is_validated_with_the_field_that_is_wrong(
    hub: InProcessHub, body: bytes, complaint: str
) -> None:
    answer = await hub.http.post("/api/polls/vote", content=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["message"] == f"bad request: {complaint}"


async def test_submit_asks_the_rules_and_runs_the_handlers(hub: InProcessHub) -> None:
    path, watcher = "/api/polls/submit", await hub.connect()
    await watcher.subscribe("polls:a")
    assert (await hub.http.post(path, content="hi")).status_code == 401
    answer = await hub.http.post(path, content="refuse", headers=hub.bearer("ann"))
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, 1_422)
    assert (await hub.http.post(path, content="fail", headers=hub.bearer("ann"))).status_code == 503
    answer = await hub.http.post(path, content="hi", headers=hub.bearer("ann"))
    assert answer.json() == {"data": ["HI", "ann", ""], "offset": 1}
    push = await watcher.expect_push("polls:a", "pub")
    assert (push["data"], push["info"]["user"]) == (["HI", "ann", ""], "ann")


async def test_a_handler_sees_and_sets_the_idempotency_key(hub: InProcessHub) -> None:
    ann = await hub.connect("ann")
    await ann.subscribe("polls:a")
    await ann.publish("polls:a", "one")
    await ann.publish("polls:a", "suppressed, for the handler gives both the same key")
    answer = await hub.http.post(
        "/api/polls/submit", content="two", headers={**hub.bearer("ann"), "Idempotency-Key": "k"}
    )
    assert answer.json() == {"data": ["TWO", "ann", "k"], "offset": 2}
    assert [(await ann.expect_publication("polls:a"))[0] for _ in range(2)] == ["ONE", "TWO"]
