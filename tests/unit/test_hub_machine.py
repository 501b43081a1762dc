"""A hub and a model of it do the same things in any order, and must say the same.

The model knows what a topic holds and where each client stands. Single steps are compared exactly; in a storm, where
steps overlap in the hub, each client's frames must still be a way through the model's publications without a hole.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from hub.broker.memory import MemoryBroker
from hub.model import Position
from hub.testing import HubClient, InProcessHub

SIZE = 8
RECOVERY = 5
TTL = 25.0
META_TTL = 300.0
KEY_TTL = 300.0
LIMIT = 65_536
MOST_WAITING = 256
_KEPT = {
    "allow": {"subscribe": "anyone"},
    "history": {"size": SIZE, "ttl": f"{TTL:g}s", "meta_ttl": f"{META_TTL:g}s"},
}
CONFIG = {
    "client": {"recovery_page": RECOVERY, "queue_bytes": LIMIT},
    "topics": {"strict:{x}": _KEPT, "drop:{x}": {**_KEPT, "slow": "drop_oldest"}},
}
TOPICS = ("strict:1", "drop:1")
CLIENTS = 4
CONNECT = '{"id":1000000,"connect":{}}'

STIRRING = (0, 1, 5)
"""Kinds of storm steps after which a node knows of an epoch that is over."""

topics = st.sampled_from(TOPICS)
clients = st.integers(0, CLIENTS - 1)


@dataclass(slots=True)
class Topic:
    """What the broker must hold of a topic, and where the node must stand on it while somebody listens."""

    epoch: str = ""
    top: int = 0
    kept: list[tuple[float, int]] = field(default_factory=list)
    """Until when, and which number, oldest first; the last has the offset `top`."""
    until: float = 0.0
    """When the position itself may be forgotten."""
    standing: Position | None = None

    def forget(self, now: float) -> None:
        """Lets go what is too old."""
        self.kept = [(until, number) for until, number in self.kept if until > now]
        if self.until <= now:
            self.epoch, self.top, self.kept = "", 0, []


@dataclass(slots=True)
class Follower:
    """One client's subscription to one topic, as its frames tell it."""

    subscribed: bool = False
    place: Position | None = None
    asked: Position | None = None
    """What the last subscribe wanted to recover from."""
    told: int = 0
    received: list[int] = field(default_factory=list)


class Reader(HubClient):
    """A client that keeps every frame in the order in which it came."""

    def __init__(self, node: Any) -> None:
        self.seen: list[dict[str, Any]] = []
        super().__init__(node)

    def take(self, text: bytes) -> None:
        """Takes a frame of the hub's."""
        self.seen += [message for line in text.decode().split("\n") if (message := json.loads(line))]
        super().take(text)


class HubMachine(RuleBasedStateMachine):
    """The hub on its memory broker with a fake clock, and its model."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.hub = InProcessHub(CONFIG)
        broker = self.hub.hub.broker
        assert isinstance(broker, MemoryBroker)
        self.broker = broker
        broker._clock = self.hub.clock.monotonic
        self.topics = {name: Topic() for name in TOPICS}
        self.numbers: dict[tuple[str, str, int], int] = {}
        """Which number stands at a topic's epoch and offset."""
        self.keys: dict[tuple[str, str], tuple[float, Position]] = {}
        self.next = 0
        self.clients: list[Reader | None] = [None] * CLIENTS
        self.followers: list[dict[str, Follower]] = [
            {name: Follower() for name in TOPICS} for _ in range(CLIENTS)
        ]
        self.run(self.hub.__aenter__())

    def teardown(self) -> None:
        """Ends the hub."""
        self.run(self.hub.__aexit__(None, None, None))
        self.runner.close()

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Does something in the hub's loop, and lets all come to rest that follows from it."""

        async def and_settle() -> Any:
            try:
                return await work
            finally:
                for _ in range(80):
                    await asyncio.sleep(0)

        return self.runner.run(and_settle())

    def do(self, action: Callable[[], object]) -> None:
        """Does something at once in the hub's loop, and lets all come to rest."""

        async def act() -> None:
            action()

        self.run(act())

    @property
    def now(self) -> float:
        return self.hub.clock.monotonic()

    # What the hub said

    def follow(self) -> None:
        """Walks every client through the frames that came since the last time, and sees where that leaves the node."""
        self.walk_frames()
        for name, topic in self.topics.items():
            if not any(followers[name].subscribed for followers in self.followers):
                topic.standing = None
            elif topic.standing is None:
                topic.standing = Position(topic.top, topic.epoch)

    def walk_frames(self) -> None:
        """Walks every client through the frames that came since the last time."""
        for number, client in enumerate(self.clients):
            if client is None:
                continue
            frames, client.seen = client.seen, []
            for frame in frames:
                self.walk(self.followers[number], frame)
            if client.closed is not None:
                self.clients[number] = None
                for follower in self.followers[number].values():
                    follower.subscribed = False

    def walk(self, followers: dict[str, Follower], frame: dict[str, Any]) -> None:
        """One frame."""
        if "subscribe" in frame:
            name = TOPICS[frame["id"] % 2]
            self.walk_answer(name, followers[name], frame["subscribe"])
        elif "push" in frame:
            name, push = frame["push"]["channel"], frame["push"]
            if "pub" in push:
                self.walk_publication(name, followers[name], push["pub"])
            elif "unsubscribe" in push:
                assert push["unsubscribe"]["code"] == 2500
                followers[name].subscribed = False
                followers[name].told += 1

    def walk_answer(self, name: str, follower: Follower, answer: dict[str, Any]) -> None:
        """The answer to a subscribe: recovered from exactly where the client stood, or a new place."""
        place = Position(answer.get("offset", 0), answer["epoch"])
        if answer.get("recovered"):
            assert place == follower.asked
        else:
            assert "publications" not in answer
        follower.subscribed, follower.place = True, place
        for publication in answer.get("publications", ()):
            self.walk_publication(name, follower, publication)

    def walk_publication(self, name: str, follower: Follower, publication: dict[str, Any]) -> None:
        """A publication: the very next one, and the right one."""
        assert follower.subscribed
        assert follower.place is not None
        place = follower.place
        assert publication["offset"] == place.offset + 1
        assert publication.get("epoch", place.epoch) == place.epoch
        assert publication["data"] == self.numbers[name, place.epoch, place.offset + 1]
        follower.place = Position(place.offset + 1, place.epoch)
        follower.received.append(publication["data"])

    # Steps

    @rule(number=clients)
    def connect(self, number: int) -> None:
        """A client comes, and has what it remembers of an earlier connection."""
        if self.clients[number] is None:
            client = self.clients[number] = Reader(self.hub.hub.node)
            self.do(lambda: client.send_text(CONNECT))

    @rule(number=clients)
    def cut(self, number: int) -> None:
        """A connection is lost."""
        client = self.clients[number]
        if client is not None:
            self.follow()
            self.do(client.session.lost)
            client.closed = (1006, "cut")
            self.follow()

    @rule(
        number=clients, name=topics, recover=st.booleans(), epoch=st.sampled_from(["own", "any", "foreign"])
    )
    def subscribe(self, number: int, name: str, recover: bool, epoch: str) -> None:
        """A subscription, fresh or recovering; its answer is foretold."""
        client, follower = self.clients[number], self.followers[number][name]
        if client is None or follower.subscribed:
            return
        self.learn(name)
        request = self.request(name, follower, recover, epoch)
        recovered, numbers = self.expected(name, follower.asked, named=epoch != "any")
        stands, before = self.stands(name), len(follower.received)
        self.do(lambda: self.send(client, "subscribe", {"channel": name, **request}, name))
        if client.unread > LIMIT:
            # Its answer was the one thing too much.
            assert client.closed == (3008, "slow")
            return self.follow()
        answer = next(frame["subscribe"] for frame in client.seen if "subscribe" in frame)
        self.follow()
        assert answer.get("recovered", False) is recovered
        assert follower.received[before:] == numbers
        assert follower.place == stands

    @rule(number=clients, name=topics)
    def unsubscribe(self, number: int, name: str) -> None:
        """A client wants no more."""
        client, follower = self.clients[number], self.followers[number][name]
        if client is not None and follower.subscribed:
            self.do(lambda: self.send(client, "unsubscribe", {"channel": name}, name))
            follower.subscribed = False
            self.follow()

    @rule(name=topics, key=st.sampled_from(["", "", "one", "two"]))
    def publish(self, name: str, key: str) -> None:
        """A publication reaches all who listen and read, once; with a key seen before it reaches nobody."""
        self.learn(name)
        topic, known = self.topics[name], self.known(name, key)
        stood = topic.standing
        result = self.run(self.published(name, key))
        assert result.suppressed is (known is not None)
        assert result.position == (known or Position(topic.top, topic.epoch))
        self.follow()
        if stood is not None and stood.epoch != topic.epoch and known is None:
            # The node stood in an epoch that is over: all who listened were told, and what came is not theirs.
            assert not any(each[name].subscribed for each in self.followers)

    @rule(name=topics, count=st.sampled_from([3, SIZE + 1]))
    def burst(self, name: str, count: int) -> None:
        """Many publications in one turn."""
        self.learn(name)

        async def publish() -> None:
            for _ in range(count):
                await self.published(name, "")

        self.run(publish())
        self.follow()

    @rule(number=clients, unread=st.sampled_from([LIMIT // 4 + 1, LIMIT + 1]))
    def stop_reading(self, number: int, unread: int) -> None:
        """A client gets slow, or too slow."""
        client = self.clients[number]
        if client is not None:
            client.unread = unread

    @rule(number=clients)
    def read_again(self, number: int) -> None:
        """A client catches up: it gets what waited, or is told."""
        client = self.clients[number]
        if client is not None:
            self.do(client.catch_up)
            self.follow()

    @rule(seconds=st.sampled_from([10.0, TTL + 5, META_TTL + 10]))
    def wait(self, seconds: float) -> None:
        """Time passes: publications get too old, and perhaps whole topics."""
        self.do(lambda: self.hub.clock.advance(seconds))
        self.follow()

    @rule(
        number=clients,
        name=topics,
        count=st.integers(0, SIZE + 1),
        first=st.integers(0, 3),
        seconds=st.sampled_from([0.0, 0.0, 20.0, TTL + 5]),
    )
    def miss(self, number: int, name: str, count: int, first: int, seconds: float) -> None:
        """A client loses its connection while much or little comes, early or late, and comes back for it."""
        self.connect(number)
        self.subscribe(number, name, recover=False, epoch="own")
        self.cut(number)
        self.burst(name, min(first, count))
        if seconds:
            self.wait(seconds)
        self.burst(name, count - min(first, count))
        self.connect(number)
        self.subscribe(number, name, recover=True, epoch="own")

    @rule(number=clients, count=st.sampled_from([1, MOST_WAITING, MOST_WAITING + 1]))
    def lag(self, number: int, count: int) -> None:
        """A client does not read while a topic that may drop goes on: it gets all that waited, or is told once."""
        name, follower = "drop:1", self.followers[number]["drop:1"]
        self.connect(number)
        self.read_again(number)
        self.subscribe(number, name, recover=False, epoch="own")
        self.learn(name)
        if not follower.subscribed or self.stands(name).epoch != (self.topics[name].epoch or None):
            return
        self.stop_reading(number, LIMIT // 4 + 1)
        told, got = follower.told, len(follower.received)
        self.burst(name, count)
        assert len(follower.received) == got
        self.read_again(number)
        assert follower.told - told == (count > MOST_WAITING)
        assert len(follower.received) - got == (0 if count > MOST_WAITING else count)

    @rule(name=topics)
    def remove_history(self, name: str) -> None:
        """What is kept goes, the position stays."""
        self.run(self.hub.hub.bridge.remove_history(name))
        self.topics[name].kept.clear()
        self.follow()

    @rule()
    def clear(self) -> None:
        """The broker forgets everything, as a restart does, and nobody hears of it yet."""
        self.broker._streams.clear()
        self.broker._due.clear()
        self.broker._results.clear()
        self.keys.clear()
        for topic in self.topics.values():
            topic.epoch, topic.top, topic.kept, topic.until = "", 0, [], 0.0

    @rule(name=topics)
    def gap(self, name: str) -> None:
        """The broker says that something may have been missed: nothing was, unless the epoch is over."""
        self.learn(name)
        told = {number: each[name].told for number, each in enumerate(self.followers)}
        stood = self.topics[name].standing
        self.do(lambda: self.hub.hub.router.gap(name, "said the test"))
        self.follow()
        if stood is not None and stood.epoch == self.topics[name].epoch:
            assert told == {number: each[name].told for number, each in enumerate(self.followers)}

    @rule(
        steps=st.lists(
            st.tuples(st.integers(0, 5), clients, topics, st.integers(0, 6)), min_size=2, max_size=12
        )
    )
    def storm(self, steps: list[tuple[int, int, str, int]]) -> None:
        """Steps that do not wait for one another."""
        for name in TOPICS:
            self.learn(name)
        self.run(self.stormed(steps))
        self.walk_frames()
        stirred = {name for kind, _, name, _ in steps if kind in STIRRING}
        for name, topic in self.topics.items():
            topic.standing = None if name in stirred else self.stood(name, topic)
        self.follow()

    def stood(self, name: str, topic: Topic) -> Position | None:
        """Where the node is after a storm in which nothing told it of an epoch that may be over.

        One who came as the last one went may have found the topic still open, where it stood, or opened it anew.
        """
        places = {each[name].place for each in self.followers if each[name].subscribed}
        if topic.standing in places:
            return topic.standing
        return None

    # What steps are made of

    def learn(self, name: str) -> None:
        """Reads the epoch of a topic that the model does not know; the hub must still have the one that it knows."""
        topic = self.topics[name]
        topic.forget(self.now)
        position = self.run(self.hub.hub.bridge.position(name))
        if not topic.epoch:
            topic.epoch, topic.until = position.epoch, self.now + 30 * 86_400.0
            assert (name, position.epoch, 1) not in self.numbers
        assert position == Position(topic.top, topic.epoch)

    def known(self, name: str, key: str) -> Position | None:
        """What a publish with a key gave that is remembered."""
        until, position = self.keys.get((name, key), (0.0, None))
        return position if until > self.now else None

    def stands(self, name: str) -> Position:
        """Where the node is on a topic after a subscribe."""
        topic = self.topics[name]
        return topic.standing or Position(topic.top, topic.epoch)

    def request(self, name: str, follower: Follower, recover: bool, epoch: str) -> dict[str, Any]:
        """The fields of a subscribe that ask for recovery."""
        follower.asked = None
        if not recover or follower.place is None:
            return {}
        named = {"own": follower.place.epoch, "any": "", "foreign": "x"}[epoch]
        follower.asked = Position(follower.place.offset, named or self.stands(name).epoch)
        return {"recover": True, "offset": follower.place.offset, "epoch": named}

    def expected(self, name: str, since: Position | None, *, named: bool) -> tuple[bool, list[int]]:
        """Whether a subscribe from a position recovers, and what it brings."""
        topic, live = self.topics[name], self.stands(name)
        if since is None:
            return False, []
        if since == live and named:
            return True, []
        missing = live.offset - since.offset
        if (
            since.epoch != live.epoch
            or topic.epoch != live.epoch
            or not 0 <= missing <= min(RECOVERY, len(topic.kept))
        ):
            return False, []
        return True, [number for _, number in topic.kept[len(topic.kept) - missing :]]

    def send(self, client: Reader, method: str, request: dict[str, Any], name: str) -> None:
        """Sends a command under an id that tells its topic."""
        client._ids += 2
        identifier = client._ids + TOPICS.index(name)
        client.send_text(json.dumps({"id": identifier, method: request}))

    async def published(self, name: str, key: str) -> Any:
        """Publishes, in hub and model."""
        self.next += 1
        number = self.next
        topic = self.topics[name]
        if self.known(name, key) is None:
            # The number is known before the hub delivers it, and offsets are given in the order of these calls.
            topic.top += 1
            self.numbers[name, topic.epoch, topic.top] = number
            topic.kept = [*topic.kept, (self.now + TTL, number)][-SIZE:]
            topic.until = self.now + META_TTL
            if key:
                self.keys[name, key] = self.now + KEY_TTL, Position(topic.top, topic.epoch)
            if topic.standing is not None and topic.standing.epoch == topic.epoch:
                topic.standing = Position(topic.top, topic.epoch)
        return await self.hub.hub.router.publish(name, b"%d" % number, trusted=True, idempotency_key=key)

    async def stormed(self, steps: list[tuple[int, int, str, int]]) -> None:
        doing: list[Callable[[int, str], None]] = [
            self.storm_publish,
            self.storm_publish,
            self.storm_subscribe,
            self.storm_subscribe,
            self.storm_cut,
            self.storm_gap,
        ]
        self.under_way = [asyncio.create_task(asyncio.sleep(0))]
        for kind, number, name, turns in steps:
            doing[kind](number, name)
            for _ in range(turns):
                await asyncio.sleep(0)
        await asyncio.gather(*self.under_way)

    def storm_publish(self, number: int, name: str) -> None:
        self.under_way.append(asyncio.create_task(self.published(name, "")))

    def storm_subscribe(self, number: int, name: str) -> None:
        """Asks to follow on from where the client stands, so far as its frames were walked."""
        client, follower = self.clients[number], self.followers[number][name]
        if client is None:
            client = self.clients[number] = Reader(self.hub.hub.node)
            client.send_text(CONNECT)
        else:
            self.walk_frames()
        if not follower.subscribed and self.clients[number] is client:
            self.send(
                client, "subscribe", {"channel": name, **self.request(name, follower, True, "own")}, name
            )

    def storm_cut(self, number: int, name: str) -> None:
        client = self.clients[number]
        if client is not None:
            self.walk_frames()
            client.session.lost()
            client.closed = (1006, "cut")
            self.walk_frames()

    def storm_gap(self, number: int, name: str) -> None:
        self.hub.hub.router.gap(name, "said the test")

    # What always holds

    @invariant()
    def everybody_who_reads_stands_where_the_node_stands(self) -> None:
        for name, topic in self.topics.items():
            for client, followers in zip(self.clients, self.followers, strict=True):
                if client is not None and followers[name].subscribed and not client.unread:
                    assert followers[name].place == (topic.standing or followers[name].place)

    @invariant()
    def the_hub_counts_the_subscribers_that_there_are(self) -> None:
        for name in TOPICS:
            known = sum(each[name].subscribed for each in self.followers)
            assert self.hub.hub.router.subscribers(name) == known


TestHubMachine = pytest.mark.timeout(180)(HubMachine.TestCase)
TestHubMachine.settings = settings(
    max_examples=60, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
