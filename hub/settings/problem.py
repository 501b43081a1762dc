"""What can be wrong with a configuration: where, what, and how to mend it.

A `Problem` is one mistake at one `Place`. All problems of a configuration are collected first and then raised together
in one `ConfigError`, so that nobody has to mend a file one start at a time. Every problem has a `ConfigCode`, which
tells people what to look up and tests what to expect.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Self

from hub.errors import HubError

_LONGEST_SHOWN: Final = 60
_LONGEST_COMPARED: Final = 100


class ConfigCode(StrEnum):
    """The code of every configuration error; its name is the member's, `sentence` says when it is used.

    A member is its number as text (`"E101"`), so it can be given wherever a code is asked for.
    """

    sentence: str

    def __new__(cls, number: str, sentence: str = "") -> Self:
        """Makes a member that is its number and carries its sentence."""
        member = str.__new__(cls, number)
        member._value_ = number
        member.sentence = sentence
        return member

    SYNTAX = "E100", "The text is not YAML: an indentation, a quote or a bracket is wrong."
    UNKNOWN_SETTING = "E101", "A key is not the name of any setting in this place."
    WRONG_VALUE = (
        "E102",
        "A value has the wrong type, lies out of its bounds, or is not one of those allowed.",
    )
    DUPLICATE_KEY = (
        "E103",
        "A key stands twice in one map, or two environment variables set the same setting.",
    )
    MISSING_SETTING = "E104", "A setting that has no default is not given."
    NOT_AVAILABLE = "E105", "A variable named in ${...} is not set, or a file named there cannot be read."
    AMBIGUOUS_SCALAR = "E106", "An unquoted value means different things to different readers of YAML."
    REFUSED_FEATURE = (
        "E107",
        "Aliases, anchors, merge keys, tags and several documents in one file are not taken.",
    )
    UNREADABLE_FILE = "E108", "A file is missing, too big, not UTF-8, or may not be read."
    UNKNOWN_OVERRIDE = "E109", "An environment variable with `__` in its name does not lead to a setting."
    KEY_NOT_TEXT = (
        "E110",
        "A key is a number, a boolean, null, a list or a map, where only text can be a key.",
    )
    TOO_DEEP = "E111", "Lists and maps are nested more deeply than any configuration needs."
    UNKNOWN_SCHEME = "E112", "The scheme of a URL is not one that the hub can use there."
    BAD_EXPANSION = "E113", "A ${...} is not closed, or names neither a variable nor a file."
    CONFLICTING_SETTINGS = "E114", "Two settings, each right by itself, cannot be used together."
    UNKNOWN_VERSION = (
        "E115",
        "The file is written for a version of the configuration that this hub does not know.",
    )
    CANNOT_IMPORT = (
        "E120",
        "A handler, model or other callable named in the configuration cannot be imported.",
    )
    WRONG_SIGNATURE = "E121", "What a name leads to is not a function of the shape that its use needs."
    MISSING_PACKAGE = "E131", "A setting needs a Python package that is not installed."
    TOPIC_CLASH = "E140", "Two plugins, or a plugin and the operator's file, lay claim to one topic pattern."
    BAD_PATTERN = "E141", "A topic or topic pattern breaks the grammar of topics."
    BAD_RULE = "E142", "An `allow` rule is unknown, or names a placeholder that the topic's pattern lacks."
    BAD_SCHEMA = "E143", "A payload schema cannot be read, or is not a valid JSON Schema."
    UNDECLARED_TOPIC = "E144", "A topic named by a socket or a schedule matches no declared pattern."
    RESERVED_NAME = "E145", "A socket's path or a plugin's name is one that the hub uses itself."
    MEMORY_WITH_WORKERS = "E150", "The memory broker links no processes, so it cannot serve several workers."
    WEAK_SECRET = "E160", "A secret is an example from the documentation, or too short to withstand guessing."
    UNUSABLE_KEY = "E161", "A key cannot be read, or does not fit the algorithm that is to use it."
    PLUGIN_NOT_FOUND = "E170", "A plugin is neither installed nor a folder with a plugin.yaml."
    WRONG_MANIFEST = "E171", "A plugin's manifest lacks something, or says something that it may not."
    UNSUPPORTED_API = (
        "E172",
        "A plugin is written for a version of the plugin API that this hub does not offer.",
    )
    MISSING_REQUIREMENT = "E173", "A plugin requires another plugin that is missing or switched off."
    REQUIREMENT_CYCLE = "E174", "Plugins require one another in a circle, so that none can start first."


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Where something stands: a source with a 1-based line and column, or, with line 0, a source as a whole.

    Prints as `config/hub.yaml:12:5`, `config/hub.yaml` or `environment variable HUB_SERVER__PORT`.
    """

    source: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.source}:{self.line}:{self.column}" if self.line else self.source


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake in a configuration.

    `path` is the setting as people write it (`plugins.chat.enabled`), empty when the mistake concerns no setting;
    `message` says what was found, without a full stop; `remedy` is whole sentences. Prints as one line, whatever
    characters its parts hold.
    """

    code: str
    place: Place
    path: str
    message: str
    remedy: str = ""

    def __str__(self) -> str:
        where = f"{self.place} {self.path}" if self.path else str(self.place)
        what = f"{self.message}. {self.remedy}" if self.remedy else f"{self.message}."
        return _on_one_line(f"{where}: {what} ({self.code})")


@dataclass(frozen=True, slots=True)
class Fault:
    """A mistake found by a part that does not know where its text stands."""

    code: ConfigCode
    message: str
    remedy: str = ""

    def at(self, place: Place, path: Sequence[str | int]) -> Problem:
        """The problem that this fault is for the setting `path` at a place."""
        return Problem(self.code, place, dotted(path), self.message, self.remedy)


class ConfigError(HubError):
    """A configuration that cannot be used, with all its problems sorted by place.

    Its text has one line for each problem and a last one that counts them.
    """

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems: tuple[Problem, ...] = tuple(sorted(problems, key=lambda problem: problem.place))
        super().__init__(self.problems)

    def __str__(self) -> str:
        count = len(self.problems)
        return "\n".join([*map(str, self.problems), f"{count} problem{'' if count == 1 else 's'} found."])


def nearest(name: str, allowed: Iterable[str]) -> str | None:
    """The allowed name that looks most like `name`, whatever its case; None when none comes near."""
    by_lower = {candidate.lower(): candidate for candidate in allowed}
    close = difflib.get_close_matches(name[:_LONGEST_COMPARED].lower(), by_lower, n=1)
    return by_lower[close[0]] if close else None


def did_you_mean(name: str, allowed: Iterable[str]) -> str:
    """The sentence `Did you mean ...? ` with the nearest name and a space at its end; empty when none comes near."""
    found = nearest(name, allowed)
    return f"Did you mean `{found}`? " if found else ""


def dotted(path: Sequence[str | int]) -> str:
    """A path as people write it: `auth.jwt.algorithms[0]`; keys that hold a dot or a space stand in quotes."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            key = shortened(part)
            text += "." if text else ""
            text += f'"{key}"' if not key or any(mark in key for mark in '. "') else key
    return text


def shortened(text: str) -> str:
    """A text for a message: at most 60 characters, with an ellipsis in place of the rest."""
    return text if len(text) <= _LONGEST_SHOWN else text[: _LONGEST_SHOWN - 1] + "…"


def _on_one_line(text: str) -> str:
    """Escapes what would break a line or steer a terminal."""
    if text.isprintable():
        return text
    return "".join(mark if mark.isprintable() else mark.encode("unicode_escape").decode() for mark in text)
