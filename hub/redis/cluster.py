"""Commands to a Redis Cluster: over one connection for each primary, each command where its slot is served."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from functools import partial
from typing import Any, Final

from redis.exceptions import AskError, MovedError, ResponseError

from hub.errors import BrokerError, HubError
from hub.redis.call import Argument, Call, Refused
from hub.redis.cluster_map import ClusterMap
from hub.redis.hosts import Node
from hub.redis.lane import Lane
from hub.redis.script import Script
from hub.redis.slots import SLOTS, slot_of, target

MAX_HOPS: Final = 5
"""How often a command is sent on, before the nodes of the cluster are held to disagree."""


class Cluster:
    """Sends the commands of a slot in the order in which they come, also while it changes hands.

    A redirected command was not done, so it is sent on. The commands behind it wait until the node that had the slot
    has answered all it was sent; then they follow. What a node refuses otherwise fails at once, and may be tried again.
    """

    def __init__(
        self, known: ClusterMap, scripts: Sequence[Script], *, timeout: float, connect_timeout: float
    ) -> None:
        self._map = known
        self._scripts = scripts
        self._timeout = timeout
        self._connect_timeout = connect_timeout
        self._lanes: dict[Node, Lane] = {}
        self._routes: list[Node | None] = [None] * SLOTS
        self._leaving: dict[Node, set[int]] = {}
        """Slots that a node has given away, and of which it still has commands."""
        self._early: list[Call] = []
        """Commands given before anything was known."""
        self._open = False
        self._closing: set[asyncio.Task[None]] = set()

    def open(self) -> None:
        """Takes commands from now on."""
        if not self._open:
            self._open = True
            self._map.attach(self._changed)
            self._routes = list(self._map.owners)

    async def close(self) -> None:
        """Takes no more; those under way fail."""
        if self._open:
            self._open = False
            await self._map.detach(self._changed)
        self._send_early()
        lanes, self._lanes = self._lanes, {}
        await asyncio.gather(*self._closing, *(lane.close() for lane in lanes.values()))
        self._leaving.clear()

    async def command(self, key: bytes, arguments: Sequence[Argument]) -> Any:
        """The answer to a command. Raises BrokerError."""
        return await self._answer(Call(None, (), arguments, slot_of(key)))

    async def run(
        self, key: bytes, script: Script, keys: Sequence[bytes], arguments: Sequence[Argument]
    ) -> Any:
        """The answer of a script. Raises BrokerError."""
        return await self._answer(Call(script, keys, arguments, slot_of(key)))

    async def _answer(self, call: Call) -> Any:
        self._map.begin()
        self._dispatch(call)
        try:
            return await call.answered(self._timeout)
        except Refused:
            raise
        except BrokerError:
            self._map.soon()
            raise

    def _dispatch(self, call: Call) -> None:
        """Gives a call to who serves its slot."""
        if self._open and not self._map.known and not self._map.reason:
            self._early.append(call)
        else:
            self._submit(call, self._routes[call.slot])

    def _submit(self, call: Call, node: Node | None) -> None:
        if not self._open:
            call.fail("the node is not connected to its broker", unknown=False)
            return
        if node is None:
            self._map.soon()
            call.fail(self._map.reason or f"no node of the cluster serves slot {call.slot}", unknown=False)
            return
        try:
            self._lane(node).submit(call)
        except HubError as error:
            call.fail(str(error), unknown=False)

    def _lane(self, node: Node) -> Lane:
        lane = self._lanes.get(node)
        if lane is None:
            lane = self._lanes[node] = Lane(
                self._map.address(node),
                self._scripts,
                timeout=self._timeout,
                connect_timeout=self._connect_timeout,
                rest=partial(self._rest, node),
            )
            lane.open()
        return lane

    def _changed(self, slots: Collection[int]) -> None:
        """Follows the map; a slot whose commands are under way follows when they are answered."""
        for slot in slots:
            node = self._routes[slot]
            if node is not None and node in self._lanes and self._lanes[node].busy:
                self._leaving.setdefault(node, set()).add(slot)
            else:
                self._routes[slot] = self._map.owners[slot]
        for node in self._leaving:
            if node in self._map.silent:
                self._lanes[node].leave()
        self._send_early()
        self._close_idle()

    def _close_idle(self) -> None:
        """Ends the connections to nodes that serve no slot any more."""
        kept = self._map.primaries
        for node in [each for each, lane in self._lanes.items() if each not in kept and not lane.busy]:
            task = asyncio.create_task(self._lanes.pop(node).close(), name="redis cluster leaves a node")
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    def _send_early(self) -> None:
        early, self._early = self._early, []
        for call in early:
            self._dispatch(call)

    def _rest(self, node: Node, lane: Lane, refused: list[tuple[Call, ResponseError]]) -> None:
        """Sends on what was redirected, and behind it what has waited for the same slots."""
        for _, error in refused:
            if isinstance(error, MovedError):
                self._map.learn(error.slot_id, target(node, error.host, error.port))
        gone = self._leaving.pop(node, set())
        for slot in gone:
            self._routes[slot] = self._map.owners[slot]
        waiting = lane.withdraw(lambda call: call.slot in gone) if gone else []
        for call, error in refused:
            self._send_on(node, call, error)
        for call in waiting:
            self._dispatch(call)

    def _send_on(self, node: Node, call: Call, error: ResponseError) -> None:
        call.hops += 1
        if not isinstance(error, AskError) or call.hops > MAX_HOPS:
            self._map.soon()
            call.refuse(error)
            return
        call.asking = not isinstance(error, MovedError)
        if call.asking:
            self._submit(call, target(node, error.host, error.port))
        else:
            self._dispatch(call)
