"""What a second worker brings: one `hub serve` with one worker, then with more, all over one Redis.

    python -m benchmarks.workers [--workers 1,2] [--rounds 3] [--seconds 4] [--share PERCENT] [--loadtest PATH]

It needs redis-server (or valkey-server) on the PATH. Each measurement has a hub and a Redis of its own; rounds are
interleaved, the tables show medians. The load generator and Redis run on the same machine: where the cores are fewer
than workers, Redis and generator together, deliveries per second cannot grow with the workers. The CPU that the hub
takes for a delivery still tells what a worker costs: `linear` is the first row's CPU per delivery divided by its own,
1.00 where so many workers on cores of their own would deliver so many times as much.

`--share 20` gives each worker the fifth of a core: it is stopped (SIGSTOP) whenever it has used more. Then the hub
holds the deliveries up and not the machine, and they show what workers add. Linux only.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psutil

from benchmarks.machine import Machine, allow_many_sockets
from benchmarks.tables import Found, median, number, ratio, total
from benchmarks.tools import Tools, prepared

CONFIG: Final = """
version: 1
server: {{port: 0, workers: {workers}, drain: 0s}}
broker: {{url: "redis://127.0.0.1:{redis}"}}
database: {{url: "sqlite://"}}
limits: {{connections: null, connections_per_ip: null, connections_per_user: null, handshakes: null,
  commands: null, publishes_per_user: null, publishes_per_topic: null, api_requests: null}}
auth: {{anonymous: true, api_keys: {{bench: {{key: "{key}"}}}}}}
topics:
  "{{topic:rest}}": {{allow: {{subscribe: anyone, publish: anyone}}, history: {{size: 100, ttl: 5m}}}}
"""
KEY: Final = "an-api-key-of-a-hub-that-lives-for-seconds"
WITHIN: Final = 30.0
LOOK: Final = 0.002
SAVED: Final = 0.02
"""Seconds of CPU that a worker with a share of a core may save up."""


@dataclass(frozen=True, slots=True)
class Load:
    """One load, as arguments of the load generator."""

    title: str
    arguments: tuple[str, ...]


SATURATING: Final = (
    Load(
        "Broadcast, 1 topic x 1,000 subscribers, as fast as it goes",
        ("-conns", "1000", "-topics", "1", "-rate", "0"),
    ),
    Load(
        "Rooms, 20 topics x 50 subscribers, as fast as it goes",
        ("-conns", "1000", "-topics", "20", "-rate", "0", "-window", "60"),
    ),
    Load(
        "Rooms, 100 topics x 10 subscribers, as fast as it goes",
        ("-conns", "1000", "-topics", "100", "-rate", "0", "-window", "200"),
    ),
)
STEADY: Final = (
    Load(
        "Broadcast, 1 topic x 1,000 subscribers, 20 publications/s",
        ("-conns", "1000", "-topics", "1", "-rate", "20"),
    ),
    Load(
        "Rooms, 20 topics x 50 subscribers, 400 publications/s",
        ("-conns", "1000", "-topics", "20", "-rate", "400"),
    ),
    Load(
        "Rooms, 100 topics x 10 subscribers, 500 publications/s",
        ("-conns", "1000", "-topics", "100", "-rate", "500"),
    ),
)


@contextmanager
def _process(command: Sequence[str], folder: Path, log: str) -> Iterator[int]:
    """Runs a program in a folder, and ends it."""
    with (folder / log).open("wb") as output:
        process = subprocess.Popen(
            command, cwd=folder, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
    try:
        yield process.pid
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _listens(pid: int) -> int | None:
    """The port on which a process listens, once it does."""
    found = {
        each.laddr.port for each in psutil.Process(pid).net_connections("tcp") if each.status == "LISTEN"
    }
    return found.pop() if found else None


def _ready(url: str) -> bool:
    """Whether every worker accepts connections."""
    try:
        with urllib.request.urlopen(f"{url}/health/ready", timeout=5) as answer:  # noqa: S310 - our own hub
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


@contextmanager
def _hub(redis: str, workers: int) -> Iterator[tuple[str, int, int]]:
    """A Redis and a hub with so many workers: its address, its process id and that of the Redis."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="topichub-bench-")))
        # Redis takes no port 0, so one that was free a moment ago has to do.
        port = _free_port()
        command = [redis, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
        store = stack.enter_context(_process(command, folder, "redis.log"))
        _wait(lambda: _listens(store) == port, folder / "redis.log")
        (folder / "hub.yaml").write_text(CONFIG.format(workers=workers, redis=port, key=KEY))
        hub = stack.enter_context(_process([sys.executable, "-P", "-m", "hub", "serve"], folder, "hub.log"))
        _wait(lambda: _listens(hub) is not None, folder / "hub.log")
        url = f"http://127.0.0.1:{_listens(hub)}"
        _wait(lambda: _ready(url), folder / "hub.log")
        yield url, hub, store


def _wait(condition: Any, log: Path) -> None:
    deadline = time.monotonic() + WITHIN
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit(f"it did not start: {log.read_text(errors='replace')[-1000:]}")
        time.sleep(0.05)


def _free_port() -> int:
    import socket  # noqa: PLC0415 - for this alone

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _on_cpu(pid: int) -> float:
    """The seconds that a process was on a core, finer than in ticks."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


@contextmanager
def _slowed(hub: int, share: float | None) -> Iterator[None]:
    """Lets each worker have so much of a core and no more."""
    if share is None:
        yield
        return
    children = psutil.Process(hub).children()
    workers = children or [psutil.Process(hub)]
    over = threading.Event()

    def dole_out() -> None:
        left, before, used = [0.0] * len(workers), time.monotonic(), [_on_cpu(each.pid) for each in workers]
        while not over.wait(LOOK):
            now = time.monotonic()
            for place, worker in enumerate(workers):
                running = _on_cpu(worker.pid)
                left[place] = min(SAVED, left[place] + share * (now - before) - (running - used[place]))
                used[place] = running
                (worker.resume if left[place] > 0 else worker.suspend)()
            before = now

    doling = threading.Thread(target=dole_out)
    doling.start()
    try:
        yield
    finally:
        over.set()
        doling.join()
        for worker in workers:
            worker.resume()


def _measured(tools: Tools, workers: int, load: Load, seconds: float, share: float | None) -> Found:
    """What the load generator found, with the CPU of Redis and the share of the fullest worker."""
    with _hub(tools.programs["redis"], workers) as (url, hub, store), _slowed(hub, share):
        address = f"{url.replace('http', 'ws', 1)}/ws/{{topic}}"
        command = [str(tools.loadtest), "-proto", "raw", "-url", address, *load.arguments]
        command += ["-pid", str(hub), "-tree", "-duration", f"{seconds}s", "-settle", "2s"]
        before = _seconds_of(store)
        running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        time.sleep(seconds)
        shares = _clients(url)
        out, problem = running.communicate(timeout=seconds + 120)
        if running.returncode or not out.strip():
            raise SystemExit(f"the load generator ended with {running.returncode}: {problem[-500:]}")
        found: dict[str, Any] = json.loads(out.strip().splitlines()[-1])
        found["redis_us"] = (_seconds_of(store) - before) * 1e6 / max(1, found["deliveries"])
        found["fullest"] = 100 * max(shares) / max(1, sum(shares))
        return found


def _seconds_of(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def _clients(url: str) -> list[int]:
    """How many connections each worker has."""
    asked = urllib.request.Request(  # noqa: S310 - our own hub
        f"{url}/api/info", b"{}", {"X-API-Key": KEY, "Content-Type": "application/json"}
    )
    with urllib.request.urlopen(asked, timeout=10) as answer:  # noqa: S310
        return [int(node["num_clients"]) for node in json.load(answer)["result"]["nodes"]]


_HEADINGS: Final = (
    "workers | deliveries/s | times | hub CPU µs/delivery | linear | cores used by the hub | Redis CPU µs/delivery "
    "| connections on the fullest, % | p50 ms | p99 ms | lost | doubled or disordered"
)


def _table(load: Load, results: dict[int, list[Found]]) -> str:
    first = next(iter(results.values()))
    lines = [f"**{load.title}**", "", f"| {_HEADINGS} |", "|" + " --- |" * (_HEADINGS.count("|") + 1)]
    for workers, rounds in results.items():
        slower = ratio(rounds, first, "cpu_us_per_delivery")
        cores = median(rounds, "cpu_percent")
        cells = (
            str(workers),
            number(median(rounds, "deliveries_per_s"), 0),
            number(ratio(rounds, first, "deliveries_per_s"), 2),
            number(median(rounds, "cpu_us_per_delivery")),
            number(1 / slower if slower else None, 2),
            number(cores / 100 if cores is not None else None, 2),
            number(median(rounds, "redis_us"), 2),
            number(median(rounds, "fullest"), 0),
            number(median(rounds, "p50_ms")),
            number(median(rounds, "p99_ms")),
            number(total(rounds, "lost"), 0),
            number(total(rounds, "duplicates_or_disorder", "gaps"), 0),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Measures and prints the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--workers", default="1,2", help="numbers of workers to compare; the first is the reference"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--loadtest", type=Path, help="the load generator, else it is built")
    parser.add_argument("--share", type=float, help="per cent of a core that each worker gets")
    given = parser.parse_args()
    share = None if given.share is None else given.share / 100
    allow_many_sockets()
    tools = prepared((), {}, None, given.loadtest)
    if "redis" not in tools.programs:
        raise SystemExit("there is no redis-server or valkey-server on the PATH")
    machine = Machine()
    numbers = [int(each) for each in given.workers.split(",")]
    if share is not None and not 0 < share * max(numbers) <= 1:
        raise SystemExit("the shares of all workers together are at most 100")
    for load in SATURATING if share else STEADY + SATURATING:
        results: dict[int, list[Found]] = {each: [] for each in numbers}
        for _ in range(given.rounds):
            for workers, rounds in results.items():
                rounds.append(_measured(tools, workers, load, given.seconds, share))
        print(_table(load, results), end="\n\n", flush=True)
    print(f"{os.cpu_count()} cores, of which others took {machine.others():.0%}; {given.rounds} rounds.")


if __name__ == "__main__":
    main()
