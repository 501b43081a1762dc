"""Redis behind Sentinels and as a cluster, as the suite breaks them: whole, or the primary that has a topic alone."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import redis

from hub.broker.redis.keys import Names
from tests.services.redis_cluster import ClusterNode, RedisCluster
from tests.services.redis_sentinel import RedisNode, RedisSentinels, until

REPLICAS = 2
"""Behind Sentinels; in a cluster each primary has one."""
_KEYS = Names("hub", 0)


class Member(Protocol):
    """One server of several."""

    def start(self) -> None:
        """Starts it after `kill`, with what it last wrote to disk."""

    def kill(self) -> None:
        """SIGKILL."""

    def freeze(self) -> None:
        """SIGSTOP."""

    def thaw(self) -> None:
        """SIGCONT."""


class SentinelServers:
    """A primary with replicas and three Sentinels. A whole outage takes the data's servers, never the Sentinels."""

    port = None
    """Each server tells its own address, so no proxy can stand in between."""

    def __init__(self, program: Path, folder: Path) -> None:
        self._program = program
        self._folder = folder / "sentinels"
        self._site: RedisSentinels

    @property
    def url(self) -> str:
        """The broker's URL."""
        return self._site.url

    def start(self) -> None:
        """Starts all of them; returns when everybody knows everybody."""
        self._site = RedisSentinels(self._program, self._folder, replicas=REPLICAS)

    def kill(self) -> None:
        """SIGKILL to primary and replicas; all is lost."""
        for node in self._site.nodes:
            node.kill()
        _forget(self._folder)

    def restart(self, *, keep_data: bool = False) -> None:
        """Starts primary and replicas anew, the primary being the same."""
        primary = self._site.primary
        others = [node for node in self._site.nodes if node is not primary]
        if keep_data and primary.process.running:
            for node in others:
                node.kill()
            _forget(self._folder)
            primary.ask("SHUTDOWN", "SAVE")
            _wait(lambda: not primary.process.running)
        else:
            self.kill()
        primary.start()
        primary.ask("REPLICAOF", "NO", "ONE")
        for node in others:
            node.start()
            node.ask("REPLICAOF", "127.0.0.1", primary.port)
        self.settle()

    def freeze(self) -> None:
        """SIGSTOP to primary and replicas."""
        for node in self._site.nodes:
            node.freeze()

    def thaw(self) -> None:
        """SIGCONT."""
        for node in self._site.nodes:
            node.thaw()

    def close(self) -> None:
        """Ends all of them for good."""
        self._site.stop()

    def leader(self, topic: str) -> RedisNode:
        """The primary, which has all topics."""
        return self._site.primary

    def until_promoted(self, topic: str, old: Member) -> None:
        """Returns when the Sentinels name another, and that one says so too. Raises TimeoutError."""
        until(lambda: self._site.primary is not old and self._site.primary.is_primary)

    def settle(self) -> None:
        """Returns when all but the primary are its replicas, and the Sentinels know it. Raises TimeoutError."""
        self._site.settle()


class ClusterServers:
    """Three primaries, each with a replica, that elect among themselves."""

    port = None
    """Each server tells its own address, so no proxy can stand in between."""

    def __init__(self, program: Path, folder: Path) -> None:
        self._folder = folder / "cluster"
        self._folder.mkdir()
        self._site = RedisCluster(program, self._folder)
        self.url = self._site.url

    def start(self) -> None:
        """Starts and links them."""
        try:
            self._site.start()
        except BaseException:
            self._site.stop()
            raise

    def kill(self) -> None:
        """SIGKILL to all; what they held is lost, who they are is not."""
        for node in self._site.nodes:
            node.kill()
        _forget(self._folder)

    def restart(self, *, keep_data: bool = False) -> None:
        """Starts all anew, in the roles that they had."""
        primaries = self._primaries() if self._site.nodes[0].running else []
        others = [node for node in self._site.nodes if node not in primaries]
        if keep_data and primaries:
            for node in others:
                node.kill()
            _forget(self._folder)
            for node in primaries:
                with contextlib.suppress(redis.RedisError):
                    node.do("SHUTDOWN", "SAVE")
                _wait(lambda node=node: not node.running)  # type: ignore[misc]
        else:
            self.kill()
        for node in [*primaries, *others]:
            node.start()
        self.settle()

    def freeze(self) -> None:
        """SIGSTOP to all."""
        for node in self._site.nodes:
            node.freeze()

    def thaw(self) -> None:
        """SIGCONT."""
        for node in self._site.nodes:
            node.thaw()

    def close(self) -> None:
        """Ends all of them for good."""
        self._site.stop()

    def leader(self, topic: str) -> ClusterNode:
        """The primary of the topic's slot."""
        return self._site.primary(_KEYS.channel(topic).decode())

    def until_promoted(self, topic: str, old: Member) -> None:
        """Returns when another node takes the topic's slot for its own. Raises TimeoutError."""
        others = [node for node in self._site.nodes if node is not old]
        until(lambda: any(node is self._served(topic, node) for node in others))

    def settle(self) -> None:
        """Returns when all are whole again. Raises RuntimeError."""
        self._site.wait()

    def _served(self, topic: str, asked: ClusterNode) -> ClusterNode | None:
        """Who serves the topic by the word of one node."""
        with contextlib.suppress(redis.RedisError, LookupError):
            return self._site.primary(_KEYS.channel(topic).decode(), asked)
        return None

    def _primaries(self) -> list[ClusterNode]:
        return [node for node in self._site.nodes if node.info("replication")["role"] == "master"]


Replicas = SentinelServers | ClusterServers


def _forget(folder: Path) -> None:
    """Removes what servers wrote to disk of their data."""
    for dump in folder.glob("*/dump.rdb"):
        dump.unlink()


def _wait(holds: Callable[[], bool], within: float = 12.0) -> None:
    deadline = time.monotonic() + within
    while not holds():
        if time.monotonic() > deadline:
            raise RuntimeError("a Redis did not write down what it has and end")
        time.sleep(0.02)
