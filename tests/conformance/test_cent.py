"""The published `cent` package, which backends use for the server API, against a running hub."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from cent import (
    AsyncClient,
    BatchRequest,
    BroadcastRequest,
    CentApiResponseError,
    CentUnauthorizedError,
    ChannelsRequest,
    Client,
    Disconnect,
    DisconnectRequest,
    HistoryRemoveRequest,
    HistoryRequest,
    InfoRequest,
    PresenceRequest,
    PresenceStatsRequest,
    PublishRequest,
    RefreshRequest,
    StreamPosition,
    SubscribeRequest,
    UnsubscribeRequest,
)
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from hub.settings.model import LimitSettings
from hub.testing import LiveHub

ANYONE = {"subscribe": "anyone", "publish": "anyone"}
CONFIG: dict[str, Any] = {
    "limits": LimitSettings().model_dump(),
    "topics": {
        "news:{name}": {"allow": ANYONE, "history": {"size": 10, "ttl": "1h"}, "presence": True},
        "plain:{name}": {"allow": ANYONE},
    },
}


@pytest.fixture(scope="module")
def hub() -> Iterator[LiveHub]:
    with LiveHub(CONFIG) as live:
        yield live


@pytest.fixture
async def cent(hub: LiveHub) -> AsyncIterator[AsyncClient]:
    client = AsyncClient(f"{hub.url}/api", hub.api_key)
    yield client
    await client.close()


class Ann:
    """A user of the client protocol, written by hand."""

    def __init__(self, line: ClientConnection) -> None:
        self._line = line

    async def send(self, command: dict[str, Any]) -> dict[str, Any]:
        await self._line.send(json.dumps(command))
        return await self.message()

    async def message(self) -> dict[str, Any]:
        async with asyncio.timeout(10):
            found: dict[str, Any] = json.loads(await self._line.recv())
            return found

    async def close(self) -> tuple[int, str]:
        with pytest.raises(ConnectionClosed) as closed:
            await self.message()
        assert closed.value.rcvd is not None
        return closed.value.rcvd.code, closed.value.rcvd.reason


@pytest.fixture
async def ann(hub: LiveHub) -> AsyncIterator[Ann]:
    async with connect(f"{hub.ws_url}/connection/websocket") as line:
        user = Ann(line)
        await user.send({"id": 1, "connect": {"token": hub.token("ann", info={"name": "Ann"})}})
        yield user


def test_the_blocking_client_publishes_and_reads(hub: LiveHub) -> None:
    client = Client(f"{hub.url}/api", hub.api_key)
    first = client.publish(PublishRequest(channel="news:sync", data={"i": 1}))
    page = client.history(HistoryRequest(channel="news:sync", limit=10))
    assert (page.publications[0].data, page.publications[0].offset) == ({"i": 1}, first.offset)
    client.close()


async def test_publish_reaches_subscribers_with_tags(cent: AsyncClient, ann: Ann) -> None:
    await ann.send({"id": 2, "subscribe": {"channel": "news:tags"}})
    result = await cent.publish(PublishRequest(channel="news:tags", data={"a": [1]}, tags={"k": "v"}))
    push = (await ann.message())["push"]
    assert push["pub"] == {"data": {"a": [1]}, "offset": 1, "epoch": result.epoch, "tags": {"k": "v"}}


async def test_publish_tells_the_position_where_there_is_one(cent: AsyncClient) -> None:
    kept = await cent.publish(PublishRequest(channel="news:a", data=1))
    plain = await cent.publish(PublishRequest(channel="plain:a", data="text"))
    assert kept.offset >= 1
    assert kept.epoch
    assert (plain.offset, plain.epoch) == (0, "")


async def test_an_idempotent_publish_may_be_repeated(cent: AsyncClient) -> None:
    request = PublishRequest(channel="news:idem", data=1, idempotency_key="k")
    assert await cent.publish(request) == await cent.publish(request)
    page = await cent.history(HistoryRequest(channel="news:idem", limit=-1))
    assert len(page.publications) == 1


async def test_broadcast_answers_each_topic(cent: AsyncClient) -> None:
    result = await cent.broadcast(BroadcastRequest(channels=["news:b", "plain:b", "nons:b"], data={"b": 1}))
    first, second, third = result.responses
    assert first.result is not None
    assert first.result.offset == 1
    assert second.error is None
    assert third.error is not None
    assert third.error.code == 102


async def test_history_by_position_and_reversed(cent: AsyncClient) -> None:
    for number in range(1, 5):
        top = await cent.publish(PublishRequest(channel="news:history", data=number))
    since = StreamPosition(offset=2, epoch=top.epoch)
    page = await cent.history(HistoryRequest(channel="news:history", limit=-1, since=since))
    assert ([publication.data for publication in page.publications], page.offset) == ([3, 4], 4)
    page = await cent.history(HistoryRequest(channel="news:history", limit=2, reverse=True))
    assert [publication.data for publication in page.publications] == [4, 3]
    with pytest.raises(CentApiResponseError) as refused:
        await cent.history(
            HistoryRequest(channel="news:history", limit=1, since=StreamPosition(offset=1, epoch="x"))
        )
    assert refused.value.code == 112
    await cent.history_remove(HistoryRemoveRequest(channel="news:history"))
    page = await cent.history(HistoryRequest(channel="news:history", limit=-1))
    assert (page.publications, page.offset, page.epoch) == ([], 4, top.epoch)


async def test_presence_its_counts_channels_and_info(cent: AsyncClient, ann: Ann) -> None:
    await ann.send({"id": 2, "subscribe": {"channel": "news:presence"}})
    presence = (await cent.presence(PresenceRequest(channel="news:presence"))).presence
    ((client, info),) = presence.items()
    assert (info.client, info.user, info.conn_info) == (client, "ann", {"name": "Ann"})
    stats = await cent.presence_stats(PresenceStatsRequest(channel="news:presence"))
    assert (stats.num_clients, stats.num_users) == (1, 1)
    channels = (await cent.channels(ChannelsRequest(pattern="news:pres*"))).channels
    assert {name: found.num_clients for name, found in channels.items()} == {"news:presence": 1}
    (node,) = (await cent.info(InfoRequest())).nodes
    assert (node.num_clients, node.num_subs) == (1, 1)
    assert node.process is not None
    assert node.process.rss > 0


async def test_the_server_subscribes_unsubscribes_and_disconnects(cent: AsyncClient, ann: Ann) -> None:
    await cent.subscribe(SubscribeRequest(user="ann", channel="plain:forced"))
    assert "subscribe" in (await ann.message())["push"]
    await cent.publish(PublishRequest(channel="plain:forced", data=1))
    assert (await ann.message())["push"]["pub"] == {"data": 1}
    await cent.unsubscribe(UnsubscribeRequest(user="ann", channel="plain:forced"))
    assert (await ann.message())["push"]["unsubscribe"]["code"] == 2_000
    await cent.disconnect(DisconnectRequest(user="ann", disconnect=Disconnect(code=4_500, reason="enough")))
    assert await ann.close() == (4_500, "enough")


async def test_a_batch_is_answered_in_order(cent: AsyncClient) -> None:
    requests = [
        PublishRequest(channel="news:batch", data=1),
        PublishRequest(channel="plain:batch", data=2),
        PresenceStatsRequest(channel="news:batch"),
        HistoryRequest(channel="news:batch", limit=1),
    ]
    for parallel in (False, True):
        replies: list[Any] = (await cent.batch(BatchRequest(requests=requests, parallel=parallel))).replies
        assert replies[0].offset >= 1
        assert replies[1].offset == 0
        assert replies[2].num_clients == 0
        assert replies[3].publications[0].data == 1


async def test_errors_come_with_their_numbers(hub: LiveHub, cent: AsyncClient) -> None:
    for channel, code in (("nons:a", 102), ("", 107)):
        with pytest.raises(CentApiResponseError) as refused:
            await cent.publish(PublishRequest(channel=channel, data=1))
        assert refused.value.code == code
    with pytest.raises(CentApiResponseError) as unavailable:
        await cent.presence(PresenceRequest(channel="plain:a"))
    assert unavailable.value.code == 108
    await cent.refresh(RefreshRequest(user="ann"))
    stranger = AsyncClient(f"{hub.url}/api", "wrong")
    with pytest.raises(CentUnauthorizedError):
        await stranger.info(InfoRequest())
    await stranger.close()
