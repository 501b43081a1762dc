from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from starlette.types import Message

from hub.testing import InProcessHub
from hub.transports.sse import EventStreams

CONFIG: dict[str, Any] = {"topics": {"plain:{name}": {"allow": {"subscribe": "anyone"}, "presence": True}}}


class Peer:
    """A client that the server cannot get rid of: it takes so many messages, and never goes by itself."""

    def __init__(self, takes: int) -> None:
        self.sent: list[Message] = []
        self._takes = takes

    async def send(self, message: Message) -> None:
        if len(self.sent) >= self._takes:
            await asyncio.Event().wait()
        self.sent.append(message)

    async def receive(self) -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    def scope(self, topic: str) -> dict[str, Any]:
        return {
            "type": "http",
            "method": "GET",
            "scheme": "http",
            "headers": [],
            "query_string": b"",
            "path_params": {"topic": topic},
        }


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0)


@pytest.mark.parametrize("takes", [0, 1, 2])
async def test_a_peer_that_takes_no_more_is_given_up_and_forgotten(takes: int) -> None:
    async with InProcessHub(CONFIG) as hub:
        peer = Peer(takes)
        endpoint = EventStreams(hub.hub.node, [], hub.hub.admission, write_seconds=0.05)
        serving = asyncio.create_task(endpoint(peer.scope("plain:a"), peer.receive, peer.send))
        await until(lambda: hub.hub.router.subscribers("plain:a") > 0)
        await hub.publish("plain:a", 1)
        await asyncio.wait_for(serving, 5)
        assert len(hub.hub.node.sessions) == 0
        await hub.hub.tasks.settle(0.05)
        assert (await hub.hub.presence.stats("plain:a")).clients == 0


async def test_a_request_that_is_given_up_by_the_server_leaves_no_session() -> None:
    async with InProcessHub(CONFIG) as hub:
        peer = Peer(100)
        endpoint = EventStreams(hub.hub.node, [], hub.hub.admission)
        serving = asyncio.create_task(endpoint(peer.scope("plain:a"), peer.receive, peer.send))
        await until(lambda: len(peer.sent) == 2)
        serving.cancel()
        await asyncio.wait([serving])
        assert len(hub.hub.node.sessions) == 0
        assert not [task for task in asyncio.all_tasks() if "event stream" in task.get_name()]
