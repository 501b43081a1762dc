"""The topics that a node is subscribed to at one primary of a Redis Cluster."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, Final

from hiredis import ReplyError

from hub.broker.inbox import Inbox
from hub.broker.redis.want import Want
from hub.redis.cluster_map import ClusterMap
from hub.redis.hosts import Node
from hub.redis.lasting_link import LastingLink
from hub.redis.link import NO_DISK, Link
from hub.redis.slots import target

_FENCE: Final = b"\x1funsubscribed"
"""No channel, let go of behind each SUNSUBSCRIBE: its answer ends what may come for that, be it a word or an error."""
_NOT_SUBSCRIBED: Final = "NOSUB"
"""Begins what Valkey answers to that where nothing is subscribed any more."""
_FOR_NOW: Final = ("CLUSTERDOWN", "TRYAGAIN", "LOADING", "MASTERDOWN")


class Shard:
    """Subscribes its wants over one link. What this primary refuses, or gives away, it tells the map of the cluster.

    Redis answers in order, so each confirmation or error belongs to the first SSUBSCRIBE that has none yet.
    """

    def __init__(self, known: ClusterMap, node: Node, inbox: Inbox, *, connect_timeout: float) -> None:
        self.wants: dict[bytes, Want] = {}
        self.node = node
        self._map = known
        self._inbox = inbox
        self._link = LastingLink(known.address(node), self, connect_timeout=connect_timeout)
        self._refused: dict[bytes, Want] = {}
        self._unanswered: deque[tuple[Want, bool]] = deque()
        self._unsent: list[tuple[Want, bool]] = []

    @property
    def connected(self) -> bool:
        """Whether the link is there."""
        return self._link.link is not None

    @property
    def reconnects(self) -> int:
        """How often the link was mended."""
        return self._link.reconnects

    def begin(self) -> None:
        """Begins to connect."""
        self._link.begin()

    async def start(self) -> None:
        """Begins to connect, and returns when that has succeeded or failed once."""
        await self._link.start()

    async def stop(self) -> None:
        """Closes the link."""
        await self._link.stop()

    def add(self, want: Want) -> None:
        """Subscribes a topic, at once or when the link is there."""
        self.wants[want.channel] = want
        if self.connected:
            self._send(want, subscribe=True)
        else:
            want.lose()

    def drop(self, want: Want) -> None:
        """Lets a topic go; who waits for it goes on waiting."""
        want.live = False
        self.wants.pop(want.channel, None)
        if self._refused.pop(want.channel, None) is None and self.connected:
            self._send(want, subscribe=False)

    def retry(self) -> None:
        """Asks again for what was refused."""
        refused, self._refused = self._refused, {}
        if self.connected:
            for want in refused.values():
                self._send(want, subscribe=True)

    def up(self, link: Link) -> None:
        """Subscribes all that is wanted."""
        self._unsent = [(want, True) for want in self.wants.values()]
        self._flush()

    def down(self) -> None:
        """Notes that nothing is subscribed any more."""
        self._unsent = []
        self._refused = {}
        self._unanswered.clear()
        for want in self.wants.values():
            want.lose()
        self._map.soon()

    def take(self, message: Any) -> None:
        """Takes a publication, a confirmation, or word that the topic's slot is served elsewhere."""
        if isinstance(message, ReplyError):
            self._take_error(str(message))
        elif isinstance(message, list):
            self._take_push(message)

    def _take_push(self, message: list[Any]) -> None:
        kind, channel = message[0], message[1]
        if kind == b"smessage":
            want = self.wants.get(channel)
            if want is not None and want.live:
                want.deliver(message[2], self._inbox)
        elif kind == b"ssubscribe":
            want, _ = self._unanswered.popleft()
            if self.wants.get(channel) is want:
                self._refused.pop(channel, None)
                want.confirm(self._inbox)
        elif kind == b"sunsubscribe":
            self._take_away(channel)
        elif channel == _FENCE:
            self._unanswered.popleft()

    def _take_away(self, channel: bytes) -> None:
        """Redis ends a subscription when the slot leaves; the same word answers SUNSUBSCRIBE, which needs none."""
        if self._unanswered and not self._unanswered[0][1] and self._unanswered[0][0].channel == channel:
            return
        want = self.wants.get(channel)
        if want is not None:
            self._refuse(want)

    def _take_error(self, text: str) -> None:
        """Raises ConnectionError for an error that says neither that the slot is elsewhere nor that it soon will be."""
        code, _, rest = text.partition(" ")
        if code == NO_DISK:
            return  # the answer to a ping
        if code == _NOT_SUBSCRIBED and self._unanswered and not self._unanswered[0][1]:
            self._unanswered.popleft()
            return
        if not self._unanswered or (code != "MOVED" and code not in _FOR_NOW):
            raise ConnectionError(f"Redis refused a command: {text}")
        want, subscribing = self._unanswered[0]
        if not subscribing:
            return
        self._unanswered.popleft()
        if self.wants.get(want.channel) is not want:
            return
        self._refuse(want)
        if code == "MOVED":
            slot, _, address = rest.partition(" ")
            host, _, port = address.rpartition(":")
            self._map.learn(int(slot), target(self.node, host, int(port)))
        else:
            want.wake()

    def _refuse(self, want: Want) -> None:
        want.live = False
        self._refused[want.channel] = want
        self._map.soon()

    def _send(self, want: Want, *, subscribe: bool) -> None:
        if not self._unsent:
            asyncio.get_running_loop().call_soon(self._flush)
        self._unsent.append((want, subscribe))

    def _flush(self) -> None:
        """Sends the commands of one loop tick; each names one topic, as those of one command must share a slot."""
        unsent, self._unsent = self._unsent, []
        link = self._link.link
        if link is None:
            return
        commands: list[tuple[str | bytes, ...]] = []
        for want, subscribe in unsent:
            commands.append(("SSUBSCRIBE" if subscribe else "SUNSUBSCRIBE", want.channel))
            if not subscribe:
                commands.append(("UNSUBSCRIBE", _FENCE))
            self._unanswered.append((want, subscribe))
        link.send_all(commands)
