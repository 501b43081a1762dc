"""The keys that an issuer publishes, as this node last saw them: looked at again in the background and when needed.

Verifying a token only reads what is there. Whoever meets an unknown key awaits `looked_up`: all who do so at once wait
for one request, and in half a minute there is at most one, however many tokens with invented keys arrive.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from hub.auth.jwks import MAX_KEYS, KeysError, read_keys
from hub.auth.keys import FAMILIES, Key
from hub.errors import KeysUnavailable
from hub.tasks import Tasks

_log = logging.getLogger("hub.auth")
PAUSE_SECONDS: Final = 30.0
"""How long after a look for an unknown key the next one may come."""
KEPT_SECONDS: Final = 3_600.0
"""How long a key that is no longer published is accepted, for tokens that were signed just before."""
FIRST_RETRY: Final = 1.0
LAST_RETRY: Final = 60.0
"""Seconds until a look that failed is repeated: the first time, and at most."""


@dataclass(frozen=True, slots=True)
class Document:
    """A JWKS as it came, and for how many seconds it may be kept."""

    text: bytes
    age: float


class PublishedKeys:
    """Published keys by name: at most 100 of the last document, and 100 that were published before."""

    def __init__(
        self,
        fetch: Callable[[], Awaitable[Document]],
        *,
        algorithms: Sequence[str] | None,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`fetch` gets the document or raises KeysError; `algorithms` are those accepted, None for all RS* and ES*.

        `clock` gives seconds since 1970, `monotonic` seconds that only grow.
        """
        self._fetch = fetch
        self._accepted = frozenset(
            name
            for name, family in FAMILIES.items()
            if family != "HS" and (algorithms is None or name in algorithms)
        )
        self._clock = clock
        self._monotonic = monotonic
        self._sleep = sleep
        self._tasks = Tasks()
        self._look: asyncio.Task[float | None] | None = None
        self._asked = float("-inf")
        self._failed = False
        self._current: dict[str | None, Key] = {}
        self._former: dict[str | None, Key] = {}
        self.loaded = False
        """Whether a document has been read since the start."""

    def accepts(self, algorithm: str) -> bool:
        """Whether a published key may be for the algorithm."""
        return algorithm in self._accepted

    @property
    def usable(self) -> bool:
        """Whether there is any key to verify with."""
        return bool(self._current) or any(not key.ended(self._clock()) for key in self._former.values())

    def find(self, kid: str | None, now: float) -> list[Key]:
        """The key of that name, if there is one; without a name, the only key of a document that has but one."""
        if kid is None:
            return list(self._current.values()) if len(self._current) == 1 else []
        key = self._current.get(kid) or self._former.get(kid)
        return [] if key is None or key.ended(now) else [key]

    def may_learn(self, kid: str | None) -> bool:
        """Whether a look may find the key; who names none can only hope for the first document."""
        return kid is not None or not self.loaded

    async def looked_up(self) -> None:
        """Looks for keys anew, or waits for a look under way.

        Raises KeysUnavailable when it failed, and when the last one was less than half a minute ago: nobody can say
        then whether the key has been published since.
        """
        if self._look is None:
            now = self._monotonic()
            if now - self._asked < PAUSE_SECONDS:
                raise KeysUnavailable
            self._asked = now
        if await self._looked() is None or not self.usable:
            raise KeysUnavailable

    async def start(self) -> None:
        """Begins to look in the background, at once and whenever what was found has grown old."""
        self._tasks.spawn(self._keep(), "keep published keys")

    async def stop(self) -> None:
        """Ends all looking; the keys stay."""
        await self._tasks.cancel()

    async def _keep(self) -> None:
        retry = FIRST_RETRY
        while True:
            age = await self._looked()
            if age is None:
                await self._sleep(retry)
                retry = min(retry * 2, LAST_RETRY)
            else:
                retry = FIRST_RETRY
                await self._sleep(age)

    async def _looked(self) -> float | None:
        """For how long what one look found may be kept, None when it failed; joins the one under way."""
        look = self._look
        if look is None:
            look = self._look = self._tasks.spawn(self._look_now(), "look for published keys")
        # Waiting neither ends with the look nor ends it, whoever is cancelled.
        await asyncio.wait({look})
        return None if look.cancelled() else look.result()

    async def _look_now(self) -> float | None:
        try:
            fetched = await self._fetch()
            self._take(read_keys(fetched.text, self._accepted))
        except KeysError as error:
            if not self._failed:
                _log.warning("published keys cannot be had, those known are kept: %s", error)
            self._failed = True
            return None
        except Exception:  # noqa: BLE001 - whoever waits is to be told to come back, and the next look has to come
            _log.exception("published keys cannot be had, those known are kept")
            self._failed = True
            return None
        else:
            if self._failed:
                _log.info("published keys can be had again")
            self._failed = False
            return fetched.age
        finally:
            self._look = None

    def _take(self, found: dict[str | None, Key]) -> None:
        """Makes these the keys: what is the same stays the same object, since tokens are remembered with their key."""
        now = self._clock()
        before = {**self._former, **self._current}
        for kid, key in found.items():
            known = before.pop(kid, None)
            if known is not None and known.mark == key.mark:
                known.until = None
                found[kid] = known
            elif known is not None:
                known.until = now
        for key in before.values():
            key.until = now + KEPT_SECONDS if key.until is None else min(key.until, now + KEPT_SECONDS)
        alive = [(kid, key) for kid, key in before.items() if not key.ended(now)]
        for _, key in alive[:-MAX_KEYS]:
            key.until = now
        if not found:
            _log.warning("no key is published that tokens could be verified with")
        self._former = dict(alive[-MAX_KEYS:])
        self._current = found
        self.loaded = True
