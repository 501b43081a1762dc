"""What publishing over HTTP costs a server: single requests, and batches of 100, beside Centrifugo.

    python benchmarks/http_publish.py [--centrifugo PATH] [--rounds 3] [--seconds 3] [--rate 2000] [--history]

Every round starts each server afresh. Some connections that stay open send `POST /api/publish` (or `/api/batch`) at a
rate, each waiting for its answers; one client is subscribed to the topic, and what it gets is counted. With `--history`
both keep 100 publications with positions, else neither keeps any. Centrifugo has one thread (`GOMAXPROCS=1`). CPU is
user and system time of the server, divided by publications.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.large_topic import cpu_seconds, expect, opened, text_frame

KEY: Final = "a-key-for-benchmarks-0123456789abcdef"
QUEUE: Final = 67_108_864
"""Bytes that may wait for the subscriber: what is measured is not how fast it reads."""
TOPIC: Final = {"allow": {"subscribe": "anyone", "publish": "anyone"}}
HISTORY: Final = {"size": 100, "ttl": "5m"}
HUB: Final = {
    "version": 1,
    "database": {"url": "sqlite://"},
    "auth": {"anonymous": True, "api_keys": {"bench": {"key": KEY}}},
    "client": {"queue_bytes": QUEUE},
    "limits": dict.fromkeys(("connections", "handshakes", "publishes_per_topic", "api_requests")),
}
CHANNEL: Final = {"allow_subscribe_for_client": True, "allow_subscribe_for_anonymous": True}
KEPT: Final = {"history_size": 100, "history_ttl": "5m", "force_recovery": True}
CENTRIFUGO: Final = {
    "client": {
        "allow_anonymous_connect_without_token": True,
        "allowed_origins": ["*"],
        "queue_max_size": QUEUE,
    },
    "http_api": {"key": KEY},
    "usage_stats": {"disabled": True},
    "log": {"level": "error"},
}
MARK: Final = b"benchmark!"
BATCH: Final = 100
START_SECONDS: Final = 15


@contextmanager
def server(name: str, centrifugo: str, *, history: bool) -> Iterator[tuple[int, int]]:
    """Runs `hub` or `centrifugo`; gives its port and its process id."""
    with tempfile.TemporaryDirectory() as folder, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        config = Path(folder) / "config.json"  # JSON is YAML too
        if name == "hub":
            topic = TOPIC | ({"history": HISTORY} if history else {})
            config.write_text(json.dumps(HUB | {"topics": {"{topic:rest}": topic}}))
            command = [
                sys.executable,
                "-m",
                "hub",
                "serve",
                "--migrate",
                "-c",
                str(config),
                "--port",
                str(port),
            ]
        else:
            channel = {"without_namespace": CHANNEL | (KEPT if history else {})}
            config.write_text(json.dumps(CENTRIFUGO | {"channel": channel}))
            command = [centrifugo, "--config", str(config), "--http_server.address", "127.0.0.1"]
            command += ["--http_server.port", str(port)]
        log = (Path(folder) / "log").open("w+")
        process = subprocess.Popen(command, stdout=log, stderr=log, env=os.environ | {"GOMAXPROCS": "1"})
        try:
            deadline = time.monotonic() + START_SECONDS
            while socket.socket().connect_ex(("127.0.0.1", port)):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise SystemExit(Path(log.name).read_text())
                time.sleep(0.05)
            yield port, process.pid
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()


class Subscriber:
    """One client of the topic, which counts what it gets."""

    def __init__(self, port: int) -> None:
        self.got = 0
        self.last = b""
        self._socket = opened(port, "/connection/websocket")
        for frame in ({"id": 1, "connect": {}}, {"id": 2, "subscribe": {"channel": "bench"}}):
            self._socket.sendall(text_frame(json.dumps(frame).encode()))
            reply = self._socket.recv(65_536)
            expect(b'"error":' not in reply, f"the subscriber was refused: {reply!r}")
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        rest = b""
        while data := self._socket.recv(1 << 18):
            self.last = data[-200:]
            rest += data
            self.got += rest.count(MARK)
            rest = rest[-(len(MARK) - 1) :]

    def wait(self, wanted: int) -> None:
        """Raises SystemExit when it does not get so many."""
        deadline = time.monotonic() + 5
        while self.got < wanted and time.monotonic() < deadline:
            time.sleep(0.01)
        expect(self.got == wanted, f"{self.got} of {wanted} publications came; last: {self.last!r}")


def request(batch: int, size: int) -> bytes:
    """The whole request: one publication, or a batch of so many."""
    payload = {"text": MARK.decode().ljust(size - 11, "x")}
    one = {"channel": "bench", "data": payload}
    content = {"commands": [{"publish": one}] * batch} if batch else one
    path = "batch" if batch else "publish"
    body = json.dumps(content, separators=(",", ":")).encode()
    head = (
        f"POST /api/{path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: bench\r\nAccept-Encoding: gzip\r\n"
        f"Content-Type: application/json\r\nX-API-Key: {KEY}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def publish(port: int, sent: bytes, until: float, pause: float, offset: float) -> int:
    """Sends the request again and again over one connection; returns how often. A pause of 0 waits for answers only."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    count, due = 0, time.monotonic() + offset
    while time.monotonic() < until:
        if pause:
            await asyncio.sleep(due - time.monotonic())
            due += pause
        writer.write(sent)
        head = await reader.readuntil(b"\r\n\r\n")
        lower = head.lower()
        if b"content-length: " in lower:
            length = int(lower.partition(b"content-length: ")[2].partition(b"\r\n")[0])
            answer = await reader.readexactly(length)
        else:
            answer = b""
            while (size := int(await reader.readline(), 16)) > 0:
                answer += (await reader.readexactly(size + 2))[:-2]
            await reader.readline()
        expect(head.startswith(b"HTTP/1.1 200") and b'"error"' not in answer, f"refused: {head + answer!r}")
        count += 1
    writer.close()
    return count


async def load(port: int, sent: bytes, seconds: float, rate: float, connections: int) -> int:
    """Sends so many requests a second over all connections; returns how many were answered."""
    pause = connections / rate if rate else 0.0
    until = time.monotonic() + seconds
    each = (publish(port, sent, until, pause, pause * n / connections) for n in range(connections))
    return sum(await asyncio.gather(*each))


def measured(name: str, batch: int, given: argparse.Namespace) -> tuple[float, float]:
    """CPU in microseconds per publication, and publications per second."""
    sent = request(batch, given.bytes)
    rate = given.rate / batch * given.batch_factor if batch else given.rate
    with server(name, given.centrifugo, history=given.history) as (port, pid):
        subscriber = Subscriber(port)
        warm = asyncio.run(load(port, sent, 0.5, rate, given.connections)) * max(batch, 1)
        subscriber.wait(warm)
        cpu, begun = cpu_seconds(pid), time.monotonic()
        count = asyncio.run(load(port, sent, given.seconds, rate, given.connections)) * max(batch, 1)
        subscriber.wait(warm + count)
        return (cpu_seconds(pid) - cpu) / count * 1e6, count / (time.monotonic() - begun)


def row(title: str, found: Sequence[tuple[float, float]], against: float | None) -> None:
    """One line of the table."""
    each = [cpu for cpu, _ in found]
    cpu = statistics.median(each)
    ratio = f"{cpu / against:.2f}" if against else ""
    rate = statistics.median(rate for _, rate in found)
    print(f"| {title} | {cpu:.1f} ({min(each):.1f} to {max(each):.1f}) | {rate:,.0f} | {ratio} |")


def main() -> None:
    """Measures in turns, and prints one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--centrifugo", default="", help="its program; without it the hub alone is measured")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--connections", type=int, default=20)
    parser.add_argument(
        "--rate", type=float, default=2_000, help="requests a second; 0: as fast as answers come"
    )
    parser.add_argument("--batch-factor", type=float, default=10, help="how many times more in batches")
    parser.add_argument("--history", action="store_true", help="both servers keep 100 publications")
    parser.add_argument("--bytes", type=int, default=128, help="of the payload")
    given = parser.parse_args()
    names = ["hub", "centrifugo"] if given.centrifugo else ["hub"]
    print("| | CPU us/publication | publications/s | hub : Centrifugo |\n| --- | --- | --- | --- |")
    for batch in (0, BATCH):
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
        for _ in range(given.rounds):
            for name in names:
                found[name].append(measured(name, batch, given))
        other = found.get("centrifugo")
        against = statistics.median(cpu for cpu, _ in other) if other else None
        title = f"batch of {batch}" if batch else "single"
        row(f"hub, {title}", found["hub"], against)
        if other:
            row(f"Centrifugo, {title}", other, None)


if __name__ == "__main__":
    main()
