"""A connection to NATS that breaks: whoever waits for its end is told, whatever was on its way."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from hub.errors import BrokerError
from hub.nats.address import Address
from hub.nats.link import Link
from tests.chaos.proxy import Proxy


@pytest.fixture
def proxy(nats_url: str) -> Iterator[Proxy]:
    port = urlsplit(nats_url).port
    assert port is not None
    with Proxy(port) as proxy:
        yield proxy


async def send_without_end(link: Link) -> None:
    """A message in every turn of the loop, so that one always waits to be written."""
    while True:
        await link.send("a.subject", b"1")
        await asyncio.sleep(0)


@pytest.mark.parametrize("busy", [False, True], ids=["idle", "busy"])
async def test_a_reset_connection_says_so_and_leaves_no_task(proxy: Proxy, busy: bool) -> None:
    address = Address.parse([f"nats://127.0.0.1:{proxy.port}"])
    before = asyncio.all_tasks()
    link = await Link.open(address, list(address.servers), within=2, answer=3)
    sending = asyncio.create_task(send_without_end(link) if busy else asyncio.sleep(0))
    await asyncio.sleep(0.05)
    proxy.cut(random.Random(1))
    async with asyncio.timeout(3):
        await link.closed.wait()
    with pytest.raises(BrokerError):
        await link.send("a.subject", b"")
    await asyncio.wait([sending])
    assert (sending.exception() is not None) == busy
    await link.close()
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before
