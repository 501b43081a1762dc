"""One run in which clients come and go while nodes die and stand still, and what the nodes say of it in the end."""

from __future__ import annotations

import asyncio
import os
import random
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack
from typing import Any, Final

from hub.attendance import SETTLE_SECONDS
from hub.auth.tokens import sign
from hub.presence.base import LEASE_SECONDS
from tests.chaos.judge import Verdict
from tests.chaos.presence.history import Attendance, Count, Outage, save
from tests.chaos.presence.judge import judge_presence
from tests.chaos.presence.visitor import Client, Visitor, watch
from tests.chaos.run import FOLDER, Load
from tests.chaos.site import SECRET, HubProcess, Site

NAME: Final = "presence"
TOPICS: Final = 3
WATCHERS: Final = 2
USERS: Final = 7
GRACE_SECONDS: Final = LEASE_SECONDS + 2
"""By when, after the last fault, the nodes must know who is there."""
LATE_SECONDS: Final = 1.5
"""How long what is told once too often may take to come."""


class Crowd:
    """The clients of one run. Watchers are on the last of the nodes, to which nothing happens."""

    def __init__(self, nodes: Sequence[HubProcess], rng: random.Random) -> None:
        self.nodes = nodes
        self.rng = rng
        self.topics = [f"people:{secrets.token_hex(6)}" for _ in range(TOPICS)]
        self.visitors: list[Visitor] = []
        self.watchers: dict[str, Client] = {}
        self.outages: list[Outage] = []
        self.quiet = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def enter(self, visitors: int) -> None:
        """Lets watchers in, then all others begin to come and go; some stay, two on each node."""
        urls = [node.direct_socket_url for node in self.nodes]
        for number in range(WATCHERS):
            name = f"watcher {number}"
            client, task = await watch(
                urls[-1], len(urls) - 1, self.topics, _token(name), name, time.monotonic
            )
            self.watchers[name] = client
            self._tasks.append(task)
        for number in range(visitors + 2 * len(urls)):
            user = f"user {number % USERS}"
            self.visitors.append(
                Visitor(
                    urls,
                    self.topics,
                    user,
                    _token(user),
                    random.Random(self.rng.random()),
                    time.monotonic,
                    patient=number >= visitors,
                )
            )
            self._tasks.append(asyncio.create_task(self.visitors[-1].run(self.quiet)))

    async def leave(self) -> None:
        """Ends all clients. Raises what ended a watcher before."""
        for task in self._tasks:
            task.cancel()
        for result in await asyncio.gather(*self._tasks, return_exceptions=True):
            if isinstance(result, Exception):
                raise result

    def seen(self, attendance: Attendance) -> None:
        """Writes down what clients know so far."""
        attendance.stays = [stay for visitor in self.visitors for stay in visitor.stays]
        attendance.watchers = [stay for client in self.watchers.values() for stay in client.stays]
        attendance.told = {name: client.told for name, client in self.watchers.items()}
        attendance.outages = self.outages


Act = Callable[[Crowd, float], Awaitable[None]]


async def kill_one_and_freeze_another(crowd: Crowd, seconds: float) -> None:
    """One node stands still for half as long again as `seconds`, and meanwhile another is killed and started again."""
    killed, frozen = crowd.rng.sample(range(len(crowd.nodes) - 1), 2)
    began = time.monotonic()
    crowd.nodes[frozen].freeze()
    await asyncio.sleep(crowd.rng.uniform(0, 0.5))
    crowd.nodes[killed].kill()
    crowd.outages.append(Outage(killed, "killed", time.monotonic(), time.monotonic()))
    await asyncio.sleep(seconds / 3)
    await asyncio.to_thread(crowd.nodes[killed].start)
    crowd.outages[-1].ended = time.monotonic()
    await asyncio.sleep(began + 1.5 * seconds - time.monotonic())
    crowd.nodes[frozen].thaw()
    crowd.outages.append(Outage(frozen, "frozen", began, time.monotonic()))
    await asyncio.sleep(1)


async def attend(site: Site, seed: int, load: Load, act: Act = kill_one_and_freeze_another) -> Attendance:
    """Carries a run out and returns what was seen. Raises RuntimeError when the site does not come back."""
    attendance = Attendance(site.broker, seed)
    with ExitStack() as stack:
        nodes = list(site.nodes)
        if site.server is not None:
            nodes.append(await asyncio.to_thread(stack.enter_context, site.another("three")))
            await site.heal()
            await _wake(nodes)
        crowd = Crowd(nodes, random.Random(seed))
        try:
            await crowd.enter(3 * load.subscribers)
            await asyncio.sleep(1.5)
            await act(crowd, load.seconds)
            await site.heal()
            crowd.quiet.set()
            await _settle(crowd, attendance, load)
        finally:
            await crowd.leave()
    attendance.faults = [f"{each.began:.3f} to {each.ended:.3f}: {each}" for each in crowd.outages]
    return attendance


async def _wake(nodes: Sequence[HubProcess]) -> None:
    """A node that found its broker again, in an earlier run, gathers the next joins for a while."""
    for number, node in enumerate(nodes):
        topic = f"people:{secrets.token_hex(6)}"
        _, task = await watch(
            node.direct_socket_url, number, [topic], _token("first"), "first", time.monotonic
        )
        task.cancel()
        await asyncio.wait([task])
    await asyncio.sleep(SETTLE_SECONDS + 0.5)


async def _settle(crowd: Crowd, attendance: Attendance, load: Load) -> None:
    """Asks all nodes who is there until they are right or their time is over; then a word too many has time to come."""
    deadline = time.monotonic() + GRACE_SECONDS
    while True:
        attendance.counts = await asyncio.to_thread(_counts, crowd)
        crowd.seen(attendance)
        if time.monotonic() > deadline or judge_presence(attendance).honest:
            break
        await asyncio.sleep(0.2)
    await asyncio.sleep(min(load.seconds, LATE_SECONDS))
    attendance.counts = await asyncio.to_thread(_counts, crowd)
    crowd.seen(attendance)


def _counts(crowd: Crowd) -> list[Count]:
    return [_count(number, node, topic) for number, node in enumerate(crowd.nodes) for topic in crowd.topics]


def _count(number: int, node: HubProcess, topic: str) -> Count:
    clients: dict[str, Any] = node.ask("presence", channel=topic)["presence"]
    stats = node.ask("presence_stats", channel=topic)
    return Count(number, topic, list(clients), stats.get("num_clients", 0), stats.get("num_users", 0))


def judged_presence(attendance: Attendance) -> Verdict:
    """The judge's verdict; a run in which too little happened is none."""
    verdict = judge_presence(attendance)
    if verdict.acked < 10 or verdict.received < 10:
        verdict.note(f"too little happened to say anything: {verdict.acked} stays")
    if not verdict.honest or os.environ.get("HUB_CHAOS_KEEP"):
        save(attendance, FOLDER / f"{NAME}-{attendance.broker}-{attendance.seed}.json")
    return verdict


def _token(user: str) -> str:
    return sign({"sub": user, "exp": int(time.time()) + 3600}, SECRET)
