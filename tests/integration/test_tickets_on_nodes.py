"""Tickets where there are several nodes: made on any, good on any, once; workers behind one port are nodes too."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx2
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from hub.errors import InvalidToken
from hub.testing import InProcessHub
from tests.services.hub import SECRET, HubProcess, run_hub
from tests.services.redis import RedisServer

MEMBERS = {"own:{user}": {"allow": {"subscribe": "user:{user}", "publish": "user:{user}"}}}
CONFIG = f"""
version: 1
server: {{port: 0, workers: 3, drain: 1s}}
broker: {{url: "%s"}}
auth: {{jwt: {{secret: "{SECRET}"}}}}
topics:
  "own:{{user}}": {{allow: {{subscribe: "user:{{user}}", publish: "user:{{user}}"}}}}
"""


async def asked(hub: InProcessHub, user: str) -> str:
    answer = await hub.http.post("/api/ticket", headers=hub.bearer(user, jti="j1"))
    ticket: str = answer.json()["ticket"]
    return ticket


async def test_a_ticket_of_one_node_opens_another_once_and_dies_with_its_node(
    redis_server: RedisServer,
) -> None:
    config = {"broker": {"url": redis_server.url}, "topics": MEMBERS}
    async with InProcessHub(config) as two:
        async with InProcessHub(config) as one:
            async with asyncio.timeout(12):
                while len(one.hub.cluster.nodes()) < 2 or len(two.hub.cluster.nodes()) < 2:
                    await asyncio.sleep(0.05)
            ticket = await asked(one, "ann")
            found = await two.hub.node.redeem(ticket, "")
            assert (found.user, found.claims["jti"]) == ("ann", "j1")
            for node in (one, two):
                with pytest.raises(InvalidToken, match="no such ticket"):
                    await node.hub.node.redeem(ticket, "")
            old = await asked(one, "ann")
            one.clock.advance(30)
            with pytest.raises(InvalidToken, match="no such ticket"):
                await two.hub.node.redeem(old, "")
            orphan = await asked(one, "ann")
        with pytest.raises(InvalidToken, match="does not answer"):
            await two.hub.node.redeem(orphan, "")


@pytest.mark.timeout(120)
async def test_whichever_worker_made_a_ticket_every_other_takes_it(
    tmp_path: Path, redis_server: RedisServer
) -> None:
    (tmp_path / "hub.yaml").write_text(CONFIG % redis_server.url)
    bearer = run_hub("token", "create", "--sub", "ann", cwd=tmp_path).stdout.strip()
    with HubProcess("serve", cwd=tmp_path) as hub:
        url = hub.url()
        await asyncio.sleep(2.5)  # a sign of life from each worker to the others
        tickets = []
        for _ in range(12):  # each over a connection of its own, to whichever worker takes it
            answer = httpx2.post(
                f"{url}/api/ticket",
                headers={"Authorization": f"Bearer {bearer}"},
                trust_env=False,
                timeout=10,
            )
            assert answer.status_code == 200, answer.text
            tickets.append(answer.json()["ticket"])
        assert len({ticket[:21] for ticket in tickets}) > 1, "one worker made them all, so nothing was seen"
        for ticket in tickets:
            address = f"{url.replace('http', 'ws', 1)}/ws/own:ann?ticket={ticket}"
            async with connect(address, proxy=None) as socket:
                await socket.send("mine")
                assert await asyncio.wait_for(socket.recv(), 10) == "mine"
            async with connect(address, proxy=None) as again:
                with pytest.raises(ConnectionClosed) as caught:
                    await asyncio.wait_for(again.recv(), 10)
                assert caught.value.rcvd is not None
                assert caught.value.rcvd.code == 4001
        assert "Traceback" not in hub.said
        assert not [ticket for ticket in tickets if ticket in hub.said]
