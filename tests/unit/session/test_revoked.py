"""What a revoked token is still worth: nothing, whichever way it comes back; and what a fresh one no longer grants."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from hub.errors import Disconnect, InvalidToken, ReplyError
from hub.plugin import ClientRequest
from hub.session.plain import identify as identify_plain
from hub.testing import HubClient, InProcessHub
from tests.integration.site_login import signed

MANIFEST = """
name: sheriff
api: 1
rpc: {revoke: "handlers:revoke", unrevoke: "handlers:unrevoke"}
handlers: {connect: "handlers:connect"}
"""
HANDLERS = """
from hub.plugin import Accept, Identity

async def connect(ctx):
    if "alias" in ctx.identity.claims:  # somebody else by another name
        return Accept(identity=Identity(user=ctx.identity.claims["alias"]))
    if ctx.identity.claims.get("unlucky"):  # revoked while it is being let in
        await ctx.revoke(user=ctx.user)

async def revoke(ctx, data):
    await ctx.revoke(**data)
    return {}

async def unrevoke(ctx, data):
    return {"lifted": await ctx.unrevoke(**data)}
"""
MEMBERS = {"subscribe": "authenticated", "publish": "authenticated"}
CONFIG: dict[str, Any] = {
    "handlers": {"connect": "tests.integration.site_login:connect"},
    "topics": {
        "room:{x}": {"allow": MEMBERS, "history": {"size": 10}, "presence": True},
        "staff:{x}": {"allow": {"subscribe": "role:staff", "publish": "role:staff"}},
        "deal:{x}": {"allow": {"subscribe": "token", "publish": "token"}},
        "closed:{x}": {},
    },
}
DENIED = {"code": 2000, "reason": "permission denied"}


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[InProcessHub]:
    folder = tmp_path / "sheriff"
    folder.mkdir()
    (folder / "plugin.yaml").write_text(MANIFEST)
    (folder / "handlers.py").write_text(HANDLERS)
    plugins = {"sheriff": {"use": str(folder)}, "chat": {}}
    async with InProcessHub({**CONFIG, "plugins": plugins}) as hub:
        yield hub


async def api(hub: InProcessHub, method: str, **request: Any) -> dict[str, Any]:
    answer = (await hub.http.post(f"/api/{method}", json=request, headers=hub.api_key)).json()
    assert "error" not in answer, answer
    result: dict[str, Any] = answer["result"]
    return result


async def refused_connect(hub: InProcessHub, **request: Any) -> None:
    client = hub.client()
    with pytest.raises(AssertionError, match="3500"):
        await client.connect(**request)


# Replays


async def test_a_revoked_token_opens_nothing_any_more_although_its_signature_is_remembered(
    hub: InProcessHub,
) -> None:
    token = hub.token("ann", jti="t1")
    ann = hub.client()
    await ann.connect(token=token)
    await api(hub, "revoke", token_id="t1")
    assert await ann.expect_close() == (3500, "token revoked")
    verifier = hub.hub.node.verifier
    assert verifier is not None
    assert verifier.verify_connection(token).user == "ann", "nothing but the revocation is against it"
    await refused_connect(hub, token=token)
    with pytest.raises(Disconnect, match="4001"):
        await identify_plain(hub.hub.node, token)
    bearer = {"Authorization": f"Bearer {token}"}
    for answer in (
        await hub.http.post("/api/topics/room:1", content="x", headers=bearer),
        await hub.http.get("/api/topics/room:1", headers=bearer),
        await hub.http.get(f"/api/topics/room:1?token={token}"),
        await hub.http.post("/api/ticket", headers=bearer),
        await hub.http.get("/api/chat/rooms", headers=bearer),
        await hub.http.get(f"/sse/room:1?token={token}"),
    ):
        assert answer.status_code == 401, answer.request.url
    assert (await hub.http.get("/api/topics/room:1", headers=hub.bearer("ann"))).json()["publications"] == []


async def test_a_live_session_is_not_prolonged_by_a_revoked_token(hub: InProcessHub) -> None:
    ann = await hub.connect("ann", jti="t1")
    await api(hub, "revoke", token_id="t2")
    with pytest.raises(AssertionError, match="3500"):
        await ann.command("refresh", {"token": hub.token("ann", jti="t2")})


async def test_a_ticket_made_before_is_worth_nothing_after(hub: InProcessHub) -> None:
    by_token = (await hub.http.post("/api/ticket", headers=hub.bearer("ann", jti="t1"))).json()["ticket"]
    by_key = (await hub.http.post("/api/ticket", json={"user": "bob"}, headers=hub.api_key)).json()["ticket"]
    await api(hub, "revoke", token_id="t1")
    await api(hub, "revoke", user="bob")
    for ticket in (by_token, by_key):
        with pytest.raises(InvalidToken, match="revoked"):
            await hub.hub.node.redeem(ticket, "")


async def test_a_revoked_subscription_token_opens_and_prolongs_nothing_and_what_it_opened_ends(
    hub: InProcessHub,
) -> None:
    ann = await hub.connect("ann")
    for number in (1, 2):
        token = hub.token("ann", channel=f"closed:{number}", jti=f"s{number}")
        await ann.subscribe(f"closed:{number}", token=token)
    await api(hub, "revoke", token_id="s1")
    assert await ann.expect_push("closed:1", "unsubscribe") == DENIED
    with pytest.raises(ReplyError, match="103"):
        await ann.subscribe("closed:1", token=hub.token("ann", channel="closed:1", jti="s1"))
    await ann.expect_nothing("closed:2")
    fresh = hub.token("ann", channel="closed:2", jti="s3")
    await ann.command("sub_refresh", {"channel": "closed:2", "token": fresh})
    await api(hub, "revoke", token_id="s2")  # what it opened rests on another one by now
    await ann.expect_nothing("closed:2", within=0.5)
    with pytest.raises(AssertionError, match="3500"):
        await ann.command(
            "sub_refresh",
            {"channel": "closed:2", "token": hub.token("ann", channel="closed:2", jti="s2")},
        )


async def test_who_is_revoked_while_it_is_being_let_in_is_not_let_in(hub: InProcessHub) -> None:
    await refused_connect(hub, token=hub.token("ann", unlucky=True))
    assert len(hub.hub.node.sessions) == 0


async def test_who_is_barred_while_a_body_is_still_coming_does_not_publish_it(hub: InProcessHub) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield b"sl"
        begun.set()
        await go_on.wait()
        yield b"ow"

    for order in ({"user": "ann", "channel": "room:1"}, {"user": "ann"}):
        begun.clear()
        go_on.clear()
        posting = asyncio.create_task(
            hub.http.post("/api/topics/room:1", content=body(), headers=hub.bearer("ann"))
        )
        async with asyncio.timeout(5):
            while not (begun.is_set() or posting.done()):
                await asyncio.sleep(0.001)
        await asyncio.sleep(0.05)
        await api(hub, "revoke", **order)
        go_on.set()
        assert (await posting).status_code == 403
        await api(hub, "unrevoke", **order)
    assert (await hub.http.get("/api/topics/room:1", headers=hub.bearer("bob"))).json()["publications"] == []


async def test_who_may_publish_by_what_is_remembered_may_not_once_barred(hub: InProcessHub) -> None:
    ann = await hub.connect("ann")
    await ann.publish("room:1", 1)
    await api(hub, "revoke", user="ann", channel="room:1")
    for attempt in (ann.publish("room:1", 2), ann.history("room:1"), ann.presence("room:1")):
        with pytest.raises(ReplyError, match="103"):
            await attempt
    await ann.publish("room:2", 3)
    await api(hub, "unrevoke", user="ann", channel="room:1")
    await ann.publish("room:1", 4)


async def test_who_is_barred_from_a_topic_that_the_server_subscribes_to_has_all_others(
    hub: InProcessHub,
) -> None:
    await api(hub, "revoke", user="ann", channel="room:1")
    ann = hub.client()
    told = await ann.connect(token=hub.token("ann", channels=["room:1", "room:2"]), subs={"room:3": {}})
    assert set(told["subs"]) == {"room:2", "room:3"}


async def test_being_barred_goes_before_a_subscription_token_and_ends_what_it_opened(
    hub: InProcessHub,
) -> None:
    ann = await hub.connect("ann")
    token = hub.token("ann", channel="closed:1")
    await ann.subscribe("closed:1", token=token)
    await api(hub, "revoke", user="ann", channel="closed:1")
    assert await ann.expect_push("closed:1", "unsubscribe") == DENIED
    with pytest.raises(ReplyError, match="103"):
        await ann.subscribe("closed:1", token=token)


# Whom a site's cookie names


def visitor(hub: InProcessHub, user: str) -> HubClient:
    return hub.client(request=ClientRequest(path="/", cookies={"session": signed(user=user)}))


async def test_whom_a_handler_names_is_revoked_by_name_and_by_when_it_came(hub: InProcessHub) -> None:
    ann, bob = visitor(hub, "ann"), visitor(hub, "bob")
    await ann.connect()
    await bob.connect()
    await api(hub, "revoke", user="ann")
    assert await ann.expect_close() == (3500, "token revoked")
    with pytest.raises(AssertionError, match="3500"):
        await visitor(hub, "ann").connect()
    hub.clock.advance(10)
    await api(hub, "revoke", issued_before=hub.clock.time() - 5)
    assert await bob.expect_close() == (3500, "token revoked")
    await visitor(hub, "bob").connect()  # whom the site names now, it names now


async def test_a_token_whose_bearer_a_handler_names_anew_is_revoked_as_any_other(hub: InProcessHub) -> None:
    now = int(hub.clock.time())
    by_id, by_age, good = [
        await hub.connect("ann", jti=name, iat=issued, alias=name)
        for name, issued in (("t1", now), ("t2", now - 60), ("t3", now))
    ]
    await api(hub, "revoke", token_id="t1")
    assert await by_id.expect_close() == (3500, "token revoked")
    await api(hub, "revoke", issued_before=now - 30)
    assert await by_age.expect_close() == (3500, "token revoked")
    await good.subscribe("room:1")
    await api(hub, "revoke", user="t3")
    assert await good.expect_close() == (3500, "token revoked")


# What plugins may do


async def test_plugins_revoke_and_lift_in_the_same_words(hub: InProcessHub) -> None:
    bob, ann = await hub.connect("bob"), await hub.connect("ann", iat=int(hub.clock.time()) - 60)
    await bob.rpc("revoke", {"user": "ann", "issued_before": hub.clock.time() - 30})
    assert await ann.expect_close() == (3500, "token revoked")
    assert await bob.rpc("unrevoke", {"user": "ann"}) == {"lifted": False}
    assert await bob.rpc("unrevoke", {"user": "ann", "issued_before": True}) == {"lifted": True}
    await hub.connect("ann")
    carl = await hub.connect("carl")
    await carl.subscribe("room:1")
    await bob.rpc("revoke", {"user": "carl", "topic": "room:1", "until": hub.clock.time() + 60})
    assert await carl.expect_push("room:1", "unsubscribe") == DENIED
    hub.clock.advance(61)
    await carl.subscribe("room:1")
    with pytest.raises(ReplyError, match="107 bad request: say what to revoke"):
        await bob.rpc("revoke", {})


# What a fresh token no longer grants


async def refreshed(hub: InProcessHub, ann: HubClient, **claims: Any) -> None:
    await ann.command("refresh", {"token": hub.token("ann", **claims)})


async def test_after_a_refresh_the_fresh_token_s_rights_decide_and_what_they_no_longer_cover_ends(
    hub: InProcessHub,
) -> None:
    ann = await hub.connect(
        "ann", role="staff", topics={"deal:{x}": ["sub", "pub"]}, channels=["closed:1", "closed:2"]
    )
    for topic in ("room:1", "staff:1", "deal:1", "deal:2"):
        await ann.subscribe(topic)
    await ann.subscribe("closed:9", token=hub.token("ann", channel="closed:9"))
    await ann.publish("deal:1", 1)
    await refreshed(hub, ann, role="staff", topics={"deal:1": ["sub"]}, channels=["closed:1"])
    for topic in ("deal:2", "closed:2"):
        assert await ann.expect_push(topic, "unsubscribe") == DENIED
    with pytest.raises(ReplyError, match="103"):
        await ann.publish("deal:1", 2)
    for topic in ("room:1", "staff:1", "deal:1", "closed:1", "closed:9"):
        await hub.publish(topic, "still here")
        while await ann.expect_publication(topic) != "still here":
            pass
    await refreshed(hub, ann)
    for topic in ("staff:1", "deal:1", "closed:1"):
        assert await ann.expect_push(topic, "unsubscribe") == DENIED
    for topic in ("room:1", "closed:9"):
        await hub.publish(topic, "and now")
        assert await ann.expect_publication(topic) == "and now"


# Asking why


async def test_explain_tells_of_what_is_revoked(hub: InProcessHub) -> None:
    async def verdict(**asked: Any) -> tuple[int, str]:
        told = await api(hub, "explain", action="subscribe", topic="room:1", **asked)
        return told["error"], told["verdict"]

    assert (await verdict(token=hub.token("ann", jti="t1")))[0] == 0
    await api(hub, "revoke", token_id="t1")
    await api(hub, "revoke", user="bob")
    await api(hub, "revoke", user="carl", channel="room:1")
    for asked in ({"token": hub.token("ann", jti="t1")}, {"user": "bob"}):
        error, said = await verdict(**asked)
        assert (error, "revoked" in said) == (3500, True)
    error, said = await verdict(user="carl")
    assert (error, "barred" in said) == (103, True)
    by_token = hub.token("ann", channel="room:1", jti="t1")
    error, said = await verdict(user="ann", subscription_token=by_token)
    assert (error, "revoked" in said) == (103, True)
