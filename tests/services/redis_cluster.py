"""A real Redis Cluster, owned by the test run: three primaries, each with a replica, that can be killed and moved."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import redis
from redis.crc import key_slot

from tests.services.missing import find_program, unavailable
from tests.services.ports import free_port
from tests.services.process import ServerProcess

REMEDY: Final = (
    "install Redis 7, or Valkey (Debian, Ubuntu: apt install redis-server; macOS: brew install redis)"
)
SLOTS: Final = 16384
PRIMARIES: Final = 3
NODE_TIMEOUT: Final = 1.0
"""Seconds after which the cluster holds a silent node for dead; its replica is elected within about as long again."""
_READY_SECONDS: Final = 20
_MENDING_SECONDS: Final = 6
"""What a cluster may take to be whole again after a test; else it is made anew."""


class ClusterNode:
    """A Redis process of the cluster, at the same port over restarts."""

    def __init__(self, program: Path, folder: Path) -> None:
        self.port = free_port()
        self.bus_port = free_port()
        self._folder = folder
        options = {
            "bind": "127.0.0.1",
            "port": self.port,
            "cluster-port": self.bus_port,
            "dir": folder,
            "save": "",
            "cluster-enabled": "yes",
            "cluster-node-timeout": int(NODE_TIMEOUT * 1000),
            "cluster-require-full-coverage": "no",
            "cluster-allow-replica-migration": "no",
            "cluster-replica-validity-factor": 0,
            "repl-diskless-sync-delay": 0,
        }
        command: list[str | Path] = [program]
        for name, value in options.items():
            command += [f"--{name}", str(value)]
        self._process = ServerProcess(command, folder.with_suffix(".log"))
        self._client = redis.Redis(port=self.port, socket_timeout=5, decode_responses=True)
        self.id = ""

    @property
    def name(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self.port}"

    @property
    def running(self) -> bool:
        """Whether its process has not ended."""
        return self._process.running

    def start(self) -> None:
        """Starts the process; it takes its old place in the cluster, with what it last wrote to disk."""
        self._folder.mkdir(exist_ok=True)
        self._process.start(self._answers)
        self.id = self.do("CLUSTER", "MYID")

    def kill(self) -> None:
        """SIGKILL."""
        self._process.kill()

    def forget(self) -> None:
        """Kills it, and removes all it knows."""
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def freeze(self) -> None:
        """SIGSTOP."""
        self._process.freeze()

    def thaw(self) -> None:
        """SIGCONT."""
        self._process.thaw()

    def do(self, *command: str | int) -> Any:
        """The answer to a command, as text."""
        return self._client.execute_command(*command)  # type: ignore[no-untyped-call]

    def info(self, section: str) -> dict[str, Any]:
        """A section of INFO."""
        facts: dict[str, Any] = self._client.info(section)
        return facts

    def _answers(self) -> bool:
        try:
            return bool(self.do("PING"))
        except redis.RedisError:
            return False


class RedisCluster:
    """The nodes, the first three of which begin as primaries. `url` names the first two."""

    def __init__(self, program: Path, folder: Path) -> None:
        self.nodes = [ClusterNode(program, folder / f"node{at}") for at in range(2 * PRIMARIES)]
        self.url = "redis+cluster://" + ",".join(node.name for node in self.nodes[:2])

    def start(self) -> None:
        """Starts and links the nodes; returns once all agree that the cluster is whole."""
        for node in self.nodes:
            node.start()
        first = self.nodes[0]
        for node in self.nodes[1:]:
            node.do("CLUSTER", "MEET", "127.0.0.1", first.port, first.bus_port)
        bounds = [at * SLOTS // PRIMARIES for at in range(PRIMARIES + 1)]
        for at, node in enumerate(self.nodes[:PRIMARIES]):
            node.do("CLUSTER", "ADDSLOTSRANGE", bounds[at], bounds[at + 1] - 1)
        _wait(lambda: all(len(_known(node)) == len(self.nodes) for node in self.nodes))
        for primary, replica in zip(self.nodes[:PRIMARIES], self.nodes[PRIMARIES:], strict=True):
            replica.do("CLUSTER", "REPLICATE", primary.id)
        self.wait()

    def wait(self) -> None:
        """Returns once every node sees every other, all slots are served, and replicas have what their primary has."""
        _wait(self._whole)

    def stop(self) -> None:
        """Ends all nodes, and removes what they know."""
        for node in self.nodes:
            node.forget()

    def recover(self) -> None:
        """Makes the cluster whole and empty, whatever the test before did to it."""
        for node in self.nodes:
            node.thaw()
        try:
            _wait(self._whole, 0 if not all(node.running for node in self.nodes) else _MENDING_SECONDS)
        except RuntimeError:
            self.stop()
            self.start()
        for node in self.nodes:
            if node.info("replication")["role"] == "master":
                node.do("FLUSHALL")

    def primary(self, key: str, asked: ClusterNode | None = None) -> ClusterNode:
        """The node that serves a key's slot, by the word of one node. Raises LookupError."""
        slot = key_slot(key.encode())
        asked = asked or next(node for node in self.nodes if node.running)
        for first, last, (_, port, *_), *_ in asked.do("CLUSTER", "SLOTS"):
            if first <= slot <= last:
                return next(node for node in self.nodes if node.port == port)
        raise LookupError(f"slot {slot} is not served")

    def replica(self, primary: ClusterNode) -> ClusterNode:
        """A running replica of the node."""
        return next(
            node
            for node in self.nodes
            if node.running and node.info("replication").get("master_port") == primary.port
        )

    def others(self, *nodes: ClusterNode) -> list[ClusterNode]:
        """Running primaries that are none of these."""
        return [
            node
            for node in self.nodes
            if node not in nodes and node.running and node.info("replication")["role"] == "master"
        ]

    def promote(self, replica: ClusterNode) -> None:
        """Has a replica take over from its primary by hand, which loses nothing; returns when all nodes know.

        The others vote only now and then, and of two elections in a row the first may win.
        """

        def done() -> bool:
            return all(
                any(port == replica.port for _, _, (_, port, *_), *_ in node.do("CLUSTER", "SLOTS"))
                for node in self.nodes
                if node.running
            )

        while not done():
            replica.do("CLUSTER", "FAILOVER")
            deadline = time.monotonic() + 2.5 * NODE_TIMEOUT
            while not done() and time.monotonic() < deadline:
                time.sleep(0.02)

    def migrate(self, slot: int, target: ClusterNode, *, during: Callable[[], None] = lambda: None) -> None:
        """Moves a slot to another primary as `redis-cli --cluster reshard` does; `during` is called half-way."""
        source = next(
            node for node in self.others() if any(low <= slot <= high for low, high in _own_slots(node))
        )
        target.do("CLUSTER", "SETSLOT", slot, "IMPORTING", source.id)
        source.do("CLUSTER", "SETSLOT", slot, "MIGRATING", target.id)
        while keys := source.do("CLUSTER", "GETKEYSINSLOT", slot, 10):
            source.do("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", *keys)
        during()
        for node in (target, source, *self.others(target, source)):
            node.do("CLUSTER", "SETSLOT", slot, "NODE", target.id)
        for node in self.others():
            node.do("CLUSTER", "SETSLOT", slot, "STABLE")

    def _whole(self) -> bool:
        try:
            return all(self._sound(node) for node in self.nodes)
        except redis.RedisError:
            return False

    def _sound(self, node: ClusterNode) -> bool:
        facts = node.do("CLUSTER", "INFO")
        known = _known(node)
        links = [
            line
            for line in known
            if "fail" not in line[2] and "handshake" not in line[2] and line[7] == "connected"
        ]
        primaries = [line for line in known if "master" in line[2]]
        state = node.info("replication")
        return (
            "cluster_state:ok" in facts
            and f"cluster_slots_ok:{SLOTS}" in facts
            and len(links) == len(self.nodes)
            and len(primaries) == PRIMARIES
            and (state["role"] == "master" or state["master_link_status"] == "up")
        )


def _known(node: ClusterNode) -> list[list[str]]:
    """What a node knows of each: id, address, flags, primary, two times, epoch, link, slots."""
    return [line.split() for line in node.do("CLUSTER", "NODES").splitlines()]


def _own_slots(node: ClusterNode) -> list[tuple[int, int]]:
    return [
        (first, last) for first, last, (_, port, *_), *_ in node.do("CLUSTER", "SLOTS") if port == node.port
    ]


def _wait(holds: Callable[[], bool], within: float = _READY_SECONDS) -> None:
    deadline = time.monotonic() + within
    while not holds():
        if time.monotonic() > deadline:
            raise RuntimeError("the Redis Cluster did not become whole")
        time.sleep(0.05)


def find_cluster_program() -> Path | None:
    """A Redis that knows sharded publish and subscribe, which came with version 7."""
    program = find_program("redis-server", "valkey-server")
    if program is None:
        return None
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    version = re.search(r"v=(\d+)", said)
    return program if version is not None and int(version[1]) >= 7 else None


@pytest.fixture(scope="session")
def _owned_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisCluster | None]:
    program = find_cluster_program()
    if program is None:
        yield None
        return
    cluster = RedisCluster(program, tmp_path_factory.mktemp("cluster"))
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture
def redis_cluster(_owned_cluster: RedisCluster | None) -> RedisCluster:
    """A whole and empty Redis Cluster that belongs to this test run: kill its nodes, freeze them, move slots."""
    if _owned_cluster is None:
        unavailable("Redis Cluster", REMEDY)
    _owned_cluster.recover()
    return _owned_cluster


@pytest.fixture
def redis_cluster_url(redis_cluster: RedisCluster) -> str:
    """The URL of an empty Redis Cluster."""
    return redis_cluster.url
