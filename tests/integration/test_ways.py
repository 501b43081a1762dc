"""Every way to say who one is, on every path, as real clients use it: detached and through plain ASGI alike."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import httpx2
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Subprotocol

from hub.testing import LiveHub
from tests.integration.site_login import signed
from tests.services.raw_socket import RawSocket, handshake

APP = "https://app.example"
PATHS = ("/connection/websocket", "/connection/uni_websocket", "/ws/own:ann", "/me", "/sse/own:ann")
SOCKETS = PATHS[:-1]
BAD = {
    "/connection/websocket": 3500,
    "/connection/uni_websocket": 3500,
    "/ws/own:ann": 4001,
    "/me": 4001,
    "/sse/own:ann": 401,
}
CONFIG: dict[str, Any] = {
    "auth": {"anonymous": False},
    "server": {"allowed_origins": [APP]},
    "sockets": {"/me": {"topic": "own:{user}"}},
    "topics": {"own:{user}": {"allow": {"subscribe": "user:{user}", "publish": "user:{user}"}}},
}
SITE = {**CONFIG, "handlers": {"connect": "tests.integration.site_login:connect"}}


@pytest.fixture(scope="module", params=["detached", "asgi"])
def hub(request: pytest.FixtureRequest) -> Iterator[LiveHub]:
    with LiveHub(CONFIG, detached=request.param == "detached") as live:
        yield live


@pytest.fixture(scope="module", params=["detached", "asgi"])
def site(request: pytest.FixtureRequest) -> Iterator[LiveHub]:
    with LiveHub(SITE, detached=request.param == "detached") as live:
        yield live


def ticket(hub: LiveHub, user: str = "ann", origin: str = "", **claims: Any) -> str:
    headers = {"Authorization": f"Bearer {hub.token(user, **claims)}"}
    if origin:
        headers["Origin"] = origin
    answer = httpx2.post(f"{hub.url}/api/ticket", headers=headers)
    assert answer.status_code == 200, answer.text
    found: str = answer.json()["ticket"]
    return found


async def outcome(
    hub: LiveHub,
    path: str,
    *,
    query: dict[str, str] | None = None,
    headers: dict[str, str] | None = None,
    offered: tuple[str, ...] = (),
    command: dict[str, Any] | None = None,
) -> object:
    """What comes of a connection: `(True, subprotocol)` when it was ann's, else the number that ended it."""
    target = f"{path}?{urlencode(query)}" if query else path
    if path.startswith("/sse"):
        return await streamed(hub, target, headers or {})
    subprotocols = [Subprotocol(name) for name in offered] or None
    try:
        async with connect(
            f"{hub.ws_url}{target}", additional_headers=headers, subprotocols=subprotocols, proxy=None
        ) as socket:
            try:
                if path == "/connection/websocket":
                    await socket.send(json.dumps({"id": 1, "connect": command or {}}))
                    told = json.loads(await asyncio.wait_for(socket.recv(), 10))
                    if "error" in told:
                        return told["error"]["code"]
                    await socket.send(json.dumps({"id": 2, "subscribe": {"channel": "own:ann"}}))
                    assert "error" not in json.loads(await asyncio.wait_for(socket.recv(), 10))
                elif path == "/connection/uni_websocket":
                    await socket.send(json.dumps(command or {}))
                    told = json.loads(await asyncio.wait_for(socket.recv(), 10))
                    if "connect" not in told:
                        await asyncio.wait_for(socket.recv(), 10)
                else:
                    await socket.send('"hello"')
                    assert await asyncio.wait_for(socket.recv(), 10) == '"hello"'
            except ConnectionClosed as closed:
                return closed.rcvd.code if closed.rcvd else "lost"
            return True, socket.subprotocol
    except InvalidStatus as refused:
        return refused.response.status_code


async def streamed(hub: LiveHub, target: str, headers: dict[str, str]) -> object:
    async with (
        httpx2.AsyncClient(trust_env=False) as client,
        client.stream("GET", f"{hub.url}{target}", headers=headers) as answer,
    ):
        return (True, None) if answer.status_code == 200 else answer.status_code


@pytest.mark.parametrize("path", PATHS)
async def test_a_ticket_opens_every_path_once(hub: LiveHub, path: str) -> None:
    good = {"ticket": ticket(hub)}
    assert await outcome(hub, path, query=good) == (True, None)
    assert await outcome(hub, path, query=good) == BAD[path]


@pytest.mark.parametrize("path", PATHS)
async def test_whatever_is_wrong_with_a_ticket_is_answered_as_a_bad_token_is(hub: LiveHub, path: str) -> None:
    page, other = {"Origin": APP}, {"Origin": hub.url}
    bobs = ticket(hub, "ann", APP)
    assert await outcome(hub, path, query={"ticket": bobs}, headers=other) == BAD[path]
    assert await outcome(hub, path, query={"ticket": bobs}, headers=page) == BAD[path], "it was burnt"
    assert await outcome(hub, path, query={"ticket": ticket(hub, "ann", APP)}) == BAD[path]
    assert await outcome(hub, path, query={"ticket": "A" * 48}) == BAD[path]
    assert await outcome(hub, path, query={"ticket": hub.token("ann")}) == BAD[path], "no token is a ticket"
    assert await outcome(hub, path, query={"token": ticket(hub)}) == BAD[path], "and no ticket a token"
    good = {"ticket": ticket(hub, "ann", APP)}
    assert await outcome(hub, path, query=good, headers=page) == (True, None)


@pytest.mark.parametrize("path", PATHS)
async def test_a_ticket_of_the_hubs_own_page_needs_no_origin_and_opens_nothing_for_a_stranger(
    hub: LiveHub, path: str
) -> None:
    own = {"ticket": ticket(hub, "ann", hub.url)}
    assert await outcome(hub, path, query=own, headers={"Sec-Fetch-Site": "same-origin"}) == (True, None)
    own = {"ticket": ticket(hub, "ann", hub.url)}
    assert await outcome(hub, path, query=own, headers={"Sec-Fetch-Site": "cross-site"}) == BAD[path]


async def test_a_session_made_by_a_ticket_has_the_end_of_its_token(hub: LiveHub) -> None:
    async with connect(
        f"{hub.ws_url}/connection/websocket?ticket={ticket(hub, exp=int(hub.hub.node.clock()) + 100)}",
        proxy=None,
    ) as socket:
        await socket.send('{"id":1,"connect":{}}')
        told = json.loads(await socket.recv())["connect"]
    assert told["expires"] is True
    assert 90 <= told["ttl"] <= 100


@pytest.mark.parametrize("path", SOCKETS)
@pytest.mark.parametrize(
    "offered", [("bearer", "*"), ("bearer", "*", "centrifuge-json"), ("centrifuge-json", "bearer", "*")]
)
async def test_a_token_may_stand_among_the_subprotocols_and_is_never_the_answer(
    hub: LiveHub, path: str, offered: tuple[str, ...]
) -> None:
    token = hub.token("ann")
    names = tuple(token if name == "*" else name for name in offered)
    assert await outcome(hub, path, offered=names) == (True, "bearer")


@pytest.mark.parametrize("path", SOCKETS)
@pytest.mark.parametrize("offered", [("bearer",), ("bearer", "a.b.c"), ("bearer", "centrifuge-json")])
async def test_a_bad_token_among_the_subprotocols_is_a_bad_token(
    hub: LiveHub, path: str, offered: tuple[str, ...]
) -> None:
    good = {"Authorization": f"Bearer {hub.token('ann')}"}
    assert await outcome(hub, path, offered=offered, headers=good) == BAD[path]


async def test_without_bearer_the_sdks_own_subprotocol_is_answered(hub: LiveHub) -> None:
    good = {"token": hub.token("ann")}
    offered = ("centrifuge-json",)
    assert await outcome(hub, "/connection/websocket", query=good, offered=offered) == (
        True,
        "centrifuge-json",
    )


@pytest.mark.parametrize(
    "value", ["bearer, \xfc\xfc", "bearer,,,", "bearer, bearer", ", bearer,  ,", "bearer, " + "x" * 7_000]
)
def test_a_broken_list_of_subprotocols_is_answered_and_harms_nobody(hub: LiveHub, value: str) -> None:
    with RawSocket(hub.url) as socket:
        request = handshake(socket.host, "/ws/own:ann", Sec_WebSocket_Protocol="@")
        socket.send(
            request.replace(
                b"Sec-WebSocket-Protocol: @", f"Sec-WebSocket-Protocol: {value}".encode("latin-1")
            )
        )
        head = socket.until(b"\r\n\r\n").lower()
        if head.startswith(b"http/1.1 101"):
            assert b"sec-websocket-protocol: bearer\r\n" in head
            kind, payload = socket.frame()
            assert (kind, int.from_bytes(payload[:2], "big")) == (8, 4001)
        else:
            assert head.startswith(b"http/1.1 400")


WAYS = ("command", "query", "ticket", "subprotocol", "header")


@pytest.mark.parametrize("first", range(len(WAYS)))
@pytest.mark.parametrize("path", SOCKETS)
async def test_of_several_ways_the_first_in_order_counts_and_no_other_is_looked_at(
    hub: LiveHub, path: str, first: int
) -> None:
    """All ways that come behind say somebody else, or nothing that is true."""
    if first == 0 and not path.startswith("/connection"):
        return
    bobs = {way: hub.token("bob") for way in WAYS} | {"ticket": ticket(hub, "bob")}
    given = {way: bobs[way] for way in WAYS[first:]}
    given[WAYS[first]] = ticket(hub) if WAYS[first] == "ticket" else hub.token("ann")
    query = {name: given[way] for name, way in (("token", "query"), ("ticket", "ticket")) if way in given}
    headers = {"Authorization": f"Bearer {given['header']}"}
    offered = ("bearer", given["subprotocol"]) if "subprotocol" in given else ()
    command = {"token": given["command"]} if "command" in given else None
    found = await outcome(hub, path, query=query, headers=headers, offered=offered, command=command)
    assert found == (True, "bearer" if offered else None)
    if first < 2 and "ticket" in given:
        assert hub.call(lambda running: running.node.redeem(bobs["ticket"], "")).user == "bob"


def session(user: str, **more: Any) -> dict[str, str]:
    return {"Cookie": f"theme=dark; session={signed(user=user, **more)}", "Origin": APP}


@pytest.mark.parametrize("path", PATHS)
async def test_a_browser_with_the_cookie_of_the_site_is_its_user(site: LiveHub, path: str) -> None:
    assert await outcome(site, path, headers=session("ann")) == (True, None)


@pytest.mark.parametrize("path", PATHS)
async def test_the_cookie_helps_no_strangers_page(site: LiveHub, path: str) -> None:
    for origin in ("https://evil.example", "null", f"{APP}.evil.example"):
        assert await outcome(site, path, headers={**session("ann"), "Origin": origin}) == 403


NOBODY = {**BAD, "/connection/websocket": 3501, "/connection/uni_websocket": 3501}


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("*own*", True),
        (APP, True),
        ("HTTPS://App.Example", True),
        (f"{APP}:443", True),
        (None, True),
        ("", False),
        ("null", False),
        ("*", False),
        (f"{APP}.", False),
        (f"{APP}/", False),
        (f"{APP}:8443", False),
        (f"{APP}:444", False),
        (f"{APP}:", False),
        ("http://app.example", False),
        ("wss://app.example", False),
        ("app.example", False),
        ("https://evil.app.example", False),
        ("https://app.example.evil.example", False),
        ("https://evilapp.example", False),
        ("https://example", False),
        ("https://app.example@evil.example", False),
        ("https://ann:pass@app.example", False),
        ("https://app.example%2eevil.example", False),
        ("https://app.example, https://evil.example", False),
        ("https://xn--pp-uia.example", False),
        ("https://\xe4pp.example", False),
        ("http://127.0.0.1", False),
        ("http://localhost:*port*", False),
    ],
)
async def test_origins_are_compared_exactly_wherever_a_page_can_knock(
    hub: LiveHub, origin: str | None, allowed: bool
) -> None:
    if origin is not None:
        origin = origin.replace("*own*", hub.url).replace("*port*", hub.url.rpartition(":")[2])
    headers = {"Authorization": f"Bearer {hub.token('ann')}"}
    raw: dict[str, Any] = {} if origin is None else {"Origin": origin}
    for path in SOCKETS:
        if origin is None or origin.isascii():
            found = await outcome(hub, path, headers={**headers, **raw})
            assert found == ((True, None) if allowed else 403), path
    sent = {name: value.encode("latin-1") for name, value in {**headers, **raw}.items()}
    async with httpx2.AsyncClient(trust_env=False, base_url=hub.url) as client:
        for method, path in (
            ("POST", "/api/ticket"),
            ("POST", "/api/topics/own:ann"),
            ("GET", "/sse/own:ann"),
        ):
            async with client.stream(
                method, path, headers=sent, content=b"1" if "own" in path else b""
            ) as answer:
                assert (answer.status_code == 200) is allowed, path
                assert answer.status_code in {200, 403}
                shared = answer.headers.get("access-control-allow-origin")
                assert shared == (origin if allowed else None), "and told to no other"


@pytest.mark.parametrize("path", PATHS)
async def test_who_has_no_cookie_or_a_forged_one_is_nobody(site: LiveHub, path: str) -> None:
    assert await outcome(site, path, headers={"Origin": APP}) == NOBODY[path]
    forged = session("ann")["Cookie"][:-1] + "x"
    assert await outcome(site, path, headers={"Origin": APP, "Cookie": forged}) == NOBODY[path]


@pytest.mark.parametrize("path", PATHS)
async def test_the_session_of_a_site_that_is_over_opens_nothing(site: LiveHub, path: str) -> None:
    codes = {"/connection/websocket": 110, "/connection/uni_websocket": 3005}
    ended = session("ann", ends=site.hub.node.clock() - 5)
    assert await outcome(site, path, headers=ended) == {**BAD, **codes}[path]


@pytest.mark.parametrize("path", PATHS)
async def test_a_ticket_for_a_cookie_opens_what_no_cookie_reaches(site: LiveHub, path: str) -> None:
    answer = httpx2.post(f"{site.url}/api/ticket", headers=session("ann"))
    assert answer.status_code == 200, answer.text
    page = {"Origin": APP}
    assert await outcome(site, path, query={"ticket": answer.json()["ticket"]}, headers=page) == (True, None)


async def test_a_stream_may_be_asked_for_with_cookies_by_origins_listed_by_name_where_they_say_anything(
    hub: LiveHub, site: LiveHub
) -> None:
    async def allowed(to: LiveHub, origin: str) -> str | None:
        headers = {"Origin": origin, "Authorization": f"Bearer {to.token('ann')}"}
        async with (
            httpx2.AsyncClient(trust_env=False) as client,
            client.stream("GET", f"{to.url}/sse/own:ann", headers=headers) as answer,
        ):
            assert answer.headers["access-control-allow-origin"] == origin
            found: str | None = answer.headers.get("access-control-allow-credentials")
            return found

    assert await allowed(site, APP) == "true"
    assert await allowed(hub, APP) is None, "no handler looks at a cookie"
    with LiveHub({**SITE, "server": {"allowed_origins": ["*"]}}) as anybody:
        assert await allowed(anybody, APP) is None, "only by a star"
