"""A primary of Redis, its replicas and three Sentinels, as real processes that a test may kill, freeze and cut off."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import redis

from tests.services.missing import find_program, unavailable
from tests.services.ports import free_port
from tests.services.process import ServerProcess
from tests.services.redis import REMEDY

NAME: Final = "mymaster"
DOWN_AFTER_MS: Final = 600
WITHIN: Final = 25.0


class RedisNode:
    """One Redis process that may be primary or replica."""

    def __init__(
        self, program: Path, folder: Path, *, replica_of: int | None = None, password: str = ""
    ) -> None:
        self.port = free_port()
        self._password = password
        folder.mkdir(parents=True)
        options = {
            "bind": "127.0.0.1",
            "port": str(self.port),
            "dir": str(folder),
            "appendonly": "no",
            "repl-diskless-sync-delay": "0",
            "repl-timeout": "3",
            "repl-ping-replica-period": "1",
        }
        if password:
            options |= {"requirepass": password, "masterauth": password}
        command: list[str | Path] = [program, "--save", ""]
        for name, value in options.items():
            command += [f"--{name}", value]
        if replica_of is not None:
            command += ["--replicaof", "127.0.0.1", str(replica_of)]
        self.process = ServerProcess(command, folder / "redis.log")
        self.start()

    def start(self) -> None:
        """Starts it, in the role that it had first, with what it last wrote to disk."""
        self.process.start(lambda: self.ask("PING") is not None)

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()

    def freeze(self) -> None:
        """SIGSTOP."""
        self.process.freeze()

    def thaw(self) -> None:
        """SIGCONT."""
        self.process.thaw()

    def ask(self, *command: str | int) -> Any:
        """The answer to a command; None when there is none within a second."""
        return ask(self.port, *command, password=self._password)

    @property
    def is_primary(self) -> bool:
        """Whether it says so."""
        role = self.ask("ROLE")
        return bool(role) and role[0] == b"master"


class RedisSentinels:
    """A primary, replicas, and Sentinels that name another primary within a second or two of its silence."""

    def __init__(self, program: Path, folder: Path, *, replicas: int = 1, password: str = "") -> None:
        self._password = password
        primary = RedisNode(program, folder / "0", password=password)
        self.nodes = [primary] + [
            RedisNode(program, folder / str(number), replica_of=primary.port, password=password)
            for number in range(1, replicas + 1)
        ]
        self._sentinels: list[tuple[int, ServerProcess]] = []
        for number in range(3):
            self._sentinels.append(_sentinel(program, folder / f"sentinel{number}", primary.port, password))
        try:
            self.settle()
        except BaseException:
            self.stop()
            raise

    @property
    def url(self) -> str:
        """The broker's URL, without passwords."""
        hosts = ",".join(f"127.0.0.1:{port}" for port, _ in self._sentinels)
        return f"redis+sentinel://{hosts}?sentinel_master_name={NAME}"

    @property
    def sentinels(self) -> list[ServerProcess]:
        """The processes of the Sentinels."""
        return [process for _, process in self._sentinels]

    @property
    def primary(self) -> RedisNode:
        """The one that most Sentinels name. Waits while none of them answers, as they may on a busy machine."""
        named: list[RedisNode] = []

        def asked() -> bool:
            ports = [port for sentinel, _ in self._sentinels if (port := self.named(sentinel))]
            named.extend(node for node in self.nodes if ports and node.port == max(ports, key=ports.count))
            return bool(named)

        until(asked)
        return named[0]

    @property
    def replicas(self) -> list[RedisNode]:
        """The others."""
        primary = self.primary
        return [node for node in self.nodes if node is not primary]

    def named(self, sentinel: int) -> int:
        """The port of the primary by the word of the Sentinel on this port; 0 when it does not answer."""
        address = self._ask(sentinel, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME)
        return int(address[1]) if address else 0

    def until_promoted(self, old: RedisNode) -> RedisNode:
        """Waits until the Sentinels name another than `old`, and returns that one."""
        until(lambda: self.primary is not old and self.primary.is_primary)
        return self.primary

    def settle(self) -> None:
        """Waits until every replica follows the primary and every Sentinel knows all of them and its fellows."""
        until(self._settled)

    def failover(self) -> RedisNode:
        """Has the Sentinels make a replica the primary, in good order; returns it."""
        old = self.primary
        until(lambda: self._ask(self._sentinels[0][0], "SENTINEL", "FAILOVER", NAME) is not None)
        new = self.until_promoted(old)
        until(self._following)
        return new

    def stop(self) -> None:
        """Ends all processes."""
        for process in [*self.sentinels, *(node.process for node in self.nodes)]:
            process.kill()

    def _ask(self, sentinel: int, *command: str) -> Any:
        return ask(sentinel, *command, password=sentinel_password(self._password))

    def _following(self) -> bool:
        """Whether all others are replicas of the primary, and have its data."""
        return self.primary.is_primary and all(
            (node.ask("ROLE") or [b""])[0:4:3] == [b"slave", b"connected"] for node in self.replicas
        )

    def _settled(self) -> bool:
        primary, links = self.primary, len(self.nodes) - 1
        if not self._following():
            return False
        for port, _ in self._sentinels:
            flat = self._ask(port, "SENTINEL", "MASTER", NAME) or []
            facts = dict(zip(flat[::2], flat[1::2], strict=True))
            if facts.get(b"num-slaves") != b"%d" % links or facts.get(b"num-other-sentinels") != b"2":
                return False
            if facts.get(b"flags") != b"master" or int(facts[b"port"]) != primary.port:
                return False
        return True


def sentinel_password(password: str) -> str:
    """The password of the Sentinels of a primary with this one, which is another."""
    return password and f"{password}-too"


def ask(port: int, *command: str | int, password: str = "") -> Any:
    """The answer of a server to a command, as it came; None when there is none within a second."""
    try:
        url = f"redis://:{password}@127.0.0.1:{port}" if password else f"redis://127.0.0.1:{port}"
        with redis.Redis.from_url(url, socket_timeout=1, retry=None, protocol=2) as client:
            client.response_callbacks.clear()
            return client.execute_command(*command)
    except redis.RedisError:
        return None


def until(holds: Callable[[], bool], *, within: float = WITHIN) -> None:
    """Returns when `holds()`; raises TimeoutError when it never does."""
    deadline = time.monotonic() + within
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError("Redis and its Sentinels did not become what the test needs")
        time.sleep(0.05)


def _sentinel(program: Path, folder: Path, primary: int, password: str) -> tuple[int, ServerProcess]:
    folder.mkdir(parents=True)
    port = free_port()
    settings = {
        "port": port,
        "bind": "127.0.0.1",
        "dir": folder,
        f"sentinel monitor {NAME}": f"127.0.0.1 {primary} 2",
        f"sentinel down-after-milliseconds {NAME}": DOWN_AFTER_MS,
        f"sentinel failover-timeout {NAME}": 3000,
        f"sentinel parallel-syncs {NAME}": 5,
    }
    if password:
        settings |= {f"sentinel auth-pass {NAME}": password, "requirepass": sentinel_password(password)}
    file = folder / "sentinel.conf"
    file.write_text("".join(f"{name} {value}\n" for name, value in settings.items()))
    process = ServerProcess([program, file, "--sentinel"], folder / "sentinel.log")
    process.start(lambda: ask(port, "PING", password=sentinel_password(password)) is not None)
    return port, process


def program_or_skip() -> Path:
    """The server's program; skips the test where there is none."""
    program = find_program("redis-server", "valkey-server")
    if program is None:
        unavailable("redis-server", REMEDY)
    return program


@pytest.fixture(scope="session")
def _standing_sentinels(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisSentinels]:
    sentinels = RedisSentinels(program_or_skip(), tmp_path_factory.mktemp("sentinels"))
    yield sentinels
    sentinels.stop()


@pytest.fixture
def redis_sentinel_url(_standing_sentinels: RedisSentinels) -> str:
    """The URL of Sentinels, for tests that break nothing. The database is empty."""
    _standing_sentinels.primary.ask("FLUSHALL")
    return _standing_sentinels.url


@pytest.fixture
def redis_sentinels(tmp_path: Path) -> Iterator[RedisSentinels]:
    """A primary, one replica and three Sentinels of this test's own."""
    sentinels = RedisSentinels(program_or_skip(), tmp_path / "sentinels")
    yield sentinels
    sentinels.stop()
