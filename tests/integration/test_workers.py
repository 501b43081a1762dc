"""`hub serve` with several workers: seen from outside it is one hub, whoever answers and whatever befalls one."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.services.hub import API_KEY, HubProcess, run_hub
from tests.services.redis import RedisServer

pytestmark = pytest.mark.timeout(120)

CONFIG = f"""
version: 1
server: {{port: 0, workers: 2, drain: 1s, internal: {{port: 0}}}}
broker: {{url: "%s"}}
auth:
  anonymous: true
  api_keys: {{tests: {{key: "{API_KEY}"}}}}
limits: {{commands: null, publishes_per_user: null, publishes_per_topic: null, api_requests: null}}
topics:
  "open:{{name}}": {{allow: {{subscribe: anyone, publish: anyone}}, history: {{size: 10000, ttl: 1h}}}}
"""


class Site:
    """A hub with workers, as its operator sees it. Each request is a connection of its own, to any worker."""

    def __init__(self, hub: HubProcess) -> None:
        self.hub = hub
        self.url = hub.url()
        self.internal = hub.wait_until_said(r"internal (http://127\.0\.0\.1:\d+)").group(1)

    def workers(self) -> list[psutil.Process]:
        return psutil.Process(self.hub.process.pid).children()

    def metrics(self) -> dict[str, float]:
        """All samples of one scrape, by name and labels."""
        answer = httpx2.get(f"{self.internal}/metrics", trust_env=False, timeout=10)
        assert answer.status_code == 200, answer.text
        return {
            each.name + "".join(f" {key}={value}" for key, value in sorted(each.labels.items())): each.value
            for family in text_string_to_metric_families(answer.text)
            for each in family.samples
        }

    def api(self, method: str, **body: object) -> dict[str, Any]:
        answer = httpx2.post(
            f"{self.internal}/api/{method}",
            json=body,
            headers={"X-API-Key": API_KEY},
            trust_env=False,
            timeout=10,
        )
        result: dict[str, Any] = answer.json()["result"]
        return result

    def nodes(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.api("info")["nodes"]
        return found

    def ready(self) -> tuple[int, dict[str, str]]:
        answer = httpx2.get(f"{self.internal}/health/ready", trust_env=False, timeout=10)
        return answer.status_code, answer.json()["checks"]

    def until(self, what: str, condition: object, within: float = 20) -> None:
        assert callable(condition)
        deadline = time.monotonic() + within
        while not condition():
            assert time.monotonic() < deadline, (
                f"not within {within} s: {what}; the hub said:\n{self.hub.said}"
            )
            time.sleep(0.05)

    def worker_of(self, process: psutil.Process) -> set[int]:
        """The local ports of the connections that a worker holds."""
        port = int(self.url.rsplit(":", 1)[1])
        return {
            each.raddr.port
            for each in process.net_connections("tcp")
            if each.status == psutil.CONN_ESTABLISHED and each.laddr.port == port
        }


@contextmanager
def served(folder: Path, broker: str) -> Iterator[Site]:
    (folder / "hub.yaml").write_text(CONFIG % broker)
    with HubProcess("serve", cwd=folder) as hub:
        site = Site(hub)
        site.until("every worker knows the other", lambda: len(site.nodes()) == 2)
        yield site
        assert "Traceback" not in hub.said, hub.said


@pytest.fixture
def site(tmp_path: Path, redis_server: RedisServer) -> Iterator[Site]:
    with served(tmp_path, redis_server.url) as found:
        yield found


class Listener:
    """A client of the plain socket that keeps what it gets."""

    def __init__(self, ws: ClientConnection) -> None:
        self.ws = ws
        self.port = ws.local_address[1]
        self.got: list[Any] = []
        self.reading = asyncio.ensure_future(self._read())

    async def _read(self) -> None:
        try:
            async for text in self.ws:
                self.got.append(json.loads(text))
        except ConnectionClosed:
            pass


@asynccontextmanager
async def listeners(site: Site, number: int, topic: str = "open:a") -> AsyncIterator[list[Listener]]:
    """So many subscribers; which worker each is on is the system's choice."""
    address = f"{site.url.replace('http', 'ws', 1)}/ws/{topic}"
    async with AsyncExitStack() as stack:
        found = [
            Listener(await stack.enter_async_context(connect(address, proxy=None, ping_interval=None)))
            for _ in range(number)
        ]
        yield found


async def publish(client: httpx2.AsyncClient, url: str, number: int) -> httpx2.Response:
    """As a careful backend does: once more, with the same key, when the worker died with the request in its hands."""
    key = {"Idempotency-Key": str(number)}
    try:
        return await client.post(url, json=number, headers=key)
    except httpx2.TransportError:
        return await client.post(url, json=number, headers=key)


async def deliver(site: Site, found: list[Listener], payloads: range, topic: str = "open:a") -> None:
    """Publishes, each over a connection of its own, and waits until every listener has everything, in order."""
    async with httpx2.AsyncClient(trust_env=False, headers={"Connection": "close"}) as client:
        for number in payloads:
            answer = await publish(client, f"{site.url}/api/topics/{topic}", number)
            assert answer.status_code == 200, answer.text
    async with asyncio.timeout(15):
        while any(listener.got[-1:] != [payloads[-1]] for listener in found):
            await asyncio.sleep(0.02)
    for listener in found:
        assert listener.got[-len(payloads) :] == list(payloads)


@pytest.mark.parametrize("broker", ["redis_url", "postgres_url", "nats_url"])
async def test_one_hub_delivers_counts_and_describes_itself(
    broker: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    with served(tmp_path, request.getfixturevalue(broker)) as site:
        async with listeners(site, 20) as found:
            await deliver(site, found, range(10))
            scraped = [await asyncio.to_thread(site.metrics) for _ in range(6)]
            nodes = await asyncio.to_thread(site.nodes)
            topics = await asyncio.to_thread(site.api, "channels")
        for each in scraped:
            assert each["hub_workers"] == 2
            assert each["hub_workers_unreachable"] == 0
            assert each["hub_connections transport=plain"] == 20
            assert each["hub_connects_total transport=plain"] == 20
            assert each["hub_subscriptions"] == 20
            assert each["hub_publications_total"] == 10
            assert each["hub_publish_duration_seconds_count"] == 10
            assert each["hub_deliveries_total"] == 200
            assert each["hub_broker_up worker=0"] == each["hub_broker_up worker=1"] == 1
            assert each["hub_topics worker=0"] <= 1 >= each["hub_topics worker=1"]
        assert len({node["uid"] for node in nodes}) == len({node["name"] for node in nodes}) == 2
        assert sum(node["num_clients"] for node in nodes) == sum(node["num_subs"] for node in nodes) == 20
        assert topics == {"channels": {"open:a": {"num_clients": 20}}}


async def test_connections_spread_over_the_workers(site: Site) -> None:
    async with listeners(site, 200):
        shares = [node["num_clients"] for node in await asyncio.to_thread(site.nodes)]
    assert sum(shares) == 200
    assert min(shares) > 20, shares


async def test_a_killed_worker_takes_its_own_clients_only_and_is_replaced(site: Site) -> None:
    victim, other = await asyncio.to_thread(site.workers)
    async with listeners(site, 40) as found:
        await deliver(site, found, range(50))
        doomed = site.worker_of(victim)
        kept = [each for each in found if each.port not in doomed]
        assert 0 < len(kept) < 40
        before = await asyncio.to_thread(site.metrics)
        lost: list[int] = []
        load = asyncio.create_task(deliver(site, kept, range(50, 350)))
        await asyncio.sleep(0.2)
        os.kill(victim.pid, signal.SIGKILL)
        while not load.done():  # no total falls, whoever is asked
            try:
                now = await asyncio.to_thread(site.metrics)
            except httpx2.TransportError:  # it was the victim who was asked, and it can only be one time
                assert victim.pid not in lost
                lost.append(victim.pid)
                continue
            for name, value in before.items():
                if "_total" in name or "_bucket" in name or "_count" in name:
                    assert now[name] >= value, name
            before = now
        await load
        assert all(each.ws.state == 1 for each in kept)
        await asyncio.gather(*(each.reading for each in found if each.port in doomed))
        await asyncio.to_thread(
            site.until, "a new worker is known", lambda: len(site.nodes()) == len(site.workers()) == 2
        )
        after = await asyncio.to_thread(site.metrics)
        assert after["hub_workers"] == 2
        assert after["hub_worker_restarts_total"] == 1
        assert after["hub_connections transport=plain"] == len(kept)
        assert after["hub_connects_total transport=plain"] == 40
        nodes = await asyncio.to_thread(site.nodes)
        assert sum(node["num_clients"] for node in nodes) == len(kept)
        assert other.is_running()
        assert (await asyncio.to_thread(site.ready))[0] == 200
        async with listeners(site, 20) as more:
            await deliver(site, [*kept, *more], range(350, 360))


async def test_a_worker_that_is_asked_to_stop_says_what_it_has_counted(site: Site) -> None:
    leaving, other = await asyncio.to_thread(site.workers)
    async with listeners(site, 40) as found:
        staying = [each for each in found if each.port in site.worker_of(other)]
        for number in range(1, 4):
            await deliver(site, found, range(10 * number, 10 * number + 10))
        leaving.terminate()
        await asyncio.gather(*(each.reading for each in found if each not in staying))
        site.hub.wait_until_said(f"worker {leaving.pid} ended with 0; another starts")
        now = await asyncio.to_thread(site.metrics)
        assert now["hub_deliveries_total"] == 1200
        assert now["hub_publications_total"] == 30
        assert now["hub_connections transport=plain"] == len(staying)
        await deliver(site, staying, range(40, 50))


async def test_a_worker_that_hangs_is_told_and_does_not_hold_up_the_others(site: Site) -> None:
    frozen, _ = await asyncio.to_thread(site.workers)
    async with listeners(site, 40) as found:
        await deliver(site, found, range(5))
        site.metrics()
        frozen.suspend()
        try:
            first = site.metrics()
            assert first["hub_workers_unreachable"] == 1
            assert first["hub_workers"] == 2
            assert first["hub_connections transport=plain"] == 40
            assert first["hub_deliveries_total"] == 200
            began = time.monotonic()
            assert site.metrics()["hub_workers_unreachable"] == 1
            assert site.ready()[0] == 200
            assert time.monotonic() - began < 0.9
        finally:
            frozen.resume()
        site.until("it answers again", lambda: site.metrics()["hub_workers_unreachable"] == 0)
        assert site.metrics()["hub_deliveries_total"] == 200


async def test_ready_means_all_workers_that_answer(site: Site, redis_server: RedisServer) -> None:
    status, checks = site.ready()
    assert (status, checks) == (
        200,
        {"broker": "ok", "database": "ok", "accepting": "ok", "workers": "ok"},
    )
    redis_server.kill()
    site.until("nobody is ready", lambda: site.ready()[0] == 503)
    for _ in range(10):
        status, checks = site.ready()
        assert status == 503
        assert checks["workers"] == "failed"
    redis_server.restart()
    site.until("all are ready", lambda: site.ready()[0] == 200)


async def test_a_stop_sends_the_clients_of_all_away_and_loses_nothing_that_was_counted(site: Site) -> None:
    async with listeners(site, 40) as found:
        await deliver(site, found, range(5))
        site.hub.process.terminate()
        await asyncio.gather(*(each.reading for each in found))
        assert {each.ws.close_code for each in found} == {3001}
    assert site.hub.wait() == 0


def test_a_taken_internal_port_is_told(tmp_path: Path, redis_server: RedisServer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        text = (CONFIG % redis_server.url).replace("internal: {port: 0}", f"internal: {{port: {port}}}")
        (tmp_path / "hub.yaml").write_text(text)
        done = run_hub("serve", cwd=tmp_path)
    assert done.returncode == 1
    assert f"port {port} is in use by pid {os.getpid()}" in done.stderr
    assert "server.internal.port" in done.stderr
    assert "E220" in done.stderr


def test_two_hubs_cannot_share_a_port(site: Site, tmp_path: Path) -> None:
    port = site.url.rsplit(":", 1)[1]
    done = run_hub("serve", "--port", port, cwd=tmp_path)
    assert done.returncode == 1
    assert f"port {port} is in use" in done.stderr
