"""Whoever brings a token of a key that is not known yet waits for one look at the issuer's keys, on every way in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from hub.auth.published import PAUSE_SECONDS
from hub.errors import Disconnect, ReplyError
from hub.session.plain import identify as identify_plain
from hub.testing import InProcessHub
from tests.services.issuer import JWKS, Answer, Issuer, IssuerKey

OLD, NEW = IssuerKey("old"), IssuerKey("new")
EDITORS = {"subscribe": "role:editor", "publish": "role:editor", "history": "role:editor"}


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with Issuer() as running:
        running.publish(OLD)
        yield running


@pytest.fixture
async def hub(issuer: Issuer) -> AsyncIterator[InProcessHub]:
    jwt = {
        "secret": None,
        "jwks_url": issuer.url + JWKS,
        "claims": {"user": "preferred_username", "roles": "realm_access.roles"},
    }
    topics = {"news": {"allow": EDITORS, "history": {"size": 10}}, "room:{name}": {}}
    auth = {"jwt": jwt, "anonymous": False}
    async with InProcessHub({"auth": auth, "topics": topics, "plugins": {"chat": {}}}) as hub:
        while not issuer.asked:
            await asyncio.sleep(0.01)
        published = hub.hub.published
        assert published is not None
        while not published.usable:
            await asyncio.sleep(0.01)
        yield hub


def token(hub: InProcessHub, key: IssuerKey = NEW, **more: Any) -> str:
    named = {"preferred_username": "ann", "realm_access": {"roles": ["editor"]}}
    return key.token(hub.clock.time() + 3_600, **{**named, **more})


async def test_a_client_with_a_key_of_today_connects_and_has_the_roles_of_its_token(
    hub: InProcessHub, issuer: Issuer
) -> None:
    issuer.publish(OLD, NEW)
    client = hub.client()
    await client.connect(token=token(hub))
    assert client.session.identity.user == "ann"
    await client.subscribe("news")
    await client.publish("news", {"n": 1})
    assert issuer.asked == {JWKS: 2}


async def test_while_keys_cannot_be_had_a_client_is_told_to_come_back(
    hub: InProcessHub, issuer: Issuer
) -> None:
    issuer.answers[JWKS] = Answer(status=500)
    with pytest.raises(ReplyError, match="100") as refused:
        await hub.client().connect(token=token(hub))
    assert refused.value.temporary
    with pytest.raises(Disconnect, match="3004"):
        await identify_plain(hub.hub.node, token(hub))
    for path in ("/api/topics/news", "/api/chat/rooms"):
        answer = await hub.http.get(path, headers={"Authorization": f"Bearer {token(hub)}"})
        assert answer.status_code == 503, path
        assert answer.json()["error"]["code"] == 100
        assert answer.headers["retry-after"]
    await hub.client().connect(token=token(hub, OLD))


async def test_a_key_that_nobody_publishes_makes_the_token_invalid(hub: InProcessHub, issuer: Issuer) -> None:
    client = hub.client()
    client.send_text(f'{{"id":1,"connect":{{"token":"{token(hub)}"}}}}')
    assert (await client.expect_close())[0] == 3500
    hub.clock.advance(PAUSE_SECONDS)
    with pytest.raises(Disconnect, match="4001"):
        await identify_plain(hub.hub.node, token(hub))
    hub.clock.advance(PAUSE_SECONDS)
    answer = await hub.http.get("/api/topics/news", headers={"Authorization": f"Bearer {token(hub)}"})
    assert answer.status_code == 401
    assert issuer.asked == {JWKS: 4}


async def test_http_requests_and_plain_sockets_wait_for_the_look_too(
    hub: InProcessHub, issuer: Issuer
) -> None:
    issuer.publish(OLD, NEW)
    answer = await hub.http.get("/api/topics/news", headers={"Authorization": f"Bearer {token(hub)}"})
    assert answer.status_code == 200
    third = IssuerKey("third")
    issuer.publish(OLD, NEW, third)
    hub.clock.advance(PAUSE_SECONDS)
    assert (await identify_plain(hub.hub.node, token(hub, third))).has_role("editor")
    fourth = IssuerKey("fourth")
    issuer.publish(fourth)
    hub.clock.advance(PAUSE_SECONDS)
    answer = await hub.http.get("/api/chat/rooms", headers={"Authorization": f"Bearer {token(hub, fourth)}"})
    assert answer.status_code != 503
    assert issuer.asked == {JWKS: 4}


async def test_a_subscription_and_its_refresh_wait_for_the_look_too(
    hub: InProcessHub, issuer: Issuer
) -> None:
    client = hub.client()
    await client.connect(token=token(hub, OLD))
    issuer.publish(OLD, NEW)
    await client.subscribe("room:1", token=token(hub, channel="room:1"))
    third = IssuerKey("third")
    issuer.publish(third)
    hub.clock.advance(PAUSE_SECONDS)
    await client.command("sub_refresh", {"channel": "room:1", "token": token(hub, third, channel="room:1")})
    fourth = IssuerKey("fourth")
    issuer.publish(fourth)
    hub.clock.advance(PAUSE_SECONDS)
    await client.command("refresh", {"token": token(hub, fourth)})
    assert issuer.asked == {JWKS: 4}


async def test_a_client_that_leaves_while_it_waits_leaves_nothing(hub: InProcessHub, issuer: Issuer) -> None:
    issuer.publish(OLD, NEW)
    issuer.open.clear()
    client = hub.client()
    client.send_text(f'{{"id":1,"connect":{{"token":"{token(hub)}"}}}}')
    while issuer.asked[JWKS] < 2:
        await asyncio.sleep(0.01)
    await client.close()
    issuer.open.set()
    await hub.client().connect(token=token(hub))
    assert len(hub.hub.node.sessions) == 1


async def test_no_known_key_waits_for_anything(hub: InProcessHub) -> None:
    work = hub.hub.node.identified(token(hub, OLD))
    with pytest.raises(StopIteration) as answered:
        work.send(None)
    assert answered.value.value.user == "ann"


async def test_whoever_names_no_user_is_refused_where_nobody_is_anonymous(hub: InProcessHub) -> None:
    client = hub.client()
    client.send_text(f'{{"id":1,"connect":{{"token":"{token(hub, OLD, preferred_username="")}"}}}}')
    assert (await client.expect_close())[0] == 3500


async def test_readiness_says_whether_there_is_any_key(issuer: Issuer) -> None:
    issuer.answers[JWKS] = Answer(status=500)
    jwt = {"secret": None, "jwks_url": issuer.url + JWKS}
    async with InProcessHub({"auth": {"jwt": jwt}}) as hub:
        answer = await hub.http.get("/health/ready")
        assert (answer.status_code, answer.json()["checks"]["keys"]) == (503, "failed")
        issuer.publish(OLD)
        assert hub.hub.published is not None
        await hub.hub.published.looked_up()
        answer = await hub.http.get("/health/ready")
        assert (answer.status_code, answer.json()["checks"]["keys"]) == (200, "ok")
    async with InProcessHub() as hub:
        assert "keys" not in (await hub.http.get("/health/ready")).json()["checks"]
