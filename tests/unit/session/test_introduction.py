"""Connect handlers that say who a client is."""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator
from typing import Any

import pytest

from hub.errors import ReplyError
from hub.plugin import Accept, ClientRequest, Context, Identity
from hub.testing import HubClient, InProcessHub
from tests.integration import site_login
from tests.integration.site_login import signed

CONFIG: dict[str, Any] = {
    "auth": {"anonymous": False},
    "handlers": {
        "connect": ["tests.integration.site_login:connect", "tests.integration.site_login:whoami"],
        "disconnect": "tests.integration.site_login:disconnect",
    },
    "topics": {
        "own:{user}": {"allow": {"subscribe": "user:{user}", "publish": "user:{user}"}, "presence": True},
        "staff:{x}": {"allow": {"subscribe": "role:staff"}},
    },
}


@pytest.fixture
async def hub() -> AsyncIterator[InProcessHub]:
    site_login.seen.clear()
    site_login.gone.clear()
    async with InProcessHub(CONFIG) as running:
        yield running


def visitor(hub: InProcessHub, **session: Any) -> HubClient:
    cookies = {"session": signed(**session)} if session else {}
    return hub.client(request=ClientRequest(path="/connection/websocket", cookies=cookies))


async def test_the_client_is_whom_the_handler_names(hub: InProcessHub) -> None:
    ann = visitor(hub, user="ann", id="s1", role="staff")
    reply = await ann.connect()
    assert reply["data"] == {"user": "ann", "jti": "s1"}, "the next handler sees the identity"
    await ann.subscribe("own:ann")
    await ann.subscribe("staff:1")
    (info,) = (await ann.presence("own:ann")).values()
    assert (info["user"], info["conn_info"]) == ("ann", {"name": "Ann"})
    with pytest.raises(ReplyError, match="103"):
        await ann.subscribe("own:bob")
    assert [member.client for member in hub.hub.node.sessions.find("ann", "")] == [reply["client"]]


async def test_who_is_named_by_no_handler_is_sent_away_and_was_never_there(hub: InProcessHub) -> None:
    for client in (visitor(hub), hub.client(), visitor(hub, user="")):
        with pytest.raises(AssertionError, match="3501"):
            await client.connect()
        assert await client.expect_close() == (3501, "a token is needed: connect with one")
    assert len(site_login.seen) == 3
    assert len(hub.hub.node.sessions) == 0
    assert site_login.gone == [], "no disconnect handler hears of who was not admitted"


async def test_a_forged_cookie_names_nobody(hub: InProcessHub) -> None:
    client = hub.client(request=ClientRequest(path="/", cookies={"session": signed(user="bob")[:-1] + "0"}))
    with pytest.raises(AssertionError, match="3501"):
        await client.connect()


async def test_a_token_needs_no_cookie_and_a_bad_one_is_bad_with_the_best_of_cookies(
    hub: InProcessHub,
) -> None:
    bob = visitor(hub, user="ann")
    assert (await bob.connect(token=hub.token("bob")))["data"]["user"] == "bob"
    cheat = visitor(hub, user="ann")
    with pytest.raises(AssertionError, match="3500"):
        await cheat.connect(token="a.b.c")


async def test_where_anonymous_clients_are_admitted_the_handler_may_still_name_them() -> None:
    async with InProcessHub({**CONFIG, "auth": {"anonymous": True}}) as hub:
        assert (await visitor(hub, user="ann").connect())["data"]["user"] == "ann"
        assert (await visitor(hub).connect())["data"]["user"] == ""


async def test_a_refusal_of_the_handler_reaches_the_client_and_a_fault_is_error_100(
    hub: InProcessHub,
) -> None:
    banned = visitor(hub, user="eve", banned=True)
    with pytest.raises(AssertionError, match="4501"):
        await banned.connect()
    with pytest.raises(ReplyError, match="100"):
        await visitor(hub, user="eve", fails=True).connect()
    assert len(hub.hub.node.sessions) == 0


async def test_a_session_ends_with_the_identity_and_asks_for_no_token(hub: InProcessHub) -> None:
    ann = visitor(hub, user="ann", ends=hub.clock.time() + 60)
    reply = await ann.connect()
    assert not {"expires", "ttl"} & set(reply), "an SDK would ask its page for a token"
    hub.clock.advance(58)
    assert ann.closed is None
    hub.clock.advance(4)
    assert await ann.expect_close() == (3005, "connection expired")


async def test_an_identity_whose_time_has_passed_is_error_110(hub: InProcessHub) -> None:
    with pytest.raises(ReplyError, match="110"):
        await visitor(hub, user="ann", ends=hub.clock.time() - 1).connect()


async def renamed(ctx: Context[None]) -> Accept:
    """Gives the bearer of a token another name, and says nothing of where that comes from."""
    return Accept(identity=Identity("ann"))


async def test_whom_a_handler_names_can_be_revoked_by_the_token_that_was_brought_or_by_its_time() -> None:
    async with InProcessHub({**CONFIG, "handlers": {"connect": f"{__name__}:renamed"}}) as hub:
        issued = int(hub.clock.time()) - 50
        await hub.client().connect(token=hub.token("bob", jti="t1", iat=issued))
        await hub.client().connect()
        found = [member.identity.claims for member in hub.hub.node.sessions.find("ann", "")]
        assert {"iat": issued, "jti": "t1"} in found
        assert [claims["iat"] - issued for claims in found if "jti" not in claims] == [50]


async def wrong_info(ctx: Context[None]) -> Accept:
    """Names somebody whose info would break every frame that it stands in."""
    return Accept(identity=Identity("ann", info=b'S3cret", "x"'))


async def wrong_kind(ctx: Context[None]) -> Accept:
    """Names somebody by a text."""
    return Accept(identity="ann")  # type: ignore[arg-type]


@pytest.mark.parametrize("handler", ["wrong_info", "wrong_kind"])
async def test_what_is_no_identity_is_a_fault_of_the_handler(
    handler: str, caplog: pytest.LogCaptureFixture
) -> None:
    handlers = {"connect": f"{__name__}:{handler}"}
    async with InProcessHub({**CONFIG, "handlers": handlers}) as hub:
        with pytest.raises(ReplyError, match="100"):
            await hub.client().connect()
    assert handler in caplog.text
    assert "S3cret" not in caplog.text


async def test_a_session_keeps_nothing_of_its_request_once_it_has_connected(hub: InProcessHub) -> None:

    ann = visitor(hub, user="ann")
    assert ann.session.brought.request is not None
    await ann.connect()
    assert ann.session.brought.request is None
    assert ann.session.brought.token == ""
    site_login.seen.clear()
    await ann.subscribe("own:ann")
    gc.collect()
    assert not [each for each in gc.get_objects() if isinstance(each, ClientRequest)]
