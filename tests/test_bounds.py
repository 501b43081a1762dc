"""Nothing waits without a bound: every place where something can is found in the code, and stands on its page."""

from __future__ import annotations

import ast
import asyncio
import gc
import importlib
import re
from collections.abc import Iterator, Sized
from pathlib import Path
from typing import Final

import pytest

from hub.errors import BrokerError
from hub.sender import MAX_UNDER_WAY_BYTES
from hub.testing import InProcessHub
from tests.services.redis import RedisServer

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/reference/queues.md"
GROWING = frozenset(
    {"append", "appendleft", "extend", "add", "setdefault", "put", "put_nowait", "update", "insert"}
)

REGISTERS: Final = {
    "what is subscribed here: one for each topic that somebody listens to": {
        "Bridge._topics",
        "ClusterSubscriber._homes",
        "LiveTopic.groups",
        "LiveTopic._views",
        "MemoryBroker._wanted",
        "Reader._wants",
        "Router._topics",
        "Shard.wants",
        "Subscriber._wants",
        "Views._filtered",
        "Views._settled",
    },
    "who is here: one for each session, client of a session, or subscription": {
        "Admission._held",
        "HubHttpProtocol.connections",
        "MemoryPresence._topics",
        "_Members.clients",
        "_Members.users",
        "Members._topics",
        "Registry._clients",
        "Registry._users",
        "Session._grants",
        "Session._making",
        "Session.subscriptions",
    },
    "other servers and nodes, as many as there are": {
        "Cluster._heard",
        "Cluster._lanes",
        "Cluster._leaving",
        "Cluster._routes",
        "ClusterMap._lanes",
        "ClusterMap._listeners",
        "ClusterMap.owners",
        "ClusterMap.silent",
        "ClusterSubscriber._shards",
        "Revoking._asked",
        "Revoking._unaware",
        "Sentinels._listeners",
        "Sentinels._said",
        "Workers._running",
    },
    "leases by name, as many as plugins and schedules have": {"Leases._held", "NatsLeases._mine"},
    "connections to SQLite, as many as the pool has": {"Database._threads"},
    "webhooks: one for each URL of the configuration, and what was last logged of it": {
        "Endpoint._told",
        "Webhooks._endpoints",
    },
    "caches that forget the oldest beyond a number": {
        "Deltas._kept",
        "Desk.publishable",
        "PatternTable._found",
        "Rates._rates",
        "Router._warned",
        "TokenVerifier._verified",
        "Topics._known",
    },
    "made from the configuration, before anything runs": {
        "Case.report",
        "Declarant._broken",
        "Declarant.report",
        "PluginDocument._ids",
        "PluginDocument.paths",
        "Report._problems",
        "SettingsFiles._read",
        "_Composer._problems",
        "_FolderFinder._folders",
        "_Lifespan.state",
    },
    "what an endpoint says when it refuses a handshake": {"Opening._body"},
    "the test kit's": {
        "FakeClock._listeners",
        "HubClient._frames",
        "HubClient._pushes",
        "HubClient._replies",
    },
    "metrics and limits, as many as there are": {
        "HotHistogram._counts_since",
        "Meters._quiet_until",
        "Meters._untold",
        "Refusals._told",
        "_Sum._values",
        "_Sums._sums",
    },
    "parts that grow by themselves, listed where they do": {
        "Amends._store",
        "Attendance._wheel",
        "Grace._wheel",
        "QueueBudget._wheel",
        "Comparison._wheel",
        "HeldFlow._deadlines",
        "HubHttpProtocol._body_deadlines",
        "HubHttpProtocol._deadlines",
        "_Told._notices",
    },
}
"""What grows and is no queue: nothing waits there to be taken, it is what there is."""

BOUNDS: Final = {
    "hub.sender:MAX_UNDER_WAY": "50,000 and 64 MiB",
    "hub.sender:MAX_UNDER_WAY_BYTES": "50,000 and 64 MiB",
    "hub.sender:MAX_COUNT": "10,000 and 16 MiB",
    "hub.sender:MAX_BYTES": "10,000 and 16 MiB",
    "hub.recovery:MAX_RECORDED": "10,000 and 16 MiB",
    "hub.recovery:MAX_RECORDED_BYTES": "10,000 and 16 MiB",
    "hub.broker.inbox:MAX_COUNT": "100,000 and 64 MiB",
    "hub.broker.inbox:MAX_BYTES": "100,000 and 64 MiB",
    "hub.broker.memory:MAX_RESULTS": "100,000 results",
    "hub.broker.nats.upkeep:MAX_PURGES": "1,000 and 100,000 topics",
    "hub.broker.nats.upkeep:MAX_TOPICS": "1,000 and 100,000 topics",
    "hub.cluster:MAX_ASKED": "10,000; 2 s",
    "hub.cluster:MAX_AT_WORK": "10,000",
    "hub.congestion:MAX_WAITING": "256 and 256 KiB",
    "hub.congestion:MAX_WAITING_BYTES": "256 and 256 KiB",
    "hub.gathering:MAX_WAITING": "200,000 and 64 MiB",
    "hub.gathering:MAX_WAITING_BYTES": "200,000 and 64 MiB",
    "hub.grace:MAX_HELD": "50,000",
    "hub.live:MAX_WAITING_BYTES": "1 MiB for each topic, 32 MiB for the node",
    "hub.live:MAX_WAITING_BYTES_ON_NODE": "1 MiB for each topic, 32 MiB for the node",
    "hub.presence.amends:MAX_OWED": "200,000",
    "hub.session.base:BACKLOG_PAUSE": "64 frames",
    "hub.webhooks.endpoint:MAX_WAITING": "1,000 for each URL, beside",
    "hub.webhooks.notices:MAX_NOTICES": "1,000 for each URL",
    "hub.egress.resolver:MAX_LOOKUPS": "3 at a time",
    "hub.services:MAX_FETCHES": "64 at a time",
    "hub.transports.strict_requests:HEADER_BYTES": "64 KiB, 10 s",
}
"""Constants by module, and how the page tells them."""
_UNITS: Final = {"KiB": 1024, "MiB": 1024 * 1024}


def growing() -> Iterator[tuple[str, str]]:
    """Attributes of classes to which something is added after they were made: module and Class.attribute."""
    for path in sorted((ROOT / "hub").rglob("*.py")):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                for attribute in sorted(set(_of_class(node))):
                    yield module, f"{node.name}.{attribute}"


def _of_class(node: ast.ClassDef) -> Iterator[str]:
    for function in ast.walk(node):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef) and function.name != "__init__":
            for inner in ast.walk(function):
                attribute = _grown(inner)
                if attribute is not None:
                    yield attribute


def _grown(node: ast.AST) -> str | None:
    """The attribute of `self` to which an expression adds."""
    target: ast.AST
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in GROWING:
        target = node.func.value
        if isinstance(target, ast.Call) and isinstance(target.func, ast.Attribute):
            target = target.func.value
        while isinstance(target, ast.Subscript):
            target = target.value
    elif isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store):
        target = node.value
    else:
        return None
    if isinstance(target, ast.Attribute) and isinstance(target.value, ast.Name) and target.value.id == "self":
        return target.attr
    return None


def on_the_page() -> set[str]:
    return set(re.findall(r"`(?:[\w.]+:)?(_?[A-Z]\w*\.\w+)`", PAGE.read_text()))


def test_every_place_where_something_can_wait_is_on_the_page() -> None:
    found = {name for _, name in growing()}
    assert len(found) > 80, "the search itself is broken"
    registers = set().union(*REGISTERS.values())
    missing = sorted(found - on_the_page() - registers)
    assert not missing, "say in docs/reference/queues.md what bounds these, or that they are no queues"
    assert not sorted(registers - found), "these are gone: take them out of REGISTERS"


@pytest.mark.parametrize(("constant", "told"), BOUNDS.items())
def test_the_page_tells_the_bounds_that_are_in_force(constant: str, told: str) -> None:
    module, _, name = constant.partition(":")
    value = getattr(importlib.import_module(module), name)
    amounts = [
        int(number.replace(",", "")) * _UNITS.get(unit, 1)
        for number, unit in re.findall(r"(\d[\d,]*)(?: (KiB|MiB))?", told)
    ]
    assert value in amounts
    assert told in PAGE.read_text()


def waiting() -> dict[str, int]:
    """How much waits in every queue of this process, by place: a walk over all objects that are alive."""
    registers = set().union(*REGISTERS.values())
    places: dict[str, set[str]] = {}
    for module, name in growing():
        if name not in registers and not module.startswith("hub.testing"):
            owner, _, attribute = name.partition(".")
            places.setdefault(f"{module}.{owner}", set()).add(attribute)
    found: dict[str, int] = {}
    for each in gc.get_objects():
        kind = type(each)
        for attribute in places.get(f"{kind.__module__}.{kind.__qualname__}", ()):
            held = getattr(each, attribute, None)
            if isinstance(held, Sized):
                place = f"{kind.__qualname__}.{attribute}"
                found[place] = found.get(place, 0) + len(held)
    return found


@pytest.mark.timeout(90)
async def test_a_flood_against_a_silent_broker_stays_within_bounds_and_leaves_nothing(
    redis_server: RedisServer,
) -> None:
    anyone = {"subscribe": "anyone", "publish": "anyone"}
    topics = {
        "kept:{x}": {"allow": anyone, "history": {"size": 10}, "presence": True, "max_bytes": "1MiB"},
        "patient:{x}": {"allow": anyone, "history": {"size": 10}, "publish_wait": "5s", "max_bytes": "1MiB"},
    }
    async with InProcessHub({"broker": {"url": redis_server.url}, "topics": topics}) as hub:
        while not hub.hub.bridge.ready:
            await asyncio.sleep(0.05)
        router, sender = hub.hub.router, hub.hub.router.sender
        client = await hub.connect("ann")
        await client.subscribe("kept:1")
        raw = b'"' + b"x" * 40_000 + b'"'
        count = 2 * MAX_UNDER_WAY_BYTES // len(raw)
        redis_server.freeze()
        try:
            flood = [
                asyncio.create_task(router.publish(f"{kind}:{number % 7}", raw))
                for number in range(count)
                for kind in ("kept", "patient")
            ]
            await asyncio.sleep(1)
            assert 0 < sender.under_way_bytes <= MAX_UNDER_WAY_BYTES
            assert sum(task.done() for task in flood) > count // 2, "what finds no room is refused at once"
            peak = waiting()
            assert peak["Lane._waiting"] > 100, "the walk does not see what waits"
            assert max(peak.values()) <= 2 * count, peak
        finally:
            redis_server.thaw()
        outcomes = await asyncio.gather(*flood, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes if isinstance(outcome, BaseException)} <= {BrokerError}
        del flood, outcomes
        await client.close()
        async with asyncio.timeout(20):
            while any(rest := {place: size for place, size in waiting().items() if size > 50}):
                await asyncio.sleep(0.2)
        assert not rest
        assert (sender.under_way, sender.count) == (0, 0)
