"""Which node of a Redis Cluster serves which slot, kept up to date."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Collection, Iterable
from typing import Final

from hub.redis.address import Address
from hub.redis.cluster_url import ClusterUrl
from hub.redis.hosts import Node, node_name
from hub.redis.lane import Lane
from hub.redis.slots import ASK, SLOTS, View, best, read_view

logger = logging.getLogger(__name__)
EVERY_SECONDS: Final = 2.0
UNEASY_SECONDS: Final = 0.25
"""How soon the nodes are asked again while one is silent, or says that the cluster is not sound."""
SPACING_SECONDS: Final = 0.1
ANSWER_SECONDS: Final = 1.0

Listener = Callable[[Collection[int]], None]
"""Called after each round of questions, and upon each redirection, with the slots that changed hands."""


class ClusterMap:
    """Asks all primaries every few seconds, over connections of its own, and believes the newest sound view.

    Begins with the first `begin` after an `attach`, ends with the last `detach`. One map may serve several users.
    Raises HubError for what cannot be used.
    """

    def __init__(self, url: ClusterUrl) -> None:
        self.name = url.name
        self.db = 0
        self.owners: list[Node | None] = [None] * SLOTS
        self.primaries: set[Node] = set()
        self.moving: set[int] = set()
        """Slots that are given from one node to another just now."""
        self.silent: set[Node] = set()
        """Nodes that did not answer the last question."""
        self.whole = False
        """Whether somebody serves each slot."""
        self.rounds = 0
        """How often the nodes were asked."""
        self.reason = ""
        """Why nothing is known yet: "" while nobody was asked, and once something is known."""
        self._url = url
        self.address(url.seeds[0])  # tells of what cannot be used at once
        self._replicas: set[Node] = set()
        self._alone = False
        self._excuse = ""
        self._lanes: dict[Node, Lane] = {}
        self._listeners: list[Listener] = []
        self._task: asyncio.Task[None] | None = None
        self._tried = asyncio.Event()
        self._news = asyncio.Event()

    def address(self, node: Node) -> Address:
        """How to connect to a node. Raises HubError."""
        return Address(self._url.node(node))

    @property
    def known(self) -> bool:
        """Whether any node has answered yet."""
        return bool(self.primaries)

    def attach(self, listener: Listener) -> None:
        """Calls `listener` from now on."""
        self._listeners.append(listener)

    async def detach(self, listener: Listener) -> None:
        """Calls it no more; with the last one the nodes are asked no more."""
        self._listeners.remove(listener)
        if not self._listeners and self._task is not None:
            task, self._task = self._task, None
            task.cancel()
            await asyncio.wait([task])
            await self._close(list(self._lanes))
            self._tried.clear()

    def begin(self) -> None:
        """Begins to ask, if that was not begun."""
        if self._task is None and self._listeners:
            self._task = asyncio.create_task(self._keep(), name=f"redis cluster {self.name}")

    async def settled(self) -> None:
        """Returns once the nodes were asked."""
        self.begin()
        await self._tried.wait()

    def soon(self) -> None:
        """Asks the nodes without waiting for the next round: something has shown that the map may be wrong."""
        self._news.set()

    def learn(self, slot: int, node: Node) -> None:
        """Believes a node that said who serves a slot."""
        self.soon()
        if self.owners[slot] != node:
            self.owners[slot] = node
            self._tell({slot})

    async def _keep(self) -> None:
        while True:
            self._news.clear()
            try:
                sound = await self._look()
            except Exception:
                logger.exception("the nodes of the Redis Cluster %s cannot be asked", self.name)
                sound = False
            self._tried.set()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(EVERY_SECONDS if sound else UNEASY_SECONDS):
                    await self._news.wait()
            await asyncio.sleep(SPACING_SECONDS)

    async def _look(self) -> bool:
        """Asks the primaries, and the other nodes too when those do not know; returns whether all is well."""
        self.silent = set()
        self.rounds += 1
        views = await self._views(self.primaries or self._url.seeds)
        if not any(view.sound for view in views):
            others = {*self._url.seeds, *self._replicas} - self.primaries if self.known else ()
            views += await self._views(others)
        view = best(views)
        if view is None:
            self._miss()
            return False
        self._alone = False
        self.moving = {slot for each in views for slot in each.moving}
        self._replicas = view.replicas
        changed = {slot for slot in range(SLOTS) if view.owners[slot] != self.owners[slot]}
        self.owners = view.owners
        self.primaries = {node for node in view.owners if node is not None}
        self.whole = None not in view.owners
        self.reason = "" if self.known else "no node of the cluster serves any slot"
        self._tell(changed)
        await self._close([node for node in self._lanes if node not in self.primaries])
        return view.sound and not self.silent

    def _miss(self) -> None:
        """Nobody answered: what was known stays, and who waits for the first answer is told."""
        if not self._alone:
            logger.warning("no node of the Redis Cluster %s can be asked: %s", self.name, self._excuse)
        self._alone = True
        if not self.known:
            self.reason = f"the cluster cannot be reached: {self._excuse}"
        self._tell(())

    async def _views(self, nodes: Iterable[Node]) -> list[View]:
        asked = {asyncio.create_task(self._ask(node), name="redis cluster view"): node for node in nodes}
        if not asked:
            return []
        try:
            await asyncio.wait(asked, timeout=ANSWER_SECONDS)
        finally:
            for task in asked:
                task.cancel()
        answers = await asyncio.gather(*asked, return_exceptions=True)
        for node, answer in zip(asked.values(), answers, strict=True):
            if not isinstance(answer, View):
                self.silent.add(node)
                self._excuse = f"{node_name(node)}: {answer or 'no answer'}"
        return [answer for answer in answers if isinstance(answer, View)]

    async def _ask(self, node: Node) -> View:
        """A node's view. Raises BrokerError, HubError and ValueError."""
        lane = self._lanes.get(node)
        if lane is None:
            lane = self._lanes[node] = Lane(
                self.address(node), (), timeout=ANSWER_SECONDS, connect_timeout=ANSWER_SECONDS
            )
            lane.open()
        answers = await asyncio.gather(*(lane.command(*each) for each in ASK), return_exceptions=True)
        if isinstance(answers[0], BaseException):
            raise answers[0]
        return read_view(node, *answers)

    def _tell(self, changed: Collection[int]) -> None:
        for listener in list(self._listeners):
            listener(changed)

    async def _close(self, nodes: Iterable[Node]) -> None:
        await asyncio.gather(*(self._lanes.pop(node).close() for node in nodes))
