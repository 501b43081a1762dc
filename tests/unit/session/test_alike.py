"""Forbidden and unknown cannot be told apart by how long the hub takes to say no."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import count

import pytest

from hub.errors import ReplyError
from hub.testing import HubClient, InProcessHub

PATTERNS = {f"space{number}:{{x}}": {"allow": {"subscribe": "role:boss"}} for number in range(50)}
SPACES = ("space0", "space49", "nons")
ROUNDS, EACH = 20, 20
MOST = 3.0
"""How much longer one may take than another. Each takes a few dozen microseconds, less than the jitter of a network."""


async def refused(client: HubClient, method: str, topic: str) -> None:
    with pytest.raises(ReplyError) as caught:
        await client.command(method, {"channel": topic, **({"data": 1} if method == "publish" else {})})
    assert (caught.value.code, caught.value.message) == (103, "permission denied")


async def seconds(client: HubClient, method: str, topic: Callable[[], str]) -> float:
    """Of this thread's processor, for each refusal: what other programs do meanwhile does not count."""
    started = time.thread_time()
    for _ in range(EACH):
        await refused(client, method, topic())
    return (time.thread_time() - started) / EACH


@pytest.mark.parametrize("method", ["subscribe", "publish", "presence", "history"])
@pytest.mark.parametrize("fresh", [True, False], ids=["first asked", "asked again"])
async def test_a_refusal_takes_as_long_where_there_is_no_such_topic(method: str, fresh: bool) -> None:
    numbers = count()

    def naming(space: str) -> Callable[[], str]:
        return (lambda: f"{space}:{next(numbers)}") if fresh else (lambda: f"{space}:1")

    async with InProcessHub({"topics": PATTERNS}) as hub:
        ann = await hub.connect("ann")
        best = dict.fromkeys(SPACES, float("inf"))
        for _ in range(ROUNDS):
            for space in SPACES:
                best[space] = min(best[space], await seconds(ann, method, naming(space)))
    assert max(best.values()) < MOST * min(best.values()), best


async def test_the_log_alone_says_which_it_was(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", "hub.permissions")
    async with InProcessHub({"topics": PATTERNS}) as hub:
        ann = await hub.connect("ann")
        for method in ("subscribe", "publish", "history"):
            caplog.clear()
            await refused(ann, method, "space0:1")
            await refused(ann, method, "nons:1")
            forbidden, unknown = (record.getMessage() for record in caplog.records)
            assert forbidden.startswith(f"'ann' may not {method} 'space0:1': ")
            assert unknown == f"'ann' may not {method} 'nons:1': no pattern matches it"
