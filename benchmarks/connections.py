"""What a connection costs the hub: CPU to open it, memory to keep it, CPU while it does nothing but be pinged.

    python benchmarks/connections.py [--connections 5000] [--idle 30]
    python benchmarks/connections.py --hold 50000 [--idle 30] [--workers 3 --broker redis://127.0.0.1:6379]

Runs a fresh hub for each kind of client, in a process of its own. Each client has a token and is subscribed to one
topic of 50. CPU is user and system time of the hub; memory is the growth of its PSS, without the kernel's buffers.

With `--hold` so many clients of the client protocol are held by one hub, all subscribed to one topic, which is
published to. They live in several processes, each with an address of its own (127.0.0.2 and so on), since one address
has not ports enough. Every process may open as many files as `ulimit -Hn` says, the hub too; where that is less than
so many, several workers can hold them, and their memory and CPU are added up.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import hmac
import json
import multiprocessing
import resource
import select
import socket
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final

from large_topic import KEY, SPARE, cpu_seconds, expect, hub, opened, publish, text_frame

SECRET: Final = "a-secret-for-benchmarks-0123456789abcdef"  # noqa: S105 - of a hub that lives for a minute
CONFIG: Final = f"""
version: 1
database: {{url: "sqlite://"}}
limits: {{connections: null, connections_per_ip: null, connections_per_user: null, handshakes: null,
  commands: null, publishes_per_user: null, publishes_per_topic: null, api_requests: null}}
auth: {{jwt: {{secret: "{SECRET}"}}, api_keys: {{bench: {{key: "{KEY}"}}}}}}
topics:
  "{{topic:rest}}":
    allow: {{subscribe: authenticated}}
    history: {{size: 100, ttl: 5m}}
"""
TOPICS: Final = 50
EACH: Final = 10_000
"""Clients of one process, and address, when many are held."""


def token(user: str) -> str:
    """A token for an hour."""
    claims = {"sub": user, "exp": int(time.time()) + 3_600}
    parts = [_base64(json.dumps(part).encode()) for part in ({"alg": "HS256", "typ": "JWT"}, claims)]
    signature = hmac.digest(SECRET.encode(), ".".join(parts).encode(), hashlib.sha256)
    return ".".join([*parts, _base64(signature)])


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def plain(port: int, number: int, given: str) -> socket.socket:
    """A plain socket."""
    return opened(port, f"/ws/topic{number % TOPICS}?token={given}")


def client(port: int, number: int, given: str) -> socket.socket:
    """A client of the client protocol that is connected and subscribed, by commands in one frame."""
    return greeted(opened(port, "/connection/websocket"), f"topic{number % TOPICS}", given)


def greeted(found: socket.socket, topic: str, given: str) -> socket.socket:
    """Connects and subscribes by commands in one frame."""
    connect = {"id": 1, "connect": {"token": given}}
    subscribe = {"id": 2, "subscribe": {"channel": topic}}
    found.sendall(text_frame(f"{json.dumps(connect)}\n{json.dumps(subscribe)}".encode()))
    heard = b""
    while b'"id":2' not in heard:
        data = found.recv(65_536)
        expect(bool(data) and b'"error"' not in data, f"the hub said {data!r}")
        heard += data
    return found


def upgrade(port: int, number: int, given: str) -> socket.socket:
    """A client that does nothing beyond the handshake."""
    return opened(port, "/connection/websocket")


def pss_kib(pid: int) -> int:
    """Memory of a process, with its part of what it shares."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])
    raise SystemExit("the kernel does not tell the PSS")


def answer_pings(sockets: list[socket.socket], seconds: float) -> None:
    """Reads pings and answers them, of either kind."""
    epoll = select.epoll()
    found = {each.fileno(): each for each in sockets}
    for number in found:
        epoll.register(number, select.EPOLLIN)
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        for number, _ in epoll.poll(left):
            data = found[number].recv(65_536)
            expect(bool(data), "a connection was closed")
            found[number].sendall(b"\x8a\x80" + bytes(4) if data[0] == 0x89 else text_frame(b"{}"))
    epoll.close()


def measure(title: str, open_one: Callable[[int, int, str], socket.socket], count: int, idle: float) -> None:
    """One row."""
    with hub(CONFIG) as (port, pid):
        sockets = [open_one(port, number, token("warm")) for number in range(200)]
        memory, cpu = pss_kib(pid), cpu_seconds(pid)
        tokens = [token(f"user{number}") for number in range(count)]
        sockets += [open_one(port, number, tokens[number]) for number in range(count)]
        opening = (cpu_seconds(pid) - cpu) / count
        share = "-"
        if idle:
            answer_pings(sockets, 2)
            cpu = cpu_seconds(pid)
            answer_pings(sockets, idle)
            share = f"{(cpu_seconds(pid) - cpu) / idle:.1%}"
        each = (pss_kib(pid) - memory) / count
        for one in sockets:
            one.close()
    print(f"| {title} | {opening * 1e3:.2f} | {each:.1f} | {share} |", flush=True)


class Held:
    """Clients of one process, all on one topic; while they are opened, pings are answered."""

    def __init__(self, port: int, source: str, first: int, count: int) -> None:
        self._epoll = select.epoll()
        self._sockets: dict[int, socket.socket] = {}
        for number in range(first, first + count):
            one = greeted(opened(port, "/connection/websocket", source), "large", token(f"user{number}"))
            one.setblocking(False)
            self._sockets[one.fileno()] = one
            self._epoll.register(one.fileno(), select.EPOLLIN)
            if number % 100 == 0:
                self.read(0)

    def read(self, seconds: float, mark: bytes = b"\0") -> float:
        """Answers pings for so long, or until each client has heard the mark; returns when the last one did."""
        until, last = time.monotonic() + seconds, 0.0
        behind = set(self._sockets)
        while behind:
            events = self._epoll.poll(max(0.0, until - time.monotonic()), 4_096)
            for number, _ in events:
                data = self._sockets[number].recv(65_536)
                expect(bool(data), "a connection was closed")
                if b"\x02{}" in data or b"{}\n" in data or b"\n{}" in data:
                    self._sockets[number].sendall(text_frame(b"{}"))
                if mark in data:
                    behind.discard(number)
                    last = time.monotonic()
            if time.monotonic() >= until and (not events or not seconds):
                break
        expect(not behind or mark == b"\0", f"{len(behind)} clients were not told of a publication")
        return last


def holder(link: Connection, port: int, source: str, first: int, count: int) -> None:
    """A process of clients: opens them, then does as it is told, (seconds, mark) by (seconds, mark)."""
    held = Held(port, source, first, count)
    link.send(0.0)
    while True:
        while not link.poll(0):
            held.read(0.1)
        order = link.recv()
        if order is None:
            return
        link.send(held.read(*order))


def family(pid: int) -> list[int]:
    """A process and those that it has started."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *map(int, children)]


def hold(count: int, idle: float, workers: int, broker: str) -> None:
    """One hub with very many clients."""
    context = multiprocessing.get_context("spawn")
    more = f"server: {{workers: {workers}}}\nbroker: {{url: {broker!r}}}\n" if workers > 1 else ""
    with hub(CONFIG + more) as (port, parent):
        warm = [client(port, number, token("warm")) for number in range(200)]
        for one in warm:
            one.close()
        time.sleep(1)
        pids = family(parent)

        def pss_kib_of_all() -> float:
            return sum(map(pss_kib, pids))

        def cpu_of_all() -> float:
            return sum(map(cpu_seconds, pids))

        memory, cpu, begun = pss_kib_of_all(), cpu_of_all(), time.monotonic()
        links, processes = [], []
        for number, first in enumerate(range(0, count, EACH)):
            near, far = context.Pipe()
            share = min(EACH, count - first)
            work = (far, port, f"127.0.0.{number + 2}", first, share)
            processes.append(context.Process(target=holder, args=work, daemon=True))
            processes[-1].start()
            links.append(near)
        _gather(links)
        took, opening = time.monotonic() - begun, (cpu_of_all() - cpu) / count
        each = (pss_kib_of_all() - memory) / count
        reached, spent = [], []
        for number in range(5):
            mark = f"mark {number};"
            for link in links:
                link.send((60.0, mark.encode()))
            time.sleep(0.3)
            cpu, begun = cpu_of_all(), time.monotonic()
            publish(port, json.dumps({"text": mark.ljust(100, "x")}).encode())
            reached.append(max(_gather(links)) - begun)
            spent.append((cpu_of_all() - cpu) / count)
        for link in links:
            link.send((idle, b"\0"))
        time.sleep(1)
        cpu = cpu_of_all()
        time.sleep(idle - 2)
        share_idle = (cpu_of_all() - cpu) / (idle - 2)
        _gather(links)
        for link in links:
            link.send(None)
        for process in processes:
            process.join(10)
    print(
        "| clients held | s to open all | CPU ms to open one | KiB each | s till a publication reached all |",
        end="",
    )
    print(" CPU us per delivery | of a core while idle |\n| --- | --- | --- | --- | --- | --- | --- |")
    print(f"| {count} | {took:.0f} | {opening * 1e3:.2f} | {each:.1f} | {sorted(reached)[2]:.2f} |", end="")
    print(f" {sorted(spent)[2] * 1e6:.1f} | {share_idle:.1%} |")


def _gather(links: list[Connection]) -> list[float]:
    found = []
    for link in links:
        try:
            found.append(link.recv())
        except EOFError:
            raise SystemExit("a process of clients has ended") from None
    return found


def main() -> None:
    """Measures, and prints one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--connections", type=int, default=5_000)
    parser.add_argument("--idle", type=float, default=30, help="seconds for which they are idle")
    parser.add_argument("--hold", type=int, help="hold so many with one hub, and measure nothing else")
    parser.add_argument("--workers", type=int, default=1, help="of the hub that holds them")
    parser.add_argument("--broker", default="redis://127.0.0.1:6379", help="between the workers")
    given = parser.parse_args()
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    if given.hold:
        expect(
            given.hold <= (limit - SPARE) * given.workers,
            f"one process may open {limit} files here (ulimit -Hn), and no more",
        )
        hold(given.hold, given.idle, given.workers, given.broker)
        return
    count = min(given.connections, limit - SPARE - 200)
    print(f"{count} connections\n")
    print("| | CPU ms to open one | KiB each | of a core while idle |\n| --- | --- | --- | --- |")
    measure("handshake alone", upgrade, count, 0)
    measure("plain socket, token, subscribed", plain, count, given.idle)
    measure("client protocol, token, subscribed", client, count, given.idle)


if __name__ == "__main__":
    main()
