"""All keys that tokens are verified with, and which of them a token may have been signed by.

A token names its key by `kid`, which is looked up and nothing else. Where the operator names no keys and none are
published, `kid` means nothing, and the current key or the one before it has signed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from hub.auth.keys import Key
from hub.errors import InvalidToken, UnknownKey


class Published(Protocol):
    """Keys that somebody else publishes; `hub.auth.published` has them from an issuer."""

    def accepts(self, algorithm: str) -> bool:
        """Whether one of them may be for the algorithm."""
        ...

    def find(self, kid: str | None, now: float) -> list[Key]:
        """Those known by that name; without a name, the only one there is."""
        ...

    def may_learn(self, kid: str | None) -> bool:
        """Whether a look may find the key."""
        ...

    @property
    def usable(self) -> bool:
        """Whether there is any key to verify with."""
        ...

    async def looked_up(self) -> None:
        """Looks for keys anew; raises KeysUnavailable where that is not possible now."""
        ...

    async def start(self) -> None:
        """Begins to look in the background."""
        ...

    async def stop(self) -> None:
        """Ends all looking."""
        ...


@dataclass(frozen=True, slots=True)
class KeyRing:
    """The keys in force: the `current` one, the `previous` one, those `named` by the operator, those `published`."""

    current: Key | None = None
    previous: Key | None = None
    named: Mapping[str, Key] = field(default_factory=dict)
    published: Published | None = None

    def candidates(self, kid: str | None, algorithm: str, now: float) -> Sequence[Key]:
        """The keys that may have signed a token with this header, at least one.

        Raises UnknownKey where a look at the published keys may find it, else InvalidToken when there is none.
        """
        found = self._static(kid)
        published = self.published
        if published is not None and published.accepts(algorithm) and (kid is None or not found):
            found = [*found, *published.find(kid, now)]
            if not any(algorithm in key.verifiers for key in found) and published.may_learn(kid):
                raise UnknownKey("its key is not among those published")
        fitting = [key for key in found if algorithm in key.verifiers]
        alive = [key for key in fitting if not key.ended(now)]
        if alive:
            return alive
        if fitting:
            raise InvalidToken("its key has ended")
        raise InvalidToken("its algorithm is not among those accepted, or no key has the name in its `kid`")

    def _static(self, kid: str | None) -> list[Key]:
        if kid is None or not (self.named or self.published is not None):
            return [key for key in (self.current, self.previous) if key is not None]
        key = self.named.get(kid)
        return [] if key is None else [key]
