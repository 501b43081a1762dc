"""Topic patterns inside a token: what the bearer's own capabilities cover.

They are written in the grammar of `hub.topics` with two additions: a `*` at the end stands for all that remains
(`chat:*` is `chat:{any:rest}`), and `{sub}` (or `{sub:rest}`) stands for the bearer's own name, taken literally. A name
such as `{x:rest}` or `a:b` therefore covers that very text and nothing more; the anonymous user has no name, so for
them a pattern with `{sub}` covers nothing.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from hub.errors import TopicError
from hub.topics import Pattern

_SUB: Final = re.compile(r"\{sub(?::rest)?\}")
_CACHE_SIZE: Final = 4_096


def parse(text: str) -> Pattern:
    """Reads a pattern that may end in `*`; raises TopicError when the grammar refuses it."""
    return Pattern.parse(f"{text[:-1]}{{_:rest}}" if text.endswith("*") else text)


def covers(text: str, topic: str, user: str) -> bool:
    """Whether a capability covers a topic for a user; what is no pattern covers nothing.

    Compiled patterns are remembered, the 4,096 used last.
    """
    regex = _compiled(text, user if _SUB.search(text) else None)
    return regex is not None and regex.fullmatch(topic) is not None


@lru_cache(maxsize=_CACHE_SIZE)
def _compiled(text: str, user: str | None) -> re.Pattern[str] | None:
    try:
        pattern = parse(text)
    except TopicError:
        return None
    if user is None:
        return pattern.regex
    if not user:
        return None
    # The halves are compiled apart and the name is put between them escaped, so it is never read as a pattern.
    before, after = _SUB.split(pattern.text)
    return re.compile(_regex(before) + re.escape(user) + _regex(after), re.DOTALL)


def _regex(half: str) -> str:
    return Pattern.parse(half).regex.pattern if half else ""
