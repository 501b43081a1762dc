"""The short form: each kind of fault, and those of brokers on each of them, once. `scripts/chaos` is the long one."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache

import pytest

from hub.broker.factory import SCHEMES
from tests.chaos.brokers import ALIASES, BROKERS, REPLICATED, SERVERS, MissingServerError
from tests.chaos.presence.run import attend, judged_presence
from tests.chaos.run import Load, judged, run
from tests.chaos.scenarios import PRESENCE, SCENARIOS, Scenario, fits
from tests.chaos.site import Site, site
from tests.services.missing import unavailable

SHORT = Load(seconds=2.2, subscribers=6, publishers=4)
ONCE = (
    "cut sockets",
    "kill hub",
    "drain hub",
    "half of all",
    "wait out a restart",
    "wait out a freeze",
    "insist on a loss",
    "presence",
)
"""What is no matter of the broker, or hardly, but needs two nodes; once is enough."""


def _in_short_form(broker: str, scenario: Scenario) -> bool:
    if broker == "memory":
        return scenario.short and fits(scenario, broker)
    if broker in REPLICATED:
        return scenario.name == "fail over"
    if scenario.name in ONCE:
        return broker == "redis"
    return scenario.short and fits(scenario, broker) and scenario.needs != "nothing"


RUNS = [
    pytest.param(broker, scenario, id=f"{broker}-{scenario.name.replace(' ', '-')}")
    for broker in BROKERS
    for scenario in SCENARIOS
    if _in_short_form(broker, scenario)
]


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Site]]:
    """The site of a broker, started when it is first asked for."""
    with ExitStack() as stack:

        @cache
        def place(broker: str) -> Site:
            return stack.enter_context(site(broker, tmp_path_factory.mktemp(broker)))

        yield place


@pytest.mark.timeout(90)
@pytest.mark.parametrize(("broker", "scenario"), RUNS)
async def test_nothing_is_silently_lost_doubled_or_reordered(
    places: Callable[[str], Site], broker: str, scenario: Scenario
) -> None:
    try:
        place = places(broker)
    except MissingServerError as missing:
        unavailable(f"{broker} server", missing.remedy)
    seed = secrets.randbelow(10**6)
    if scenario is PRESENCE:
        verdict = judged_presence(await attend(place, seed, SHORT))
    else:
        verdict = judged(scenario, await run(scenario, place, seed, SHORT))
    assert verdict.honest, f"seed {seed}: {verdict}"
    assert (verdict.lost, verdict.duplicated, verdict.reordered, verdict.invented) == (0, 0, 0, 0)


def test_every_broker_that_the_hub_knows_is_broken_here() -> None:
    assert {*SCHEMES} - {"memory", *ALIASES} <= {*SERVERS}, "add it to SERVERS in tests/chaos/brokers.py"
