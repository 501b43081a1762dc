"""Names of topics and the patterns that match them.

A topic's name is 1 to 255 bytes of UTF-8 in normal form C, without control characters, line separators or
characters that change the direction of text. By custom it reads `namespace:rest`.

A pattern is a name in which `{name}` captures one segment (characters other than `:` and `.`) and, at its end only,
`{name:rest}` captures the remainder. Where several patterns match, the most specific wins: compared from the left, a
literal character is more specific than a capture, and a capture than a remainder.

A capture ends where the text after it follows for the first time (`{from}-{to}` takes `a-b-c` for `a` and `b-c`), and
is never tried longer: no name can be chosen so that matching it takes long.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Generic, TypeVar

from hub.errors import TopicError

T = TypeVar("T")
MAX_TOPIC_BYTES: Final = 255
_CACHE_SIZE: Final = 16_384
_FORBIDDEN = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)
_CAPTURE = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)(:rest)?\}")


def check_topic(name: str) -> str:
    """Returns the name when the grammar admits it; raises TopicError with the rule that it breaks."""
    if not name:
        raise TopicError("a topic's name must not be empty")
    if name.isascii():
        if len(name) > MAX_TOPIC_BYTES:
            raise TopicError(f"a topic's name has at most {MAX_TOPIC_BYTES} bytes, this one has {len(name)}")
        if name.isprintable():
            return name
    found = _FORBIDDEN.search(name)
    if found:
        raise TopicError(
            f"a topic's name must not hold U+{ord(found.group()):04X} (at character {found.start() + 1})"
        )
    size = len(name.encode())
    if size > MAX_TOPIC_BYTES:
        raise TopicError(f"a topic's name has at most {MAX_TOPIC_BYTES} bytes, this one has {size}")
    if not unicodedata.is_normalized("NFC", name):
        raise TopicError("a topic's name must be in Unicode normal form C")
    return name


@dataclass(frozen=True, slots=True)
class Pattern:
    """A parsed pattern: `text` as written, `names` of its captures in order, `shape` equal for equal matches."""

    text: str
    names: tuple[str, ...]
    shape: str
    regex: re.Pattern[str]

    @classmethod
    def parse(cls, text: str) -> Pattern:
        """Reads a pattern; raises TopicError when a brace, a capture's name or the literal text is wrong."""
        names: list[str] = []
        pieces: list[str] = []
        shape, literal, at, ends_in_rest = "", "", 0, False
        for found in _CAPTURE.finditer(text):
            piece = text[at : found.start()]
            shape, literal, at = shape + piece, literal + piece, found.end()
            name, rest = found.groups()
            if name in names:
                raise TopicError(f"capture {{{name}}} occurs twice in pattern {text!r}")
            if rest and at != len(text):
                raise TopicError(f"{{{name}:rest}} takes all that remains, so it must end pattern {text!r}")
            if not piece and names:
                raise TopicError(f"captures must be apart by text in pattern {text!r}")
            names.append(name)
            pieces.append(piece)
            ends_in_rest = bool(rest)
            shape += "\uffff" if rest else "\ufffe"
        tail = text[at:]
        literal += tail
        if "{" in literal or "}" in literal:
            raise TopicError(f"pattern {text!r} has a brace that is no {{name}} or {{name:rest}} capture")
        if literal or not names:
            check_topic(literal or text)
        regex = _regex([*pieces, tail], names, ends_in_rest=ends_in_rest)
        return cls(text, tuple(names), shape + tail, re.compile(regex, re.DOTALL))

    def match(self, topic: str) -> dict[str, str] | None:
        """The captures by name when the whole topic matches, else None."""
        found = self.regex.fullmatch(topic)
        return found.groupdict() if found else None

    @property
    def literal(self) -> bool:
        """Whether it matches one topic only."""
        return not self.names

    @property
    def specificity(self) -> str:
        """Sorts before another pattern's when this one is the more specific."""
        return self.shape + "\ufffd"


def _regex(pieces: Sequence[str], names: Sequence[str], *, ends_in_rest: bool) -> str:
    """Literal pieces with captures between them; each but the last is as short as it can be, for good.

    That misses nothing: captures hold neither `:` nor `.`, so what follows can only have more room after a short one.
    """
    regex = re.escape(pieces[0])
    for number, (name, piece) in enumerate(zip(names, pieces[1:], strict=True), 1):
        after = re.escape(piece)
        if number < len(names):
            regex += f"(?>(?P<{name}>[^:.]+?){after})"
        else:
            regex += f"(?P<{name}>{'.' if ends_in_rest else '[^:.]'}+){after}"
    return regex


def fill(text: str, params: dict[str, str]) -> str:
    """Puts values in the place of `{name}` in a template; raises TopicError when a value is missing."""

    def value(found: re.Match[str]) -> str:
        if found.group(1) not in params:
            raise TopicError(f"{{{found.group(1)}}} in {text!r} has no value")
        return params[found.group(1)]

    return _CAPTURE.sub(value, text)


class PatternTable(Generic[T]):
    """Finds the most specific of many patterns for a topic, and remembers what it found.

    The memory is bounded at 16,384 topics and is dropped whole when it is full: rebuilding it costs less than the
    bookkeeping of a finer rule on every look-up.
    """

    def __init__(self, entries: Iterable[tuple[Pattern, T]]) -> None:
        """Raises TopicError when two patterns match exactly the same topics."""
        self._entries = sorted(entries, key=lambda entry: entry[0].specificity)
        for (first, _), (second, _) in pairwise(self._entries):
            if first.shape == second.shape:
                raise TopicError(f"patterns {first.text!r} and {second.text!r} match the same topics")
        self._literal = {pattern.text: value for pattern, value in self._entries if pattern.literal}
        self._open = [(pattern, value) for pattern, value in self._entries if not pattern.literal]
        self._found: dict[str, tuple[T, dict[str, str]] | None] = {}

    def find(self, topic: str) -> tuple[T, dict[str, str]] | None:
        """The value of the best pattern with its captures, or None when no pattern matches."""
        try:
            return self._found[topic]
        except KeyError:
            if len(self._found) >= _CACHE_SIZE:
                self._found.clear()
            found = self._found[topic] = self._search(topic)
            return found

    def _search(self, topic: str) -> tuple[T, dict[str, str]] | None:
        if topic in self._literal:
            return self._literal[topic], {}
        for pattern, value in self._open:
            params = pattern.match(topic)
            if params is not None:
                return value, params
        return None

    def __iter__(self) -> Iterator[tuple[Pattern, T]]:
        """All entries, the most specific first."""
        return iter(self._entries)
