"""The bridge: how the hub reaches its broker through broadcaster, and outlives what broadcaster does not.

broadcaster keeps one listener task, which dies without a word when the backend raises; it loses subscribers that come
to a topic at the same time, and drops the backend's shut-down when the listener had died. Hence: one subscription per
topic, held by one pump under a lock of its own, and a probe that travels the whole way round every few seconds.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final, NoReturn

from broadcaster import Broadcast

from hub.broker.base import INTERNAL_PREFIX, Broker, Delivery, Gap, Outgoing, PublishResult, Receiver
from hub.broker.probe import Probe
from hub.broker.pump import Pump
from hub.errors import BrokerError, repeatable
from hub.model import HistoryPage, HistoryQuery, Position, Publication

logger = logging.getLogger(__name__)
CONTROL_TOPIC: Final = f"{INTERNAL_PREFIX}control"
STOP_SECONDS: Final = 5.0


class _Topic:
    """One topic's pump with the lock under which it is started and stopped."""

    __slots__ = ("linger", "lock", "pump", "wanted")

    def __init__(self, pump: Pump) -> None:
        self.lock = asyncio.Lock()
        self.pump = pump
        self.wanted = False
        self.linger: asyncio.TimerHandle | None = None

    def keep(self) -> None:
        self.wanted = True
        if self.linger is not None:
            self.linger.cancel()
            self.linger = None


class Bridge:
    """Owns the one `Broadcast` of a node; all publications of the node go out and come in here.

    `node` names this node among all. An empty topic stays subscribed for `linger` seconds. `probe_every` seconds a
    probe is sent; one that is not back within `probe_grace` seconds, although the broker says that it is connected,
    makes the bridge begin anew, and tell a gap on every topic.

    For metrics: `receiver_errors`, `rebuilds`, `pump_restarts`, and the broker's own counts.
    """

    def __init__(
        self,
        broker: Broker,
        receiver: Receiver,
        *,
        node: str,
        linger: float,
        probe_every: float = 2.0,
        probe_grace: float = 6.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.broker = broker
        self.receiver_errors = 0
        self.rebuilds = 0
        self.pump_restarts = 0
        self.on_control: Callable[[bytes], None] | None = None
        """Takes the control messages of all nodes, this one included."""
        self._receiver = receiver
        self._linger = linger
        self._broadcast = Broadcast(backend=broker)
        self._running = False
        self._listening = False
        self._broken = False
        self._topics: dict[str, _Topic] = {}
        self._internal = {
            f"{INTERNAL_PREFIX}node:{node}": self._take_probe,
            CONTROL_TOPIC: self._take_control,
        }
        self._probe = Probe(probe_every, probe_grace, clock)
        self._probe_topic = next(iter(self._internal))
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def ready(self) -> bool:
        """Whether the broker is connected and a probe came back lately."""
        return self._running and self.broker.connected and self._probe.fresh

    @property
    def prompt(self) -> bool:
        """Whether `publish_now` publishes."""
        return self._running and self.broker.prompt

    @property
    def topics(self) -> int:
        """How many topics are subscribed, the hub's own not counted."""
        return len(self._topics) - len(self._internal) if self._running else 0

    async def start(self) -> None:
        """Connects. With the broker away it returns all the same, not `ready`, and goes on trying."""
        await self._connect()
        self._running = True
        for topic in self._internal:
            await self.subscribe(topic)
        self._spawn(self._watch(), "broker probe")

    async def stop(self) -> None:
        """Ends all subscriptions and the broker's connection, within a few seconds whatever state they are in."""
        self._running = False
        for task in self._tasks:
            task.cancel()
        for entry in self._topics.values():
            entry.keep()
        pumps = [entry.pump.stop() for entry in self._topics.values()]
        self._topics.clear()
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await asyncio.gather(*self._tasks, *pumps, return_exceptions=True)
                await self._disconnect()
        except TimeoutError:
            logger.warning("the broker did not let go within %s s", STOP_SECONDS)

    async def subscribe(self, topic: str) -> None:
        """Returns once the topic is subscribed on this node; calls are not counted, a second changes nothing.

        When it is cancelled the topic may be subscribed all the same: `unsubscribe` then. Raises BrokerError when the
        bridge is not running.
        """
        while True:
            if not self._running:
                raise BrokerError("the node is not connected to its broker")
            entry = self._topics.get(topic)
            if entry is None:
                entry = self._topics[topic] = _Topic(Pump(topic, self._take, self._count_restart))
            async with entry.lock:
                if self._topics.get(topic) is entry:
                    entry.keep()
                    await entry.pump.start(self._broadcast)
                    return

    async def unsubscribe(self, topic: str) -> None:
        """Lets the topic go after the linger, unless it is subscribed again before; an unknown one is no error."""
        entry = self._topics.get(topic)
        if entry is None:
            return
        async with entry.lock:
            if self._topics.get(topic) is entry and self._running:
                entry.keep()
                entry.wanted = False
                entry.linger = asyncio.get_running_loop().call_later(self._linger, self._expire, topic, entry)

    async def publish(self, outgoing: Outgoing) -> PublishResult:
        """The one door for publications. Raises BrokerError, see its `unknown`."""
        if not self._running:
            raise BrokerError("the node is not connected to its broker")
        await self._broadcast.publish(outgoing.publication.topic, outgoing)
        return outgoing.result or _unanswered()

    def publish_now(self, outgoing: Outgoing) -> PublishResult | None:
        """As `publish`, without a task, through a broker that is prompt; None, and nothing done, with any other.

        Raises BrokerError as `publish` does.
        """
        if not self.prompt:
            return None
        publishing = self._broadcast.publish(outgoing.publication.topic, outgoing)
        try:
            publishing.send(None)
        except StopIteration:
            return outgoing.result or _unanswered()
        publishing.close()
        raise BrokerError("a broker that is to answer at once did not", unknown=True)

    async def control(self, message: bytes) -> None:
        """Sends a message to `on_control` of every node, at most once to each. Raises BrokerError."""
        await self.publish(Outgoing(Publication(CONTROL_TOPIC, message)))

    async def history(self, topic: str, query: HistoryQuery) -> HistoryPage:
        """As the broker's. Raises BrokerError."""
        with repeatable():
            return await self.broker.history(topic, query)

    async def position(self, topic: str) -> Position:
        """As the broker's. Raises BrokerError."""
        with repeatable():
            return await self.broker.position(topic)

    async def positions(self, topics: Sequence[str]) -> dict[str, Position]:
        """As the broker's. Raises BrokerError."""
        with repeatable():
            return await self.broker.positions(topics)

    async def remove_history(self, topic: str) -> None:
        """As the broker's. Raises BrokerError."""
        with repeatable():
            await self.broker.remove_history(topic)

    def _take(self, topic: str, delivery: Delivery) -> None:
        try:
            if topic in self._internal:
                if not isinstance(delivery, Gap):
                    self._internal[topic](delivery)
            elif isinstance(delivery, Gap):
                self._receiver.gap(topic, delivery.reason)
            else:
                self._receiver.deliver(topic, delivery)
        except Exception:
            self.receiver_errors += 1
            logger.exception("publications of topic %r could not be handed over", topic)
            if not isinstance(delivery, Gap):
                self._take(topic, Gap("publications could not be handed over"))

    def _take_probe(self, publications: list[Publication]) -> None:
        self._probe.returned(publications[-1].raw)

    def _take_control(self, publications: list[Publication]) -> None:
        for publication in publications:
            if self.on_control is not None:
                self.on_control(publication.raw)

    def _count_restart(self) -> None:
        self.pump_restarts += 1

    def _expire(self, topic: str, entry: _Topic) -> None:
        entry.linger = None
        self._spawn(self._drop(topic, entry), f"drop {topic!r}")

    async def _drop(self, topic: str, entry: _Topic) -> None:
        async with entry.lock:
            if not entry.wanted and self._topics.get(topic) is entry:
                await entry.pump.stop()
                await self.broker.unsubscribe(topic)
                del self._topics[topic]

    async def _watch(self) -> None:
        while True:
            try:
                if self._broken or (self.broker.connected and self._probe.lost):
                    await self._rebuild()
                await self._send_probe()
            except Exception:
                logger.exception("the broker could not be probed")
            await asyncio.sleep(self._probe.every)

    async def _send_probe(self) -> None:
        if not self.broker.connected:
            self._probe.forget()
            return
        raw = self._probe.next()
        try:
            await self.publish(Outgoing(Publication(self._probe_topic, raw)))
        except BrokerError as error:
            self._probe.forget()
            logger.warning("the broker took no probe: %s", error)

    async def _rebuild(self) -> None:
        """Begins anew with another Broadcast, since the listener of this one hangs or has died."""
        logger.error(
            "publications no longer arrive from the broker: the node subscribes to all its topics anew"
        )
        self.rebuilds += 1
        self._broken = True
        self._probe.forget()
        await self._disconnect()
        self._broadcast = Broadcast(backend=self.broker)
        for entry in list(self._topics.values()):
            async with entry.lock:
                if self._topics.get(entry.pump.topic) is entry:
                    await entry.pump.stop()
                    await entry.pump.start(self._broadcast)
        await self._connect()
        self._broken = False
        for topic in list(self._topics):
            self._take(topic, Gap("the node had to subscribe anew"))

    async def _connect(self) -> None:
        await self._broadcast.connect()
        self._listening = True

    async def _disconnect(self) -> None:
        try:
            if self._listening:
                self._listening = False
                await self._broadcast.disconnect()
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
        except Exception:
            logger.exception("broadcaster's listener had failed")
        await self.broker.disconnect()

    def _spawn(self, coroutine: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.create_task(coroutine, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _unanswered() -> NoReturn:
    raise BrokerError("the broker did not say what became of a publication", unknown=True)
