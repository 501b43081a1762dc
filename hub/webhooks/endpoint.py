"""One URL that is asked: how many requests at once, how long, and what is told of those that fail."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from hub import __version__
from hub.egress.client import Egress
from hub.egress.fetched import Fetched
from hub.egress.urls import Target
from hub.errors import FetchError
from hub.webhooks.breaker import PAUSE_SECONDS, Breaker
from hub.webhooks.signing import Signer, new_message_id

_log = logging.getLogger("hub.webhooks")
MAX_WAITING: Final = 1_000
"""Callers of one URL that may wait until one of its requests is done."""
TOLD_EVERY: Final = 10.0
"""Seconds between two log lines of one URL about one kind of failure."""

Failure: TypeAlias = Literal[
    "refused", "unreachable", "timeout", "too_large", "broken", "status", "answer", "busy", "away", "dropped"
]
_AWAY: Final = frozenset({"refused", "unreachable", "timeout"})
_IS_AWAY: Final = "it counts as away"
_NO_TIME: Final = "its other requests took all the time that there is"
_AWAY_STATUSES: Final = frozenset({502, 503, 504})


class Unanswered(Exception):
    """A webhook gave no answer that counts; `kind` is what metrics count it as, the text is for the log."""

    def __init__(self, kind: Failure, message: str) -> None:
        self.kind: Failure = kind
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Terms:
    """What holds for every webhook of a hub; `timeout` in seconds, with the wait for one's turn."""

    signer: Signer
    timeout: float
    max_bytes: int
    concurrency: int


class Endpoint:
    """Asks one URL, whatever handlers it stands for."""

    def __init__(self, target: Target, terms: Terms, egress: Egress) -> None:
        self.target = target
        self._terms = terms
        self._egress = egress
        self._room = asyncio.Semaphore(terms.concurrency)
        self._waiting = 0
        self._breaker = Breaker()
        self._told: dict[Failure, tuple[float, int]] = {}

    async def ask(self, body: bytes, now: int) -> bytes:
        """Sends a signed request and returns the body of its answer; raises Unanswered.

        `now` is the second since 1970 that is signed.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._terms.timeout
        if self._breaker.away(loop.time()):
            raise Unanswered("away", _IS_AWAY)
        await self._turn()
        try:
            left = deadline - loop.time()
            if left <= 0:
                raise Unanswered("busy", _NO_TIME)
            if not self._breaker.admit(loop.time()):
                raise Unanswered("away", _IS_AWAY)
            return await self._request(body, now, left)
        finally:
            self._room.release()

    async def _turn(self) -> None:
        """Waits until another request may be made."""
        if self._room.locked() and self._waiting >= MAX_WAITING:
            raise Unanswered("busy", f"{MAX_WAITING} callers wait for it already")
        self._waiting += 1
        try:
            async with asyncio.timeout(self._terms.timeout):
                await self._room.acquire()
        except TimeoutError:
            raise Unanswered("busy", _NO_TIME) from None
        finally:
            self._waiting -= 1

    async def _request(self, body: bytes, now: int, seconds: float) -> bytes:
        answered: bool | None = None
        try:
            fetched = await self._fetch(body, now, seconds)
            answered = fetched.status not in _AWAY_STATUSES
        except FetchError as error:
            answered = error.kind not in _AWAY
            if error.kind == "timeout" and seconds < self._terms.timeout / 2:
                answered = None  # It was busy with the others, or the wait for one's turn took the time.
            raise Unanswered(error.kind, str(error)) from None
        finally:
            self._note(answered)
        if not 200 <= fetched.status < 300:
            raise Unanswered("status", f"it answered with status {fetched.status}")
        return fetched.body

    async def _fetch(self, body: bytes, now: int, seconds: float) -> Fetched:
        headers = {
            "content-type": "application/json",
            "user-agent": f"topichub/{__version__}",
            **self._terms.signer.headers(new_message_id(), now, body),
        }
        return await self._egress.fetch(
            "POST",
            self.target,
            headers=headers,
            body=body,
            seconds=seconds,
            max_bytes=self._terms.max_bytes,
        )

    def _note(self, answered: bool | None) -> None:
        """Tells the breaker whether the server is there, None when nobody knows.

        Only what makes callers wait, or says so itself, counts as away: else whoever finds data that the receiver
        stumbles over could silence it for all.
        """
        if answered:
            self._breaker.succeeded()
        elif answered is None:
            self._breaker.abandoned()
        elif self._breaker.failed(asyncio.get_running_loop().time()):
            _log.error("webhook %s counts as away: asked again in %g s", self.target.label, PAUSE_SECONDS)

    def tell(self, event: str, failure: Unanswered) -> None:
        """Logs a failure; while one kind of it goes on, a line every ten seconds says how many there were."""
        if failure.kind == "away":
            return
        now = asyncio.get_running_loop().time()
        last, untold = self._told.get(failure.kind, (float("-inf"), 0))
        if now - last < TOLD_EVERY:
            self._told[failure.kind] = (last, untold + 1)
            return
        self._told[failure.kind] = (now, 0)
        more = f" (and {untold} times before)" if untold else ""
        _log.error("webhook %s gave no answer to %s: %s%s", self.target.label, event, failure, more)
