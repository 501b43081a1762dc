"""What compression saves and costs: bytes on the wire, CPU of the server, memory of a connection.

    python benchmarks/compression.py [--clients 200] [--publications 200] [--panels 6 12 24 100] [--gap 0.05]

The payload is a dashboard's: JSON with a few fields for each panel, whose figures are new in each publication. It goes
through a plain socket's topic of a hub without and with `server.compression`, and through the smallest possible loop of
sends on uvicorn and the websockets library, without and with its compression, which keeps a context for each
connection and uses the last 4 KiB of earlier messages. All clients ask for compression. One of them unpacks all that it
gets and compares it; the others count frames and bytes.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import random
import select
import socket
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Final

from large_topic import CONFIG, cpu_seconds, expect, hub, text_frame

from hub.protocol.deflate import shared_text_frame
from hub.protocol.frames import text_frame as plain_frame

OFFER: Final = "permessage-deflate; client_max_window_bits"
TAIL: Final = b"\x00\x00\xff\xff"
COMPRESSED: Final = 0x40
PING: Final = 0x89
WARMING: Final = 5
Server = Callable[[], AbstractContextManager[tuple[int, int]]]


def publications(panels: int, count: int) -> list[bytes]:
    """What a dashboard publishes one after another."""
    chance = random.Random(panels)
    regions = ("eu-west-1", "us-east-1", "ap-south-1")
    return [
        json.dumps(
            {
                "at": 1_780_000_000_000 + 2_000 * number,
                "panels": [
                    {
                        "name": f"service-{panel}",
                        "region": regions[panel % 3],
                        "status": chance.choice(("ok", "ok", "ok", "degraded")),
                        "requests_per_second": round(chance.random() * 1_000, 2),
                        "latency_ms": {
                            "p50": round(chance.random() * 20, 2),
                            "p95": round(chance.random() * 80, 2),
                            "p99": round(chance.random() * 300, 2),
                        },
                        "errors": chance.randint(0, 30),
                    }
                    for panel in range(panels)
                ],
            },
            separators=(",", ":"),
        ).encode()
        for number in range(count)
    ]


class Client:
    """A socket that counts what it gets; one that checks unpacks it too."""

    def __init__(self, port: int, *, checks: bool) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        key = base64.b64encode(os.urandom(16)).decode()
        self.socket.sendall(
            f"GET /ws/dash HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Extensions: {OFFER}\r\n\r\n".encode()
        )
        heard = b""
        while b"\r\n\r\n" not in heard:
            heard += self.socket.recv(4_096)
        expect(heard.startswith(b"HTTP/1.1 101"), f"the handshake was answered with {heard!r}")
        self._forgets = b"server_no_context_takeover" in heard
        self._unpacking = zlib.decompressobj(-15)
        self._checks = checks
        self._rest = b""
        self.frames = self.bytes = 0
        self.seen: list[bytes] = []

    def read(self) -> None:
        """Takes what has come."""
        data = self.socket.recv(262_144)
        expect(bool(data), "the server has closed a connection")
        self.bytes += len(data)
        self._rest += data
        while (found := _frame(self._rest)) is not None:
            start, end = found
            first, payload, self._rest = self._rest[0], self._rest[start:end], self._rest[end:]
            if first == PING:
                self.socket.sendall(bytes((0x8A, 0x80 | len(payload))) + bytes(4) + payload)
                continue
            self.frames += 1
            if self._checks:
                self.seen.append(self._payload(first, payload))

    def _payload(self, first: int, payload: bytes) -> bytes:
        if not first & COMPRESSED:
            return payload
        if self._forgets:
            self._unpacking = zlib.decompressobj(-15)
        return self._unpacking.decompress(payload + TAIL)


def _frame(data: bytes) -> tuple[int, int] | None:
    """Where the payload of the first frame begins and ends; None when it has not come whole."""
    if len(data) < 2:
        return None
    size, start = data[1], 2
    if size > 125:
        start = 4 if size == 126 else 10
        if len(data) < start:
            return None
        size = int.from_bytes(data[2:start], "big")
    return (start, start + size) if len(data) >= start + size else None


def pss(pid: int) -> int:
    """Bytes of a process's own memory."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return next(int(line.split()[1]) * 1_024 for line in text.splitlines() if line.startswith("Pss:"))


def measure(server: Server, payloads: list[bytes], clients: int, gap: float) -> tuple[float, float, float]:
    """Bytes and CPU µs for a delivery, and KiB for a connection that has got them all."""
    with server() as (port, pid):
        first = Client(port, checks=True)
        _publish(first, [first], payloads[:WARMING], gap)
        before = pss(pid)
        members = [first, *(Client(port, checks=False) for _ in range(clients - 1))]
        _publish(first, members, payloads[:WARMING], gap)
        for member in members:
            member.frames = member.bytes = 0
            member.seen.clear()
        began = cpu_seconds(pid)
        _publish(first, members, payloads, gap)
        spent = cpu_seconds(pid) - began
        expect(first.seen == payloads, "what arrived is not what was published")
        deliveries = len(payloads) * clients
        weighed = (pss(pid) - before) / 1_024 / (clients - 1)
        for member in members:
            member.socket.close()
    return sum(member.bytes for member in members) / deliveries, spent * 1e6 / deliveries, weighed


def _publish(publisher: Client, members: list[Client], payloads: list[bytes], gap: float) -> None:
    """Publishes one after another, each when all have the one before and the gap is over."""
    by_number = {member.socket.fileno(): member for member in members}
    polled = select.poll()
    for number in by_number:
        polled.register(number, select.POLLIN)
    due = time.monotonic()
    for payload in payloads:
        wanted = {member: member.frames + 1 for member in members}
        publisher.socket.sendall(text_frame(payload))
        while any(member.frames < count for member, count in wanted.items()):
            ready = polled.poll(10_000)
            expect(bool(ready), "a publication did not arrive within 10 s")
            for number, _ in ready:
                by_number[number].read()
        due += gap
        time.sleep(max(0.0, due - time.monotonic()))


def hub_with(*, compression: bool) -> Server:
    """A hub, with compression or without."""
    settings = CONFIG + f"server: {{compression: {str(compression).lower()}}}\n"
    return lambda: hub(settings)


def loop_with(*, compression: bool) -> Server:
    """The loop of sends on uvicorn."""

    @contextmanager
    def run() -> Iterator[tuple[int, int]]:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        command = [sys.executable, __file__, "--serve", str(port), "--compression", str(int(compression))]
        process = subprocess.Popen(command)
        try:
            while socket.socket().connect_ex(("127.0.0.1", port)):
                expect(process.poll() is None, "uvicorn did not start")
                time.sleep(0.05)
            yield port, process.pid
        finally:
            process.kill()
            process.wait()

    return run


def serve(port: int, *, compression: bool) -> None:
    """What each client sends goes to all, one await after another."""
    import uvicorn  # noqa: PLC0415 - only the server needs it

    members: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        members.append(send)
        try:
            while (message := await receive())["type"] == "websocket.receive":
                for each in members.copy():
                    await each({"type": "websocket.send", "text": message["text"]})
        finally:
            members.remove(send)

    options: dict[str, Any] = {"ws": "websockets-sansio", "ws_per_message_deflate": compression}
    uvicorn.run(app, port=port, lifespan="off", log_level="error", **options)


def sizes(panels: list[int]) -> None:
    """Prints what one publication becomes."""
    print(
        "| panels | bytes of JSON | shared frame | saved | µs to make it |\n| --- | --- | --- | --- | --- |"
    )
    for count in panels:
        payloads = publications(count, 100)
        full = sum(len(plain_frame(payload)) for payload in payloads) / len(payloads)
        best = float("inf")
        for _ in range(5):
            began = time.perf_counter()
            frames = [shared_text_frame(payload, 15) for payload in payloads]
            best = min(best, time.perf_counter() - began)
        small = sum(map(len, frames)) / len(frames)
        print(
            f"| {count} | {full:,.0f} | {small:,.0f} | {1 - small / full:.0%} | {best / len(payloads) * 1e6:,.0f} |"
        )


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--publications", type=int, default=200)
    parser.add_argument("--panels", type=int, nargs="+", default=[6, 12, 24, 100])
    parser.add_argument("--gap", type=float, default=0.05, help="seconds between publications")
    parser.add_argument("--rounds", type=int, default=1, help="the best of so many is shown")
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--compression", type=int, default=0, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        serve(given.serve, compression=bool(given.compression))
        return
    sizes([1, *given.panels])
    servers = {
        "hub": hub_with(compression=False),
        "hub, compression": hub_with(compression=True),
        "uvicorn": loop_with(compression=False),
        "uvicorn, compression": loop_with(compression=True),
    }
    print(f"\n{given.clients} clients, {given.publications} publications\n")
    print("| JSON | server | bytes each | saved | CPU µs/delivery | KiB/connection |")
    print("| --- | --- | --- | --- | --- | --- |")
    for panels in given.panels:
        payloads = publications(panels, given.publications)
        full = sum(len(plain_frame(payload)) for payload in payloads) / len(payloads)
        for name, server in servers.items():
            rounds = [measure(server, payloads, given.clients, given.gap) for _ in range(given.rounds)]
            size, spent, weighed = min(rounds, key=lambda found: found[1])
            print(
                f"| {full:,.0f} | {name} | {size:,.0f} | {1 - size / full:.0%} | {spent:.1f} | {weighed:.1f} |"
            )


if __name__ == "__main__":
    main()
