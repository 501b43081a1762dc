"""A publish whose answer is lost, on every broker that is a server: unknown, and stored once when it is repeated."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from urllib.parse import urlsplit

import pytest

from hub.broker.base import Outgoing, PublishResult
from hub.broker.factory import make_broker
from hub.errors import BrokerError
from hub.model import Publication
from hub.sender import Sender
from hub.tasks import Tasks
from tests.chaos.proxy import Proxy
from tests.contract.bridged import KEPT, TOPIC, Hub, position, running

RNG = random.Random(7)


@pytest.fixture(params=["redis", "nats", "postgresql"])
def url(request: pytest.FixtureRequest) -> str:
    name = "postgres_url" if request.param == "postgresql" else f"{request.param}_url"
    found: str = request.getfixturevalue(name)
    return found


@pytest.fixture
def proxy(url: str) -> Iterator[Proxy]:
    port = urlsplit(url).port
    assert port is not None
    with Proxy(port) as proxy:
        yield proxy


@pytest.fixture
async def hub(url: str, proxy: Proxy) -> AsyncIterator[Hub]:
    """A hub whose way to the broker can be cut."""
    parts = urlsplit(url)
    user = f"{parts.netloc.rpartition('@')[0]}@" if "@" in parts.netloc else ""
    through = parts._replace(netloc=f"{user}127.0.0.1:{proxy.port}").geturl()
    async with running(make_broker(through, prefix="test")) as hub:
        yield hub


@pytest.fixture
async def witness(url: str) -> AsyncIterator[Hub]:
    """Another hub, with a straight way to the broker."""
    async with running(make_broker(url, prefix="test")) as hub:
        yield hub


async def cut_off(hub: Hub, proxy: Proxy, raw: bytes, key: str) -> BrokerError:
    """Publishes, lets the request through, and cuts the connection in place of the answer."""
    proxy.deafen()
    publishing = asyncio.create_task(hub.publish(raw, key=key))
    await asyncio.sleep(0.5)
    proxy.cut(RNG)
    with pytest.raises(BrokerError) as caught:
        await publishing
    return caught.value


async def again(hub: Hub, raw: bytes, key: str) -> PublishResult:
    """Repeats a publish with its key until the broker is back."""
    async with asyncio.timeout(15):
        while True:
            try:
                return await hub.publish(raw, key=key)
            except BrokerError:
                await asyncio.sleep(0.05)


async def test_a_publish_whose_answer_was_lost_is_unknown_and_a_retry_has_the_first_result(
    hub: Hub, witness: Hub, proxy: Proxy
) -> None:
    await hub.publish(b"0", key="warm")
    await asyncio.sleep(0.2)  # the broker may have more to say about it
    error = await cut_off(hub, proxy, b"1", "k")
    assert error.unknown
    stored = await witness.raws()
    result = await again(hub, b"1", "k")
    assert stored == await witness.raws() == [b"0", b"1"]
    assert (position(result).offset, result.suppressed) == (2, True)


async def test_retries_through_many_cuts_store_everything_once(hub: Hub, witness: Hub, proxy: Proxy) -> None:
    unknown = 0
    offsets = []
    for number in range(12):
        publishing = asyncio.create_task(hub.publish(b"%d" % number, key=f"k{number}"))
        await asyncio.sleep(RNG.uniform(0, 0.012))
        proxy.cut(RNG)
        try:
            await publishing
        except BrokerError as error:
            unknown += error.unknown
        offsets.append(position(await again(hub, b"%d" % number, f"k{number}")).offset)
    assert offsets == list(range(1, 13))
    assert await witness.raws() == [b"%d" % number for number in range(12)]


async def test_what_waits_is_repeated_with_a_key_of_its_own(hub: Hub, witness: Hub, proxy: Proxy) -> None:
    tasks = Tasks()
    sender = Sender(tasks)
    sender.attach(hub.bridge.publish, own_keys=True)
    await hub.publish(b"warm")
    proxy.deafen()
    sendings = [
        asyncio.create_task(sender.send(Outgoing(Publication(TOPIC, b"%d" % number), KEPT), 20))
        for number in range(30)
    ]
    await asyncio.sleep(0.5)
    proxy.cut(RNG)
    results = await asyncio.gather(*sendings)
    assert [position(result).offset for result in results] == list(range(2, 32))
    assert not any(result.suppressed for result in results)
    assert await witness.raws() == [b"warm", *(b"%d" % number for number in range(30))]
    await tasks.cancel()
