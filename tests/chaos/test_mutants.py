"""The suite finds what it is for: histories of real runs with one lie in them, and a hub that really tells lies."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

import pytest

import hub.router
from hub.broker.base import Outgoing, PublishResult
from hub.errors import BrokerError
from hub.live import LiveTopic
from hub.model import Position, Publication
from hub.sender import Sender
from hub.testing import LiveHub
from tests.chaos.history import History
from tests.chaos.judge import check_whole, judge
from tests.chaos.mutants import MUTANTS, mutated
from tests.chaos.run import Load, run
from tests.chaos.scenarios import Scenario, Stage, named
from tests.chaos.threaded import as_it_is, threaded_site

EVERY = 10
"""One publication in so many is spoilt."""
LAST_SPOILT = 5 * EVERY
"""What a broker swallows shows by what follows it, so something must follow."""


async def _nothing(stage: Stage) -> None:
    """No fault but the hub's own."""
    await stage.for_a_while(0.5, 0.7)


QUIET = Scenario("quiet", _nothing, "never")


async def _history(scenario: Scenario, seed: int, prepare: Callable[[LiveHub], None] = as_it_is) -> History:
    with threaded_site(prepare) as place:
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


class _Away:
    """Stands between the router and the broker, and takes nothing for a while."""

    def __init__(self) -> None:
        self.away = False
        self.refused = 0

    def prepare(self, live: LiveHub) -> None:
        publish = live.hub.bridge.publish

        async def flaky(outgoing: Outgoing) -> PublishResult:
            if self.away:
                self.refused += 1
                raise BrokerError("away")
            return await publish(outgoing)

        live.hub.router.sender.attach(flaky, own_keys=True)

    async def act(self, stage: Stage) -> None:
        self.away = True
        await asyncio.sleep(stage.seconds)
        self.away = False
        await stage.for_a_while(0.6, 0.8)


async def _acks_what_it_will_store(self: Sender, outgoing: Outgoing, wait: float) -> PublishResult:
    """Acknowledges at once, with the position that is probably next, and stores when the broker is back."""
    patiently = asyncio.ensure_future(_patiently(self, outgoing, wait))
    await asyncio.wait([patiently], timeout=0.1)
    if patiently.done():
        result = _latest[0] = patiently.result()
        return result
    _latest.append(patiently)  # type: ignore[arg-type]
    before = _latest[0].position
    assert before is not None
    return PublishResult(Position(before.offset + 1, before.epoch))


async def _acks_what_it_never_stores(self: Sender, outgoing: Outgoing, wait: float) -> PublishResult:
    try:
        result = _latest[0] = await self._publish(outgoing)
    except BrokerError:
        before = _latest[0].position
        assert before is not None
        return PublishResult(Position(before.offset + 1, before.epoch))
    return result


_patiently = Sender._patiently
_latest = [PublishResult(Position(0, ""))]


@pytest.mark.parametrize("topic", ["waits", "insists"])
async def test_what_waits_for_its_broker_is_acknowledged_when_it_is_stored(topic: str) -> None:
    fault = _Away()
    history = await _history(Scenario("away", fault.act, "never", topic=topic), 4, fault.prepare)
    verdict = judge(history)
    check_whole(history, verdict)
    assert verdict.honest, verdict
    assert fault.refused > 0
    assert verdict.acked == len(history.sent)


@pytest.mark.parametrize("lie", [_acks_what_it_will_store, _acks_what_it_never_stores])
async def test_an_ack_before_storing_is_found_out(lie: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.chaos.run.SETTLE_SECONDS", 2.0)
    monkeypatch.setattr(Sender, "_patiently", lie)
    fault = _Away()
    verdict = judge(await _history(Scenario("away", fault.act, "never", topic="waits"), 5, fault.prepare))
    assert verdict.lost > 0, verdict
