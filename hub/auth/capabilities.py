"""Topic patterns inside a token: what the bearer's own capabilities cover.

They are written in the grammar of `hub.topics` with two additions: a `*` at the end stands for all that remains
(`chat:*` is `chat:{any:rest}`), and a capture `{sub}`, or `{sub:rest}` at the end, must be the bearer's own name.

A name is compared with what the capture took and never becomes part of a pattern, so none can be chosen that reads as
one. As any capture, `{sub}` takes one segment, up to the text that follows it: of each topic it names one user and no
other. A name that holds `:`, `.` or that text would reach into the topics of others, and is covered by `{sub:rest}`
alone. The anonymous user has no name, so for them a pattern with `{sub}` covers nothing.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from hub.errors import TopicError
from hub.topics import Pattern

SUB: Final = "sub"
_CACHE_SIZE: Final = 4_096


def parse(text: str) -> Pattern:
    """Reads a pattern that may end in `*`; raises TopicError when the grammar refuses it."""
    return Pattern.parse(f"{text[:-1]}{{_:rest}}" if text.endswith("*") else text)


def covers(text: str, topic: str, user: str) -> bool:
    """Whether a capability covers a topic for a user; what is no pattern covers nothing.

    Compiled patterns are remembered, the 4,096 used last.
    """
    named = bearer(text, topic)
    return named in ("", user)


def bearer(text: str, topic: str) -> str | None:
    """Whose a topic is by a capability: the name that `{sub}` took, "" where it has none, None without a match."""
    pattern = _compiled(text)
    found = pattern.regex.fullmatch(topic) if pattern is not None else None
    if pattern is None or found is None:
        return None
    return found[SUB] if SUB in pattern.names else ""


@lru_cache(maxsize=_CACHE_SIZE)
def _compiled(text: str) -> Pattern | None:
    try:
        return parse(text)
    except TopicError:
        return None
