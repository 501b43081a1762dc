"""The faults: what is done to a running site, and what the subscribers may be told because of it."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from tests.chaos.brokers import REPLICATED, Server
from tests.chaos.publisher import Publisher
from tests.chaos.replicas import ClusterServers, Member, Replicas, SentinelServers
from tests.chaos.site import HubProcess, Site
from tests.chaos.subscriber import Subscriber

PAST_A_SLOW_READER: Final = 120
"""Large publications, some 7 MB: a connection on loopback takes up to 4 MB by itself."""


class Stage:
    """What a scenario may touch: the site, the subscribers, their topic and chance. `seconds` is how long it goes on.

    `faults` lists what was done, with the second at which it was.
    """

    def __init__(
        self,
        site: Site,
        topic: str,
        subscribers: Sequence[Subscriber],
        publishers: Sequence[Publisher],
        rng: random.Random,
        seconds: float,
    ) -> None:
        self.site = site
        self.topic = topic
        self.subscribers = subscribers
        self._publishers = publishers
        self.rng = rng
        self.seconds = seconds
        self.faults: list[str] = []
        self._began = time.monotonic()

    @property
    def server(self) -> Server:
        """The broker's; only for scenarios that need one."""
        assert self.site.server is not None
        return self.site.server

    @property
    def replicas(self) -> Replicas:
        """The same where one stands in for another."""
        assert isinstance(self.server, SentinelServers | ClusterServers)
        return self.server

    def peopled(self) -> HubProcess:
        """A node that has clients."""
        urls = {subscriber.at for subscriber in self.subscribers}
        nodes = [each for each in self.site.nodes if urls & {each.socket_url, each.direct_socket_url}]
        return self.rng.choice(nodes or self.site.nodes)

    def published(self) -> int:
        """How many publications were sent so far."""
        return sum(len(publisher.sent) for publisher in self._publishers)

    def did(self, what: str) -> None:
        """Writes a fault down."""
        self.faults.append(f"{time.monotonic() - self._began:.3f} {what}")

    async def for_a_while(self, low: float, high: float) -> None:
        """Lets time pass."""
        await asyncio.sleep(self.rng.uniform(low, high))


@dataclass(frozen=True, slots=True)
class Scenario:
    """A kind of fault and what it may come to.

    `tells` says whether a subscriber may be told that it missed something: `never` where history reaches, `must` where
    the hub cannot have kept it. `proof` is how an ending may begin that shows the fault to have happened.
    """

    name: str
    act: Callable[[Stage], Awaitable[None]]
    tells: Literal["never", "may", "must"]
    topic: str = "long"
    needs: Literal["nothing", "server", "proxy", "replicas"] = "nothing"
    """Of the broker: a server, one that a proxy can be put before, or several that stand in for one another."""
    heavy: bool = False
    """Whether publications are large."""
    proof: tuple[str, ...] = ()
    whole: bool = False
    """Whether publishers insist and the broker keeps all it took: then each number is there once in the end."""
    polite: bool = False
    """Whether clients are told before their connection ends, each of them."""
    short: bool = True
    """Whether it is part of the short form."""


async def _cut_sockets(stage: Stage) -> None:
    """Clients lose connections, the network loses them, and some are torn within a frame."""
    until = time.monotonic() + stage.seconds
    while time.monotonic() < until:
        await stage.for_a_while(0.02, 0.15)
        node = stage.rng.choice(stage.site.nodes)
        kind = stage.rng.randrange(4)
        if kind <= 1:
            stage.rng.choice(stage.subscribers).cut()
            stage.did("a client lost its connection")
        elif kind == 2:
            node.front.cut(stage.rng, stage.rng.random())
            stage.did("the network lost connections")
        else:
            node.front.tear()
            stage.did("a connection was torn")


async def _stay_away(stage: Stage) -> None:
    """Clients are cut off for so long that a short history goes past them."""
    for node in stage.site.nodes:
        node.front.hold(refuse=True)
    stage.did("clients are cut off")
    await asyncio.sleep(stage.seconds / 2)
    for node in stage.site.nodes:
        node.front.release()
    stage.did("clients may come back")
    await asyncio.sleep(stage.seconds / 2)


async def _read_slowly(stage: Stage) -> None:
    """Two clients stop reading, twice, until more has gone past them than the network's buffers and the hub hold."""
    for _ in range(2):
        before, until = stage.published(), time.monotonic() + 4 * stage.seconds
        for subscriber in stage.subscribers[:2]:
            subscriber.reading.clear()
        stage.did("two clients do not read")
        while stage.published() - before < PAST_A_SLOW_READER and time.monotonic() < until:
            await asyncio.sleep(0.05)
        for subscriber in stage.subscribers[:2]:
            subscriber.reading.set()
        stage.did(f"two clients read again, {stage.published() - before} publications later")
        await stage.for_a_while(0.1, 0.4)


async def _kill_hub(stage: Stage) -> None:
    """A node dies at once and is started again."""
    await stage.for_a_while(0.1, 0.6)
    node = stage.peopled()
    node.kill()
    stage.did(f"node {stage.site.nodes.index(node)} was killed")
    await stage.for_a_while(0.1, 0.5)
    await asyncio.to_thread(node.start)
    stage.did("it is back")
    await stage.for_a_while(0.3, 0.8)


async def _drain_hub(stage: Stage) -> None:
    """A node is told to stop while everybody publishes, and is started again."""
    await stage.for_a_while(0.1, 0.6)
    node = stage.peopled()
    await asyncio.to_thread(node.stop)
    stage.did(f"node {stage.site.nodes.index(node)} has stopped, as it was told to")
    await stage.for_a_while(0.1, 0.5)
    await asyncio.to_thread(node.start)
    stage.did("it is back")
    await stage.for_a_while(0.3, 0.8)


async def _kill_hub_in_a_freeze(stage: Stage) -> None:
    """A node dies and is started again while the broker hangs."""
    await stage.for_a_while(0.1, 0.5)
    node, until = stage.peopled(), time.monotonic() + stage.seconds
    stage.server.freeze()
    stage.did("the broker hangs")
    await asyncio.sleep(stage.seconds / 3)
    node.kill()
    stage.did(f"node {stage.site.nodes.index(node)} was killed")
    await asyncio.to_thread(node.start)
    stage.did("it is back")
    await asyncio.sleep(until - time.monotonic())
    stage.server.thaw()
    stage.did("the broker goes on")
    await stage.for_a_while(0.3, 0.8)


async def _lose_broker(stage: Stage) -> None:
    """The broker's server dies at once and comes back, with no more than it keeps by itself."""
    stage.server.kill()
    stage.did("the broker was killed")
    await stage.for_a_while(0.2, 1.0)
    await asyncio.to_thread(stage.server.restart)
    stage.did("it is back")
    await stage.for_a_while(1.0, 1.5)


async def _restart_broker(stage: Stage) -> None:
    """The broker's server is restarted, and has what it had."""
    await stage.for_a_while(0.1, 0.5)
    await asyncio.to_thread(lambda: stage.server.restart(keep_data=True))
    stage.did("the broker was restarted with its data")
    await stage.for_a_while(1.0, 1.5)


async def _freeze_broker(stage: Stage) -> None:
    """The broker's server hangs: connections stay, nothing answers."""
    await stage.for_a_while(0.1, 0.5)
    stage.server.freeze()
    stage.did("the broker hangs")
    await asyncio.sleep(stage.seconds)
    stage.server.thaw()
    stage.did("it goes on")
    await stage.for_a_while(0.3, 0.8)


async def _freeze_and_restart(stage: Stage) -> None:
    """The broker's server hangs, and hardly goes on when it is restarted, with what it had."""
    await _freeze_broker(stage)
    await _restart_broker(stage)


async def _fail_over(stage: Stage) -> None:
    """The primary that has the topic dies, another takes its place, and it comes back as a replica."""
    await stage.for_a_while(0.1, 0.5)
    old: Member = await asyncio.to_thread(stage.replicas.leader, stage.topic)
    old.kill()
    stage.did("the primary was killed")
    await asyncio.to_thread(stage.replicas.until_promoted, stage.topic, old)
    stage.did("another was promoted")
    await stage.for_a_while(0.5, 1.5)
    await asyncio.to_thread(old.start)
    stage.did("the former one is back")
    await asyncio.to_thread(stage.replicas.settle)
    stage.did("it is a replica")
    await stage.for_a_while(0.3, 0.8)


async def _freeze_primary(stage: Stage) -> None:
    """The primary that has the topic hangs, and goes on when another may have taken its place."""
    await stage.for_a_while(0.1, 0.5)
    old: Member = await asyncio.to_thread(stage.replicas.leader, stage.topic)
    old.freeze()
    stage.did("the primary hangs")
    await asyncio.sleep(stage.seconds)
    old.thaw()
    stage.did("it goes on")
    await asyncio.to_thread(stage.replicas.settle)
    now = await asyncio.to_thread(stage.replicas.leader, stage.topic)
    stage.did("it is the primary" if now is old else "it is a replica")
    await stage.for_a_while(0.3, 0.8)


async def _part(stage: Stage) -> None:
    """One node does not reach the broker, and the other does; clients go from one to the other meanwhile."""
    node = stage.rng.choice(stage.site.nodes)
    assert node.back is not None
    refuse = stage.rng.random() < 0.5
    node.back.hold(refuse=refuse)
    stage.did(
        f"node {stage.site.nodes.index(node)} is parted from the broker, which {'refuses' if refuse else 'hangs'}"
    )
    until = time.monotonic() + stage.seconds
    while time.monotonic() < until:
        await stage.for_a_while(0.1, 0.4)
        stage.rng.choice(stage.subscribers).cut()
    node.back.release()
    stage.did("it reaches it again")
    await stage.for_a_while(0.3, 0.8)


async def _come_and_go(stage: Stage) -> None:
    """Runs of presence have clients of their own and judge them by other rules: see `tests.chaos.presence.run`."""
    raise TypeError("presence has runs of its own")


async def _all_of_it(stage: Stage) -> None:
    """One after another, and cuts among them."""
    kinds = [_cut_sockets, _kill_hub, _stay_away]
    if stage.site.server is not None:
        kinds += [_drain_hub, _lose_broker, _restart_broker, _freeze_broker, _kill_hub_in_a_freeze]
        kinds += [_fail_over, _freeze_primary] if stage.site.broker in REPLICATED else [_part]
    stage.rng.shuffle(kinds)
    for act in kinds[:4]:
        await act(stage)
        await stage.site.heal()


_TOO_SLOW: Final = ("disconnect 3008", "disconnect 1006")
"""Who does not read for long does not read the farewell either, before the hub closes the connection."""
PRESENCE: Final = Scenario("presence", _come_and_go, "may", topic="people", needs="server")
SCENARIOS: Final = (
    Scenario("cut sockets", _cut_sockets, "never", proof=("disconnect 1006",)),
    Scenario("short history", _stay_away, "must", topic="short", proof=("disconnect 1006",)),
    Scenario("slow reader", _read_slowly, "may", heavy=True, proof=_TOO_SLOW),
    Scenario(
        "conflated reader",
        _read_slowly,
        "may",
        topic="latest",
        heavy=True,
        proof=("unsubscribe 2500", *_TOO_SLOW),
    ),
    Scenario("kill hub", _kill_hub, "may", proof=("disconnect 1006",)),
    Scenario("drain hub", _drain_hub, "never", needs="server", proof=("disconnect 3001",), polite=True),
    Scenario("lose broker", _lose_broker, "may", needs="server"),
    Scenario("restart broker", _restart_broker, "may", needs="server"),
    Scenario("freeze broker", _freeze_broker, "never", needs="server"),
    Scenario("half of all", _kill_hub_in_a_freeze, "never", needs="server", proof=("disconnect 1006",)),
    Scenario("part a node", _part, "never", needs="proxy"),
    Scenario("fail over", _fail_over, "may", needs="replicas"),
    Scenario("freeze the primary", _freeze_primary, "may", needs="replicas"),
    Scenario("wait out a restart", _restart_broker, "may", topic="waits", needs="server"),
    Scenario("wait out a freeze", _freeze_broker, "never", topic="waits", needs="server"),
    Scenario("insist", _freeze_and_restart, "may", topic="insists", needs="server", whole=True),
    Scenario("insist on a loss", _lose_broker, "may", topic="insists", needs="server"),
    Scenario("insist, fail over", _fail_over, "may", topic="insists", needs="replicas"),
    PRESENCE,
    Scenario("all of it", _all_of_it, "may", short=False),
)


def named(name: str) -> Scenario:
    """The scenario of a name. Raises KeyError."""
    return {scenario.name: scenario for scenario in SCENARIOS}[name]


def fits(scenario: Scenario, broker: str) -> bool:
    """Whether a broker has what the scenario breaks."""
    if scenario.needs == "nothing":
        return True
    if scenario.needs == "server":
        return broker != "memory"
    return broker != "memory" and (broker in REPLICATED) == (scenario.needs == "replicas")


def may_tell(scenario: Scenario, broker: str) -> Literal["never", "may", "must"]:
    """The scenario's `tells` on this broker: where all hang, one may take the place of another when they go on."""
    replaced = scenario.tells == "never" and scenario.needs == "server" and broker in REPLICATED
    return "may" if replaced else scenario.tells
