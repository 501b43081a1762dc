"""What clients see of a broker that is away, hangs or loses something: Redis, which tests kill, freeze and edit."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
import redis
from websockets.asyncio.client import ClientConnection, connect

from hub.app import Hub
from hub.broker.envelope import encode_body
from hub.errors import ReplyError
from hub.model import Publication
from hub.redis import lasting_link
from hub.testing import LiveHub
from tests.integration import publish_handlers
from tests.services.hub import run_hub
from tests.services.redis import RedisServer

pytestmark = pytest.mark.timeout(60)
ANYONE = {"subscribe": "anyone", "publish": "anyone"}
KEPT = {"size": 100}
TOPICS = {
    "fast:{x}": {"allow": ANYONE, "history": KEPT},
    "brief:{x}": {"allow": ANYONE},
    "waits:{x}": {
        "allow": ANYONE,
        "history": KEPT,
        "publish_wait": "20s",
        "handlers": {"publish": "tests.integration.publish_handlers:count"},
    },
    "short:{x}": {"allow": ANYONE, "history": KEPT, "publish_wait": "1s"},
    "placed:{x}": {"allow": ANYONE, "history": KEPT, "recovery": "off"},
    "seen:{x}": {"allow": ANYONE, "history": KEPT, "presence": True},
}


@pytest.fixture
def hub(redis_server: RedisServer) -> Iterator[LiveHub]:
    with LiveHub({"broker": {"url": redis_server.url}, "topics": TOPICS}) as hub:
        yield hub


@asynccontextmanager
async def api(hub: LiveHub) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(
        base_url=hub.url, headers={"X-API-Key": hub.api_key}, timeout=40, trust_env=False
    ) as client:
        yield client


async def publish(client: httpx2.AsyncClient, topic: str, data: Any, key: str = "") -> httpx2.Response:
    headers = {"Idempotency-Key": key} if key else {}
    return await client.post(f"/api/topics/{topic}", json=data, headers=headers)


async def kept(client: httpx2.AsyncClient, topic: str) -> list[Any]:
    answer = (await client.get(f"/api/topics/{topic}?limit=100")).json()
    return [publication["data"] for publication in answer["publications"]]


async def ready(client: httpx2.AsyncClient, status: int = 200) -> dict[str, Any]:
    """Waits until the hub says so."""
    async with asyncio.timeout(20):
        while (answer := await client.get("/health/ready")).status_code != status:
            await asyncio.sleep(0.02)
    found: dict[str, Any] = answer.json()
    return found


class Client:
    """The client protocol, by hand."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.pushes: list[dict[str, Any]] = []
        self._id = 0

    async def ask(self, method: str, **request: Any) -> dict[str, Any]:
        self._id += 1
        await self.socket.send(json.dumps({"id": self._id, method: request}))
        while "id" not in (said := await self.next()):
            self.pushes.append(said)
        return said

    async def next(self) -> dict[str, Any]:
        while not (said := json.loads(await asyncio.wait_for(self.socket.recv(), 20))):
            await self.socket.send("{}")  # a ping, answered
        found: dict[str, Any] = said
        return found

    async def push(self) -> dict[str, Any]:
        said = self.pushes.pop(0) if self.pushes else await self.next()
        found: dict[str, Any] = said["push"]
        return found


@asynccontextmanager
async def connected(hub: LiveHub, **request: Any) -> AsyncIterator[Client]:
    async with connect(f"{hub.ws_url}/connection/websocket") as socket:
        client = Client(socket)
        await client.ask("connect", **request)
        yield client


async def waits(hub: LiveHub) -> None:
    """Returns when a publication waits in the hub."""

    async def one(hub: Hub) -> None:
        async with asyncio.timeout(9):
            while not hub.router.sender.count:
                await asyncio.sleep(0.01)

    await asyncio.to_thread(hub.call, one)


async def subscribed(hub: LiveHub, topic: str, count: int) -> None:
    """Returns when the topic has so many subscribers in the hub."""

    async def counted(hub: Hub) -> None:
        async with asyncio.timeout(9):
            while hub.router.subscribers(topic) != count:
                await asyncio.sleep(0.01)

    await asyncio.to_thread(hub.call, counted)


async def test_publications_wait_for_the_broker_in_order_and_are_stored_once(
    hub: LiveHub, redis_server: RedisServer
) -> None:
    publish_handlers.calls.clear()
    async with api(hub) as client, connected(hub) as subscriber:
        await subscriber.ask("subscribe", channel="waits:a")
        redis_server.kill()
        sendings = []
        for number in range(5):
            sendings.append(asyncio.create_task(publish(client, "waits:a", number)))
            await asyncio.sleep(0.05)
        await waits(hub)
        assert not any(sending.done() for sending in sendings)
        redis_server.restart()
        answers = await asyncio.gather(*sendings)
        assert [answer.status_code for answer in answers] == [200] * 5
        assert [answer.json()["offset"] for answer in answers] == [1, 2, 3, 4, 5]
        assert await kept(client, "waits:a") == [0, 1, 2, 3, 4]
    assert publish_handlers.calls == ["0", "1", "2", "3", "4"]


async def test_a_wait_that_is_over_is_a_refusal_and_nothing_is_stored(
    hub: LiveHub, redis_server: RedisServer
) -> None:
    async with api(hub) as client:
        redis_server.kill()
        refused = await publish(client, "short:a", 1)
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, 100)
        redis_server.restart()
        await ready(client)
        assert await kept(client, "short:a") == []


async def test_without_a_wait_a_publish_fails_fast(hub: LiveHub, redis_server: RedisServer) -> None:
    async with api(hub) as client, connected(hub) as socket:
        redis_server.kill()
        async with asyncio.timeout(3.5):
            refused = await publish(client, "fast:a", 1)
            told = await socket.ask("publish", channel="fast:a", data=1)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert (told["error"]["code"], told["error"]["temporary"]) == (100, True)


async def over_topics(hub: LiveHub) -> tuple[int, int]:
    async with api(hub) as client:
        answer = await publish(client, "fast:a", 1, "k")
        assert answer.json()["error"]["name"] == "outcome_unknown"
        return answer.status_code, answer.json()["error"]["code"]


async def over_the_server_api(hub: LiveHub) -> tuple[int, int]:
    async with api(hub) as client:
        request = {"channel": "fast:a", "data": 1, "idempotency_key": "k"}
        answer = await client.post("/api/publish", json=request)
        return answer.status_code, answer.json()["error"]["code"]


async def over_the_client_protocol(hub: LiveHub) -> tuple[int, int]:
    async with connected(hub) as socket:
        error = (await socket.ask("publish", channel="fast:a", data=1))["error"]
        assert error["temporary"] is True
        return 200, error["code"]


async def by_a_plugin(hub: LiveHub) -> tuple[int, int]:
    async def submit(hub: Hub) -> int:
        services = hub.blueprint.table.services
        assert services is not None
        with pytest.raises(ReplyError) as caught:
            await services.publish("fast:a", 1, tags=None, idempotency_key="k", info=None)
        assert caught.value.temporary
        return caught.value.code

    return 200, await asyncio.to_thread(hub.call, submit)


async def on_the_command_line(hub: LiveHub) -> tuple[int, int]:
    line = ("publish", "fast:a", "1", "--idempotency-key", "k", "--url", hub.url, "--api-key", hub.api_key)
    done = await asyncio.to_thread(run_hub, *line, cwd=Path.cwd())
    assert "--idempotency-key k" in done.stderr
    return 504, 300 if done.returncode == 5 else done.returncode


@pytest.mark.parametrize(
    ("ask", "status"),
    [
        (over_topics, 504),
        (over_the_server_api, 200),
        (over_the_client_protocol, 200),
        (by_a_plugin, 200),
        (on_the_command_line, 504),
    ],
)
async def test_what_a_frozen_broker_may_store_is_unknown_to_whoever_asks(
    hub: LiveHub,
    redis_server: RedisServer,
    ask: Callable[[LiveHub], Awaitable[tuple[int, int]]],
    status: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lasting_link, "SILENCE_SECONDS", 60)  # else a slow asker meets a broker that was left
    async with api(hub) as client:
        await publish(client, "fast:a", 0)
        redis_server.freeze()
        assert await ask(hub) == (status, 300)
        redis_server.thaw()
        await ready(client)
        offset = (await publish(client, "fast:a", 1, "k")).json()["offset"]
        if ask is not over_the_client_protocol:  # which has no keys
            assert offset == 2
            assert await kept(client, "fast:a") == [0, 1]


async def test_what_a_plain_socket_publishes_may_be_unknown_too(
    hub: LiveHub, redis_server: RedisServer
) -> None:
    async with api(hub) as client, connect(f"{hub.ws_url}/ws/fast:a") as socket:
        await subscribed(hub, "fast:a", 1)
        await publish(client, "fast:a", 0)
        assert await asyncio.wait_for(socket.recv(), 10) == "0"
        redis_server.freeze()
        await socket.send("1")
        error = json.loads(await asyncio.wait_for(socket.recv(), 10))["error"]
        assert (error["code"], error["temporary"]) == (300, True)


async def test_what_waited_out_a_frozen_broker_is_stored_once(
    hub: LiveHub, redis_server: RedisServer
) -> None:
    async with api(hub) as client:
        await publish(client, "waits:b", 0)
        redis_server.freeze()
        sending = asyncio.create_task(publish(client, "waits:b", 1))
        await waits(hub)
        redis_server.thaw()
        assert (await sending).json()["offset"] == 2
        await publish(client, "waits:b", 2)
        assert await kept(client, "waits:b") == [0, 1, 2]


async def test_a_wait_that_ends_in_doubt_is_unknown(hub: LiveHub, redis_server: RedisServer) -> None:
    async with api(hub) as client:
        await publish(client, "short:b", 0)
        redis_server.freeze()
        doubted = await publish(client, "short:b", 1)
        assert (doubted.status_code, doubted.json()["error"]["code"]) == (504, 300)


async def test_what_a_client_published_waits_too(hub: LiveHub, redis_server: RedisServer) -> None:
    async with connected(hub) as socket:
        redis_server.kill()
        asking = asyncio.create_task(socket.ask("publish", channel="waits:c", data=1))
        await waits(hub)
        redis_server.restart()
        assert (await asking)["publish"] == {}


async def test_subscribes_are_refused_for_a_while_and_work_again(
    hub: LiveHub, redis_server: RedisServer
) -> None:
    async with api(hub) as client, connected(hub) as socket:
        redis_server.kill()
        for topic in ("fast:a", "seen:a"):
            error = (await socket.ask("subscribe", channel=topic))["error"]
            assert (error["code"], error["temporary"]) == (100, True)
        redis_server.restart()
        await ready(client)
        for topic in ("fast:a", "seen:a"):
            assert (await socket.ask("subscribe", channel=topic))["subscribe"]["positioned"]


async def test_a_connect_that_cannot_make_its_subscriptions_is_refused_for_a_while(
    hub: LiveHub, redis_server: RedisServer
) -> None:
    redis_server.kill()
    token = hub.token("ann", channels=["fast:own"])
    for request in ({"token": token}, {"subs": {"fast:a": {"recover": True, "epoch": "e"}}}):
        async with connect(f"{hub.ws_url}/connection/websocket") as socket:
            error = (await Client(socket).ask("connect", **request))["error"]
        assert (error["code"], error["temporary"]) == (100, True)
    redis_server.restart()
    async with api(hub) as client:
        await ready(client)
    async with connect(f"{hub.ws_url}/connection/websocket") as socket:
        assert "fast:own" in (await Client(socket).ask("connect", token=token))["connect"]["subs"]


@pytest.mark.parametrize("detached", [True, False])
async def test_a_plain_socket_opened_meanwhile_stays_and_is_subscribed_later(
    redis_server: RedisServer, *, detached: bool
) -> None:
    config = {"broker": {"url": redis_server.url}, "topics": TOPICS}
    with LiveHub(config, detached=detached) as hub:
        redis_server.kill()
        async with api(hub) as client, connect(f"{hub.ws_url}/ws/fast:a") as socket:
            await socket.send("too early")
            error = json.loads(await asyncio.wait_for(socket.recv(), 10))["error"]
            assert (error["code"], error["temporary"]) == (100, True)
            redis_server.restart()
            await subscribed(hub, "fast:a", 1)
            await publish(client, "fast:a", "hello")
            assert await asyncio.wait_for(socket.recv(), 10) == "hello"


async def test_a_plain_socket_that_is_gone_before_the_broker_returns_leaves_nothing(
    hub: LiveHub, redis_server: RedisServer
) -> None:
    redis_server.kill()
    async with connect(f"{hub.ws_url}/ws/fast:a"):
        pass
    redis_server.restart()
    async with api(hub) as client:
        await ready(client)
        await asyncio.sleep(3)
    await subscribed(hub, "fast:a", 0)


async def test_event_streams_are_told_to_come_again(hub: LiveHub, redis_server: RedisServer) -> None:
    redis_server.kill()
    async with api(hub) as client:
        browser = await client.get("/sse/fast:a", headers={"Accept": "text/event-stream"})
        assert browser.status_code == 200
        assert "retry: " in browser.text
        assert "event: disconnect" in browser.text
        curl = await client.get("/sse/fast:a")
        assert (curl.status_code, curl.headers["retry-after"]) == (503, "1")


async def test_open_sockets_stay_and_go_on_where_they_were(hub: LiveHub, redis_server: RedisServer) -> None:
    async with (
        api(hub) as client,
        connected(hub) as socket,
        connect(f"{hub.ws_url}/ws/fast:a") as plain,
        connect(f"{hub.ws_url}/ws/brief:a") as brief,
    ):
        await socket.ask("subscribe", channel="fast:a")
        await subscribed(hub, "fast:a", 2)
        await subscribed(hub, "brief:a", 1)
        await publish(client, "fast:a", 1)
        assert (await socket.push())["pub"]["data"] == 1
        assert await asyncio.wait_for(plain.recv(), 10) == "1"
        redis_server.restart(keep_data=True)
        await ready(client)
        for topic in ("fast:a", "brief:a"):
            async with asyncio.timeout(10):
                while (await publish(client, topic, 2)).status_code != 200:
                    await asyncio.sleep(0.02)
        assert await asyncio.wait_for(brief.recv(), 10) == "2"
        # A server that was restarted may have lost the end of its history, so that those with positions are told.
        assert (await socket.push())["unsubscribe"]["code"] == 2500


async def test_a_hub_that_starts_before_its_broker_is_alive_but_not_ready(redis_server: RedisServer) -> None:
    redis_server.kill()
    with LiveHub({"broker": {"url": redis_server.url}, "topics": TOPICS}) as hub:
        async with api(hub) as client, connected(hub) as socket:
            assert (await client.get("/health/live")).status_code == 200
            body = await ready(client, 503)
            assert (body["status"], body["checks"]["broker"]) == ("unavailable", "failed")
            assert (await socket.ask("subscribe", channel="fast:a"))["error"]["temporary"] is True
            redis_server.restart()
            await ready(client)
            assert (await socket.ask("subscribe", channel="fast:a"))["subscribe"]["positioned"]


def store_without_delivery(server: RedisServer, topic: str, data: str) -> None:
    """What a lost message looks like: the history has it, and nobody was sent it."""
    publication = encode_body(Publication(topic, data.encode()))
    with redis.Redis.from_url(server.url) as client:
        offset = client.hincrby(f"hub:m:{{{topic}}}", "o", 1)
        client.xadd(f"hub:s:{{{topic}}}", {"b": publication}, id=f"{offset}-9999999999999")


async def compare_every(hub: LiveHub, seconds: float) -> None:
    async def begin(hub: Hub) -> None:
        hub.router.compare(hub.wheel, every=seconds)

    await asyncio.to_thread(hub.call, begin)


async def test_a_publication_lost_on_the_way_is_brought_within_the_interval(
    hub: LiveHub, redis_server: RedisServer
) -> None:
    await compare_every(hub, 2)
    async with (
        api(hub) as client,
        connected(hub) as socket,
        connect(f"{hub.ws_url}/ws/fast:a") as plain,
    ):
        await subscribed(hub, "fast:a", 1)
        await publish(client, "fast:a", 1)
        assert await asyncio.wait_for(plain.recv(), 10) == "1"
        await socket.ask("subscribe", channel="fast:a")
        store_without_delivery(redis_server, "fast:a", "2")
        async with asyncio.timeout(15):
            assert (await socket.push())["pub"] == {"data": 2, "offset": 2}
            assert await plain.recv() == "2"
        await publish(client, "fast:a", 3)
        assert (await socket.push())["pub"]["offset"] == 3


async def test_where_nothing_can_be_brought_subscribers_are_told(
    hub: LiveHub, redis_server: RedisServer
) -> None:
    await compare_every(hub, 2)
    async with api(hub) as client, connected(hub) as socket:
        await publish(client, "fast:a", 1)
        await socket.ask("subscribe", channel="fast:a")
        store_without_delivery(redis_server, "fast:a", "2")
        with redis.Redis.from_url(redis_server.url) as server:
            server.delete("hub:s:{fast:a}")
        async with asyncio.timeout(15):
            assert (await socket.push())["unsubscribe"]["code"] == 2500


async def test_a_broker_that_fell_back_is_noticed_though_nothing_is_published(
    hub: LiveHub, redis_server: RedisServer
) -> None:
    await compare_every(hub, 2)
    async with api(hub) as client, connected(hub) as socket:
        await publish(client, "fast:a", 1)
        await publish(client, "fast:a", 2)
        await socket.ask("subscribe", channel="fast:a")
        with redis.Redis.from_url(redis_server.url) as server:
            server.hset("hub:m:{fast:a}", "o", "1")
            server.xtrim("hub:s:{fast:a}", maxlen=0, approximate=False)
        async with asyncio.timeout(15):
            assert (await socket.push())["unsubscribe"]["code"] == 2500


async def test_a_positioned_topic_tells_a_gap_that_it_could_have_filled(
    hub: LiveHub, redis_server: RedisServer
) -> None:
    await compare_every(hub, 2)
    async with api(hub) as client, connected(hub) as socket:
        await publish(client, "placed:a", 1)
        told = (await socket.ask("subscribe", channel="placed:a", recover=True, offset=0))["subscribe"]
        assert told == {"positioned": True, "epoch": told["epoch"], "offset": 1}
        await publish(client, "placed:a", 2)
        assert (await socket.push())["pub"]["offset"] == 2
        store_without_delivery(redis_server, "placed:a", "3")
        async with asyncio.timeout(15):
            assert (await socket.push())["unsubscribe"]["code"] == 2500
        again = (await socket.ask("subscribe", channel="placed:a"))["subscribe"]
        assert again["offset"] == 3
