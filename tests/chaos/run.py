"""One run: subscribers and publishers at work, faults in between, then quiet, then the hub's word for its place."""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.chaos.brokers import REPLICATED
from tests.chaos.history import History, save
from tests.chaos.judge import Verdict, check_whole, judge
from tests.chaos.publisher import Publisher
from tests.chaos.scenarios import Scenario, Stage, may_tell
from tests.chaos.site import API_KEY, Site
from tests.chaos.subscriber import Subscriber

SETTLE_SECONDS: Final = 15.0
"""How long subscribers may take, after the last fault, to reach the place where the hub stands."""
HEAVY_BYTES: Final = 60_000
HEAVY_SUBSCRIBERS: Final = 5
FOLDER: Final = Path(os.environ.get("HUB_CHAOS_FOLDER", ".tools/chaos"))
"""Where histories of failed runs are kept."""


@dataclass(frozen=True, slots=True)
class Load:
    """How much goes on in a run. `seconds` is for faults that last or are spread over time."""

    seconds: float = 3.0
    subscribers: int = 10
    publishers: int = 4
    pause: float = 0.02


async def run(scenario: Scenario, site: Site, seed: int, load: Load) -> History:
    """Carries a scenario out and returns what was seen. Raises RuntimeError when the site does not come back."""
    rng = random.Random(seed)
    topic = f"{scenario.topic}:{secrets.token_hex(6)}"  # of its own, also where a seed is used again
    history = History(scenario.name, site.broker, seed)
    count = min(load.subscribers, HEAVY_SUBSCRIBERS) if scenario.heavy else load.subscribers
    subscribers = [_subscriber(site, topic, rng, slow=scenario.heavy) for _ in range(count)]
    publishers = _publishers(site, topic, rng, load, heavy=scenario.heavy)
    quiet = asyncio.Event()
    listening = [asyncio.create_task(subscriber.run()) for subscriber in subscribers]
    stage = Stage(site, topic, subscribers, publishers, rng, load.seconds)
    try:
        await _until(lambda: all(each.subscriptions for each in subscribers), SETTLE_SECONDS)
        publishing = [asyncio.create_task(each.run(load.pause, quiet)) for each in publishers]
        try:
            await asyncio.sleep(0.3)
            await scenario.act(stage)
        finally:
            await site.heal()
            await asyncio.sleep(0.3)
            quiet.set()
            await asyncio.gather(*publishing)
        await _settle(history, site, topic, subscribers)
    finally:
        for task in listening:
            task.cancel()
        await asyncio.gather(*listening, return_exceptions=True)
    for task in listening:
        if not task.cancelled() and (error := task.exception()) is not None:
            raise error
    history.sent = [sent for publisher in publishers for sent in publisher.sent]
    history.logs = {f"subscriber {number}": each.log for number, each in enumerate(subscribers)}
    history.faults = stage.faults
    return history


def _subscriber(site: Site, topic: str, rng: random.Random, *, slow: bool) -> Subscriber:
    # What a slow reader does not read must wait at the hub, not in a proxy.
    urls = [node.direct_socket_url if slow else node.socket_url for node in site.nodes]
    return Subscriber(urls, topic, random.Random(rng.random()), time.monotonic, slow=slow)


def _publishers(site: Site, topic: str, rng: random.Random, load: Load, *, heavy: bool) -> list[Publisher]:
    numbers = itertools.count(1)
    return [
        Publisher(
            f"publisher {number}",
            [node.url for node in site.nodes],
            topic,
            API_KEY,
            numbers,
            random.Random(rng.random()),
            time.monotonic,
            padding=HEAVY_BYTES if heavy else 0,
        )
        for number in range(load.publishers)
    ]


async def _settle(history: History, site: Site, topic: str, subscribers: list[Subscriber]) -> None:
    """Asks the hub where it stands, and gives the subscribers time to get there; no further publication helps them."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while True:
        told: dict[str, Any] = await asyncio.to_thread(site.nodes[0].history, topic)
        history.top = told["epoch"], told.get("offset", 0)
        if all(each.place == history.top for each in subscribers) or time.monotonic() > deadline:
            break
        await asyncio.sleep(0.1)
    history.kept = [(publication["offset"], publication["data"]["n"]) for publication in told["publications"]]


async def _until(condition: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError("the subscribers did not get their first subscription in time")
        await asyncio.sleep(0.02)


def judged(scenario: Scenario, history: History) -> Verdict:
    """The judge's verdict, with what else must hold: the faults took place, and nobody was told without need."""
    verdict = judge(history)
    if verdict.acked < 10 or verdict.received < 10:
        verdict.note(f"too little happened to say anything: {verdict.acked} acknowledged")
    if scenario.proof and not any(_shows(log, scenario.proof) for log in history.logs.values()):
        verdict.note(f"the fault left no trace: nobody saw a {' or '.join(scenario.proof)}")
    if scenario.polite and any(_shows(log, "disconnect 1006") for log in history.logs.values()):
        verdict.note("a connection ended without a word")
    tells = may_tell(scenario, history.broker)
    if tells == "never" and verdict.tellings:
        verdict.note(
            f"subscribers were told {verdict.tellings} times that they missed what history still held"
        )
    if tells == "must" and not verdict.tellings:
        verdict.note("nobody was told, although something must have been missed")
    if scenario.whole and history.broker not in REPLICATED:
        check_whole(history, verdict)
    if not verdict.honest or os.environ.get("HUB_CHAOS_KEEP"):
        save(history, FOLDER / f"{scenario.name.replace(' ', '-')}-{history.broker}-{history.seed}.json")
    return verdict


def _shows(log: list[Any], proof: str | tuple[str, ...]) -> bool:
    return any(getattr(event, "why", "").startswith(proof) for event in log)
