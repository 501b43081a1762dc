"""What somebody asks to have revoked, checked and read into an entry: once for the API, plugins and whoever else."""

from __future__ import annotations

import math
import re
from typing import Final

from hub.auth.revocations import MAX_SUBJECT_BYTES, Key
from hub.errors import BAD_REQUEST, ReplyError, TopicError
from hub.model import Revocation
from hub.topics import check_topic

CLOCKS_SECONDS: Final = 60.0
"""How far ahead of the hub's clock somebody's "now" may be."""
MAX_SECONDS: Final = 2.0**53
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


def revocable(
    now: float,
    *,
    user: str | None = None,
    token_id: str | None = None,
    issued_before: float | None = None,
    topic: str | None = None,
    until: float | None = None,
) -> Revocation:
    """The entry that is meant: a token by its id, a user, what was issued before a moment, or a user on a topic.

    Times are in seconds since 1970; `issued_before` without a user is about everybody. Raises ReplyError 107, which
    says what is missing or wrong.
    """
    kind, subject, named = _key(user, token_id, topic, dated=issued_before is not None)
    if issued_before is not None:
        _check_time("issued_before", issued_before)
        if issued_before > now + CLOCKS_SECONDS:
            raise _bad("issued_before lies in the future: what has not been issued cannot be revoked")
    if until is not None:
        _check_time("the end", until)
        if until <= now:
            raise _bad("the end has passed: it would revoke nothing")
    return Revocation(kind, subject, 0, named, issued_before or 0.0, until)  # type: ignore[arg-type]


def key_of(
    *, user: str | None = None, token_id: str | None = None, dated: bool = False, topic: str | None = None
) -> Key:
    """What an entry is about, of whatever time; `dated` means what was issued before a moment.

    Raises ReplyError 107.
    """
    return _key(user, token_id, topic, dated=dated)


def _key(user: str | None, token_id: str | None, topic: str | None, *, dated: bool) -> Key:
    if token_id is not None:
        if user is not None or topic is not None or dated:
            raise _bad("a token's id goes with nothing else: user, topic and issued_before are others'")
        return "token", _subject("the token's id", token_id), ""
    if topic is not None:
        if user is None or dated:
            raise _bad("a topic goes with a user, and with nothing else")
        return "topic", _subject("user", user), _topic(topic)
    if dated:
        return "before", "" if user is None else _subject("user", user), ""
    if user is None:
        raise _bad("say what to revoke: user, a token's id or issued_before")
    return "user", _subject("user", user), ""


def _topic(name: str) -> str:
    try:
        return check_topic(name)
    except TopicError as error:
        raise _bad(str(error)) from error


def _subject(what: str, text: str) -> str:
    if not text:
        raise _bad(f"{what} is empty: the anonymous user has no token to revoke")
    if _CONTROL.search(text):
        raise _bad(f"{what} must not hold control characters")
    if len(text.encode()) > MAX_SUBJECT_BYTES:
        raise _bad(f"{what} has more than {MAX_SUBJECT_BYTES} bytes")
    return text


def _check_time(what: str, seconds: float) -> None:
    if not (math.isfinite(seconds) and 0 < seconds <= MAX_SECONDS):
        raise _bad(f"{what} must be a time in seconds since 1970")


def _bad(reason: str) -> ReplyError:
    return ReplyError(BAD_REQUEST, f"bad request: {reason}")
