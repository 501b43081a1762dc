"""What a publish does not pay for: handlers, schemas and payloads that nobody looks at."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final

import msgspec
import pytest

from hub.broker.base import Outgoing
from hub.handlers import Call, HandlerTable
from hub.model import Publication
from hub.plugin import Context
from hub.testing import HubClient, InProcessHub

ANYONE: Final = {"subscribe": "anyone", "publish": "anyone"}
CONFIG: Final[dict[str, Any]] = {
    "topics": {
        "plain:{name}": {"allow": ANYONE},
        "kept:{name}": {"allow": ANYONE, "history": {"size": 10, "ttl": "1h"}},
        "strict:{name}": {"allow": ANYONE, "schema": {"type": "object"}},
        "guarded:{name}": {"allow": ANYONE, "handlers": {"publish": "tests.unit.api.guards:guard"}},
    }
}
PAYLOAD: Final = b'{"b" : 1.0,"a":[ ], "text": "\xc3\xb6"}'
TOPICS: Final = ("plain:a", "kept:a")


class Way:
    """What was seen of payloads between their publisher and this node's subscribers, and of what costs."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.delivered: list[bytes] = []
        self.costs: list[str] = []


@pytest.fixture
async def hub() -> AsyncIterator[InProcessHub]:
    async with InProcessHub(CONFIG) as running:
        yield running


@pytest.fixture
def way(hub: InProcessHub, monkeypatch: pytest.MonkeyPatch) -> Way:
    found = Way()
    _watch_payloads(hub, found, monkeypatch)

    def watch(place: Any, name: str) -> None:
        original = getattr(place, name)

        def watched(*arguments: Any, **more: Any) -> Any:
            found.costs.append(f"{getattr(place, '__name__', place)}.{name}")
            return original(*arguments, **more)

        monkeypatch.setattr(place, name, watched)

    for place, name in ((Call, "__init__"), (Context, "__init__"), (HandlerTable, "run")):
        watch(place, name)
    watch(msgspec.json, "decode")
    return found


def _watch_payloads(hub: InProcessHub, found: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    broker, router = hub.hub.broker, hub.hub.router
    publish, deliver = broker.publish, router.deliver

    async def published(channel: str, message: Outgoing) -> None:
        if channel in TOPICS:
            found.sent.append(message.publication.raw)
        await publish(channel, message)

    def delivered(topic: str, publications: list[Publication]) -> None:
        found.delivered += [publication.raw for publication in publications]
        deliver(topic, publications)

    monkeypatch.setattr(broker, "publish", published)
    monkeypatch.setattr(router, "deliver", delivered)


async def listener(hub: InProcessHub, topic: str, frames: list[bytes]) -> HubClient:
    """A subscriber, of whom what is sent is kept as it was sent."""
    client = await hub.connect("ann")
    await client.subscribe(topic)
    client.take = frames.append  # type: ignore[method-assign, assignment]
    return client


@pytest.mark.parametrize("prompt", [True, False])
@pytest.mark.parametrize("topic", TOPICS)
async def test_a_payload_is_neither_decoded_nor_copied_where_nobody_asks(
    hub: InProcessHub, way: Way, topic: str, prompt: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub.hub.broker, "prompt", prompt)
    frames: list[bytes] = []
    client = await listener(hub, topic, frames)
    way.costs.clear()
    one = b'{"channel":"%s","data":%s}' % (topic.encode(), PAYLOAD)
    for path, body in (
        ("publish", one),
        ("batch", b'{"commands":[{"publish":%s}]}' % one),
        ("broadcast", b'{"channels":["%s"],"data":%s}' % (topic.encode(), PAYLOAD)),
    ):
        response = await hub.http.post(f"/api/{path}", content=body, headers=hub.api_key)
        assert b"error" not in response.content
    client.send_text('{"id":9,"publish":{"channel":"%s","data":%s}}' % (topic, PAYLOAD.decode()))
    async with asyncio.timeout(5):
        while b"".join(frames).count(PAYLOAD) < 4:
            await asyncio.sleep(0.001)
    assert way.costs == []
    assert way.sent == [PAYLOAD] * 4
    for sent, delivered in zip(way.sent, way.delivered, strict=True):
        assert delivered is sent
    assert b"".join(frames).count(b'"data":' + PAYLOAD) == 4


@pytest.mark.parametrize(
    ("topic", "cost"), [("guarded:a", "HandlerTable.run"), ("strict:a", "msgspec.json.decode")]
)
async def test_what_is_asked_for_is_seen_to_cost(hub: InProcessHub, way: Way, topic: str, cost: str) -> None:
    response = await hub.http.post("/api/publish", json={"channel": topic, "data": {}}, headers=hub.api_key)
    assert response.json() == {"result": {}}
    assert cost in way.costs
