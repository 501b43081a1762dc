"""Errors of the YAML parser, said in plain words.

PyYAML has two parsers, one in C and one in Python, whose errors differ in words and sometimes in place. So the text at
the place of the error counts first, and of the parser's words only those that both use.
"""

from __future__ import annotations

import re
from typing import Final

import yaml

from hub.settings.problem import ConfigCode, Fault

_QUOTE_IT: Final = "Put the value in quotes."
# What both parsers share of their words, what that comes from, and what to do.
_PHRASES: Final = (
    (
        "could not find expected ':'",
        "a line is neither `key: value` nor part of a value",
        "Look for a missing colon.",
    ),
    (
        "mapping values are not allowed",
        "a `:` stands where no key can be",
        "Put a text that holds `: ` in quotes, or mend the indentation of this line or the one above.",
    ),
    (
        "sequence entries are not allowed",
        "a `- ` stands where no list can begin",
        "Begin the list on the next line.",
    ),
    (
        "unknown escape",
        "a backslash in double quotes begins no known escape",
        "Double it, or use single quotes.",
    ),
    (
        "Unicode character escape",
        "an escape in double quotes names no character",
        "Use single quotes, or mend it.",
    ),
    ("alphabetic or numeric character", "`*` and `&` at the start of a value are YAML's", _QUOTE_IT),
    ("while parsing a tag", "`!` at the start of a value is YAML's", _QUOTE_IT),
    ("while scanning a tag", "`!` at the start of a value is YAML's", _QUOTE_IT),
    ("undefined tag handle", "`!` at the start of a value is YAML's", _QUOTE_IT),
    (
        "while parsing a block",
        "the line does not line up with those above it, or something stands behind the end of a value",
        "Give all keys of a map, and all `- ` of a list, the same indentation; put special characters in quotes.",
    ),
    (
        "while parsing a flow",
        "a `,` or a closing bracket is missing, or a bracket stands in a value without quotes",
        "Put values with brackets or commas in quotes.",
    ),
)
_UNPRINTABLE = re.compile(r"[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def unprintable(text: str) -> tuple[Fault, int, int] | None:
    """The first character that YAML does not take, with its 0-based line and column; None when there is none."""
    found = _UNPRINTABLE.search(text)
    if found is None:
        return None
    fault = Fault(
        ConfigCode.SYNTAX,
        f"the character U+{ord(found.group()):04X} cannot stand in YAML",
        'Remove it, or write it as an escape in double quotes ("\\u....").',
    )
    lines = (
        text[: found.start()] + "x"
    ).splitlines()  # the character itself may count as a line's end in Python
    return fault, len(lines) - 1, len(lines[-1]) - 1


def explain(error: Exception, text: str) -> tuple[Fault, int, int]:
    """What a parser's error means, with the 0-based line and column to look at."""
    if not isinstance(error, yaml.MarkedYAMLError):
        return Fault(ConfigCode.SYNTAX, "the YAML parser gives up on this text"), 0, 0
    lines = text.splitlines()
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line, mark.column) if mark else (0, 0)
    at = lines[line] if line < len(lines) else ""
    indentation = at[: len(at) - len(at.lstrip())]
    if "\t" in indentation:
        fault = Fault(
            ConfigCode.SYNTAX, "a tab stands in the indentation", "Indent with spaces; YAML takes no tabs."
        )
        return fault, line, indentation.index("\t")
    return _unclosed(error, lines) or (_at(error, at[column : column + 1], at[:column]), line, column)


def _unclosed(error: yaml.MarkedYAMLError, lines: list[str]) -> tuple[Fault, int, int] | None:
    """The quote or bracket that opens at the error's context, when the error is that the text ends."""
    start, end = error.context_mark, error.problem_mark
    if start is None or end is None or "".join(_rest(lines, end)).strip():
        return None
    opening = "".join(_rest(lines, start))[:1]
    if not opening or opening not in "\"'{[":
        return None
    return (
        Fault(ConfigCode.SYNTAX, f"the `{opening}` here is never closed", "Close it."),
        start.line,
        start.column,
    )


def _rest(lines: list[str], mark: yaml.Mark) -> list[str]:
    return [line[mark.column if number == 0 else 0 :] for number, line in enumerate(lines[mark.line :])]


def _at(error: yaml.MarkedYAMLError, character: str, before: str) -> Fault:
    if character == "{" and before.endswith("$"):
        return Fault(
            ConfigCode.SYNTAX,
            "`${` stands inside {...} or [...] without quotes",
            'Put it in quotes: "${...}".',
        )
    if character == "\t":
        return Fault(
            ConfigCode.SYNTAX, "a tab stands where YAML takes spaces only", "Use spaces, or remove it."
        )
    said = f"{error.context} {error.problem}"
    if "cannot start any token" in said and character.isprintable() and character:
        return Fault(ConfigCode.SYNTAX, f"no value can begin with `{character}`", _QUOTE_IT)
    for phrase, message, remedy in _PHRASES:
        if phrase in said:
            return Fault(ConfigCode.SYNTAX, message, remedy)
    return Fault(ConfigCode.SYNTAX, f"the YAML parser says: {error.problem or error.context}")
