"""Keys of the server API: which one was presented, and what it may do.

A scope is `*` (everything), a method (`publish`), or a method and a pattern of topics: `publish:news:{section}`,
`*:news:{section}`, `publish:chat:*`. `publish:*` is `publish`. Methods without a topic need a scope without a pattern.
"""

from __future__ import annotations

import hmac
import re
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from types import MappingProxyType
from typing import Final, Protocol

from hub.auth import capabilities
from hub.errors import UnusableKey
from hub.topics import Pattern

HASHED: Final = "sha256:"
"""What a key begins with that is configured as its hash."""
_HASH: Final = re.compile(r"[0-9a-f]{64}", re.IGNORECASE)
_FOREVER: Final[Mapping[str, float | None]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Scope:
    """A method (`*` for each) on topics of a pattern; on all of them, and on no topic, when it is None."""

    method: str
    pattern: Pattern | None

    @classmethod
    def parse(cls, text: str) -> Scope:
        """Reads a scope; raises TopicError when its pattern is none."""
        method, _, pattern = text.partition(":")
        return cls(method, None if pattern in {"", "*"} else capabilities.parse(pattern))

    def admits(self, method: str, topic: str | None) -> bool:
        """Whether a call of the method on the topic is within the scope."""
        if self.method not in {"*", method}:
            return False
        return self.pattern is None or (topic is not None and self.pattern.match(topic) is not None)


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A configured key by its name; the key itself is not kept. It is good until a moment (seconds since 1970)."""

    name: str
    scopes: tuple[Scope, ...]
    until: float | None = None

    def may(self, method: str, topic: str | None = None) -> bool:
        """Whether the key may call a method of the API, on a topic where the method has one."""
        for scope in self.scopes:  # noqa: SIM110 - `any` costs more than most keys' only scope
            if scope.admits(method, topic):
                return True
        return False


class ApiKeys:
    """All configured keys, kept as hashes; several, so that one can be replaced while the other is still in use."""

    def __init__(
        self,
        keys: Mapping[str, tuple[str, Iterable[str]]],
        until: Mapping[str, float | None] = _FOREVER,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Takes keys (or their hashes, as `hashed` writes them) with their scopes by name.

        `until` tells when some of them end; `clock` gives seconds since 1970, as they do. Raises UnusableKey when a
        key is empty or given twice (it would be a matter of chance which scopes it has) or begins as a hash and is
        none, and TopicError when a scope holds no valid pattern.
        """
        self._clock = clock
        self._keys: dict[bytes, ApiKey] = {}
        for name, (key, scopes) in keys.items():
            if not key:
                raise UnusableKey(f"API key {name!r} is empty")
            digest = digest_of(key)
            if digest in self._keys:
                raise UnusableKey(f"API keys {self._keys[digest].name!r} and {name!r} are the same key")
            self._keys[digest] = ApiKey(name, tuple(map(Scope.parse, scopes)), until.get(name))

    def find(self, presented: str | None) -> ApiKey | None:
        """The key that was presented, or None; takes the same time whichever key it is, and when it is none.

        What is presented is always taken for a key: a hash, once it is known, opens nothing.
        """
        digest = _digest(presented or "")
        found = None
        for known, key in self._keys.items():
            if hmac.compare_digest(known, digest):
                found = key
        if found is not None and found.until is not None and self._clock() >= found.until:
            return None
        return found


class Named(Protocol):
    """Headers, to be looked up by name."""

    def get(self, name: str, default: str, /) -> str:
        """The value of one, `default` without it."""


def presented_key(headers: Named, query: Mapping[str, str]) -> str | None:
    """The key in `X-API-Key`, else in `Authorization: apikey <key>`, else in `?api_key=`; None when there is none.

    `headers` are looked up by lower-case names, as Starlette's are.
    """
    key = headers.get("x-api-key", "").strip()
    if not key:
        scheme, _, credentials = headers.get("authorization", "").strip().partition(" ")
        key = credentials.strip() if scheme.lower() == "apikey" else ""
    return key or query.get("api_key") or None


def hashed(key: str) -> str:
    """A key's hash, to be configured in the place of the key."""
    return f"{HASHED}{_digest(key).hex()}"


def digest_of(configured: str) -> bytes:
    """What a configured key or hash is compared by.

    Raises UnusableKey for a hash that is none, and for a key that no request could bring.
    """
    if not configured.startswith(HASHED):
        if configured.lower().startswith(HASHED):
            # As a key it would open all with what is known to everybody who has read the file.
            raise UnusableKey(f"a hash begins with {HASHED} in small letters")
        if configured != configured.strip():
            raise UnusableKey("white space stands around it, and no header brings that")
        return _digest(configured)
    found = configured.removeprefix(HASHED)
    if not _HASH.fullmatch(found):
        raise UnusableKey(f"what begins with {HASHED} is a hash: 64 hexadecimal digits follow")
    return bytes.fromhex(found)


def _digest(key: str) -> bytes:
    return sha256(key.encode("utf-8", "surrogatepass")).digest()
