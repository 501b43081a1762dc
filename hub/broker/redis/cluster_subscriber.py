"""The topics that a node is subscribed to at a Redis Cluster, each at the primary that serves its slot."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Collection
from typing import Final

from hub.broker.inbox import Inbox
from hub.broker.redis.shard import Shard
from hub.broker.redis.want import Want
from hub.redis.cluster_map import ClusterMap
from hub.redis.hosts import Node
from hub.redis.slots import slot_of

_MOVING: Final = "the topic's slot moves to another server of the cluster"


class ClusterSubscriber:
    """Puts what the cluster sends on the wanted topics into the inbox, and a Gap wherever something may be missing.

    A topic follows its slot. While a slot moves, what is published on a topic that has already moved is heard by
    nobody, so its topics are told a Gap every round, and history fills it.
    """

    def __init__(self, known: ClusterMap, inbox: Inbox, *, connect_timeout: float) -> None:
        self._map = known
        self._inbox = inbox
        self._connect_timeout = connect_timeout
        self._shards: dict[Node, Shard] = {}
        self._wants: defaultdict[int, dict[bytes, Want]] = defaultdict(dict)
        self._homes: dict[bytes, Shard] = {}
        self._round = 0
        self._mended = 0
        self._running = False
        self._ending: set[asyncio.Task[None]] = set()

    @property
    def connected(self) -> bool:
        """Whether all slots are served, and all that serve them are connected."""
        return self._map.whole and all(
            node in self._shards and self._shards[node].connected for node in self._map.primaries
        )

    @property
    def reconnects(self) -> int:
        """How often a connection was mended."""
        return self._mended + sum(shard.reconnects for shard in self._shards.values())

    async def start(self) -> None:
        """Begins to connect, and returns when that has succeeded or failed once."""
        if not self._running:
            self._running = True
            self._map.attach(self._follow)
        await self._map.settled()
        self._follow(list(self._wants))
        await asyncio.gather(*(shard.start() for shard in self._shards.values()))

    async def stop(self) -> None:
        """Closes the connections; what is wanted is subscribed again by a later `start`."""
        if self._running:
            self._running = False
            await self._map.detach(self._follow)
        for shard in self._shards.values():
            self._end(shard)
        self._shards.clear()
        await asyncio.gather(*self._ending)

    async def subscribe(self, topic: str, channel: bytes) -> None:
        """Returns when Redis has confirmed; at once when it is away; after 3 s without a word, all the same."""
        wants = self._wants[slot_of(channel)]
        want = wants.get(channel)
        if want is None:
            want = wants[channel] = Want(topic, channel)
            if self._running:
                self._settle(want, self._map.owners[slot_of(channel)])
        home = self._homes.get(channel)
        if home is not None and home.connected and not want.live:
            await want.confirmed()

    def unsubscribe(self, channel: bytes) -> None:
        """Lets a channel go."""
        slot = slot_of(channel)
        wants = self._wants.get(slot, {})
        want = wants.pop(channel, None)
        if not wants:
            self._wants.pop(slot, None)
        if want is not None:
            self._settle(want, None)
            want.wake()

    def _follow(self, changed: Collection[int]) -> None:
        """Brings topics where the map says that they are served, and lets go who serves none any more."""
        for node in self._map.primaries:
            self._shard(node)
        for slot in changed:
            for want in self._wants.get(slot, {}).values():
                self._settle(want, self._map.owners[slot])
        if self._round == self._map.rounds:
            return
        self._round = self._map.rounds
        for shard in list(self._shards.values()):
            shard.retry()
            if shard.node not in self._map.primaries and not shard.wants:
                self._end(self._shards.pop(shard.node))
        for slot in self._map.moving:
            for want in self._wants.get(slot, {}).values():
                if want.live:
                    self._inbox.gap(want.topic, _MOVING)

    def _settle(self, want: Want, node: Node | None) -> None:
        """Subscribes a topic at one node, and nowhere else."""
        home = self._homes.get(want.channel)
        if home is not None and home.node == node:
            return
        if home is not None:
            home.drop(want)
            del self._homes[want.channel]
        if node is None:
            want.lose()
            return
        self._homes[want.channel] = self._shard(node)
        self._homes[want.channel].add(want)

    def _shard(self, node: Node) -> Shard:
        shard = self._shards.get(node)
        if shard is None:
            shard = Shard(self._map, node, self._inbox, connect_timeout=self._connect_timeout)
            self._shards[node] = shard
            shard.begin()
        return shard

    def _end(self, shard: Shard) -> None:
        self._mended += shard.reconnects
        for channel in shard.wants:
            del self._homes[channel]
        task = asyncio.create_task(shard.stop(), name="redis cluster leaves a node")
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)
