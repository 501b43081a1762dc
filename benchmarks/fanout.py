"""Fan-out of the hub beside a peer, in interleaved rounds: server CPU per delivery, latency, losses, memory.

    python benchmarks/fanout.py --loadtest PATH [--rounds 3] [--seconds 5]

PATH is the load generator, a program that takes `-proto -url -conns -topics -rate -burst -duration -pid` and prints one
line of JSON. The figures are medians over the rounds; compare ratios of one run, never figures of two.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

HERE: Final = Path(__file__).parent
CONFIG: Final = """
version: 1
database: {url: "sqlite://"}
auth: {anonymous: true, jwt: {secret: "a-secret-for-benchmarks-0123456789abcdef", require_exp: false}}
topics:
  "{topic:rest}":
    allow: {subscribe: anyone, publish: anyone}
    history: {size: 100, ttl: 5m}
"""
SCENARIOS: Final = {
    "broadcast 1 x 1,000, 20/s": ["-conns", "1000", "-rate", "20"],
    "bursts of 10, 500/s": ["-conns", "1000", "-rate", "500", "-burst", "10"],
    "rooms 100 x 10, 500/s": ["-conns", "1000", "-topics", "100", "-rate", "500"],
    "echo, 200 clients, 2,000/s": ["-conns", "200", "-topics", "200", "-rate", "2000"],
}


@contextmanager
def server(name: str, port: int, folder: Path) -> Iterator[int]:
    """Runs a contender and gives its process id once it accepts connections."""
    config = folder / "hub.yaml"
    config.write_text(CONFIG)
    program = name.split(maxsplit=1)[0]
    commands = {
        "hub": [sys.executable, "-m", "hub", "serve", "--migrate", "-c", str(config), "--port", str(port)],
        "peer": [sys.executable, str(HERE / "peers/connection_manager.py"), str(port)],
    }
    log = folder / f"{name}.log"
    process = subprocess.Popen(commands[program], stdout=log.open("w"), stderr=subprocess.STDOUT)
    try:
        _wait(port, process, log)
        yield process.pid
    finally:
        process.terminate()
        process.wait(20)


def _wait(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(200):
        if process.poll() is not None:
            raise SystemExit(f"the server ended: {log.read_text()}")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise SystemExit("the server does not accept connections")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def measure(loadtest: str, name: str, scenario: list[str], seconds: int) -> dict[str, Any]:
    """One contender, one scenario, one fresh server."""
    with tempfile.TemporaryDirectory() as folder:
        port = _free_port()
        with server(name, port, Path(folder)) as pid:
            protocol = ["-proto", "raw", "-url", f"ws://127.0.0.1:{port}/ws/{{topic}}"]
            if name == "hub client protocol":
                protocol = ["-proto", "centrifugo", "-url", f"ws://127.0.0.1:{port}/connection/websocket"]
            command = [loadtest, *protocol, *scenario, "-duration", f"{seconds}s", "-pid", str(pid)]
            printed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
    found: dict[str, Any] = json.loads(printed)
    return found


def main() -> None:
    """Measures everything and prints one table per scenario."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--loadtest", default=os.environ.get("LOADTEST", "loadtest"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=5)
    given = parser.parse_args()
    names = ("hub plain socket", "hub client protocol", "peer")
    for title, scenario in SCENARIOS.items():
        rounds: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
        for _ in range(given.rounds):
            for name in names:
                rounds[name].append(measure(given.loadtest, name, scenario, given.seconds))
        print(f"\n{title}\n\n| server | CPU us/delivery | to peer | p50 ms | p99 ms | KiB/conn | lost |")
        print("| --- | --- | --- | --- | --- | --- | --- |")
        base = _median(rounds["peer"], "cpu_us_per_delivery")
        for name in names:
            row = {key: _median(rounds[name], key) for key in _SHOWN}
            lost = sum(
                found["lost"] + found["gaps"] + found["duplicates_or_disorder"] for found in rounds[name]
            )
            cpu = row["cpu_us_per_delivery"]
            print(
                f"| {name} | {cpu:.1f} | {cpu / base:.2f} | {row['p50_ms']:.1f} | {row['p99_ms']:.1f} "
                f"| {row['kib_per_conn']:.1f} | {lost} |"
            )


_SHOWN: Final = ("cpu_us_per_delivery", "p50_ms", "p99_ms", "kib_per_conn")


def _median(rounds: list[dict[str, Any]], key: str) -> float:
    return statistics.median(found.get(key) or 0.0 for found in rounds)


if __name__ == "__main__":
    main()
