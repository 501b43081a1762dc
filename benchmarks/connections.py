"""What a connection costs the hub: CPU to open it, memory to keep it, CPU while it does nothing but be pinged.

    python benchmarks/connections.py [--connections 5000] [--idle 30]

Runs a fresh hub for each kind of client, in a process of its own. Each client has a token and is subscribed to one
topic of 50. CPU is user and system time of the hub; memory is the growth of its PSS, without the kernel's buffers.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import hmac
import json
import resource
import select
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from large_topic import SPARE, cpu_seconds, expect, hub, opened, text_frame

SECRET: Final = "a-secret-for-benchmarks-0123456789abcdef"  # noqa: S105 - of a hub that lives for a minute
CONFIG: Final = f"""
version: 1
database: {{url: "sqlite://"}}
auth: {{jwt: {{secret: "{SECRET}"}}}}
topics:
  "{{topic:rest}}":
    allow: {{subscribe: authenticated}}
    history: {{size: 100, ttl: 5m}}
"""
TOPICS: Final = 50


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
    found = opened(port, "/connection/websocket")
    connect = {"id": 1, "connect": {"token": given}}
    subscribe = {"id": 2, "subscribe": {"channel": f"topic{number % TOPICS}"}}
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


def main() -> None:
    """Measures, and prints one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--connections", type=int, default=5_000)
    parser.add_argument("--idle", type=float, default=30, help="seconds for which they are idle")
    given = parser.parse_args()
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    count = min(given.connections, limit - SPARE - 200)
    print(f"{count} connections\n")
    print("| | CPU ms to open one | KiB each | of a core while idle |\n| --- | --- | --- | --- |")
    measure("handshake alone", upgrade, count, 0)
    measure("plain socket, token, subscribed", plain, count, given.idle)
    measure("client protocol, token, subscribed", client, count, given.idle)


if __name__ == "__main__":
    main()
