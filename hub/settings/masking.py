"""Values of a configuration without what is secret in them, so that people may be shown them."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final
from urllib.parse import unquote_plus

from pydantic import BaseModel, Secret, SecretBytes, SecretStr

from hub import log
from hub.auth.api_keys import HASHED, hashed

HIDDEN: Final = "***"
_LONG: Final = 12
_DEEPEST: Final = 50
_SECRETS: Final = (Secret, SecretStr, SecretBytes)
_SCALARS: Final = (str, bytes, int, float, bool, type(None))
# What looks like the password of a broker or database may hold anything, also what ends a URL's host elsewhere.
_PASSWORD: Final = re.compile(
    r"(?<![a-z0-9+.-])(?!(?:http|ws)s?:)([a-z][a-z0-9+.-]*://[^:/?#@\s]*:).*@", re.IGNORECASE | re.DOTALL
)
_WEB_PASSWORD: Final = re.compile(r"((?:http|ws)s?://[^:/?#@\s]*:)[^/?#\s]*@", re.IGNORECASE)
# A name alone is the token of NATS, and an API key of many a web service.
_TOKEN: Final = re.compile(r"((?:nats|tls|https?|wss?)://)[^:/?#@\s]+@", re.IGNORECASE)
_QUERY: Final = re.compile(r"((?:http|ws)s?://[^\s?#]*)\?[^\s#]*", re.IGNORECASE)
_PARAMETER: Final = re.compile(r"([?&])([^=&?\s]+)=[^&]*")
_SECRET_NAME: Final = re.compile(r"pass(?!file)|pwd|secret|token|api_?key", re.IGNORECASE)
_PRIVATE: Final = "PRIVATE KEY-----"


class Masks:
    """Masks texts: logins and queries of URLs, private keys, and what is one of the `secrets` or holds a long one."""

    def __init__(self, secrets: Iterable[str]) -> None:
        self._whole = frozenset(text for text in secrets if text)
        self._parts = tuple(text for text in self._whole if len(text) >= _LONG)

    def text(self, text: str) -> str:
        """The text without what is secret in it."""
        if text in self._whole or _PRIVATE in text or any(secret in text for secret in self._parts):
            return HIDDEN
        return log.mask(url(text))

    def data(self, value: Any) -> Any:
        """Plain data, with every text in it masked; numbers that are a secret are hidden too."""
        if isinstance(value, Mapping):
            return {self.text(str(key)): self.data(below) for key, below in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.data(item) for item in value]
        if isinstance(value, str):
            return self.text(value)
        return HIDDEN if str(value) in self._whole and not isinstance(value, bool) else value


def url(text: str) -> str:
    """A text whose URLs have neither passwords nor, if they are of the web, queries."""
    text = _WEB_PASSWORD.sub(rf"\1{HIDDEN}@", _PASSWORD.sub(rf"\1{HIDDEN}@", text))
    text = _QUERY.sub(rf"\1?{HIDDEN}", _TOKEN.sub(rf"\1{HIDDEN}@", text))
    return _PARAMETER.sub(_parameter, text) if "://" in text else text


def api_key(configured: str) -> str:
    """An API key as the hash that may stand in its place; one that stands as its hash stays as it is."""
    return configured if configured.startswith(HASHED) else hashed(configured)


def hidden(value: Any) -> Any:
    """Plain data of which nobody knows what is secret: every value hidden."""
    if isinstance(value, Mapping):
        return {key: hidden(below) for key, below in value.items()}
    if isinstance(value, list):
        return [hidden(item) for item in value]
    return None if value is None else HIDDEN


def is_secret(value: Any) -> bool:
    """Whether a value is of one of pydantic's secret types."""
    return isinstance(value, _SECRETS)


def secret_texts(value: Any, depth: int = 0) -> Iterator[str]:
    """The text of every secret that a value of any type holds, in models, dataclasses, maps and lists."""
    if isinstance(value, _SECRETS):
        secret = value.get_secret_value()
        yield secret.decode("utf-8", "replace") if isinstance(secret, bytes) else str(secret)
    elif depth < _DEEPEST and not isinstance(value, (*_SCALARS, type)):
        for below in _below(value):
            yield from secret_texts(below, depth + 1)


def _below(value: Any) -> Iterator[Any]:
    if isinstance(value, Mapping):
        yield from value
        yield from value.values()
    elif isinstance(value, (list, tuple, set, frozenset)):
        yield from value
    elif isinstance(value, BaseModel):
        yield from value.__dict__.values()
        yield from (value.model_extra or {}).values()
    elif dataclasses.is_dataclass(value):
        yield from (getattr(value, field.name, None) for field in dataclasses.fields(value))
    else:
        yield from (below for below in getattr(value, "__dict__", {}).values() if is_secret(below))


def _parameter(found: re.Match[str]) -> str:
    secret = _SECRET_NAME.search(unquote_plus(found[2]))
    return f"{found[1]}{found[2]}={HIDDEN}" if secret else found[0]
