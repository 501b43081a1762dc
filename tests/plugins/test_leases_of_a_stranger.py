"""What a plugin that is not ours may do with leases, through `hub.plugin` and `hub.testing` alone."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from hub.testing import HubClient, InProcessHub

MANIFEST = """
name: feeder
api: 1
topics:
  "feed:{name}": {allow: {subscribe: anyone}, history: {size: 10}}
handlers: {start: "handlers:start", stop: "handlers:stop"}
rpc:
  feeder.free: "handlers:free"
  feeder.wait: "handlers:wait"
  feeder.name: "handlers:named"
schedule:
  tick: {every: 0.1s, run: "handlers:tick", once: true}
"""
HANDLERS = """
import asyncio
import logging
from typing import Any

from hub.plugin import Context, LeaseLost

tasks: list[asyncio.Task[None]] = []


async def start(ctx: Context[Any]) -> None:
    tasks.append(asyncio.create_task(follow(ctx)))


async def stop(ctx: Context[Any]) -> None:
    tasks[-1].cancel()


async def follow(ctx: Context[Any]) -> None:
    while True:
        try:
            async with ctx.lease("feed") as lease:
                await ctx.publish("feed:leases", {"number": lease.number, "held": lease.held})
                await asyncio.Event().wait()
        except LeaseLost as error:
            await ctx.publish("feed:leases", {"lost": str(error), "held": lease.held})


async def free(ctx: Context[Any], data: Any) -> bool:
    async with ctx.try_lease(data) as lease:
        return lease is not None


async def wait(ctx: Context[Any], data: Any) -> bool:
    async with asyncio.timeout(0.2), ctx.lease(data):
        return True


async def named(ctx: Context[Any], data: Any) -> str:
    try:
        ctx.lease(data)
    except ValueError as error:
        return str(error)
    return "fine"


async def tick(ctx: Context[Any]) -> None:
    await ctx.publish("feed:ticks", 1)
"""


@pytest.fixture
def config(tmp_path: Path) -> dict[str, Any]:
    folder = tmp_path / "feeder"
    folder.mkdir()
    (folder / "plugin.yaml").write_text(MANIFEST)
    (folder / "handlers.py").write_text(HANDLERS)
    return {"plugins": {"feeder": {"use": str(folder)}}}


async def leases(client: HubClient) -> dict[str, Any]:
    found: dict[str, Any] = await client.expect_publication("feed:leases")
    return found


async def test_start_handler_begins_work_that_a_lease_guards(config: dict[str, Any]) -> None:
    async with InProcessHub(config) as hub:
        client = await hub.connect()
        reply = await client.subscribe("feed:leases", recover=True, offset=0, epoch="")
        first = reply["publications"][0]["data"] if reply["publications"] else await leases(client)
        assert first["held"] is True
        assert await client.rpc("feeder.free", "feed") is False
        assert await client.rpc("feeder.free", "another") is True
        hub.lose_leases()
        lost = await leases(client)
        assert (lost["held"], "'plugin:feeder:feed' was lost: a test took it away" in lost["lost"]) == (
            False,
            True,
        )
        again = await leases(client)
        assert again["number"] > first["number"]
        assert again["held"] is True


async def test_two_plugins_do_not_share_their_leases(config: dict[str, Any], tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "plugin.yaml").write_text('name: other\napi: 1\nrpc: {other.free: "handlers:free"}\n')
    (other / "handlers.py").write_text(HANDLERS)
    config["plugins"]["other"] = {"use": str(other)}
    async with InProcessHub(config) as hub:
        client = await hub.connect()
        async with asyncio.timeout(10):
            while await client.rpc("feeder.free", "feed"):
                await asyncio.sleep(0.01)
        assert await client.rpc("other.free", "feed") is True


async def test_handler_that_waits_for_a_lease_is_bound_to_its_time_as_ever(config: dict[str, Any]) -> None:
    async with InProcessHub(config) as hub:
        client = await hub.connect()
        assert await client.rpc("feeder.wait", "another") is True
        with pytest.raises(Exception, match="100"):
            await client.rpc("feeder.wait", "feed")
        assert await client.rpc("feeder.wait", "another") is True


@pytest.mark.parametrize("name", ["", "x" * 101])
async def test_lease_needs_a_name_of_some_length(config: dict[str, Any], name: str) -> None:
    async with InProcessHub(config) as hub:
        client = await hub.connect()
        assert await client.rpc("feeder.name", name) == "the name of a lease has 1 to 100 characters"
        assert await client.rpc("feeder.name", "x" * 100) == "fine"


async def test_schedule_with_once_runs_at_once_on_a_single_node_and_a_clock_that_leaps_does_not_end_it(
    config: dict[str, Any],
) -> None:
    async with InProcessHub(config) as hub:
        client = await hub.connect()
        await client.subscribe("feed:ticks")
        for _ in range(3):
            await client.expect_publication("feed:ticks")
            hub.clock.advance(3600)
        assert await client.rpc("feeder.free", "feed") is False
