"""The suite finds what it is for: histories of real runs with one lie in them, and a hub that really tells lies."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

import hub.router
from hub.live import LiveTopic
from hub.model import Publication
from hub.testing import LiveHub
from tests.chaos.history import History
from tests.chaos.judge import judge
from tests.chaos.mutants import MUTANTS, mutated
from tests.chaos.run import Load, run
from tests.chaos.scenarios import Scenario, Stage, named
from tests.chaos.site import API_KEY, HubProcess, Site

EVERY = 10
"""One publication in so many is spoilt."""
LAST_SPOILT = 5 * EVERY
"""What a broker swallows shows by what follows it, so something must follow."""


async def _nothing(stage: Stage) -> None:
    """No fault but the hub's own."""
    await stage.for_a_while(0.5, 0.7)


QUIET = Scenario("quiet", _nothing, "never")


def _as_it_is(live: LiveHub) -> None: ...


class _ThreadedNode:
    """A hub in a thread of this process, in the place of one in a process of its own."""

    def __init__(self, live: LiveHub) -> None:
        self.port = live.port
        self.url = live.url
        self.socket_url = self.direct_socket_url = f"{live.ws_url}/connection/websocket"
        self.front = self
        self.back = None

    def start(self) -> None: ...

    def release(self) -> None: ...

    def cut(self, rng: random.Random, share: float) -> None: ...

    def tear(self) -> None: ...

    ready = HubProcess.ready
    history = HubProcess.history
    _answers = HubProcess._answers


async def _history(scenario: Scenario, seed: int, prepare: Callable[[LiveHub], None] = _as_it_is) -> History:
    allow = {"subscribe": "anyone"}
    config = {
        "auth": {"api_keys": {"chaos": {"key": API_KEY, "allow": "*"}}},
        "client": {"recovery_page": 20_000, "history_page": 20_000},
        "topics": {"long:{name}": {"allow": allow, "history": {"size": 20_000, "ttl": "10m"}}},
    }
    with LiveHub(config) as live:
        prepare(live)
        place = Site("memory", None, [_ThreadedNode(live)])  # type: ignore[list-item]
        return await run(scenario, place, seed, Load(0.8, subscribers=4, publishers=4, pause=0.005))


async def test_a_recorded_run_is_honest_and_none_of_its_mutants_is() -> None:
    history = await _history(named("cut sockets"), seed=1)
    assert judge(history).honest, judge(history)
    for name, (mutant, count) in MUTANTS.items():
        for seed in range(10):
            verdict = judge(mutated(history, mutant, random.Random(seed)))
            assert not verdict.honest, name
            assert getattr(verdict, count) > 0, (name, verdict)


class _Lying(LiveTopic):
    """A topic that takes publications wrongly after it has found them to be in order."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.late: Publication | None = None


class _Dropping(_Lying):
    def _take(self, publication: Publication) -> None:
        if publication.offset % EVERY:
            super()._take(publication)


class _Doubling(_Lying):
    def _take(self, publication: Publication) -> None:
        super()._take(publication)
        if not publication.offset % EVERY:
            super()._take(publication)


class _Swapping(_Lying):
    def _take(self, publication: Publication) -> None:
        late, self.late = self.late, None
        if late is None and not publication.offset % EVERY:
            self.late = publication
            return
        super()._take(publication)
        if late is not None:
            super()._take(late)


@pytest.mark.parametrize(
    ("lie", "count"), [(_Dropping, "lost"), (_Doubling, "duplicated"), (_Swapping, "reordered")]
)
async def test_a_hub_that_lies_is_found_out(
    lie: type[LiveTopic], count: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub.router, "LiveTopic", lie)
    monkeypatch.setattr("tests.chaos.run.SETTLE_SECONDS", 2.0)
    verdict = judge(await _history(QUIET, seed=2))
    assert not verdict.honest
    assert getattr(verdict, count) > 0, verdict


class _Crossing:
    """Stands between broker and router, and passes deliveries on with one fault in every few."""

    def __init__(self, receiver: Any, spoil: Callable[[list[Publication]], list[Publication]]) -> None:
        self._receiver = receiver
        self._spoil = spoil

    def deliver(self, topic: str, publications: list[Publication]) -> None:
        for publication in publications:
            spoilt = not publication.offset % EVERY and publication.offset <= LAST_SPOILT
            for each in self._spoil([publication]) if spoilt else [publication]:
                self._receiver.deliver(topic, [each])

    def gap(self, topic: str, reason: str) -> None:
        self._receiver.gap(topic, reason)


def _swallow(publications: list[Publication]) -> list[Publication]:
    return []


class _Swapper:
    """Holds one publication back until the next spoilt one."""

    def __init__(self) -> None:
        self._late: list[Publication] = []

    def __call__(self, publications: list[Publication]) -> list[Publication]:
        late, self._late = self._late, publications
        return late


@pytest.mark.parametrize(
    "spoil",
    [_swallow, lambda publications: publications * 2, _Swapper()],
    ids=["drop", "double", "swap"],
)
async def test_a_broker_that_drops_doubles_or_swaps_is_set_right_by_the_hub(
    spoil: Callable[[list[Publication]], list[Publication]],
) -> None:
    def prepare(live: LiveHub) -> None:
        live.hub.bridge._receiver = _Crossing(live.hub.router, spoil)

    verdict = judge(await _history(QUIET, seed=3, prepare=prepare))
    assert verdict.honest, verdict
    assert verdict.acked > LAST_SPOILT
    assert verdict.tellings == 0
