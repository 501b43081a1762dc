"""Receivers of webhooks that die, freeze and come back, as processes of their own."""

from __future__ import annotations

import asyncio
import socket
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from hub import metrics
from hub.errors import ReplyError
from hub.testing import HubClient, InProcessHub
from hub.webhooks import breaker
from hub.webhooks.breaker import FAILURES
from tests.services.ports import free_port
from tests.services.process import ServerProcess

SECRET = "whsec_MDEyMzQ1Njc4OWFiY2RlZmdoaWprbG1u"
TIMEOUT = 1.0
PROGRAM = Path(__file__).with_name("webhook_receiver.py")


class Receiver(ServerProcess):
    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.log = folder / "receiver.log"
        super().__init__([sys.executable, PROGRAM, str(self.port), SECRET], self.log)

    def begin(self) -> None:
        self.start(self._listens)

    def _listens(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True

    async def waits(self) -> None:
        while "waiting" not in self.log.read_text():
            await asyncio.sleep(0.01)


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Receiver]:
    process = Receiver(tmp_path)
    process.begin()
    try:
        yield process
    finally:
        process.kill()


@pytest.fixture
async def client(receiver: Receiver) -> AsyncIterator[HubClient]:
    topics = {
        "room:{name}": {
            "allow": {"subscribe": "anyone", "publish": "anyone"},
            "handlers": {"publish": f"http://127.0.0.1:{receiver.port}/publish"},
        }
    }
    webhooks = {
        "secrets": SECRET,
        "timeout": TIMEOUT,
        "allow_http": True,
        "allow_networks": ["127.0.0.1/32"],
    }
    hub = InProcessHub({"webhooks": webhooks, "topics": topics})
    hub.clock.advance(time.time() - hub.clock.time())
    async with hub:
        yield await hub.connect("ann")


async def refused(client: HubClient, data: object = 1) -> float:
    """Publishes, which fails for now; returns the seconds that it took to learn it."""
    started = time.monotonic()
    with pytest.raises(ReplyError) as raised:
        await client.publish("room:a", data)
    assert (raised.value.code, raised.value.temporary) == (100, True)
    return time.monotonic() - started


def counted(outcome: str) -> float:
    return float(metrics.WEBHOOKS.labels("publish", outcome)._value.get())


async def test_one_that_is_killed_while_it_is_asked_is_known_at_once_and_found_again(
    receiver: Receiver, client: HubClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(breaker, "PAUSE_SECONDS", 2.0)
    await client.publish("room:a", 1)
    before = counted("broken") + counted("unreachable"), counted("away")
    asking = asyncio.create_task(refused(client, "wait"))
    await receiver.waits()
    receiver.kill()
    assert await asking < TIMEOUT, "nobody waits for who is dead"
    for _ in range(FAILURES + 3):
        assert await refused(client) < TIMEOUT
    assert counted("broken") + counted("unreachable") - before[0] == FAILURES + 1
    assert counted("away") - before[1] == 3
    receiver.begin()
    await asyncio.sleep(2.1)
    await client.publish("room:a", 1)


async def test_one_that_freezes_costs_its_callers_the_timeout_and_then_nothing(
    receiver: Receiver, client: HubClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(breaker, "PAUSE_SECONDS", 2.0)
    await client.publish("room:a", 1)
    receiver.freeze()
    before = counted("timeout")
    for _ in range(FAILURES):
        assert TIMEOUT * 0.9 < await refused(client) < TIMEOUT + 2
    assert counted("timeout") - before == FAILURES
    assert await refused(client) < TIMEOUT / 2, "it counts as away"
    receiver.thaw()
    await asyncio.sleep(2.1)
    await client.publish("room:a", 1)
