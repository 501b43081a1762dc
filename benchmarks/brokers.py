"""Publish rate and latency of a broker, from one node to another through the bridge.

    python benchmarks/brokers.py URL [--count 10000]

URL is a broker's, of a server that serves nothing else meanwhile: nats://127.0.0.1:4222. The ack is the time that a
publish takes; delivery is from its beginning until the other node has it. Both nodes and the load share one process, so
the rates are those of a Python program, not of the server.
"""

from __future__ import annotations

import argparse
import asyncio
import secrets
import statistics
import time
from dataclasses import dataclass
from typing import Final

from hub.broker.base import Outgoing
from hub.broker.broadcast import Bridge
from hub.broker.factory import make_broker
from hub.model import HistoryOptions, Publication

KEPT: Final = HistoryOptions(size=1000, ttl=60)
PADDING: Final = b"x" * 200


@dataclass(frozen=True, slots=True)
class Load:
    """How many tasks publish on how many topics, what part of the count, and how."""

    name: str
    topics: int
    tasks: int
    share: float = 1.0
    history: HistoryOptions | None = KEPT
    keyed: bool = False


LOADS: Final = (
    Load("one after another", 1, 1, 0.2),
    Load("one topic, 200 tasks", 1, 200),
    Load("200 topics, 200 tasks", 200, 200),
    Load("keys, one after another", 1, 1, 0.05, keyed=True),
    Load("keys, 50 topics, 200 tasks", 50, 200, 0.4, keyed=True),
    Load("no history, 50 topics", 50, 200, history=None),
)


class Receiver:
    """Notes how long each publication was on its way."""

    def __init__(self) -> None:
        self.delays: list[float] = []
        self.gaps = 0

    def deliver(self, topic: str, publications: list[Publication]) -> None:
        """Takes publications, whose payload begins with the time of their sending."""
        now = time.perf_counter()
        self.delays += [now - float(publication.raw[:20]) for publication in publications]

    def gap(self, topic: str, reason: str) -> None:
        """Counts a gap."""
        self.gaps += 1


async def measure(url: str, load: Load, count: int) -> str:
    """Publishes, and returns a row of the table."""
    prefix = f"bench{secrets.token_hex(4)}"
    receiver, acks = Receiver(), []
    here, there = (
        Bridge(make_broker(url, prefix=prefix), each, node=name, linger=1)
        for name, each in (("here", Receiver()), ("there", receiver))
    )
    await here.start()
    await there.start()
    for number in range(load.topics):
        await there.subscribe(f"t{number}")
    numbers = iter(range(count))

    async def publish() -> None:
        for number in numbers:
            began = time.perf_counter()
            publication = Publication(f"t{number % load.topics}", b"%020.9f" % began + PADDING)
            key = str(number) if load.keyed else ""
            await here.publish(Outgoing(publication, load.history, idempotency_key=key))
            acks.append(time.perf_counter() - began)

    began = time.perf_counter()
    await asyncio.gather(*(publish() for _ in range(load.tasks)))
    rate = count / (time.perf_counter() - began)
    async with asyncio.timeout(30):
        while len(receiver.delays) < count and not receiver.gaps:  # noqa: ASYNC110  # it is not worth a signal
            await asyncio.sleep(0.01)
    await here.stop()
    await there.stop()
    return f"| {load.name} | {rate:,.0f} | {_milliseconds(acks)} | {_milliseconds(receiver.delays)} | {receiver.gaps} |"


def _milliseconds(values: list[float]) -> str:
    """Median and 99th percentile."""
    return f"{statistics.median(values) * 1000:.1f} / {statistics.quantiles(values, n=100)[-1] * 1000:.1f}"


async def main(url: str, count: int) -> None:
    """Prints the table."""
    print("| load | publications/s | ack ms p50 / p99 | delivery ms p50 / p99 | gaps |")
    print("| --- | --- | --- | --- | --- |")
    for load in LOADS:
        print(await measure(url, load, int(count * load.share)), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--count", type=int, default=10_000)
    given = parser.parse_args()
    asyncio.run(main(given.url, given.count))
