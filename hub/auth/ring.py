"""All keys that tokens are verified with, and which of them a token may have been signed by.

A token names its key by `kid`, which is looked up and nothing else. Where the operator names no keys and none are
published, `kid` means nothing, and the current key or the one before it has signed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from hub.auth.keys import Key
from hub.auth.published import PublishedKeys
from hub.errors import InvalidToken, UnknownKey


@dataclass(frozen=True, slots=True)
class KeyRing:
    """The keys in force: the `current` one, the `previous` one, those `named` by the operator, those `published`."""

    current: Key | None = None
    previous: Key | None = None
    named: Mapping[str, Key] = field(default_factory=dict)
    published: PublishedKeys | None = None

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
