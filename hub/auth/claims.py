"""The claims of a verified token, read one by one with the types that the hub relies on.

A signature proves who wrote a token, not that they wrote it well: each function raises InvalidToken, naming the claim,
when it has another type than the hub expects. Missing claims have a default; null counts as missing where a claim only
adds something, and is an error where it names the bearer or a time.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import msgspec

from hub import payloads
from hub.auth import capabilities
from hub.errors import InvalidToken, ReplyError, TopicError
from hub.model import Identity
from hub.topics import check_topic

Claims = dict[str, Any]

ACTIONS: Final = frozenset({"subscribe", "publish", "presence", "history"})
MAX_DEPTH: Final = 64
MAX_PATTERNS: Final = 100
"""Patterns in claim `topics`: under the rule `token` each of them may have to be tried."""
MAX_SECONDS: Final = 253_402_300_799
"""Times beyond the year 9999 are no times: who counts in milliseconds would make tokens that never end."""
_ACTION_NAMES: Final = {"sub": "subscribe", "pub": "publish", **{action: action for action in ACTIONS}}
_NONE: Final[Mapping[str, Any]] = MappingProxyType({})
"""What most tokens grant beyond a name; one for all, since each session keeps what its token grants."""
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
# The closing quote is optional so that a text with an open string is still read in one pass.
_STRING: Final = re.compile(rb'"(?:[^"\\]|\\.)*"?', re.DOTALL)


@dataclass(frozen=True, slots=True)
class ClaimNames:
    """Which claims hold the user and the roles: each a claim's name, or a path into it with dots.

    `roles` is None for the hub's own claims `role` and `roles`.
    """

    user: str = "sub"
    roles: str | None = None


def read_object(text: bytes, what: str) -> Claims:
    """The JSON object in a part of a token; `what` names the part in errors."""
    value = _decode(text, what)
    if not isinstance(value, dict):
        raise InvalidToken(f"{what} is not a JSON object")
    return value


def string(claims: Mapping[str, Any], name: str) -> str:
    """A string without control characters, "" when missing."""
    value = claims.get(name, "")
    if not isinstance(value, str):
        raise InvalidToken(f"`{name}` must be a string")
    if _CONTROL.search(value):
        raise InvalidToken(f"`{name}` must not hold control characters")
    return value


def user(claims: Mapping[str, Any], names: ClaimNames) -> str:
    """The bearer's name, "" when missing."""
    if names.user == "sub":
        return string(claims, "sub")
    return string({names.user: _at(claims, names.user, "")}, names.user)


def roles(claims: Mapping[str, Any], names: ClaimNames) -> frozenset[str] | None:
    """The bearer's roles where a claim is configured for them: a text is one role, a list of texts several."""
    if names.roles is None:
        return None
    found = _at(claims, names.roles, None)
    if found is None:
        return frozenset()
    listed = [found] if isinstance(found, str) else found
    if not isinstance(listed, list) or not all(isinstance(role, str) for role in listed):
        raise InvalidToken(f"`{names.roles}` must be a text or a list of texts")
    return frozenset(listed)


def _at(claims: Mapping[str, Any], path: str, default: Any) -> Any:
    """The value under a name, which is taken whole first, so that it may be a URL, and then as a path with dots."""
    if path in claims:
        return claims[path]
    head, _, rest = path.partition(".")
    inner = claims.get(head)
    return _at(inner, rest, default) if rest and isinstance(inner, dict) else default


def seconds(claims: Mapping[str, Any], name: str) -> float | None:
    """A time in seconds since 1970, None when missing."""
    if name not in claims:
        return None
    value = claims[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= MAX_SECONDS:
        raise InvalidToken(f"`{name}` must be a time in seconds since 1970")
    return float(value)


def ending(claims: Mapping[str, Any]) -> float | None:
    """When the bearer's session ends, in seconds since 1970: at `expire_at` (0: never), else at `exp`; None: never."""
    ends = seconds(claims, "expire_at")
    return seconds(claims, "exp") if ends is None else ends or None


def payload(claims: Mapping[str, Any], name: str) -> bytes | None:
    """A claim that is any JSON value, as JSON text on one line; None when missing.

    `b64<name>` holds such a text in base64 (with padding) and goes before `<name>`. It is decoded and encoded anew,
    since it will be spliced into frames: what is no JSON would break them.
    """
    value = _value(claims, name)
    return None if value is None else msgspec.json.encode(value)


def _value(claims: Mapping[str, Any], name: str) -> Any:
    value = _given(claims, name)
    try:
        # What others are shown of the bearer is held to what payloads are.
        payloads.check(msgspec.json.encode(value), twice=False)
    except ReplyError as error:
        raise InvalidToken(f"`{name}`: {error.message}") from error
    return value


def _given(claims: Mapping[str, Any], name: str) -> Any:
    encoded = claims.get(f"b64{name}")
    if encoded is None or encoded == "":
        return claims.get(name)
    try:
        found = base64.b64decode(encoded, validate=True)
    except (TypeError, ValueError) as error:
        raise InvalidToken(f"`b64{name}` must be base64") from error
    return _decode(found, f"`b64{name}`")


def bearer(claims: Claims, user: str, expires_at: float | None, names: ClaimNames) -> Identity:
    """The user with what the claims say of him, and grant."""
    return Identity(
        user=user,
        info=payload(claims, "info"),
        expires_at=expires_at,
        claims=claims,
        topics=granted_topics(claims),
        subs=server_subscriptions(claims),
        roles=roles(claims, names),
    )


def granted_topics(claims: Mapping[str, Any]) -> Mapping[str, frozenset[str]]:
    """The actions that claim `topics` grants, by pattern.

    The claim is a list of patterns, which grants every action, or a map from pattern to a list of actions: `sub` or
    `subscribe`, `pub` or `publish`, `presence`, `history`.
    """
    found = claims.get("topics")
    if found is None:
        return _NONE
    if isinstance(found, dict):
        granted = {pattern: _actions(actions) for pattern, actions in found.items()}
    elif isinstance(found, list) and all(isinstance(pattern, str) for pattern in found):
        granted = dict.fromkeys(found, ACTIONS)
    else:
        raise InvalidToken("`topics` must be a list of patterns, or a map from pattern to a list of actions")
    if len(granted) > MAX_PATTERNS:
        raise InvalidToken(f"`topics` holds {len(granted)} patterns, and at most {MAX_PATTERNS} are taken")
    try:
        for pattern in granted:
            capabilities.parse(pattern)
    except TopicError as error:
        raise InvalidToken(f"`topics` holds no valid pattern: {error}") from error
    return granted


def _actions(names: Any) -> frozenset[str]:
    if not isinstance(names, list):
        raise InvalidToken("`topics` must map each pattern to a list of actions")
    try:
        return frozenset(_ACTION_NAMES[name] for name in names)
    except (KeyError, TypeError) as error:
        raise InvalidToken("an action in `topics` is sub, pub, presence or history") from error


def server_subscriptions(claims: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
    """The topics that the server is to subscribe the bearer to, with their options.

    They come from map `subs` or, where it is missing, from list `channels`. The options are those given of: `info` and
    `data` (any JSON value), `override` (a map from an option's name to true or false).
    """
    subs, channels = claims.get("subs"), claims.get("channels")
    if subs is not None:
        if not isinstance(subs, dict):
            raise InvalidToken("`subs` must be a map from topic to options")
        return {_topic(topic): _options(options) for topic, options in subs.items()}
    if channels is None:
        return _NONE
    if not isinstance(channels, list):
        raise InvalidToken("`channels` must be a list of topics")
    return {_topic(topic): {} for topic in channels}


def _topic(name: Any) -> str:
    if not isinstance(name, str):
        raise InvalidToken("a topic to subscribe to must be a string")
    try:
        return check_topic(name)
    except TopicError as error:
        raise InvalidToken(f"a topic to subscribe to is none: {error}") from error


def _options(options: Any) -> dict[str, Any]:
    if options is None:
        return {}
    if not isinstance(options, dict):
        raise InvalidToken("the options of a topic in `subs` must be a map")
    found: dict[str, Any] = {name: _value(options, name) for name in ("info", "data")}
    found["override"] = _override(options.get("override"))
    return {name: value for name, value in found.items() if value is not None}


def _override(found: Any) -> dict[str, bool] | None:
    if found is None:
        return None
    values = found.values() if isinstance(found, dict) else [None]
    if not all(isinstance(value, dict) and isinstance(value.get("value"), bool) for value in values):
        raise InvalidToken('`override` must map names of options to {"value": true} or {"value": false}')
    return {name: value["value"] for name, value in found.items()}


def repeats(text: bytes) -> bool:
    """Whether an object of a JSON text that can be read has a key twice, of which readers choose one or the other."""
    found = False

    def pairs(items: list[tuple[str, Any]]) -> None:
        nonlocal found
        found = found or len({key for key, _ in items}) < len(items)

    json.loads(text, object_pairs_hook=pairs, parse_int=str)
    return found


def _decode(text: bytes, what: str) -> Any:
    if _too_deep(text):
        raise InvalidToken(f"{what} nests deeper than {MAX_DEPTH} levels")
    try:
        return msgspec.json.decode(text)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidToken(f"{what} is not valid JSON") from error


def _too_deep(text: bytes) -> bool:
    if text.count(b"[") + text.count(b"{") <= MAX_DEPTH:
        return False
    depth = 0
    for byte in _STRING.sub(b"", text):
        if byte in b"[{":
            depth += 1
            if depth > MAX_DEPTH:
                return True
        elif byte in b"]}":
            depth -= 1
    return False
