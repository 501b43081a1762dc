from __future__ import annotations

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from hub.settings.scalars import Scalar, ambiguity, resolve


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("~", None),
        ("null", None),
        ("Null", None),
        ("NULL", None),
        ("true", True),
        ("True", True),
        ("TRUE", True),
        ("false", False),
        ("False", False),
        ("FALSE", False),
        ("0", 0),
        ("-0", 0),
        ("8000", 8000),
        ("+7", 7),
        ("-12", -12),
        ("0x1F", 31),
        ("0o17", 15),
        ("1.5", 1.5),
        ("-.5", -0.5),
        ("1.", 1.0),
        ("1e3", 1000.0),
        ("1E-3", 0.001),
        ("6.02e+23", 6.02e23),
    ],
)
def test_words_of_the_core_schema_get_their_value(text: str, value: Scalar) -> None:
    assert resolve(text) == value
    assert type(resolve(text)) is type(value)
    assert ambiguity(text) is None


@pytest.mark.parametrize(
    "text",
    [
        *(
            "nULL",
            "tRue",
            "maybe",
            "1h",
            "64KiB",
            "127.0.0.1",
            "127.0.0.1:8000",
            "1.2.3",
            "-",
            "+",
            ".",
            "e3",
            "0x",
            "0o8",
        ),
        *(
            "redis://localhost:6379/0",
            "${PORT}",
            "2026-11-22-draft",
            "2026-11-22 meeting",
            "a_b",
            "1_a",
            "--1",
            "=",
            "<<",
        ),
        *("٣", "1\n", "8000 ", "0xZ_1", "no thanks"),
    ],
)
def test_everything_else_is_text(text: str) -> None:
    assert resolve(text) == text
    assert ambiguity(text) is None


@pytest.mark.parametrize(
    ("text", "meaning", "remedy"),
    [
        *((word, "`false`", "Write false, or ") for word in ("no", "No", "NO", "nO", "off", "OFF", "n", "N")),
        *((word, "`true`", "Write true, or ") for word in ("yes", "Yes", "YES", "on", "On", "y", "Y")),
        ("012", "10 (octal), 12 (decimal)", "without leading zeros"),
        ("-012", "-10 (octal), -12 (decimal)", "without leading zeros"),
        ("00", "0 (octal), 0 (decimal)", "without leading zeros"),
        ("089", "the number 89", "Write 89, or "),
        ("1:30", "base 60", '"1:30"'),
        ("22:30:00", "base 60", '"22:30:00"'),
        ("1:30.5", "base 60", '"1:30.5"'),
        ("1_000", "the number 1000", "Write 1000, or "),
        ("0x_1F", "the number 0x1F", "Write 0x1F, or "),
        ("1_0.5", "the number 10.5", "Write 10.5, or "),
        ("0b101", "a number", '"0b101"'),
        ("-0x1F", "a number", '"-0x1F"'),
        ("2026-11-22", "a date", '"2026-11-22"'),
        ("2026-1-2", "a date", '"2026-1-2"'),
        ("2026-11-22T10:00:00Z", "a date", '"2026-11-22T10:00:00Z"'),
        ("2026-11-22 10:00:00.5 +01:00", "a date", "in quotes"),
        *((word, "not finite", "in quotes") for word in (".inf", "-.Inf", "+.INF", ".nan", ".NaN", ".NAN")),
        ("1e999", "too big", '"1e999"'),
        ("9" * 101, "too big", "in quotes"),
    ],
)
def test_unclear_words_stay_text_and_say_what_they_may_mean(text: str, meaning: str, remedy: str) -> None:
    found = ambiguity(text)
    assert found is not None
    assert meaning in found.meanings
    assert "the text" in found.meanings
    assert remedy in found.remedy
    assert resolve(text) == text


@given(st.from_regex(r"[-+]?[0-9xob_:.eETZinfaINFANyYoOnN -]{1,24}", fullmatch=True) | st.text(max_size=24))
def test_whatever_yaml_1_1_takes_for_something_else_is_clear_or_refused(text: str) -> None:
    tag = yaml.SafeLoader("").resolve(yaml.ScalarNode, text, (True, False))
    if ambiguity(text) is None and isinstance(resolve(text), str):
        assert tag.removeprefix("tag:yaml.org,2002:") in {"str", "value", "merge", "yaml"}


@given(st.text() | st.from_regex(r"[-+]?[0-9a-fA-Fxob_:.eE]{1,200}", fullmatch=True))
def test_any_text_resolves(text: str) -> None:
    assert isinstance(resolve(text), str | int | float | None)


@given(st.integers(-(10**99) + 1, 10**99 - 1) | st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_resolve_to_themselves(number: float) -> None:
    assert resolve(repr(number)) == number
