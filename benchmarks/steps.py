"""Where the microseconds of one publication go, step by step, without the kernel.

    python benchmarks/steps.py [--rounds 40] [--room 10] [--batch 4] [--pause 0] [--loop uvloop|asyncio]

A whole hub runs in this process, with the memory broker, history and positions. Its sockets take bytes and do nothing,
so that what is measured is all that Python does. Each step is also run alone, on the objects that serve a publication
in the hub, a thousand times one after another. What a way takes beyond the sum of its steps is what joins them, and
that it goes through the objects of 200 clients, which the processor's caches hold less well. "The way in" is measured
with publications on topics that nobody hears: all of it but what comes back. CPU time; the shortest of all rounds, in
which the steps take turns.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

import uvloop
from websockets.speedups import apply_mask

from hub.broker.base import Outgoing
from hub.broker.broadcast import Bridge
from hub.broker.memory import MemoryBroker
from hub.handlers import TopicRule
from hub.live import LiveTopic, Subscription
from hub.model import HistoryOptions, Position, Publication, TopicOptions
from hub.node import Node
from hub.outbox import Outbox, Tick
from hub.protocol.commands import Command
from hub.protocol.json_codec import decode_command, payload, publish_reply
from hub.protocol.wires import JSON_FRAMES
from hub.session.client import ClientSession
from hub.session.methods import METHODS
from hub.testing import InProcessHub
from hub.transports.connection import Connection
from hub.transports.frame_reader import FrameReader

TOPIC: Final = "room-of-1-7"
CLIENTS: Final = 200
ALONE: Final = 1_000
"""Calls of a step that are timed together."""
TURNS: Final = 7
"""Turns of the loop after which all that was published has been delivered."""
RULE: Final = {"allow": {"subscribe": "anyone", "publish": "anyone"}, "history": {"size": 100, "ttl": "5m"}}
CONFIG: Final = {"auth": {"anonymous": True}, "topics": {"{topic:rest}": RULE}}
DATA: Final = b'{"run":"abc","seq":12345,"t":1234567890123,"pad":"%b"}' % (b"x" * 60)
HISTORY: Final = HistoryOptions(100, 300.0)
LIMIT: Final = 1 << 20


class NoSocket:
    """Takes what is written, as a transport whose peer always reads; `writes` counts."""

    __slots__ = ("writes",)

    def __init__(self) -> None:
        self.writes = 0

    def write(self, data: bytes) -> None:
        """Lets go of it."""
        self.writes += 1

    def get_write_buffer_size(self) -> int:
        """Nothing waits."""
        return 0

    def set_write_buffer_limits(self, **limits: int) -> None:
        """Has no buffer."""

    def is_closing(self) -> bool:
        """Never."""
        return False

    def resume_reading(self) -> None:
        """Reads nothing."""

    def abort(self) -> None:
        """Stays."""


class Reader(FrameReader):
    """Reads frames, and does nothing with what they say."""

    def on_message(self, kind: int, payload: bytes) -> None:
        """Lets go of it."""

    def on_ping(self, payload: bytes) -> None:
        """None come."""

    def on_pong(self, payload: bytes) -> None:
        """None come."""

    def on_close(self, code: int, reason: str) -> None:
        """None comes."""


class NoRouter:
    """Takes what comes back from the broker."""

    def deliver(self, topic: str, publications: list[Publication]) -> None:
        """Lets go of it."""

    def gap(self, topic: str, reason: str) -> None:
        """There are none."""


def masked(text: bytes) -> bytes:
    """A client's text frame of less than 64 KiB."""
    key, size = os.urandom(4), len(text)
    head = bytes((0x81, 0x80 | size)) if size < 126 else b"\x81\xfe" + size.to_bytes(2, "big")
    return head + key + apply_mask(text, key)


def publish_frame(topic: str) -> bytes:
    """A client's publish command."""
    return masked(b'{"id":5,"publish":{"channel":"%b","data":%b}}' % (topic.encode(), DATA))


def opened() -> tuple[Connection, Any]:
    """A connection after its handshake, and the socket behind it."""
    socket: Any = NoSocket()
    return Connection(socket, 65_536, lambda _: None), socket


async def connected(node: Node, topic: str) -> tuple[Connection, Any, ClientSession]:
    """A client of the hub that is subscribed to a topic."""
    connection, socket = opened()
    session = ClientSession(node, connection, JSON_FRAMES, "websocket", METHODS)
    connection.attach(session, LIMIT)
    connection.data_received(masked(b'{"id":1,"connect":{}}'))
    connection.data_received(masked(b'{"id":2,"subscribe":{"channel":"%b"}}' % topic.encode()))
    while topic not in session.subscriptions:  # noqa: ASYNC110 - there is no event, and no waiting in what follows
        await asyncio.sleep(0)
    return connection, socket, session


def each(call: Callable[[], object], count: int = ALONE) -> float:
    """Seconds of CPU that a call takes."""
    begun = time.process_time()
    for _ in range(count):
        call()
    return (time.process_time() - begun) / count


class Whole:
    """The whole way: frames of publishers go in, and all that comes of them comes out."""

    def __init__(self, room: int, batch: int, pause: float, *, heard: bool = True) -> None:
        """Publications that are not `heard` go to topics without subscribers."""
        self._pause = pause
        self._room = room
        self._batch = batch
        self._heard = heard
        self._publishers: list[tuple[Connection, bytes]] = []
        self._sockets: list[Any] = []
        self.writes = 0.0
        """Writes for each publication."""

    async def open(self, node: Node) -> None:
        """Opens the clients, one publisher in each room."""
        for number in range(CLIENTS):
            topic = f"room-of-{self._room}-{number // self._room}"
            told = topic if self._heard else f"empty-{topic}"
            connection, socket, _ = await connected(node, topic)
            self._sockets.append(socket)
            if number % self._room == 0:
                self._publishers.append((connection, publish_frame(told)))
        for _ in range(TURNS):
            await asyncio.sleep(0)

    async def measure(self) -> float:
        """Seconds of CPU for a publication: so many publishers as a batch has send in the same turn of the loop."""
        before = sum(socket.writes for socket in self._sockets)
        begun, slept = time.process_time(), 0.0
        for at in range(0, len(self._publishers), self._batch):
            if self._pause:
                lay = time.process_time()
                time.sleep(self._pause)  # noqa: ASYNC251 - nothing else is to run meanwhile
                slept += time.process_time() - lay
            for connection, frame in self._publishers[at : at + self._batch]:
                connection.data_received(frame)
            for _ in range(TURNS):
                await asyncio.sleep(0)
        took = (time.process_time() - begun - slept) / len(self._publishers)
        self.writes = (sum(socket.writes for socket in self._sockets) - before) / len(self._publishers)
        return took


class Steps:
    """The steps, each alone. A method for each gives the seconds of CPU that one publication takes in it."""

    def __init__(self, session: ClientSession, batch: int) -> None:
        self._session = session
        self._batch = batch
        self._frame = publish_frame(TOPIC)
        self._text = b'{"id":5,"publish":{"channel":"%b","data":%b}}' % (TOPIC.encode(), DATA)
        self._reader = Reader(65_536)
        self._publication = Publication(TOPIC, DATA, 5, "epoch", session.info())
        self._calls: list[Callable[[], object]] = []
        self._bridge = Bridge(MemoryBroker(), NoRouter(), node="steps", linger=1.0)

    async def open(self) -> None:
        """Subscribes a bridge of their own to as many topics as a batch has."""
        await self._bridge.start()
        for number in range(self._batch):
            await self._bridge.subscribe(f"heard-{number}")

    async def close(self) -> None:
        """Lets go of it."""
        await self._bridge.stop()

    def read(self) -> float:
        """Length, mask and text of a frame."""
        return each(lambda: self._reader.feed(self._frame))

    def decode(self) -> float:
        """From JSON to a command, and its payload as it was sent."""
        return each(self._decode)

    def _decode(self) -> None:
        command: Command = decode_command(self._text)
        request = command.publishes()
        if request is not None:
            payload(request.data)

    def publish(self) -> float:
        """All from the command to what the broker has kept: rules, size, depth, who publishes, metrics, and `store`."""
        return each(lambda: self._session.publish_now("heard-by-nobody", DATA))

    def store(self) -> float:
        """Through broadcaster's `publish` to the memory broker: position and history."""
        return each(lambda: self._hand_over("heard-by-nobody"))

    def _hand_over(self, topic: str) -> None:
        self._bridge.publish_now(Outgoing(Publication(topic, DATA, 0, "", self._publication.info), HISTORY))

    async def there_and_back(self) -> float:
        """`store`, `turns`, and from the broker's inbox through broadcaster's listener and a queue to the router."""
        begun = time.process_time()
        for _ in range(ALONE // self._batch):
            for number in range(self._batch):
                self._hand_over(f"heard-{number}")
            for _ in range(TURNS):
                await asyncio.sleep(0)
        return (time.process_time() - begun) / (ALONE // self._batch * self._batch)

    async def turns(self) -> float:
        """The share of a publication in as many turns of the loop as a batch is given, while nothing else is to do."""
        begun = time.process_time()
        for _ in range(ALONE):
            await asyncio.sleep(0)
        return (time.process_time() - begun) / ALONE * TURNS / self._batch

    def reply(self) -> float:
        """The publisher's reply, as bytes."""
        return each(lambda: publish_reply(5))

    def encode(self) -> float:
        """The push, and its frame: once for all subscribers."""
        return each(lambda: JSON_FRAMES.alone(TOPIC, self._publication))

    def deliver(self, subscribers: int) -> float:
        """Position compared, gathered for this turn, `encode`, written to all subscribers."""
        tick = Tick(self._call_soon)
        topic = LiveTopic(TOPIC, TopicRule(TopicOptions("", history=HISTORY)), tick)
        topic.release(Position(0, "epoch"))
        for _ in range(subscribers):
            connection, _ = opened()
            outbox = Outbox(connection, JSON_FRAMES, tick, LIMIT)
            topic.add(Subscription(TOPIC, self._session, outbox, topic.rule.options))
        publications = [
            Publication(TOPIC, DATA, offset, "epoch", self._publication.info)
            for offset in range(1, ALONE + 1)
        ]
        begun = time.process_time()
        for publication in publications:
            topic.accept([publication])
            calls, self._calls = self._calls, []
            for call in calls:
                call()
        return (time.process_time() - begun) / ALONE

    def _call_soon(self, call: Callable[[], object]) -> None:
        self._calls.append(call)


async def measure(rounds: int, room: int, batch: int, pause: float) -> None:
    """Measures all in turns, and prints a table."""
    async with InProcessHub(CONFIG) as hub:
        _, _, session = await connected(hub.hub.node, "alone")
        steps = Steps(session, batch)
        ways = (
            Whole(1, batch, pause, heard=False),
            Whole(1, batch, pause),
            Whole(room, batch, pause),
        )
        await steps.open()
        for way in ways:
            await way.open(hub.hub.node)
        found: dict[str, list[float]] = {}
        for _ in range(rounds):
            took = {
                "read": steps.read(),
                "decode": steps.decode(),
                "publish": steps.publish(),
                "store": steps.store(),
                "back": await steps.there_and_back(),
                "turns": await steps.turns(),
                "reply": steps.reply(),
                "encode": steps.encode(),
                "one": steps.deliver(1),
                "all": steps.deliver(room),
                "in": await ways[0].measure(),
                "echo": await ways[1].measure(),
                "room": await ways[2].measure(),
            }
            for name, seconds in took.items():
                found.setdefault(name, []).append(seconds)
        await steps.close()
    show({name: min(values) * 1e6 for name, values in found.items()}, room, ways)


def show(found: dict[str, float], room: int, ways: Sequence[Whole]) -> None:
    """One row for each step, in microseconds."""
    way_in = {
        "a frame is read and unmasked": found["read"],
        "the command is decoded": found["decode"],
        "rules, size, depth, whose it is, metrics": found["publish"] - found["store"],
        "the broker gives it a position and keeps it": found["store"],
        "the reply is encoded": found["reply"],
    }
    way_out = {
        "it comes back: inbox, listener, queue, pump": found["back"] - found["store"] - found["turns"],
        "the push is encoded and framed, for all": found["encode"],
        "the topic takes it, gathers, writes to one subscriber": found["one"] - found["encode"],
    }
    more = found["all"] - found["one"]
    join_in = found["in"] - found["turns"] - sum(way_in.values())
    join_out = found["echo"] - found["in"] - sum(way_out.values())
    both = {
        "turns of the event loop": found["turns"],
        **way_in,
        "what joins these: session, outbox, write of the reply": join_in,
        "**the way in**": found["in"],
        **way_out,
        "what joins these": join_out,
    }
    print(f"| µs of CPU | echo | room of {room} |\n| --- | --- | --- |")
    for name, took in both.items():
        print(f"| {name} | {took:.1f} | {took:.1f} |")
    rest = found["room"] - found["echo"] - more
    print(f"| {room - 1} more subscribers, {more / (room - 1):.2f} each | | {more:.1f} |")
    print(f"| what else a room changes: caches, fewer publishers | | {rest:.1f} |")
    print(f"| **the whole publication** | **{found['echo']:.1f}** | **{found['room']:.1f}** |")
    print(f"| writes | {ways[1].writes:.1f} | {ways[2].writes:.1f} |")


def main() -> None:
    """Measures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--room", type=int, default=10, help="subscribers of a topic in the second column")
    parser.add_argument("--batch", type=int, default=4, help="publications in one turn of the loop")
    parser.add_argument(
        "--pause", type=float, default=0, help="seconds to leave to other programs before each batch"
    )
    parser.add_argument("--loop", choices=("uvloop", "asyncio"), default="uvloop")
    given = parser.parse_args()
    if given.room < 2 or not 0 < given.batch <= CLIENTS // given.room:
        raise SystemExit(f"a room has 2 subscribers at least, and {CLIENTS} clients allow no such batch")
    factory = uvloop.new_event_loop if given.loop == "uvloop" else asyncio.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(measure(given.rounds, given.room, given.batch, given.pause))


if __name__ == "__main__":
    main()
