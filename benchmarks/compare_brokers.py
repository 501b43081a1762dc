"""All brokers of this machine side by side: publish rate, latency, processor time, ratios to memory in the same run.

    python -m benchmarks.compare_brokers [--rounds 3] [--count 8000] [--write docs/reference/brokers.md]

Servers are started for it, on free ports, with the settings that the first lines of the output name. Each round
measures every load on every broker in turn; figures are medians over the rounds. Two nodes and the load share one
process, on memory one node publishes and delivers. `--write` puts the tables into a page, between its two marks.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import secrets
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Final

import psutil

from benchmarks.brokers import PADDING, Receiver
from hub.broker.base import Outgoing
from hub.broker.broadcast import Bridge
from hub.broker.factory import make_broker
from hub.model import HistoryOptions, Publication
from tests.services.missing import find_program
from tests.services.nats import NatsServer
from tests.services.postgres import PostgresServer, find_postgres
from tests.services.redis import RedisServer
from tests.services.redis_cluster import RedisCluster, find_cluster_program
from tests.services.redis_sentinel import RedisSentinels

KEPT: Final = HistoryOptions(size=1000, ttl=60)
DURABLE: Final = {"synchronous_commit": "on", "dynamic_shared_memory_type": "mmap"}
SETTINGS: Final = (
    "Redis keeps nothing on disk; behind Sentinels it has one replica, the cluster has three primaries with one each, "
    "and no ack waits for them. NATS has one server and file storage. PostgreSQL has its default settings."
)
LATENCIES: Final = ("ack ms p50 / p99", "delivery ms p50 / p99")
BEGIN: Final = "<!-- measured: begin -->"
END: Final = "<!-- measured: end -->"


@dataclass(frozen=True, slots=True)
class Load:
    """So many publications are handed over together, on so many topics; with `waits` the next when all are stored."""

    title: str
    topics: int
    together: int
    waits: bool
    share: float


LOADS: Final = (
    Load("One publisher, one after another", 1, 1, waits=True, share=0.25),
    Load("64 publishers on 64 topics", 64, 64, waits=False, share=1),
    Load("Batches of 100 on one topic, one batch after another", 1, 100, waits=True, share=1),
)


@dataclass(frozen=True, slots=True)
class Figures:
    """Of one measurement: publications a second, milliseconds, and microseconds of processor time a publication."""

    rate: float
    ack_p50: float
    ack_p99: float
    delivery_p50: float
    delivery_p99: float
    hub_cpu: float
    broker_cpu: float


@contextmanager
def servers(folder: Path) -> Iterator[dict[str, str]]:
    """Starts what the machine has, and gives the URLs by the names of the brokers."""
    urls = {"memory": "memory://"}
    redis, cluster, nats, postgres = (
        find_program("redis-server", "valkey-server"),
        find_cluster_program(),
        find_program("nats-server"),
        find_postgres(),
    )
    with ExitStack() as stack:
        if redis is not None:
            (folder / "redis").mkdir()
            single = RedisServer(redis, folder / "redis")
            single.start()
            stack.callback(single.kill)
            sentinels = RedisSentinels(redis, folder / "sentinels")
            stack.callback(sentinels.stop)
            urls |= {"Redis": single.url, "Redis, Sentinel": sentinels.url}
        if cluster is not None:
            (folder / "cluster").mkdir()
            several = RedisCluster(cluster, folder / "cluster")
            stack.callback(several.stop)
            several.start()
            urls["Redis Cluster"] = several.url
        if nats is not None:
            (folder / "nats").mkdir()
            stream = NatsServer(nats, folder / "nats")
            stream.start()
            stack.callback(stream.kill)
            urls["NATS"] = stream.url
        if postgres is not None:
            home = stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
            database = PostgresServer(postgres, Path(home), DURABLE)
            database.start()
            stack.callback(database.stop)
            urls["PostgreSQL"] = database.url
        yield urls


def _cpu() -> tuple[float, float]:
    """Seconds of processor time: of this process, and of all that it started."""
    own = psutil.Process()
    children = own.children(recursive=True)
    return sum(own.cpu_times()[:2]), sum(sum(child.cpu_times()[:4]) for child in children)


async def measure(url: str, load: Load, count: int) -> Figures:
    """Publishes so many, and returns what it took. Raises TimeoutError where not all arrive, or a gap is told."""
    prefix = f"bench{secrets.token_hex(4)}"
    receiver, acks = Receiver(), list[float]()
    there = Bridge(make_broker(url, prefix=prefix), receiver, node="there", linger=1)
    here = there
    if there.broker.shared:
        here = Bridge(make_broker(url, prefix=prefix), Receiver(), node="here", linger=1)
    nodes = [there] if here is there else [here, there]
    for node in nodes:
        await node.start()
    for number in range(load.topics):
        await there.subscribe(f"t{number}")

    async def publish(number: int) -> None:
        began = time.perf_counter()
        publication = Publication(f"t{number % load.topics}", b"%020.9f" % began + PADDING)
        await here.publish(Outgoing(publication, KEPT))
        acks.append(time.perf_counter() - began)

    async def publish_some(numbers: Iterator[int]) -> None:
        for number in numbers:
            await publish(number)

    await asyncio.gather(
        *map(publish, range(load.topics))
    )  # so that connections, scripts and topics are there
    await _arrived(receiver, load.topics)
    receiver.delays.clear()
    acks.clear()
    (own, others), began = _cpu(), time.perf_counter()
    if load.waits:
        for first in range(0, count, load.together):
            await asyncio.gather(*map(publish, range(first, min(first + load.together, count))))
    else:
        numbers = iter(range(count))
        await asyncio.gather(*(publish_some(numbers) for _ in range(load.together)))
    took = time.perf_counter() - began
    await _arrived(receiver, count)
    own_after, others_after = _cpu()
    for node in nodes:
        await node.stop()
    return Figures(
        count / took,
        *_milliseconds(acks),
        *_milliseconds(receiver.delays),
        (own_after - own) / count * 1e6,
        (others_after - others) / count * 1e6 if there.broker.shared else 0,
    )


async def _arrived(receiver: Receiver, count: int) -> None:
    async with asyncio.timeout(30):
        while len(receiver.delays) < count or receiver.gaps:  # noqa: ASYNC110  # it is not worth a signal
            await asyncio.sleep(0.001)


def _milliseconds(values: Sequence[float]) -> tuple[float, float]:
    """Median and 99th percentile."""
    return statistics.median(values) * 1000, statistics.quantiles(values, n=100)[-1] * 1000


def table(load: Load, found: Mapping[str, Sequence[Figures]]) -> str:
    """The table of a load: a row for each broker, with the medians of its rounds."""
    medians = {
        name: Figures(*map(statistics.median, zip(*map(astuple, each), strict=True)))
        for name, each in found.items()
    }
    base = medians["memory"]
    lines = [
        f"**{load.title}**",
        "",
        _row("broker", "publications/s", "to memory", *LATENCIES, "hub CPU µs", "broker CPU µs"),
        _row(*["---"] * 7),
    ]
    for name, each in medians.items():
        lines.append(
            _row(
                name,
                f"{each.rate:,.0f}",
                f"{each.rate / base.rate:.2g}",
                f"{each.ack_p50:.2f} / {each.ack_p99:.2f}",
                f"{each.delivery_p50:.2f} / {each.delivery_p99:.2f}",
                f"{each.hub_cpu:,.0f}",
                f"{each.broker_cpu:,.0f}" if name != "memory" else "-",
            )
        )
    return "\n".join(lines)


def _row(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"


def replaced(page: str, text: str) -> str:
    """The page with what stands between the two marks replaced. Raises ValueError when they are not there."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page does not have the lines {BEGIN} and {END}")
    return f"{before}{begin}\n\n{text}\n\n{end}{after}"


def _circumstances(rounds: int, load: float) -> str:
    """What the figures were measured on; `load` is that of the machine before anything was started."""
    others = ", so others were at work: believe the ratios" if load > 0.5 else ""
    return (
        f"Medians of {rounds} rounds on {os.cpu_count()} cores ({platform.system()} {platform.release()}, Python "
        f"{platform.python_version()}), whose load was {load:.1f} before the run{others}. {SETTINGS}"
    )


def main() -> None:
    """Measures, and prints or writes the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--count", type=int, default=8000, help="publications of a measurement")
    parser.add_argument("--write", type=Path, help="a page with the two marks")
    given = parser.parse_args()
    load_before = os.getloadavg()[0]
    found: dict[Load, dict[str, list[Figures]]] = {load: defaultdict(list) for load in LOADS}
    with tempfile.TemporaryDirectory() as folder, servers(Path(folder)) as urls:
        for number in range(given.rounds):
            for load in LOADS:
                for name, url in urls.items():
                    print(f"round {number + 1}, {load.title}, {name}", file=sys.stderr, flush=True)
                    found[load][name].append(asyncio.run(measure(url, load, int(given.count * load.share))))
    text = "\n\n".join(
        [_circumstances(given.rounds, load_before), *(table(load, each) for load, each in found.items())]
    )
    print(text)
    if given.write:
        given.write.write_text(replaced(given.write.read_text(), text))


if __name__ == "__main__":
    main()
