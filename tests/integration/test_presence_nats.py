"""Presence on a real NATS: many nodes at once, answers that are lost, servers that are emptied, sweepers that die."""

from __future__ import annotations

import asyncio
import json
import random
import secrets
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import nats
import pytest
from nats.aio.client import Client

from hub.errors import BrokerError
from hub.model import ClientInfo, PresenceStats
from hub.presence.base import Lease, Presence
from hub.presence.factory import make_presence
from tests.contract.presences import (
    ANN,
    BOB,
    LEASE,
    TOPIC,
    Nodes,
    all_swept,
    as_entries,
    counts,
    crowd,
    first_swept,
    in_order,
    persistently,
)
from tests.services.missing import find_program, unavailable
from tests.services.nats import REMEDY, NatsServer
from tests.services.ports import free_port
from tests.services.process import ServerProcess


@pytest.fixture
async def nodes(nats_server: NatsServer) -> AsyncIterator[Nodes]:
    found = Nodes(nats_server.url)
    yield found
    await found.stop()


async def call(url: str, name: str, wanted: dict[str, Any] | None = None) -> dict[str, Any]:
    """What the API of JetStream answers."""
    client = await nats.connect(url)
    try:
        request = json.dumps(wanted).encode() if wanted is not None else b""
        found = await client.request(f"$JS.API.{name}", request, timeout=5)
        answer: dict[str, Any] = json.loads(found.data)
        return answer
    finally:
        await client.close()


async def subjects(url: str) -> list[str]:
    """The subjects of all messages that lie in the stream."""
    info = await call(url, "STREAM.INFO.test-presence", {"subjects_filter": ">"})
    return sorted(info["state"].get("subjects") or {})


def stats_of(clients: dict[str, ClientInfo]) -> PresenceStats:
    return PresenceStats(len(clients), len({info.user for info in clients.values()}))


@pytest.mark.timeout(90)
@pytest.mark.parametrize("seed", range(3))
async def test_counts_are_exact_with_every_answer_wherever_a_user_sits(nodes: Nodes, seed: int) -> None:
    """The same users on three nodes, changed at once in any order, one of which dies and is swept by the others."""
    chance = random.Random(seed)
    everywhere = [await nodes.node(name, lease=lease) for name, lease in (("a", 30), ("b", 30), ("c", 2))]
    model: dict[str, dict[str, ClientInfo]] = {"t:1": {}, "t:2": {}}
    mine: list[dict[str, set[str]]] = [{topic: set() for topic in model} for _ in everywhere]

    async def change(at: int, number: int) -> None:
        topic, client = chance.choice(list(model)), f"{at}-{chance.randrange(8)}"
        if chance.random() < 0.6:
            info = ClientInfo(f"u{chance.randrange(5)}", client, b"%d" % number)
            model[topic][client] = info
            mine[at][topic].add(client)
            await everywhere[at].add(topic, info)
        else:
            model[topic].pop(client, None)
            mine[at][topic].discard(client)
            await everywhere[at].remove(topic, client, "whoever")

    async def check() -> None:
        for topic, clients in model.items():
            assert await chance.choice(everywhere).stats(topic) == stats_of(clients)
            assert await chance.choice(everywhere).get(topic) == clients

    for number in range(60):
        await asyncio.gather(*(change(chance.randrange(3), number) for _ in range(chance.randrange(1, 9))))
        await check()
    gone = {(topic, client) for topic, clients in mine[2].items() for client in clients}
    del everywhere[2]
    while gone:
        for topic, info in await persistently(lambda: chance.choice(everywhere).sweep(3)):
            gone.remove((topic, info.client))
            assert model[topic].pop(info.client) == info
        await asyncio.gather(*(change(chance.randrange(2), 0) for _ in range(3)))
        await check()
    for at, node in enumerate(everywhere):
        for topic, names in mine[at].items():
            await asyncio.gather(*(node.remove(topic, client, "") for client in names))
    model = {topic: {} for topic in model}
    await check()


async def test_nodes_that_restore_the_same_users_at_once_count_each_once(nodes: Nodes) -> None:
    everywhere = [await nodes.node(f"n{number}") for number in range(6)]
    await asyncio.gather(
        *(
            node.restore({TOPIC: [ClientInfo(f"u{each % 300}", f"{number}-{each}") for each in range(600)]})
            for number, node in enumerate(everywhere)
        )
    )
    assert await everywhere[0].stats(TOPIC) == PresenceStats(3600, 300)
    await asyncio.gather(
        *(
            node.remove(TOPIC, f"{number}-{each}", f"u{each % 300}")
            for number, node in enumerate(everywhere)
            for each in range(600)
            if number or each % 300
        )
    )
    assert await everywhere[3].stats(TOPIC) == PresenceStats(2, 1)


async def test_killed_nats_comes_back_empty_and_is_filled_again(
    nodes: Nodes, nats_server: NatsServer
) -> None:
    node, other = await nodes.node("a"), await nodes.node("b")
    clients = {TOPIC: crowd(500, users=200), "t:2": [ANN]}
    await node.restore(clients)
    await other.restore({"t:2": [BOB]})
    nats_server.kill()
    began = time.monotonic()
    with pytest.raises(BrokerError):
        await node.add(TOPIC, ANN)
    with pytest.raises(BrokerError):
        await node.get(TOPIC)
    with pytest.raises(BrokerError):
        await node.renew()
    assert time.monotonic() - began < 6
    nats_server.restart(keep_data=True)  # but presence lies in memory
    await persistently(node.renew, lambda lease: lease is Lease.LOST)
    assert await node.stats(TOPIC) == PresenceStats(0, 0)
    assert in_order(await node.restore(clients)) == in_order(as_entries(clients))
    await other.remove("t:2", "c-3", "bob")  # it does not know yet
    assert await other.renew() is Lease.LOST
    assert await other.restore({"t:2": [BOB]}) == [("t:2", BOB)]
    assert await other.stats(TOPIC) == PresenceStats(500, 200)
    assert await node.stats("t:2") == PresenceStats(2, 2)
    assert await node.renew() is await other.renew() is Lease.KEPT


async def test_change_whose_answer_was_lost_is_counted_once(nodes: Nodes, nats_server: NatsServer) -> None:
    node, other = await nodes.node("a"), await nodes.node("b")
    first, second, third = (ClientInfo("ann", f"c-{number}") for number in range(3))
    await node.add(TOPIC, first)
    await node.add(TOPIC, second)
    nats_server.freeze()
    began = time.monotonic()
    with pytest.raises(BrokerError) as lost:
        await node.add(TOPIC, third)
    assert lost.value.unknown
    assert time.monotonic() - began < 8
    nats_server.thaw()
    # The server has read what it was sent before it froze, and stores it.
    await persistently(lambda: other.stats(TOPIC), lambda stats: stats == PresenceStats(3, 1))
    await persistently(lambda: node.remove(TOPIC, "c-0", "ann"))
    assert await other.stats(TOPIC) == PresenceStats(2, 1)
    assert await persistently(lambda: node.restore({TOPIC: [second, third]})) == [(TOPIC, third)]
    assert await node.restore({TOPIC: [second, third]}) == []
    assert await other.get(TOPIC) == {"c-1": second, "c-2": third}
    assert await other.stats(TOPIC) == PresenceStats(2, 1)
    await node.remove(TOPIC, "c-1", "ann")
    await node.remove(TOPIC, "c-2", "ann")
    assert await other.stats(TOPIC) == PresenceStats(0, 0)


async def test_clients_that_a_sweep_without_answer_took_out_are_told_by_the_next(
    nodes: Nodes, nats_server: NatsServer
) -> None:
    silent, other = await nodes.node("silent", lease=LEASE), await nodes.node("other")
    everybody = crowd(40, users=1)
    await silent.restore({TOPIC: everybody})
    found = await first_swept(other, 5)
    nats_server.freeze()
    with pytest.raises(BrokerError) as lost:
        await other.sweep(5)
    assert lost.value.unknown
    nats_server.thaw()
    await persistently(lambda: other.stats(TOPIC), lambda stats: stats.clients == 30)
    found += await persistently(lambda: all_swept(other, 5))
    assert in_order(found) == in_order(as_entries({TOPIC: everybody}))
    assert await other.stats(TOPIC) == PresenceStats(0, 0)


async def test_work_of_a_sweeper_that_died_goes_on(nodes: Nodes) -> None:
    silent, other = await nodes.node("silent", lease=LEASE), await nodes.node("other")
    dying = await nodes.node("dying", lease=LEASE)
    everybody = crowd(100)
    await silent.restore({TOPIC: everybody})
    await asyncio.sleep(LEASE)
    await dying.renew()
    found = await first_swept(dying, 10)
    found += await all_swept(other)
    assert in_order(found) == in_order(as_entries({TOPIC: everybody}))
    assert await other.stats(TOPIC) == PresenceStats(0, 0)


async def test_owner_that_comes_back_stops_the_sweep(nodes: Nodes) -> None:
    late, other = await nodes.node("late", lease=LEASE), await nodes.node("other")
    everybody = crowd(200, users=30)
    await late.restore({TOPIC: everybody})
    swept = await first_swept(other, 20)
    assert await late.renew() is Lease.TAKEN
    assert await other.sweep(20) == []
    assert await late.stats(TOPIC) == PresenceStats(180, 30)
    await late.remove(TOPIC, swept[0][1].client, "")
    kept = [info for info in everybody if (TOPIC, info) not in swept]
    assert await late.restore({TOPIC: kept}) == []
    assert in_order(await late.restore({TOPIC: everybody})) == in_order(swept)
    assert await other.stats(TOPIC) == PresenceStats(200, 30)


@pytest.mark.timeout(90)
async def test_more_than_one_answer_holds_is_read_and_swept_in_pieces(nodes: Nodes) -> None:
    silent, other = await nodes.node("silent", lease=4), await nodes.node("other")
    clients = {TOPIC: crowd(3000, users=1100), **{f"t:{number}": [ANN] for number in range(1500)}}
    await silent.restore(clients)
    assert await other.get(TOPIC) == {info.client: info for info in clients[TOPIC]}
    assert await other.stats(TOPIC) == PresenceStats(3000, 1100)
    assert in_order(await all_swept(other, 700)) == in_order(as_entries(clients))
    assert await silent.renew() is Lease.TAKEN
    assert len(await silent.restore(clients)) == 4500


async def test_nothing_lies_in_the_stream_when_everybody_has_left(
    nodes: Nodes, nats_server: NatsServer
) -> None:
    node, other = await nodes.node("a"), await nodes.node("b")
    for each in (node, other):
        await each.restore({TOPIC: [ClientInfo("ann", f"{id(each)}-{number}") for number in range(5)]})
    for each in (node, other):
        for number in range(5):
            await each.remove(TOPIC, f"{id(each)}-{number}", "ann")
    await nodes.stop()
    nodes.started.clear()
    async with asyncio.timeout(15):
        while await subjects(nats_server.url):
            await asyncio.sleep(0.1)


async def test_counts_without_clients_are_swept_away(nodes: Nodes, nats_server: NatsServer) -> None:
    silent, other = await nodes.node("silent", lease=LEASE), await nodes.node("other")
    await silent.restore({TOPIC: [ANN, BOB], "t:2": [ANN]})
    gone = next(each for each in await subjects(nats_server.url) if ".c.t:2." in each)
    assert (await call(nats_server.url, "STREAM.PURGE.test-presence", {"filter": gone}))["success"]
    assert in_order(await all_swept(other)) == in_order(as_entries({TOPIC: [ANN, BOB]}))
    await counts(other, "t:2", PresenceStats(0, 0))
    assert await other.sweep(10) == []


async def _begin_a_batch(client: Client) -> None:
    """Begins a batch that nobody ends."""
    headers = {"Nats-Batch-Id": secrets.token_hex(8), "Nats-Batch-Sequence": "1"}
    await client.publish("test.n.nobody", b"", headers=headers)
    await client.flush()


async def test_server_with_too_many_batches_under_way_is_asked_again(tmp_path: Path) -> None:
    program = find_program("nats-server")
    if program is None:
        unavailable("nats-server", REMEDY)
    port, log, config = free_port(), tmp_path / "nats.log", tmp_path / "nats.conf"
    config.write_text(
        f'port: {port}\nhost: 127.0.0.1\njetstream {{store_dir: "{tmp_path}/store"\n'
        'limits {batch {max_inflight_per_stream: 1, timeout: "300ms"}}}\n'
    )
    server = ServerProcess([program, "-c", config], log)
    server.start(lambda: b"ready" in log.read_bytes())
    found = Nodes(f"nats://127.0.0.1:{port}")
    client = await nats.connect(found.url)
    try:
        node, other = await found.node("a"), await found.node("b", lease=LEASE)
        await other.add(TOPIC, BOB)
        await asyncio.sleep(LEASE)
        await _begin_a_batch(client)
        await node.add(TOPIC, ANN)
        await _begin_a_batch(client)
        swept = await node.sweep(10)
        while not swept:  # which would end with an error, or with the time of the test
            swept = await node.sweep(10)
        assert swept == [(TOPIC, BOB)]
        assert await node.stats(TOPIC) == PresenceStats(1, 1)
    finally:
        await client.close()
        await found.stop()
        server.kill()


async def test_frozen_nats_is_a_broker_error_within_seconds_and_mends_itself(
    nodes: Nodes, nats_server: NatsServer
) -> None:
    node = await nodes.node("a")
    await node.add(TOPIC, ANN)
    nats_server.freeze()
    began = time.monotonic()
    for asked in (node.stats(TOPIC), node.get(TOPIC)):
        with pytest.raises(BrokerError):
            await asked
    assert time.monotonic() - began < 12
    nats_server.thaw()
    assert await persistently(lambda: node.get(TOPIC)) == {"c-1": ANN}
    assert await node.renew() is Lease.KEPT


async def test_stop_at_a_dead_nats_ends_within_seconds(nats_server: NatsServer) -> None:
    node: Presence = make_presence(nats_server.url, prefix="test", node="a", lease=30)
    await node.add(TOPIC, ANN)
    nats_server.freeze()
    began = time.monotonic()
    await node.stop()
    assert time.monotonic() - began < 10
