"""Keys of the server API: which one was presented, and what it may do.

A scope is `*` (everything), a method (`publish`), or a method and a pattern of topics: `publish:news:{section}`,
`*:news:{section}`, `publish:chat:*`. `publish:*` is `publish`. Methods without a topic need a scope without a pattern.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Protocol

from hub.auth import capabilities
from hub.errors import UnusableKey
from hub.topics import Pattern


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
    """A configured key by its name; the key itself is not kept."""

    name: str
    scopes: tuple[Scope, ...]

    def may(self, method: str, topic: str | None = None) -> bool:
        """Whether the key may call a method of the API, on a topic where the method has one."""
        for scope in self.scopes:  # noqa: SIM110 - `any` costs more than most keys' only scope
            if scope.admits(method, topic):
                return True
        return False


class ApiKeys:
    """All configured keys, kept as hashes; several, so that one can be replaced while the other is still in use."""

    def __init__(self, keys: Mapping[str, tuple[str, Iterable[str]]]) -> None:
        """Takes keys with their scopes by name.

        Raises UnusableKey when a key is empty or given twice (it would be a matter of chance which scopes it has), and
        TopicError when a scope holds no valid pattern.
        """
        self._keys: dict[bytes, ApiKey] = {}
        for name, (key, scopes) in keys.items():
            digest = _digest(key)
            if not key:
                raise UnusableKey(f"API key {name!r} is empty")
            if digest in self._keys:
                raise UnusableKey(f"API keys {self._keys[digest].name!r} and {name!r} are the same key")
            self._keys[digest] = ApiKey(name, tuple(Scope.parse(scope) for scope in scopes))

    def find(self, presented: str | None) -> ApiKey | None:
        """The key that was presented, or None; takes the same time whichever key it is, and when it is none."""
        digest = _digest(presented or "")
        found = None
        for known, key in self._keys.items():
            if hmac.compare_digest(known, digest):
                found = key
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


def _digest(key: str) -> bytes:
    return sha256(key.encode("utf-8", "surrogatepass")).digest()
