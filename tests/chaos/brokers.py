"""The servers behind the brokers, as the suite breaks them: one line for each broker in `SERVERS`."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final, Protocol

from hub.broker.factory import SCHEMES
from tests.chaos.replicas import ClusterServers, SentinelServers
from tests.services import nats, postgres, redis, redis_cluster
from tests.services.missing import find_program
from tests.services.nats import NatsServer
from tests.services.postgres import PostgresServer, _execute, find_postgres
from tests.services.redis import RedisServer
from tests.services.redis_cluster import find_cluster_program


class Server(Protocol):
    """A broker's server in a process of our own, or several that stand in for one another."""

    @property
    def port(self) -> int | None:
        """Where it listens on 127.0.0.1, the same over restarts; None for several."""

    @property
    def url(self) -> str:
        """What the hub is configured with, `port` in it."""

    def start(self) -> None:
        """Starts it."""

    def kill(self) -> None:
        """SIGKILL; on a server that keeps nothing on disk all is lost."""

    def restart(self, *, keep_data: bool = False) -> None:
        """Starts it anew, after `kill` or instead of it: with `keep_data` as it was."""

    def freeze(self) -> None:
        """SIGSTOP."""

    def thaw(self) -> None:
        """SIGCONT."""


class PostgresCluster:
    """PostgreSQL for the suite: whatever a test run does for speed, a commit is written before it is acknowledged."""

    def __init__(self, programs: Path) -> None:
        # It runs as somebody else where this is root's, who may not look into the folders of a test run.
        self._folder = tempfile.TemporaryDirectory(prefix="hub-postgres-", ignore_cleanup_errors=True)
        self._server = PostgresServer(programs, Path(self._folder.name))
        self._frozen = ExitStack()
        self.port = self._server.port
        self.url = self._server.url

    def start(self) -> None:
        """Starts it for the first time."""
        self._server.start()
        _execute(self.url, "ALTER DATABASE postgres SET synchronous_commit = on")

    def kill(self) -> None:
        """SIGKILL; what was committed stays."""
        self.thaw()
        self._server.kill()

    def restart(self, *, keep_data: bool = False) -> None:
        """Starts it anew; it always keeps its data."""
        self.kill()
        self._server.start()

    def close(self) -> None:
        """Ends it for good, and removes its data."""
        self.kill()
        self._folder.cleanup()

    def freeze(self) -> None:
        """SIGSTOP, to all of its processes."""
        self._frozen.enter_context(self._server.frozen())

    def thaw(self) -> None:
        """SIGCONT."""
        self._frozen.close()


def _redis(folder: Path) -> Server | None:
    program = find_program("redis-server", "valkey-server")
    return None if program is None else RedisServer(program, folder)


def _nats(folder: Path) -> Server | None:
    program = find_program("nats-server")
    return None if program is None else NatsServer(program, folder)


def _postgres(folder: Path) -> Server | None:
    programs = find_postgres()
    return None if programs is None else PostgresCluster(programs)


def _sentinels(folder: Path) -> Server | None:
    program = find_program("redis-server", "valkey-server")
    return None if program is None else SentinelServers(program, folder)


def _cluster(folder: Path) -> Server | None:
    program = find_cluster_program()
    return None if program is None else ClusterServers(program, folder)


SERVERS: Final[Mapping[str, tuple[Callable[[Path], Server | None], str]]] = {
    "redis": (_redis, redis.REMEDY),
    "nats": (_nats, nats.REMEDY),
    "postgresql": (_postgres, postgres.REMEDY),
    "redis+sentinel": (_sentinels, redis.REMEDY),
    "redis+cluster": (_cluster, redis_cluster.REMEDY),
}
"""By scheme: what makes the server, None where the machine lacks it, and how to get it."""
ALIASES: Final = {
    "rediss": "redis",
    "rediss+sentinel": "redis+sentinel",
    "rediss+cluster": "redis+cluster",
    "tls": "nats",
    "postgres": "postgresql",
}
"""Other schemes of the same broker."""
REPLICATED: Final = ("redis+sentinel", "redis+cluster")
"""Those of whose servers one takes over when another dies."""
BROKERS: Final = ("memory", *(scheme for scheme in SERVERS if scheme in SCHEMES))
"""What the suite runs on: each broker that the hub knows."""


class MissingServerError(Exception):
    """The machine lacks a broker's server; `remedy` says how to get it."""

    def __init__(self, broker: str, remedy: str) -> None:
        super().__init__(f"no {broker} server here: {remedy}")
        self.remedy = remedy


@contextmanager
def running(broker: str, folder: Path) -> Iterator[Server | None]:
    """A started server; None for the broker that needs none. Raises MissingServerError."""
    if broker == "memory":
        yield None
        return
    make, remedy = SERVERS[broker]
    server = make(folder)
    if server is None:
        raise MissingServerError(broker, remedy)
    server.start()
    try:
        yield server
    finally:
        if isinstance(server, PostgresCluster | SentinelServers | ClusterServers):
            server.close()
        else:
            server.kill()
