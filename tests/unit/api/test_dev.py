"""The endpoints of the development page: for the hub's own page on this machine, and for nobody else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from hub.app import create_app
from hub.testing import InProcessHub
from tests.unit.api.conftest import ANYONE

OURS = "http://127.0.0.1:8000"
MINE: dict[str, Any] = {
    "auth": {"jwt": {"audience": "my-hub", "issuer": "me", "require_exp": True}},
    "server": {"host": "hub.lan", "allowed_origins": ["https://app.example"]},
    "topics": {"lobby": {"allow": ANYONE}},
    "plugins": {"notifications": {}, "chat": {}},
}


@pytest.fixture
async def mine() -> AsyncIterator[InProcessHub]:
    async with InProcessHub(MINE) as running:
        yield running


@pytest.fixture
async def http(mine: InProcessHub) -> AsyncIterator[httpx2.AsyncClient]:
    transport = httpx2.ASGITransport(create_app(mine.hub, dev_page=True))
    async with httpx2.AsyncClient(transport=transport, base_url=OURS) as client:
        yield client


async def test_a_token_is_good_for_an_hour_and_says_who_and_in_which_roles(
    mine: InProcessHub, http: httpx2.AsyncClient
) -> None:
    answer = await http.get("/dev/token", params={"user": "ann", "role": ["notifier", "editor"]})
    assert answer.json()["user"] == "ann"
    assert answer.headers["cache-control"] == "no-store"
    verifier = mine.hub.node.verifier
    assert verifier is not None
    identity = verifier.verify_connection(answer.json()["token"])
    assert identity.user == "ann"
    assert identity.has_role("notifier")
    assert identity.has_role("editor")
    assert identity.expires_at == int(mine.clock.time()) + 3_600


async def test_the_page_learns_who_may_what(http: httpx2.AsyncClient) -> None:
    for user, allowed in (("ann", True), ("", False)):
        question = {"action": "subscribe", "topic": "notifications:ann", "user": user}
        answer = await http.post("/dev/explain", json=question)
        assert answer.status_code == 200
        assert answer.json()["allowed"] is allowed
        assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{", b'{"action": 7}', b"[" * 10_000, b'{"user":"' + b"x" * 70_000 + b'"}']
)
async def test_what_is_no_question_is_refused(http: httpx2.AsyncClient, content: bytes) -> None:
    answer = await http.post("/dev/explain", content=content)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, 107)


async def test_the_page_learns_what_is_on_and_what_anybody_may(http: httpx2.AsyncClient) -> None:
    about = (await http.get("/dev/about")).json()
    assert about["plugins"] == ["chat", "notifications"]
    assert about["topic"] == "lobby"
    assert about["anybody_may"] == ["subscribe", "publish"]


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1:8000",
        "127.0.0.2",
        "localhost",
        "LOCALHOST:9",
        "hub.localhost:80",
        "[::1]:8000",
        "hub.lan:80",
    ],
)
async def test_this_machine_and_the_configured_host_are_answered(http: httpx2.AsyncClient, host: str) -> None:
    answer = await http.get("/dev/token?user=ann", headers={"Host": host})
    assert answer.status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example:8000",
        "localhost.evil.example",
        "127.0.0.1.nip.example",
        "10.0.0.7:8000",
        "[fe80::1]",
        "[",
        "",
        "::1",
    ],
)
@pytest.mark.parametrize("path", ["/dev/token?user=ann", "/dev/about"])
async def test_a_name_that_somebody_else_made_point_here_is_refused(
    http: httpx2.AsyncClient, host: str, path: str
) -> None:
    answer = await http.get(path, headers={"Host": host})
    assert answer.status_code == 403
    assert "open it as localhost" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:3000"},
        {"Origin": "https://app.example"},  # may connect, and is no page of ours for all that
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
async def test_other_pages_of_this_machine_get_no_token(
    http: httpx2.AsyncClient, headers: dict[str, str]
) -> None:
    answer = await http.get("/dev/token?user=ann", headers=headers)
    assert answer.status_code == 403
    assert "access-control-allow-origin" not in answer.headers
    assert "token" not in answer.json()
    question = {"action": "subscribe", "topic": "lobby"}
    assert (await http.post("/dev/explain", json=question, headers=headers)).status_code == 403


@pytest.mark.parametrize(
    "headers", [{"Origin": OURS}, {"Sec-Fetch-Site": "same-origin"}, {"Sec-Fetch-Site": "none"}]
)
async def test_the_hubs_own_page_gets_one(http: httpx2.AsyncClient, headers: dict[str, str]) -> None:
    assert (await http.get("/dev/token?user=ann", headers=headers)).status_code == 200


@pytest.mark.parametrize(
    "query",
    [
        "",
        "user=",
        f"user={'x' * 101}",
        "user=a%00b",
        "user=a%E2%80%AEb",
        "user=ann&role=",
        f"user=ann&role={'r' * 101}",
        "user=ann" + "&role=r" * 11,
        "user=" + "%F0%9F%98%80" * 90,
    ],
)
async def test_what_cannot_be_a_user_is_refused(http: httpx2.AsyncClient, query: str) -> None:
    answer = await http.get(f"/dev/token?{query}")
    assert answer.status_code == 400
    assert answer.json()["error"]["name"] == "bad_request"


async def test_only_a_hub_with_the_page_gives_tokens(hub: InProcessHub) -> None:
    for path in ("/", "/dev/token?user=ann", "/dev/about", "/web/js/main.js"):
        assert (await hub.http.get(path, headers={"Host": "127.0.0.1"})).status_code == 404


async def test_tokens_are_read_not_made_by_other_methods(http: httpx2.AsyncClient) -> None:
    assert (await http.post("/dev/token?user=ann")).status_code == 405


async def test_the_page_and_its_files_come_with_a_strict_policy(http: httpx2.AsyncClient) -> None:
    for path in ("/", "/web/page.css", "/web/js/main.js", "/web/vendor/centrifuge.js", "/web/icon.svg"):
        answer = await http.get(path)
        assert answer.status_code == 200, path
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
    assert (await http.get("/web/js/main.js")).headers["content-type"].startswith("text/javascript")
    for path in ("/web/", "/web/../app.py", "/web/%2e%2e/app.py", "/web/vendor"):
        assert b"import" not in (await http.get(path)).content
