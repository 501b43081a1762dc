"""Handlers that are URLs, on a whole hub, with real servers behind them."""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook
from websockets.asyncio.client import connect as websocket

from hub import metrics
from hub.errors import ReplyError
from hub.plugin import ClientRequest, Context, FetchError, Publication
from hub.testing import InProcessHub, LiveHub
from hub.webhooks import breaker, notices
from hub.webhooks import endpoint as endpoints
from hub.webhooks.breaker import FAILURES
from tests.services.hub import HubProcess
from tests.services.web import Answer, Asked, WebServer, hangs, says

OLD, NEW = "whsec_dGhlIG9sZCBvbmUgb2YgdHdvLCAwMTIzNA==", "whsec_dGhlIG5ldyBvbmUgb2YgdHdvLCA1Njc4OQ=="
BOMB = gzip.compress(b" " * 50_000_000)
ANYONE = {"subscribe": "anyone", "publish": "anyone"}


def config(url: str, **webhooks: Any) -> dict[str, Any]:
    allowed = {"allow_http": True, "allow_networks": ["127.0.0.1/32"]}
    return {
        "webhooks": {
            "secrets": [OLD, NEW],
            "timeout": "1s",
            "headers": ["User-Agent"],
            "cookies": ["session"],
            **allowed,
            **webhooks,
        },
        "handlers": {"connect": f"{url}/connect", "disconnect": f"{url}/disconnect"},
        "topics": {
            "room:{name}": {
                "allow": ANYONE,
                "handlers": {
                    "subscribe": f"{url}/subscribe?key=a",
                    "unsubscribe": f"{url}/unsubscribe",
                    "publish": f"{url}/publish",
                },
                "history": {"size": 10},
                "presence": True,
            },
            "free:{name}": {"allow": ANYONE},
            "news:{section}": {"allow": {"subscribe": "role:editor"}},
        },
        "rpc": {"sum": f"{url}/rpc"},
    }


class Receiver(WebServer):
    """Verifies what comes, and answers each path with what `answers` says, else with {}."""

    def __init__(self) -> None:
        super().__init__(self._route)
        self.answers: dict[str, Answer] = {}

    async def _route(self, asked: Asked, writer: asyncio.StreamWriter) -> None:
        for secret in (OLD, NEW):
            Webhook(secret).verify(asked.body, asked.headers, json_parse=False)
        await self.answers.get(asked.path.partition("?")[0], says({}))(asked, writer)

    def at(self, path: str) -> list[dict[str, Any]]:
        return [asked.data for asked in self.asked if asked.path.partition("?")[0] == path]

    async def until(self, path: str, count: int = 1) -> list[dict[str, Any]]:
        deadline = time.monotonic() + 5
        while len(self.at(path)) < count:
            assert time.monotonic() < deadline, f"{path} was not asked {count} times"
            await asyncio.sleep(0.01)
        return self.at(path)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver() as server:
        yield server


@pytest.fixture
async def hub(receiver: Receiver) -> AsyncIterator[InProcessHub]:
    running = InProcessHub(config(receiver.url))
    # Signatures carry the time, which receivers compare with their own.
    running.clock.advance(time.time() - running.clock.time())
    async with running:
        yield running


def counted(event: str, outcome: str) -> float:
    return float(metrics.WEBHOOKS.labels(event, outcome)._value.get())


async def test_each_event_is_asked_with_all_that_is_known_of_it(
    hub: InProcessHub, receiver: Receiver
) -> None:
    receiver.answers["/rpc"] = says({"data": {"sum": 3}})
    client = await hub.connect("ann", info={"name": "Ann"})
    await client.subscribe("room:a")
    await client.publish("room:a", {"text": "ä"})
    assert await client.rpc("sum", [1, 2]) == {"sum": 3}
    await client.unsubscribe("room:a")
    known = {
        "node": hub.hub.node.id,
        "client": client.session.client,
        "user": "ann",
        "info": {"name": "Ann"},
    }
    topic = {"topic": "room:a", "params": {"name": "a"}}
    assert receiver.at("/connect") == [{"event": "connect", **known}]
    assert receiver.at("/subscribe") == [{"event": "subscribe", **known, **topic}]
    assert receiver.at("/publish") == [{"event": "publish", **known, **topic, "data": {"text": "ä"}}]
    assert receiver.at("/rpc") == [{"event": "rpc", **known, "method": "sum", "data": [1, 2]}]
    assert await receiver.until("/unsubscribe") == [{"event": "unsubscribe", **known, **topic}]
    client.session.lost()
    assert await receiver.until("/disconnect") == [{"event": "disconnect", **known}]
    (subscribed,) = [asked for asked in receiver.asked if asked.path.startswith("/subscribe")]
    assert subscribed.path == "/subscribe?key=a"
    assert subscribed.headers["content-type"] == "application/json"
    assert len({asked.headers["webhook-id"] for asked in receiver.asked}) == 6


async def test_answers_change_what_is_published_and_what_a_subscriber_is_given(
    hub: InProcessHub, receiver: Receiver
) -> None:
    receiver.answers["/subscribe"] = says({"data": {"hello": 1}, "info": {"seat": 4}})
    receiver.answers["/publish"] = says(b'{"data": {"text":\n "clean"}, "key": "once"}')
    client = await hub.connect("ann")
    assert (await client.subscribe("room:a"))["data"] == {"hello": 1}
    await client.publish("room:a", {"text": "dirty"})
    await client.publish("room:a", {"text": "dirty again, with the same key"})
    assert (await client.expect_push("room:a", "pub"))["data"] == {"text": "clean"}
    page = await hub.http.post("/api/history", json={"channel": "room:a", "limit": 10}, headers=hub.api_key)
    assert len(page.json()["result"]["publications"]) == 1
    presence = await client.command("presence", {"channel": "room:a"})
    assert presence["presence"][client.session.client]["chan_info"] == {"seat": 4}


async def test_a_refusal_reaches_the_client_with_its_number(hub: InProcessHub, receiver: Receiver) -> None:
    client = await hub.connect("ann")
    before = counted("publish", "refusal")
    receiver.answers["/publish"] = says({"error": {"code": 1404, "message": "no such room"}})
    with pytest.raises(ReplyError, match="1404 no such room"):
        await client.publish("room:a", 1)
    receiver.answers["/subscribe"] = says({"error": {"code": 103}})
    with pytest.raises(ReplyError, match="103 permission denied"):
        await client.subscribe("room:a")
    receiver.answers["/rpc"] = says({"disconnect": {"code": 4501, "reason": "away with you"}})
    client.send_text('{"id":9,"rpc":{"method":"sum","data":1}}')
    assert await client.expect_close() == (4501, "away with you")
    assert counted("publish", "refusal") == before + 1


async def test_a_connect_webhook_that_sees_cookies_says_who_it_is(receiver: Receiver) -> None:
    receiver.answers["/connect"] = says(
        {
            "user": "ann",
            "info": {"name": "Ann"},
            "claims": {"role": "editor"},
            "expires_at": int(time.time()) + 600,
            "data": {"welcome": True},
            "subscribe": ["free:a"],
        }
    )
    with LiveHub({**config(receiver.url), "auth": {"anonymous": False}}) as live:
        headers = {"Cookie": "session=abc; tracking=xyz", "Accept-Language": "de", "Authorization": ""}
        url = f"{live.ws_url}/connection/websocket?theme=dark&token="
        async with websocket(
            url,
            additional_headers=headers,
            user_agent_header="x/1",
            origin=live.url,  # type: ignore[arg-type]
        ) as socket:
            await socket.send('{"id":1,"connect":{}}\n{"id":2,"subscribe":{"channel":"news:a"}}')
            told = [
                json.loads(line)
                for frame in (await socket.recv(), await socket.recv())
                for line in str(frame).splitlines()
            ]
        receiver.answers["/connect"] = says({})
        async with websocket(url) as socket:
            await socket.send('{"id":1,"connect":{}}')
            with pytest.raises(Exception, match=r"\b35\d\d\b"):
                await socket.recv()
    by_id = {reply["id"]: reply for reply in told}
    assert by_id[1]["connect"]["data"] == {"welcome": True}
    assert list(by_id[1]["connect"]["subs"]) == ["free:a"]
    assert "subscribe" in by_id[2], "the claims that it gave grant the role"
    request = receiver.at("/connect")[0]["request"]
    assert request == {
        "path": "/connection/websocket",
        "query": {"theme": "dark"},
        "headers": {"user-agent": "x/1"},
        "cookies": {"session": "abc"},
        "origin": live.url,
        "address": "127.0.0.1",
        "secure": False,
    }
    assert receiver.at("/disconnect")[0]["user"] == "ann"


async def drips(asked: Asked, writer: asyncio.StreamWriter) -> None:
    """A whole answer, one byte at a time, slower than anybody waits."""
    for byte in b"HTTP/1.1 200 X\r\ncontent-length: 2\r\n\r\n{}":
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(0.05)


async def ends_halfway(asked: Asked, writer: asyncio.StreamWriter) -> None:
    writer.write(b'HTTP/1.1 200 X\r\ncontent-length: 20\r\n\r\n{"data": ')
    await writer.drain()
    writer.close()


async def hangs_up(asked: Asked, writer: asyncio.StreamWriter) -> None:
    writer.close()


async def is_no_http(asked: Asked, writer: asyncio.StreamWriter) -> None:
    writer.write(b"\x16\x03\x01 SSH-2.0-OpenSSH_9\r\n\r\n")
    writer.close()


async def never_ends(asked: Asked, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 X\r\ntransfer-encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"10000\r\n" + b" " * 0x10000 + b"\r\n")
        await writer.drain()


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (says({}, 500), "status"),
        (says({}, 404), "status"),
        (says({}, 302, location="/rpc"), "status"),
        (says(b"", 204), "answer"),
        (says(b"ok"), "answer"),
        (says({"allow": True}), "answer"),
        (says({"error": {"code": 7}}), "answer"),
        (says(b"x" * 2_000_000), "too_large"),
        (says(b"{", content_encoding="gzip"), "broken"),
        (says(BOMB, content_encoding="gzip"), "too_large"),
        (never_ends, "too_large"),
        (is_no_http, "broken"),
        (hangs_up, "broken"),
        (ends_halfway, "broken"),
        (drips, "timeout"),
        (hangs, "timeout"),
    ],
)
async def test_any_other_answer_refuses_as_temporary_and_is_logged_once(
    hub: InProcessHub,
    receiver: Receiver,
    answer: Answer,
    outcome: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    client = await hub.connect("ann")
    await client.subscribe("free:a")
    before = counted("publish", outcome)
    receiver.answers["/publish"] = answer
    with pytest.raises(ReplyError) as raised:
        await client.publish("room:a", 1)
    assert (raised.value.code, raised.value.temporary) == (100, True)
    assert counted("publish", outcome) == before + 1
    (record,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert f"{receiver.url}/publish gave no answer to publish" in record.getMessage()
    await client.publish("free:a", 1)
    history = await hub.http.post("/api/history", json={"channel": "room:a"}, headers=hub.api_key)
    assert history.json()["result"]["offset"] == 0, "nothing was published"


async def test_a_connect_webhook_that_gives_no_answer_admits_nobody(
    hub: InProcessHub, receiver: Receiver
) -> None:
    receiver.answers["/connect"] = says({"user": "root", "expires_at": 5})
    client = hub.client()
    with pytest.raises(ReplyError, match="100"):
        await client.connect()
    assert len(hub.hub.node.sessions) == 0


async def test_handlers_run_in_their_order_also_when_they_are_urls(receiver: Receiver) -> None:
    receiver.answers["/a"] = says({"data": "from a"})
    topics = {
        "room:{x}": {
            "allow": ANYONE,
            "handlers": {
                "publish": [f"{receiver.url}/a", "tests.integration.test_webhooks:note", f"{receiver.url}/b"]
            },
        }
    }
    async with InProcessHub({**config(receiver.url), "topics": topics}) as hub:
        hub.clock.advance(time.time() - hub.clock.time())
        client = await hub.connect("ann")
        NOTED.clear()
        await client.publish("room:1", "from ann")
    assert [asked["data"] for path in ("/a", "/b") for asked in receiver.at(path)] == ["from ann", "from a"]
    assert NOTED == ["from a"]


async def test_one_that_hangs_costs_only_those_who_wait_for_it(receiver: Receiver) -> None:
    receiver.answers["/publish"] = hangs
    settings = config(receiver.url, concurrency=4, timeout="3s")
    async with InProcessHub(settings) as hub:
        hub.clock.advance(time.time() - hub.clock.time())
        slow = [await hub.connect(f"u{number}") for number in range(20)]
        free = await hub.connect("ann")
        waiting = [asyncio.create_task(client.publish("room:a", 1)) for client in slow]
        await receiver.until("/publish", 4)
        started = time.monotonic()
        assert await free.rpc("sum", 1) is None
        await free.subscribe("room:b")
        await free.publish("free:a", 1)
        assert time.monotonic() - started < 2.5, "another URL and other topics do not wait"
        assert len(receiver.at("/publish")) == 4
        failed = await asyncio.gather(*waiting, return_exceptions=True)
        assert {str(error) for error in failed} == {"100 internal server error"}
        assert len(receiver.at("/publish")) <= 8


async def test_more_than_may_wait_are_refused_at_once(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoints, "MAX_WAITING", 2)
    receiver.answers["/publish"] = hangs
    async with InProcessHub(config(receiver.url, concurrency=1)) as hub:
        hub.clock.advance(time.time() - hub.clock.time())
        before = counted("publish", "busy")
        clients = [await hub.connect(f"u{number}") for number in range(6)]
        publishing = [asyncio.create_task(client.publish("room:a", 1)) for client in clients]
        done, _ = await asyncio.wait(publishing, timeout=0.5)
        assert len(done) == 3
        assert counted("publish", "busy") == before + 3
        await asyncio.gather(*publishing, return_exceptions=True)


async def test_one_that_is_away_is_not_waited_for_and_is_found_again(
    hub: InProcessHub, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(breaker, "PAUSE_SECONDS", 2.0)
    receiver.answers["/publish"] = says({}, 503)
    client = await hub.connect("ann")
    for _ in range(FAILURES + 10):
        with pytest.raises(ReplyError, match="100"):
            await client.publish("room:a", 1)
    assert len(receiver.at("/publish")) == FAILURES
    await client.rpc("sum", 1)
    receiver.answers["/publish"] = says({})
    away = [record for record in caplog.records if "counts as away" in record.getMessage()]
    assert len(away) == 1
    await asyncio.sleep(2.1)
    await client.publish("room:a", 1)
    await client.publish("room:a", 1)


async def test_a_payload_that_the_receiver_stumbles_over_silences_nobody_else(
    hub: InProcessHub, receiver: Receiver
) -> None:
    receiver.answers["/publish"] = says({}, 500)
    client = await hub.connect("ann")
    for _ in range(3 * FAILURES):
        with pytest.raises(ReplyError, match="100"):
            await client.publish("room:a", "poison")
    receiver.answers["/publish"] = says({})
    await client.publish("room:a", "good")


async def test_goodbyes_wait_for_nobody_and_no_more_of_them_wait_than_may(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notices, "MAX_NOTICES", 3)
    receiver.answers["/unsubscribe"] = hangs
    async with InProcessHub(config(receiver.url, concurrency=8)) as hub:
        hub.clock.advance(time.time() - hub.clock.time())
        before = counted("unsubscribe", "dropped"), counted("unsubscribe", "timeout")
        client = await hub.connect("ann")
        for number in range(6):
            await client.subscribe(f"room:{number}")
        started = time.monotonic()
        for number in range(6):
            await client.unsubscribe(f"room:{number}")
        await client.subscribe("room:0")
        assert time.monotonic() - started < 3
        await receiver.until("/unsubscribe")
    # One was under way, three waited for it, and of these the stopping node left two.
    assert counted("unsubscribe", "dropped") - before[0] >= 2
    assert counted("unsubscribe", "timeout") - before[1] >= 1


NOTED: list[Any] = []


async def fetching(ctx: Context[Any], data: Any) -> Any:
    try:
        fetched = await ctx.fetch(data["url"], headers={"x-from": "plugin"}, max_bytes=100)
    except FetchError as error:
        return {"kind": error.kind}
    return {"status": fetched.status, "data": fetched.data}


async def note(ctx: Context[Any], pub: Publication) -> None:
    NOTED.append(pub.data)


async def test_a_plugin_fetches_under_the_same_rules(receiver: Receiver) -> None:
    receiver.answer = says({"a": 1})
    rpc = {"rpc": {"fetch": "tests.integration.test_webhooks:fetching"}}
    opened = {"webhooks": {"allow_http": True, "allow_networks": ["127.0.0.1/32"]}}
    async with InProcessHub({**rpc, **opened}) as hub:
        client = await hub.connect("ann")
        assert await client.rpc("fetch", {"url": f"{receiver.url}/x"}) == {"status": 200, "data": {"a": 1}}
        assert await client.rpc("fetch", {"url": "http://10.0.0.1/"}) == {"kind": "refused"}
    async with InProcessHub(rpc) as hub:
        client = await hub.connect("ann")
        assert await client.rpc("fetch", {"url": f"{receiver.url}/x"}) == {"kind": "refused"}
        assert await client.rpc("fetch", {"url": "https://localhost:1/"}) == {"kind": "refused"}
    assert [asked.headers["x-from"] for asked in receiver.asked] == ["plugin"]


async def test_a_hub_that_logs_all_it_can_logs_no_secret(receiver: Receiver, tmp_path: Path) -> None:
    receiver.answers["/publish"] = says({}, 500)
    settings = config(receiver.url) | {
        "version": 1,
        "server": {"port": 0, "internal": None},
        "auth": {"anonymous": True},
        "log": {"level": "debug"},
    }
    settings["webhooks"]["secrets"] = ["${HUB_NEW}", "${HUB_OLD}"]
    (tmp_path / "hub.yaml").write_text(json.dumps(settings))
    with HubProcess("serve", cwd=tmp_path, env={"HUB_NEW": NEW, "HUB_OLD": OLD}) as process:
        url = await asyncio.to_thread(process.url)
        address = f"{url.replace('http', 'ws', 1)}/connection/websocket?theme=th3me"
        async with websocket(address, additional_headers={"Cookie": "session=c00kie"}) as socket:
            await socket.send('{"id":1,"connect":{}}\n{"id":2,"subscribe":{"channel":"room:a"}}')
            await socket.send('{"id":3,"publish":{"channel":"room:a","data":"pr1vate"}}')
            while '"id":3' not in str(await socket.recv()):
                pass
        await receiver.until("/disconnect")
        assert await asyncio.to_thread(process.stop) == 0
        said = process.said + process.printed
    assert receiver.at("/connect")[0]["request"]["cookies"] == {"session": "c00kie"}
    assert "/publish gave no answer to publish: it answered with status 500" in said
    for secret in (*map(bare, (OLD, NEW)), "key=a", "c00kie", "th3me", "pr1vate", "webhook-signature"):
        assert secret not in said


def bare(secret: str) -> str:
    return secret.removeprefix("whsec_")


async def test_no_secret_and_no_query_is_in_what_is_logged_or_measured(
    hub: InProcessHub, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    receiver.answers["/subscribe"] = says({}, 500)
    client = hub.client()
    client.session.brought = type(client.session.brought)(
        request=ClientRequest(path="/", cookies={"s": "c00kie"})
    )
    await client.connect()
    with pytest.raises(ReplyError):
        await client.subscribe("room:a")
    said = caplog.text + metrics.exposition().decode()
    for secret in (OLD, NEW, OLD.removeprefix("whsec_"), "key=a", "c00kie"):
        assert secret not in said
    assert OLD.removeprefix("whsec_") not in repr(hub.blueprint.settings)
