"""`POST /api/ticket`: who gets a ticket, for whom, and who is told no."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx2
import pytest

from hub.model import Identity
from hub.testing import InProcessHub
from tests.integration.site_login import signed

KEY = {"X-API-Key": "the-key-of-the-backend"}
APP = {"Origin": "https://app.example"}
CONFIG: dict[str, Any] = {
    "auth": {
        "anonymous": True,
        "api_keys": {
            "backend": {"key": KEY["X-API-Key"], "allow": ["ticket"]},
            "reader": {"key": "the-key-of-a-reader", "allow": ["history", "ticket:chat:*"]},
        },
    },
    "server": {"allowed_origins": ["https://app.example"]},
    "topics": {"own:{user}": {"allow": {"subscribe": "user:{user}"}}},
}
WITH_SITE = {**CONFIG, "handlers": {"connect": "tests.integration.site_login:connect"}}


@pytest.fixture
async def hub() -> AsyncIterator[InProcessHub]:
    async with InProcessHub(CONFIG) as running:
        yield running


@pytest.fixture
async def site() -> AsyncIterator[InProcessHub]:
    async with InProcessHub(WITH_SITE) as running:
        yield running


async def asked(
    hub: InProcessHub, headers: Mapping[str, str], body: Any = None, path: str = "/api/ticket"
) -> httpx2.Response:
    return await hub.http.post(path, headers=dict(headers), content=b"" if body is None else json.dumps(body))


async def behind(hub: InProcessHub, answer: httpx2.Response, origin: str = "") -> Identity:
    assert answer.status_code == 200, answer.text
    assert answer.json()["expires_in"] == 30
    assert answer.headers["cache-control"] == "no-store"
    return await hub.hub.node.redeem(answer.json()["ticket"], origin)


async def test_a_users_token_gives_a_ticket_with_all_that_it_says(hub: InProcessHub) -> None:
    end = int(hub.clock.time()) + 500
    claims = {"exp": end, "jti": "j1", "iat": 5, "role": "editor", "topics": ["chat:*"], "info": {"a": 1}}
    found = await behind(hub, await asked(hub, hub.bearer("ann", **claims)))
    assert found == hub.hub.node.identify(hub.token("ann", **claims))
    assert (found.expires_at, found.claims["jti"], found.claims["iat"]) == (end, "j1", 5)


async def test_a_ticket_that_a_page_asked_for_is_that_pages(hub: InProcessHub) -> None:
    answer = await asked(hub, {**hub.bearer("ann"), **APP})
    assert answer.headers["access-control-allow-origin"] == APP["Origin"]
    assert (await behind(hub, answer, APP["Origin"])).user == "ann"
    with pytest.raises(AssertionError):
        await behind(hub, await asked(hub, {**hub.bearer("ann"), "Origin": "https://evil.example"}))


async def test_a_ticket_does_not_outlive_its_token(hub: InProcessHub) -> None:
    answer = await asked(hub, hub.bearer("ann", exp=int(hub.clock.time()) + 10))
    hub.clock.advance(11)
    with pytest.raises(Exception, match="expired"):
        await behind(hub, answer)


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({}, 401, 101),
        ({"Authorization": "Bearer a.b.c"}, 401, 101),
        ({"Authorization": "Bearer"}, 401, 101),
        ({"Cookie": "session=abc"}, 401, 101),
        ({"X-API-Key": "no-such-key-at-all"}, 401, 101),
        ({"X-API-Key": "the-key-of-a-reader"}, 403, 103),
        ({"Origin": "https://evil.example"}, 403, 103),
        ({"Origin": "null"}, 403, 103),
        ({"Origin": "https://app.example.evil.example"}, 403, 103),
    ],
)
async def test_nobody_else_gets_one(
    hub: InProcessHub, headers: dict[str, str], status: int, code: int
) -> None:
    answer = await asked(hub, headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert "Access-Control-Allow-Credentials" not in answer.headers or status != 403
    assert len(hub.hub.node.tickets) == 0


async def test_an_expired_token_and_one_without_a_name_give_none(hub: InProcessHub) -> None:
    for claims in ({"exp": int(hub.clock.time()) - 100}, {"sub": ""}, {"sub": None}):
        assert (await asked(hub, hub.bearer("ann", **claims))).status_code == 401


async def test_a_ticket_is_no_way_to_another_ticket(hub: InProcessHub) -> None:
    ticket = (await asked(hub, hub.bearer("ann"))).json()["ticket"]
    assert (await asked(hub, {}, path=f"/api/ticket?ticket={ticket}")).status_code == 401


async def test_a_backend_vouches_for_a_user_with_claims(hub: InProcessHub) -> None:
    now = int(hub.clock.time())
    body = {"user": "bob", "claims": {"role": "editor", "info": {"n": 1}, "jti": "x", "topics": ["a:*"]}}
    found = await behind(hub, await asked(hub, KEY, body), "https://app.example")
    assert (found.user, found.info, found.claims["jti"]) == ("bob", b'{"n":1}', "x")
    assert found.has_role("editor")
    assert found.topics == {"a:*": frozenset({"subscribe", "publish", "presence", "history"})}
    assert now <= found.claims["iat"] <= now + 2
    assert found.expires_at is not None
    assert 3_598 <= found.expires_at - now <= 3_602


async def test_a_backend_may_name_the_end_and_the_only_origin(hub: InProcessHub) -> None:
    end = int(hub.clock.time()) + 60
    body = {"user": "bob", "claims": {"exp": end}, "origin": "https://App.example"}
    assert (await behind(hub, await asked(hub, KEY, body), "https://app.example")).expires_at == end
    with pytest.raises(Exception, match="no such ticket"):
        await behind(hub, await asked(hub, KEY, body), "https://evil.example")


async def test_the_session_that_a_backend_vouches_for_ends_as_a_tokens_would(hub: InProcessHub) -> None:
    end = int(hub.clock.time()) + 60
    for claims, expected in (({"expire_at": end}, end), ({"exp": end, "expire_at": 0}, None)):
        found = await behind(hub, await asked(hub, KEY, {"user": "bob", "claims": claims}), "")
        assert found.expires_at == expected


async def test_the_only_origin_may_be_written_with_the_usual_port(hub: InProcessHub) -> None:
    body = {"user": "bob", "origin": "https://App.example:443"}
    assert (await behind(hub, await asked(hub, KEY, body), "https://app.example")).user == "bob"


@pytest.mark.parametrize(
    "body",
    [
        None,
        [],
        {},
        {"user": ""},
        {"user": 7},
        {"user": "a\nb"},
        {"user": "a", "claims": []},
        {"user": "a", "claims": {"exp": "soon"}},
        {"user": "a", "claims": {"exp": 1}},
        {"user": "a", "claims": {"sub": "b"}},
        {"user": "a", "claims": {"channel": "x"}},
        {"user": "a", "claims": {"topics": {"a:*": ["rule"]}}},
        {"user": "a", "claims": {"x": json.loads("[" * 70 + "]" * 70)}},
        {"user": "a", "claims": {"expire_at": 1}},
        {"user": "a", "claims": {"expire_at": "soon"}},
        {"user": "a", "claims": {"nbf": 9_999_999_999}},
        {"user": "a", "origin": 1},
        {"user": "a", "origin": "app.example"},
        {"user": "a", "origin": "https://app.example/"},
        {"user": "a", "origin": "https://*.example"},
        {"user": "a", "origin": "*"},
        {"user": "a", "admin": True},
    ],
)
async def test_what_no_token_could_say_a_backend_cannot_either(hub: InProcessHub, body: Any) -> None:
    answer = await asked(hub, KEY, body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, 107)
    assert len(hub.hub.node.tickets) == 0


async def test_a_body_longer_than_any_token_is_413(hub: InProcessHub) -> None:
    assert (await asked(hub, KEY, {"user": "a", "claims": {"x": "y" * 9_000}})).status_code == 413


async def test_a_node_that_keeps_as_many_as_it_may_says_when_to_ask_again(hub: InProcessHub) -> None:
    hub.hub.node.tickets._most = 1
    assert (await asked(hub, hub.bearer("ann"))).status_code == 200
    answer = await asked(hub, hub.bearer("bob"))
    assert (answer.status_code, answer.json()["error"]["code"]) == (429, 106)
    assert answer.headers["retry-after"] == "1"


async def test_a_node_that_stops_gives_none(hub: InProcessHub) -> None:
    hub.hub.node.draining = True
    answer = await asked(hub, hub.bearer("ann"))
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")


async def test_a_browser_is_told_beforehand_what_it_may_send(hub: InProcessHub) -> None:
    answer = await hub.http.options("/api/ticket", headers=APP)
    assert answer.status_code == 204
    assert answer.headers["access-control-allow-methods"] == "POST, OPTIONS"
    assert "Authorization" in answer.headers["access-control-allow-headers"]
    assert answer.headers["access-control-allow-credentials"] == "true"
    assert (await hub.http.get("/api/ticket")).status_code == 405


def cookie(**session: Any) -> dict[str, str]:
    return {"Cookie": f"theme=dark; session={signed(**session)}"}


async def test_the_cookie_of_a_site_gives_a_ticket_where_a_handler_knows_it(site: InProcessHub) -> None:
    answer = await asked(site, {**cookie(user="ann", id="s1"), **APP})
    assert answer.headers["access-control-allow-credentials"] == "true"
    found = await behind(site, answer, APP["Origin"])
    assert (found.user, found.claims["jti"], found.info) == ("ann", "s1", b'{"name":"Ann"}')


async def test_a_cookie_from_a_strangers_page_gives_none() -> None:
    server = {"allowed_origins": ["*", "https://app.example"]}
    async with InProcessHub({**WITH_SITE, "server": server}) as hub:
        answer = await asked(hub, {**cookie(user="ann"), "Origin": "https://evil.example"})
        assert answer.status_code == 401
        assert "access-control-allow-credentials" not in answer.headers
        answer = await asked(hub, {**cookie(user="ann"), "Sec-Fetch-Site": "cross-site"})
        assert answer.status_code == 401
        assert (await asked(hub, {**cookie(user="ann"), **APP})).status_code == 200


@pytest.mark.parametrize(
    ("session", "status"),
    [({"user": ""}, 401), ({"user": "a", "banned": True}, 403), ({"user": "a", "fails": True}, 500)],
)
async def test_whom_the_handler_does_not_name_gets_none(
    site: InProcessHub, session: dict[str, Any], status: int
) -> None:
    assert (await asked(site, cookie(**session))).status_code == status
    assert len(site.hub.node.tickets) == 0
