"""How many sessions a user may have, on whichever way and in whichever order they come."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from hub import metrics
from hub.plugin import Accept, Context, Identity
from hub.testing import InProcessHub, PushTimeoutError

CONFIG = {"limits": {"connections_per_user": 2}, "topics": {}}
_let_in = asyncio.Event()


async def hesitate(_: Context[Any]) -> None:
    """A connect handler that takes its time."""
    await _let_in.wait()


async def another(_: Context[Any]) -> Accept:
    """One that says that everybody is Ann."""
    return Accept(identity=Identity("ann"))


def refused() -> float:
    return metrics.REGISTRY.get_sample_value("hub_limited_total", {"limit": "connections_per_user"}) or 0.0


async def test_one_more_is_refused_and_has_room_when_another_has_gone() -> None:
    async with InProcessHub(CONFIG) as hub:
        first, _ = await hub.connect("ann"), await hub.connect("ann")
        before = refused()
        for _ in range(3):
            with pytest.raises(PushTimeoutError, match="3504"):
                await hub.connect("ann")
        assert refused() - before == 3
        await hub.connect("bob")
        for _ in range(5):
            await hub.connect("")
        await first.close()
        assert (await hub.connect("ann")).closed is None
        assert hub.hub.node.sessions.count("ann") == 2


async def test_of_many_at_once_as_many_are_let_in_as_may_though_handlers_take_their_time() -> None:
    async with InProcessHub({**CONFIG, "handlers": {"connect": f"{__name__}:hesitate"}}) as hub:
        _let_in.clear()
        waiting = [asyncio.create_task(hub.connect("ann")) for _ in range(6)]
        for _ in range(20):
            await asyncio.sleep(0)
        assert hub.hub.node.sessions.count("ann") == 0
        _let_in.set()
        found = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(each) for each in found].count(PushTimeoutError) == 4
        assert hub.hub.node.sessions.count("ann") == 2


async def test_whoever_a_handler_says_that_somebody_is_counts_as_that_user() -> None:
    async with InProcessHub({**CONFIG, "handlers": {"connect": f"{__name__}:another"}}) as hub:
        await hub.connect("bob")
        await hub.connect("eve")
        with pytest.raises(PushTimeoutError, match="3504"):
            await hub.connect("zoe")
        assert (hub.hub.node.sessions.count("ann"), hub.hub.node.sessions.count("zoe")) == (2, 0)
