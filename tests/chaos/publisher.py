"""Publishers over the server API: numbered publications under keys, with an honest account of what became of each."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Callable, Sequence
from typing import Any, Literal

import httpx2

from hub.errors import OUTCOME_UNKNOWN
from tests.chaos.history import Sent

ANSWER_SECONDS = 5.0
WAITING_SECONDS = 30.0
"""The same on topics on which the hub itself waits for its broker."""
INSISTENT_TRIES = 200
LOTS = 5
"""Where topics keep only the latest of each lot for a slow reader, so many may wait."""


class Publisher:
    """Publishes one after another; the next only when the last has an outcome. An attempt's failure is retried a few
    times, under the same key, perhaps on another node. On topics `waits:` that is left to the hub, and no key is given;
    on topics `insists:` the publisher repeats as well, and ends only with an ack.

    `urls` are the nodes' HTTP addresses. `numbers` is shared by all publishers of a run.
    """

    def __init__(
        self,
        name: str,
        urls: Sequence[str],
        topic: str,
        key: str,
        numbers: itertools.count[int],
        rng: random.Random,
        clock: Callable[[], float],
        *,
        padding: int = 0,
    ) -> None:
        self.sent: list[Sent] = []
        self._name = name
        self._urls = urls
        self._topic = topic
        self._key = key
        self._numbers = numbers
        self._rng = rng
        self._clock = clock
        self._padding = "x" * padding
        self._patient = topic.startswith("waits:")
        self._insistent = topic.startswith("insists:")

    async def run(self, pause: float, until: asyncio.Event) -> None:
        """Publishes with pauses around `pause` seconds until told to stop."""
        async with httpx2.AsyncClient(headers={"X-API-Key": self._key}) as client:
            while not until.is_set():
                await self._publish(client)
                await asyncio.sleep(self._rng.uniform(0, 2 * pause))

    async def _publish(self, client: httpx2.AsyncClient) -> None:
        sent = Sent(next(self._numbers), self._name, self._clock(), 0.0, "failed", attempts=0)
        self.sent.append(sent)
        for _ in range(self._tries()):
            sent.attempts += 1
            outcome = await self._attempt(client, self._rng.choice(self._urls), sent)
            if outcome == "acked" or sent.outcome == "failed":
                sent.outcome = outcome
            if outcome == "acked":
                break
            await asyncio.sleep(self._rng.uniform(0.02, 0.3))
        if self._insistent:
            sent.attempts += 1  # the hub may have repeated it by itself
        sent.ended = self._clock()

    def _tries(self) -> int:
        if self._insistent:
            return INSISTENT_TRIES
        return 1 if self._patient else self._rng.randint(1, 4)

    def _limits(self) -> httpx2.Timeout:
        """How long an attempt may take; who insists is not always as patient as the hub."""
        seconds = WAITING_SECONDS if self._patient else ANSWER_SECONDS
        return httpx2.Timeout(self._rng.uniform(1, 15) if self._insistent else seconds, connect=1.0)

    async def _attempt(
        self, client: httpx2.AsyncClient, url: str, sent: Sent
    ) -> Literal["acked", "failed", "unknown"]:
        body = {
            "channel": self._topic,
            "data": {"n": sent.number, "lot": sent.number % LOTS, "pad": self._padding},
            "idempotency_key": "" if self._patient else f"{self._topic}-{sent.number}",
        }
        try:
            answer = await client.post(f"{url}/api/publish", json=body, timeout=self._limits())
        except (httpx2.ConnectError, httpx2.ConnectTimeout):
            return "failed"  # nothing has left this machine
        except httpx2.HTTPError:
            return "unknown"
        return _outcome(answer, sent)


def _outcome(answer: httpx2.Response, sent: Sent) -> Literal["acked", "failed", "unknown"]:
    if answer.status_code != 200:
        return "unknown" if answer.status_code >= 500 else "failed"
    told: dict[str, Any] = answer.json()
    if "error" in told:
        return "unknown" if told["error"]["code"] == OUTCOME_UNKNOWN.number else "failed"
    sent.epoch, sent.offset = told["result"].get("epoch", ""), told["result"].get("offset", 0)
    return "acked"
