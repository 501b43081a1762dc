"""How long everybody else waits while a topic with very many subscribers is published to.

    python benchmarks/large_topic.py [--sockets 20000] [--publications 20] [--bytes 128] [--gap 0.5]

Runs a hub in a process of its own, opens plain sockets on one topic, and publishes to it through the server API. What
each socket reads is compared, byte for byte, with what was published. Meanwhile another process measures round trips
of other clients: a ping frame, a publication through a topic of its own, a command of the client protocol, and a new
connection. It does so in a quiet time first, which shows what the machine adds.

Each socket takes a file descriptor here and one in the hub: see `ulimit -n`.
"""

from __future__ import annotations

import argparse
import base64
import json
import multiprocessing
import os
import resource
import select
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPConnection
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any, Final

SPARE: Final = 120
"""Descriptors that a process needs beside those of its sockets."""
KEY: Final = "a-key-for-benchmarks-0123456789abcdef"
CONFIG: Final = f"""
version: 1
database: {{url: "sqlite://"}}
client: {{ping: 10m}}
limits: {{connections: null, connections_per_ip: null, connections_per_user: null, handshakes: null,
  commands: null, publishes_per_user: null, publishes_per_topic: null, api_requests: null}}
auth: {{anonymous: true, api_keys: {{bench: {{key: "{KEY}"}}}}}}
topics:
  "{{topic:rest}}":
    allow: {{subscribe: anyone, publish: anyone}}
    history: {{size: 100, ttl: 5m}}
"""
Samples = dict[str, list[float]]


@contextmanager
def hub(settings: str = CONFIG) -> Iterator[tuple[int, int]]:
    """Runs a hub; gives its port and its process id."""
    with tempfile.TemporaryDirectory() as folder, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        config = Path(folder) / "hub.yaml"
        config.write_text(settings)
        command = [sys.executable, "-m", "hub", "serve", "--migrate", "-c", str(config), "--port", str(port)]
        log = (Path(folder) / "hub.log").open("w+")
        process = subprocess.Popen(command, stdout=log, stderr=log)
        _prefer(process.pid, 1)
        try:
            while socket.socket().connect_ex(("127.0.0.1", port)):
                if process.poll() is not None:
                    raise SystemExit(Path(log.name).read_text())
                time.sleep(0.05)
            yield port, process.pid
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()


def expect(good: bool, otherwise: str) -> None:
    """Ends the program when something is not as it must be."""
    if not good:
        raise SystemExit(otherwise)


def _prefer(pid: int, priority: int) -> None:
    """Keeps a process from waiting for the readers and for whatever else the machine does, where that is allowed."""
    with suppress(PermissionError):
        os.sched_setscheduler(pid, os.SCHED_FIFO, os.sched_param(priority))


def opened(port: int, path: str, source: str = "127.0.0.1") -> socket.socket:
    """A WebSocket whose handshake is done, from an address of this machine."""
    found = socket.create_connection(("127.0.0.1", port), timeout=60, source_address=(source, 0))
    found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    key = base64.b64encode(os.urandom(16)).decode()
    found.sendall(
        f"GET {path} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    heard = b""
    while b"\r\n\r\n" not in heard:
        heard += found.recv(4_096)
    expect(heard.startswith(b"HTTP/1.1 101"), f"the handshake was answered with {heard!r}")
    return found


def text_frame(payload: bytes, *, masked: bool = True) -> bytes:
    """A text frame; that of a client has a mask of zeros."""
    size = len(payload)
    bit = 0x80 if masked else 0
    if size < 126:
        head = bytes((0x81, bit | size))
    elif size < 65_536:
        head = bytes((0x81, bit | 126)) + size.to_bytes(2, "big")
    else:
        head = bytes((0x81, bit | 127)) + size.to_bytes(8, "big")
    return head + (bytes(4) if masked else b"") + payload


def probe(port: int, pause: float, quiet: Event, busy: Event, done: Event, results: Any) -> None:
    """Measures round trips until told to stop, apart for the quiet and the busy time."""
    _prefer(os.getpid(), 2)
    room, client = opened(port, "/ws/other"), opened(port, "/connection/websocket")
    client.sendall(text_frame(json.dumps({"id": 1, "connect": {}}).encode()))
    client.recv(65_536)

    def ping() -> None:
        room.sendall(b"\x89\x80" + bytes(4))
        expect(room.recv(100)[:1] == b"\x8a", "a ping was not answered")

    def publication() -> None:
        room.sendall(text_frame(b'"to myself"'))
        expect(b"to myself" in room.recv(1_000), "a publication did not come back")

    def command() -> None:
        client.sendall(text_frame(b'{"id":2,"history":{"channel":"other","limit":1}}'))
        while b'"id":2' not in client.recv(65_536):
            client.sendall(text_frame(b"{}"))

    def connection() -> None:
        opened(port, "/ws/other").close()

    kinds: dict[str, Callable[[], None]] = {
        "ping frame": ping,
        "publication on a topic of its own": publication,
        "command": command,
        "new connection": connection,
    }
    found: dict[str, Samples] = {"quiet": {}, "busy": {}}
    quiet.wait()
    while not done.is_set():
        for name, call in kinds.items():
            begun = time.perf_counter()
            call()
            took = time.perf_counter() - begun
            found["busy" if busy.is_set() else "quiet"].setdefault(name, []).append(took)
            time.sleep(pause)
    results.put(found)


class Readers:
    """All subscribers of the topic, each with what it has read of what was published."""

    def __init__(self, port: int, count: int) -> None:
        self._epoll = select.epoll()
        self._sockets: dict[int, socket.socket] = {}
        self._at: dict[int, int] = {}
        for _ in range(count):
            each = opened(port, "/ws/large")
            each.setblocking(False)
            self._sockets[each.fileno()] = each
            self._at[each.fileno()] = 0
            self._epoll.register(each.fileno(), select.EPOLLIN)
        self._expected = b""

    def read(self, payload: bytes, seconds: float) -> float:
        """Reads until every socket has the payload too; returns the seconds that it took. Raises SystemExit."""
        self._expected += text_frame(payload, masked=False)
        expected, at, goal = self._expected, self._at, len(self._expected)
        begun, behind = time.perf_counter(), len(at)
        while behind:
            events = self._epoll.poll(0.2, 4_096)
            if time.perf_counter() - begun > seconds:
                raise SystemExit(f"{behind} of {len(at)} sockets did not get everything")
            for number, _ in events:
                data = self._sockets[number].recv(1 << 20)
                end = at[number] + len(data)
                if not data or expected[at[number] : end] != data:
                    raise SystemExit("a socket got something else than what was published")
                at[number] = end
                behind -= end == goal
        return time.perf_counter() - begun


def publish(port: int, payload: bytes) -> None:
    """Publishes through the server API."""
    link = HTTPConnection("127.0.0.1", port, timeout=60)
    headers = {"X-API-Key": KEY, "Content-Type": "application/json"}
    link.request("POST", "/api/publish", b'{"channel":"large","data":%s}' % payload, headers)
    answer = link.getresponse().read()
    link.close()
    expect(b"error" not in answer, f"the publication was refused: {answer!r}")


def cpu_seconds(pid: int) -> float:
    """User and system time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def show(title: str, samples: Samples) -> None:
    """One row for each kind of round trip."""
    for name, values in samples.items():
        values.sort()
        p99 = values[int(len(values) * 0.99)]
        print(
            f"| {title} | {name} | {len(values)} | {statistics.median(values) * 1e3:.1f} "
            f"| {p99 * 1e3:.1f} | {values[-1] * 1e3:.1f} |"
        )


def main() -> None:
    """Measures, and prints one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--sockets", type=int, default=20_000)
    parser.add_argument("--publications", type=int, default=20)
    parser.add_argument("--bytes", type=int, default=128)
    parser.add_argument("--gap", type=float, default=0.5, help="seconds between publications")
    parser.add_argument("--quiet-seconds", type=float, default=5)
    parser.add_argument("--pause", type=float, default=0.002, help="seconds between round trips")
    given = parser.parse_args()
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    count = min(given.sockets, limit - SPARE)
    context = multiprocessing.get_context("spawn")
    quiet, busy, done, results = context.Event(), context.Event(), context.Event(), context.Queue()
    with hub() as (port, pid):
        readers = Readers(port, count)
        prober = context.Process(target=probe, args=(port, given.pause, quiet, busy, done, results))
        prober.start()
        quiet.set()
        time.sleep(given.quiet_seconds)
        busy.set()
        took, cpu = [], cpu_seconds(pid)
        for number in range(given.publications):
            payload = b'{"n":"%s"}' % (b"%d " % number).ljust(given.bytes - 8, b"x")
            publish(port, payload)
            took.append(readers.read(payload, 60))
            if given.gap:
                time.sleep(given.gap)
        cpu = cpu_seconds(pid) - cpu
        done.set()
        found = results.get(timeout=30)
        prober.join()
    each = statistics.median(took)
    print(f"{count} sockets, {given.bytes} bytes: a publication reaches all in {each * 1e3:.0f} ms (median),")
    print(f"{cpu / given.publications / count * 1e6:.1f} us of CPU per delivery, probes included\n")
    print("| | round trip | n | p50 ms | p99 ms | max ms |\n| --- | --- | --- | --- | --- | --- |")
    show("quiet", found["quiet"])
    show("while publishing", found["busy"])


if __name__ == "__main__":
    main()
