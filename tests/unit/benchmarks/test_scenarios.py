"""Who is measured under which load, and what is said to it."""

from __future__ import annotations

import pytest

from benchmarks import contenders, scenarios
from benchmarks.measure import filled, slowed


def names(scenario: str) -> list[str]:
    return [each.name for each in scenarios.chosen([scenario])[0].entrants(contenders.ALL)]


def test_every_name_that_a_scenario_leaves_out_is_a_contender() -> None:
    known = {each.name for each in contenders.ALL}
    assert all(load.without < known for load in scenarios.ALL)


def test_a_name_that_nobody_has_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(ValueError, match=r"no contender nobody; there are hub, "):
        contenders.chosen(["hub", "nobody"])
    with pytest.raises(ValueError, match=r"no scenario nothing; there are broadcast, "):
        scenarios.chosen(["nothing"])
    with pytest.raises(ValueError, match=r"no loop trio; there are uvloop, asyncio"):
        contenders.with_variants(contenders.ALL, [], ["trio"])


def test_the_hub_is_measured_on_every_python_and_loop_and_its_rivals_once() -> None:
    among = contenders.chosen(["hub-client", "article"])
    found = contenders.with_variants(among, ["3.13"], ["uvloop", "asyncio"])
    assert [each.name for each in found] == [
        *("hub-client", "hub-client+asyncio", "hub-client@3.13", "hub-client@3.13+asyncio", "article")
    ]
    assert found[3].program == "hub@3.13"
    assert found[3].title == "hub, client protocol, Python 3.13, asyncio"
    assert found[0].command[:3] == ("{hub}", "-m", "hub")
    assert all(each.base in ("hub-client", "article") for each in found)
    assert contenders.with_variants(among, [], []) == among


def test_compression_is_measured_beside_the_same_server_without_it() -> None:
    assert names("deflate")[:4] == ["hub", "hub+deflate", "hub-client", "hub-client+deflate"]
    assert "floor" not in names("deflate")
    (load,) = scenarios.chosen(["deflate"])
    plain, deflating = load.entrants(contenders.chosen(["hub"]))
    assert deflating.environment["HUB_SERVER__COMPRESSION"] == "true"
    assert deflating.talk[-1] == "-deflate"
    assert "HUB_SERVER__COMPRESSION" not in plain.environment


def test_only_who_has_a_server_api_publishes_over_http() -> None:
    assert names("publish") == names("batch") == ["hub-client", "centrifugo"]


def test_those_who_cannot_follow_are_left_out_and_the_floor_where_it_means_nothing() -> None:
    assert "channels" not in names("broadcast")
    assert "floor" in names("broadcast")
    assert "floor" not in names("idle")


def test_a_load_lasts_as_long_as_it_needs_to_say_something() -> None:
    (idle,) = scenarios.chosen(["idle"])
    assert (idle.seconds(4), idle.seconds(40)) == (30, 40)


def test_names_in_braces_are_filled_in_and_other_braces_stay() -> None:
    assert filled('{"a":{data}} {port} {hub@3.13}', {"port": "1", "hub@3.13": "py"}) == '{"a":{data}} 1 py'


def test_slow_readers_are_judged_by_what_they_changed() -> None:
    without = {"p99_ms": 10.0, "rss_mib_grown": 1.0}
    found = {"p99_ms": 15.0, "rss_mib_grown": 7.0, "slow": {"connections": 3, "closed_by_server": 2}}
    assert slowed(without, found) == {
        "p99_without_ms": 10.0,
        "p99_growth": 1.5,
        "mib_per_slow": 2.0,
        "let_go": 2,
    }
    assert slowed(without, found | {"rss_mib_grown": 0.5})["mib_per_slow"] == 0
    assert slowed({**without, "p99_ms": 0.0}, found)["p99_growth"] is None
