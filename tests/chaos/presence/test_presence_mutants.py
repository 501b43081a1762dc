"""The judge of presence finds what it is for: real runs with one lie in them, and a hub that really tells lies."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from hub.attendance import Attendance as HubAttendance
from hub.model import ClientInfo
from hub.presence.memory import MemoryPresence
from tests.chaos.presence.history import Attendance, Outage, Stay, Told
from tests.chaos.presence.judge import judge_presence
from tests.chaos.presence.mutants import MUTANTS, mutated
from tests.chaos.presence.run import Crowd, attend
from tests.chaos.run import Load
from tests.chaos.threaded import threaded_site

EVERY = 2
"""One client in so many is lied about."""


async def _nothing(crowd: Crowd, seconds: float) -> None:
    await asyncio.sleep(2)


async def _attendance() -> Attendance:
    with threaded_site() as place:
        return await attend(place, 1, Load(0.5, subscribers=3), _nothing)


async def test_a_recorded_run_is_honest_and_none_of_its_mutants_is() -> None:
    attendance = await _attendance()
    verdict = judge_presence(attendance)
    assert verdict.honest, verdict
    assert verdict.acked > 20
    for name, (mutant, found) in MUTANTS.items():
        for seed in range(10):
            verdict = judge_presence(mutated(attendance, mutant, random.Random(seed)))
            assert not verdict.honest, name
            assert getattr(verdict, found), (name, verdict)


def _lied_about(info: ClientInfo) -> bool:
    return int(info.client[:8], 16) % EVERY == 0


def _twice(tell: Callable[..., Any], self: HubAttendance, topic: str, info: ClientInfo, *rest: Any) -> None:
    tell(self, topic, info, *rest)
    if _lied_about(info):
        asyncio.get_running_loop().call_later(0.1, partial(tell, self, topic, info, *rest))


def _never(tell: Callable[..., Any], self: HubAttendance, topic: str, info: ClientInfo, *rest: Any) -> None:
    if not _lied_about(info):
        tell(self, topic, info, *rest)


@pytest.mark.parametrize(("lie", "count"), [(_twice, "duplicated"), (_never, "lost")])
async def test_a_hub_that_tells_a_leave_twice_or_never_is_found_out(
    lie: Callable[..., None], count: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.chaos.presence.run.GRACE_SECONDS", 1.0)
    tell = HubAttendance.left

    def left(self: HubAttendance, *what: Any) -> None:
        lie(tell, self, *what)

    monkeypatch.setattr(HubAttendance, "left", left)
    verdict = judge_presence(await _attendance())
    assert getattr(verdict, count) > 0, verdict


async def test_a_hub_that_keeps_ghosts_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.chaos.presence.run.GRACE_SECONDS", 1.0)
    remove = MemoryPresence.remove

    async def forgetful(self: MemoryPresence, topic: str, client: str, user: str) -> None:
        if not _lied_about(ClientInfo(user, client)):
            await remove(self, topic, client, user)

    monkeypatch.setattr(MemoryPresence, "remove", forgetful)
    verdict = judge_presence(await _attendance())
    assert verdict.invented > 0, verdict


def _on_one_node(*words: str, ended: float | None, outage: Outage | None = None) -> Attendance:
    """One client on node 0 from second 10 on, of whom a watcher was told so."""
    attendance = Attendance("none", 0, stays=[Stay("c", "u", "t", 0, 10.0, 10.1, ended)])
    attendance.told = {"w": [Told(11.0, word, "t", "c") for word in words]}  # type: ignore[arg-type]
    attendance.outages = [outage] if outage else []
    return attendance


def _findings(attendance: Attendance) -> list[str]:
    return [each for each in judge_presence(attendance).findings if "say who is there" not in each]


LONG = Outage(0, "frozen", 12.0, 25.0)


@pytest.mark.parametrize(
    ("words", "ended", "outage", "honest"),
    [
        (("join",), None, None, True),
        (("join", "leave"), 20.0, None, True),
        (("join", "leave", "join"), None, LONG, True),
        (("join", "leave", "join", "leave"), 30.0, LONG, True),
        (("join", "leave"), 15.0, LONG, True),
        (("join", "leave", "leave"), 11.9, LONG, True),
        (("join",), 11.9, LONG, False),
        ((), 26.0, LONG, False),
        (("join", "leave"), None, LONG, False),
        (("join", "leave", "leave"), 15.0, LONG, False),
        (("join", "leave", "join"), None, None, False),
        (("join", "leave", "join"), None, Outage(0, "frozen", 12.0, 14.0), False),
        (("join", "leave", "join"), None, Outage(1, "frozen", 12.0, 25.0), False),
        (("join", "leave", "join"), None, Outage(0, "killed", 12.0, 25.0), False),
        ((), 20.0, Outage(0, "killed", 20.0, 25.0), True),
        ((), 18.0, Outage(0, "killed", 20.0, 25.0), False),
        (("join",), 20.5, Outage(0, "killed", 20.0, 25.0), False),
    ],
)
def test_only_a_node_that_stood_still_for_a_lease_may_have_its_clients_leave_and_be_back(
    words: tuple[str, ...], ended: float | None, outage: Outage | None, honest: bool
) -> None:
    assert (_findings(_on_one_node(*words, ended=ended, outage=outage)) == []) is honest
