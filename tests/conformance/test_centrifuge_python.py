"""The published `centrifuge-python` package against a running hub."""

from __future__ import annotations

import asyncio
import gc
import time
import warnings
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from centrifuge import (
    CentrifugeError,
    Client,
    ClientEventHandler,
    ClientState,
    ConnectedContext,
    PublicationContext,
    SubscribedContext,
    SubscriptionEventHandler,
)

from hub.settings.model import LimitSettings
from hub.testing import LiveHub
from hub.webhooks.signing import new_secret
from tests.services.web import WebServer, says

ANYONE = {"subscribe": "anyone", "publish": "anyone"}
CONFIG = {
    "limits": LimitSettings().model_dump(),
    "topics": {"news:{x}": {"allow": ANYONE, "history": {"size": 100}, "presence": True, "join_leave": True}},
}


@pytest.fixture(scope="module")
def hub() -> Iterator[LiveHub]:
    with LiveHub(CONFIG) as hub:
        yield hub


@pytest.fixture(autouse=True)
def _sockets_that_the_package_leaves_open() -> Iterator[None]:
    """The package forgets a socket that was cut under it; its warning is its own and must not fail other tests."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


class Seen(SubscriptionEventHandler, ClientEventHandler):
    """Everything that happened."""

    def __init__(self) -> None:
        self.publications: list[Any] = []
        self.offsets: list[int] = []
        self.subscribed: list[SubscribedContext] = []
        self.connected: list[ConnectedContext] = []

    async def on_connected(self, ctx: ConnectedContext) -> None:
        self.connected.append(ctx)

    async def on_subscribed(self, ctx: SubscribedContext) -> None:
        self.subscribed.append(ctx)

    async def on_publication(self, ctx: PublicationContext) -> None:
        self.publications.append(ctx.pub.data)
        self.offsets.append(ctx.pub.offset)


async def until(condition: Callable[[], bool], what: str) -> None:
    for _ in range(400):
        if condition():
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"{what} did not happen within 8 s")


def client(
    hub: LiveHub, token: str, seen: Seen, get_token: Callable[..., Awaitable[str]] | None = None
) -> Client:
    return Client(
        f"{hub.ws_url}/connection/websocket",
        events=seen,
        token=token,
        get_token=get_token,
        min_reconnect_delay=0.05,
        max_reconnect_delay=0.2,
    )


async def test_a_whole_session_works(hub: LiveHub) -> None:
    seen = Seen()
    ann = client(hub, hub.token("ann"), seen)
    await ann.connect()
    subscription = ann.new_subscription("news:py", events=seen)
    await subscription.subscribe()
    await until(lambda: bool(seen.subscribed), "the subscription")
    assert seen.connected[0].client
    assert seen.connected[0].version
    await subscription.publish({"n": 1})
    await until(lambda: seen.publications == [{"n": 1}], "the publication")
    presence = await subscription.presence()
    assert [info.user for info in presence.clients.values()] == ["ann"]
    stats = await subscription.presence_stats()
    assert (stats.num_clients, stats.num_users) == (1, 1)
    history = await subscription.history(limit=-1)
    assert [(found.data, found.offset) for found in history.publications] == [({"n": 1}, 1)]
    with pytest.raises(CentrifugeError):
        await ann.rpc("nope", {})
    await ann.disconnect()


async def test_a_cut_client_gets_all_it_missed_once_and_in_order(hub: LiveHub) -> None:
    seen = Seen()
    ann = client(hub, hub.token("ann"), seen)
    await ann.connect()
    subscription = ann.new_subscription("news:pycut", events=seen)
    await subscription.subscribe()
    await until(lambda: bool(seen.subscribed), "the subscription")

    async def publish(number: int) -> None:
        await asyncio.to_thread(
            hub.call, lambda node: node.router.publish("news:pycut", b"%d" % number, trusted=True)
        )

    for number in (1, 2):
        await publish(number)
    await until(lambda: seen.offsets == [1, 2], "two publications")
    await asyncio.to_thread(hub.cut_all)
    for number in (3, 4, 5):
        await publish(number)
    await until(lambda: len(seen.subscribed) == 2, "the resubscription")
    await publish(6)
    await until(lambda: len(seen.offsets) >= 6, "all six")
    assert seen.offsets == [1, 2, 3, 4, 5, 6]
    assert seen.subscribed[1].recovered
    await ann.disconnect()


async def test_a_token_is_refreshed_without_a_drop(hub: LiveHub) -> None:
    seen, asked = Seen(), []

    async def fresh(*_: Any) -> str:
        asked.append(time.time())
        return hub.token("ann")

    ann = client(hub, hub.token("ann", exp=int(time.time()) + 3), seen, fresh)
    await ann.connect()
    await until(lambda: bool(asked), "a refresh")
    await asyncio.sleep(0.3)
    assert len(seen.connected) == 1
    assert ann.state is ClientState.CONNECTED
    await ann.disconnect()


async def test_a_client_waits_by_itself_for_a_webhook_that_fails_for_now() -> None:
    async with WebServer(says({}, 500)) as receiver:
        config = {
            "webhooks": {
                "secrets": new_secret(),
                "allow_http": True,
                "allow_networks": ["127.0.0.1/32"],
            },
            "handlers": {"connect": f"{receiver.url}/connect"},
            "topics": {"news:{x}": {"allow": ANYONE, "handlers": {"subscribe": f"{receiver.url}/subscribe"}}},
        }
        hub = await asyncio.to_thread(LiveHub(config).__enter__)
        try:
            seen = Seen()
            ann = client(hub, hub.token("ann"), seen)
            await ann.connect()
            await until(lambda: len(receiver.asked) >= 3, "a third attempt to connect")
            assert seen.connected == []
            receiver.answer = says({})
            await until(lambda: bool(seen.connected), "the connection")
            receiver.answer = says({}, 500)
            asked = len(receiver.asked)
            subscription = ann.new_subscription(
                "news:py", events=seen, min_resubscribe_delay=0.05, max_resubscribe_delay=0.2
            )
            await subscription.subscribe()
            await until(lambda: len(receiver.asked) >= asked + 2, "a second attempt to subscribe")
            receiver.answer = says({})
            await until(lambda: bool(seen.subscribed), "the subscription")
            await ann.disconnect()
        finally:
            await asyncio.to_thread(hub.__exit__, None, None, None)
