"""Work that runs once per cluster, on two nodes of their own processes that Redis links."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest
from websockets.asyncio.client import connect

from hub.leases.base import TERM_SECONDS
from tests.services.hub import CONFIG, HubProcess
from tests.services.redis import RedisServer

pytestmark = pytest.mark.timeout(120)

MANIFEST = """
name: digest
api: 1
schedule:
  send: {every: 0.3s, run: "handlers:send", once: true}
  watched: {every: 0.3s, run: "handlers:watched", once: true, topic: "open:news"}
handlers: {start: "handlers:start", stop: "handlers:stop"}
"""
HANDLERS = """
import asyncio
import json
import os
import time

from hub.plugin import LeaseLost

tasks = []


def note(what, began):
    with open("journal", "a") as journal:
        journal.write(json.dumps([what, os.getpid(), began, time.time()]) + "\\n")


async def work(what):
    began = time.time()
    note(what + " begins", began)
    await asyncio.sleep(0.1)
    note(what, began)


async def send(ctx):
    await work("send")


async def watched(ctx):
    await work("watched")


async def follow(ctx):
    while True:
        try:
            async with ctx.lease("feed") as lease:
                while lease.held:
                    await work(f"feed {lease.number}")
        except LeaseLost:
            note("lost", time.time())


async def start(ctx):
    tasks.append(asyncio.create_task(follow(ctx)))


async def stop(ctx):
    tasks.pop().cancel()
"""


@dataclass(frozen=True)
class Work:
    """What a process did, from and till when."""

    what: str
    process: int
    began: float
    ended: float


class Site:
    """Two nodes, and the journal that their handlers write."""

    def __init__(self, folder: Path, broker: str) -> None:
        self._journal = folder / "journal"
        self._journal.touch()
        plugin = folder / "digest"
        plugin.mkdir()
        (plugin / "plugin.yaml").write_text(MANIFEST)
        (plugin / "handlers.py").write_text(HANDLERS)
        more = f'broker: {{url: "{broker}"}}\nplugins: {{digest: {{use: ./digest}}}}\n'
        (folder / "hub.yaml").write_text(CONFIG + more)
        self.nodes = [HubProcess("serve", cwd=folder) for _ in range(2)]
        self.urls = [node.url() for node in self.nodes]

    def did(self, what: str, since: float = 0.0) -> list[Work]:
        """What was done, in the order in which it ended."""
        lines = self._journal.read_text().splitlines()
        found = [Work(*json.loads(line)) for line in lines if line.endswith("]")]
        return [each for each in found if each.what.startswith(what) and each.began >= since]

    def done(self, what: str) -> list[Work]:
        """What was done to its end."""
        return [each for each in self.did(what) if "begins" not in each.what]

    def until_done(self, what: str, within: float, *, since: float, by: int | None = None) -> Work:
        """Waits until something was done that began after a moment, by one process if it is given."""
        deadline = time.monotonic() + within
        while time.monotonic() < deadline:
            for each in self.did(what, since):
                if by in (None, each.process):
                    return each
            time.sleep(0.02)
        raise AssertionError(f"nobody did {what} within {within} s: {[node.said for node in self.nodes]}")

    def workers(self, what: str, since: float) -> set[int]:
        return {each.process for each in self.did(what, since)}

    def other(self, process: int) -> HubProcess:
        (found,) = [node for node in self.nodes if node.process.pid != process]
        return found


@pytest.fixture
def site(tmp_path: Path, redis_server: RedisServer) -> Iterator[Site]:
    found = Site(tmp_path, redis_server.url)
    with found.nodes[0], found.nodes[1]:
        yield found


def assert_never_at_once(done: list[Work]) -> None:
    for earlier, later in pairwise(done):
        assert later.began >= earlier.ended or later.process == earlier.process, (earlier, later)


def test_work_goes_on_on_the_other_node_when_its_holder_is_killed(site: Site) -> None:
    first = {what: site.until_done(what, TERM_SECONDS + 4, since=0) for what in ("send", "feed")}
    time.sleep(2)
    for what, work in first.items():
        assert site.workers(what, 0) == {work.process}
    holder = first["send"].process
    os.kill(holder, signal.SIGKILL)
    killed = time.time()
    heir = site.other(holder).process.pid
    for what in first:
        site.until_done(what, killed + TERM_SECONDS + 2 - time.time(), since=killed, by=heir)
    time.sleep(1)
    for what in first:
        assert site.workers(what, killed) == {heir}
        assert_never_at_once(site.done(what))
    numbers = [int(each.what.split()[1]) for each in site.done("feed")]
    assert numbers == sorted(numbers)


def test_node_that_stops_hands_its_work_over_at_once(site: Site) -> None:
    first = site.until_done("send", TERM_SECONDS + 4, since=0)
    holder, heir = site.other(site.other(first.process).process.pid), site.other(first.process)
    stopped = time.time()
    holder.process.send_signal(signal.SIGTERM)
    work = site.until_done("send", 5, since=stopped, by=heir.process.pid)
    assert work.began - stopped < 3
    assert holder.wait() == 0
    assert_never_at_once(site.done("send"))


def test_paused_holder_does_nothing_more_once_it_goes_on(site: Site) -> None:
    first = site.until_done("send", TERM_SECONDS + 4, since=0)
    holder, heir = first.process, site.other(first.process).process.pid
    os.kill(holder, signal.SIGSTOP)
    paused = time.time()
    try:
        site.until_done("send", TERM_SECONDS + 2, since=paused, by=heir)
        time.sleep(1)
    finally:
        os.kill(holder, signal.SIGCONT)
    time.sleep(2)
    assert site.workers("send", paused + 0.05) == {heir}
    assert not [each for each in site.did("send") if each.process == holder and each.ended > paused + 1]


async def test_work_for_a_topic_follows_its_subscribers(site: Site) -> None:
    await asyncio.to_thread(site.until_done, "send", TERM_SECONDS + 4, since=0)
    assert site.did("watched") == []
    processes = [node.process.pid for node in site.nodes]
    for number in (0, 1, 0):
        began = time.time()
        async with connect(f"{site.urls[number].replace('http', 'ws', 1)}/ws/open:news", proxy=None):
            await asyncio.to_thread(site.until_done, "watched", 5, since=began, by=processes[number])
            assert site.workers("watched", began) == {processes[number]}
        await asyncio.sleep(1.5)
        quiet = time.time()
        await asyncio.sleep(0.7)
        assert site.did("watched", quiet) == []


def test_work_stops_while_redis_is_away_and_goes_on_when_it_is_back(
    site: Site, redis_server: RedisServer
) -> None:
    site.until_done("send", TERM_SECONDS + 4, since=0)
    redis_server.freeze()
    frozen = time.time()
    try:
        time.sleep(TERM_SECONDS + 0.5)
        asked = time.time()
        time.sleep(1.5)
        assert site.did("send", asked) == []
    finally:
        redis_server.thaw()
    assert any(each.began > frozen + 1 for each in site.did("send")), "a short silence ends nothing"
    site.until_done("send", 2 * TERM_SECONDS, since=time.time())
    assert_never_at_once(site.done("send"))
