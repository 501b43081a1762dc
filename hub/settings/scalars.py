"""What an unquoted word of YAML means: the core schema of YAML 1.2, and the words that it does not settle.

`resolve` knows `true`, `null`, `8000`, `0x1F`, `0o17`, `1.5` and `1e3`, and takes everything else for text. YAML 1.1,
which many tools still speak, takes more words for something else than text (`no`, `012`, `1:30`, `1_000`,
`2026-11-22`); `ambiguity` recognises them, so that a file that means different things to different readers is refused.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Final, TypeAlias

from hub.settings.problem import shortened

Scalar: TypeAlias = str | int | float | bool | None

_WORDS: Final[dict[str, Scalar]] = {
    "": None,
    **dict.fromkeys(("~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_SWITCHES: Final = {"yes": "true", "on": "true", "y": "true", "no": "false", "off": "false", "n": "false"}
_LONGEST_NUMBER: Final = 100
_DECIMAL = re.compile(r"[-+]?[0-9]+")
_HEXADECIMAL = re.compile(r"0x[0-9a-fA-F]+")
_OCTAL = re.compile(r"0o[0-7]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_LEADING_ZERO = re.compile(r"[-+]?0[0-9]+")
_BASE_60 = re.compile(r"[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?")
_OTHER_BASE = re.compile(r"[-+]?0b[01_]+|[-+]0x[0-9a-fA-F_]+")
_WITH_UNDERSCORES = re.compile(r"[-+]?[0-9.][0-9a-fA-Fx_.eE+-]*_[0-9a-fA-F_.eE+-]*")
_DATE = re.compile(
    r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}"
    r"(([Tt]|[ \t]+)[0-9]{1,2}:[0-9]{2}:[0-9]{2}(\.[0-9]*)?([ \t]*(Z|[-+][0-9]{1,2}(:[0-9]{2})?))?)?"
)
_HALF_CHARACTER = re.compile(r"[\ud800-\udfff]")
_NO_FINITE_NUMBER = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")


@dataclass(frozen=True, slots=True)
class Ambiguity:
    """Why an unquoted word is not clear, and how to write each thing it may mean."""

    meanings: str
    remedy: str


def resolve(text: str) -> Scalar:
    """The value of an unquoted word by the core schema; words that are not clear stay text.

    Numbers are finite and at most 100 characters long; what would be beyond that stays text.
    """
    if text in _WORDS:
        return _WORDS[text]
    if len(text) > _LONGEST_NUMBER or ambiguity(text) is not None:
        return text
    if _DECIMAL.fullmatch(text):
        return int(text)
    if _HEXADECIMAL.fullmatch(text):
        return int(text, 16)
    if _OCTAL.fullmatch(text):
        return int(text, 8)
    return float(text) if _FLOAT.fullmatch(text) else text


def is_whole(text: str) -> bool:
    """False when a text holds half a character, which comes from a wrong escape, or from bytes that are not UTF-8."""
    return text.isascii() or not _HALF_CHARACTER.search(text)


def ambiguity(text: str) -> Ambiguity | None:
    """Tells why an unquoted word is not clear; None when all readers of YAML agree on it, or would take it for text."""
    if text.lower() in _SWITCHES:
        value = _SWITCHES[text.lower()]
        return Ambiguity(f"`{value}` or the text", f'Write {value}, or "{text}" in quotes for the text.')
    if not text[:1] or text[0] not in "0123456789.+-":
        return None
    return _unclear_number(text) or _unclear_other(text)


def _unclear_number(text: str) -> Ambiguity | None:
    if len(text) > _LONGEST_NUMBER:
        return _too_big(text) if _FLOAT.fullmatch(text) or _HEXADECIMAL.fullmatch(text) else None
    if _LEADING_ZERO.fullmatch(text):
        return _leading_zero(text)
    if _BASE_60.fullmatch(text):
        return _only_text("a number in base 60 or the text", text)
    if _OTHER_BASE.fullmatch(text):
        return _only_text("a number or the text", text)
    if _WITH_UNDERSCORES.fullmatch(text):
        plain = text.replace("_", "")
        if isinstance(resolve(plain), (int, float)) or _LEADING_ZERO.fullmatch(plain):
            return Ambiguity(
                f"the number {plain} or the text", f'Write {plain}, or "{text}" in quotes for the text.'
            )
    if _FLOAT.fullmatch(text) and not _DECIMAL.fullmatch(text) and not math.isfinite(float(text)):
        return _too_big(text)
    return None


def _unclear_other(text: str) -> Ambiguity | None:
    if _DATE.fullmatch(text):
        return _only_text("a date or the text", text)
    if _NO_FINITE_NUMBER.fullmatch(text):
        return _only_text("a number that is not finite, which no setting takes, or the text", text)
    return None


def _leading_zero(text: str) -> Ambiguity:
    decimal = int(text)
    in_quotes = f'or "{text}" in quotes for the text.'
    if set(text) & {"8", "9"}:
        return Ambiguity(f"the number {decimal} or the text", f"Write {decimal}, {in_quotes}")
    octal = int(text, 8)
    return Ambiguity(
        f"{octal} (octal), {decimal} (decimal) or the text",
        f"Write the number without leading zeros, {in_quotes}",
    )


def _too_big(text: str) -> Ambiguity:
    return _only_text("a number too big to hold or the text", text)


def _only_text(meanings: str, text: str) -> Ambiguity:
    return Ambiguity(meanings, f'Write "{shortened(text)}" in quotes for the text.')
