"""Both of PyYAML's parsers must lead to the same words at the same place: an installation may have either."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from hub.settings.composer import compose

PARSERS = [yaml.SafeLoader, *([yaml.CSafeLoader] if yaml.__with_libyaml__ else [])]


@pytest.mark.parametrize("parser", PARSERS)
@pytest.mark.parametrize(
    ("text", "place", "message", "remedy"),
    [
        ("a:\n\tb: 1\n", "2:1", "a tab stands in the indentation", "Indent with spaces"),
        ("a: 1\n  \tb: 2\n", "2:3", "a tab stands in the indentation", "Indent with spaces"),
        ("a:\n  - b\n\t- c", "3:1", "a tab stands in the indentation", "Indent with spaces"),
        ("a: b: c\n", "1:5", "a `:` stands where no key can be", "in quotes"),
        ("a: 1\n b: 2\n", "2:3", "a `:` stands where no key can be", "indentation"),
        ("a:\n  b: 1\n c: 2\n", "3:2", "does not line up", "the same indentation"),
        ("- a\nb: 1\n", "2:1", "does not line up", "the same indentation"),
        ("a: @x\n", "1:4", "no value can begin with `@`", "in quotes"),
        ("a: `x`\n", "1:4", "no value can begin with ```", "in quotes"),
        ("a: %x\n", "1:4", "no value can begin with `%`", "in quotes"),
        ("a: *\n", "1:5", "`*` and `&` at the start of a value", "in quotes"),
        ("a: [*]\n", "1:6", "`*` and `&` at the start of a value", "in quotes"),
        ("a: !e!foo x\n", "1:4", "`!` at the start of a value", "in quotes"),
        ("a: {b: ${X}}\n", "1:9", "`${` stands inside {...} or [...] without quotes", '"${...}"'),
        ("a: 'x\nb: 1\n", "1:4", "the `'` here is never closed", "Close it"),
        ('a: "x\n', "1:4", 'the `"` here is never closed', "Close it"),
        ("a: {b\n", "1:4", "the `{` here is never closed", "Close it"),
        ("a: [b,\n c", "1:4", "the `[` here is never closed", "Close it"),
        ("a: [b c: [}]", "1:11", "a `,` or a closing bracket is missing", "in quotes"),
        ("a: 1\nfoo\n", "3:1", "neither `key: value` nor part of a value", "missing colon"),
        ("a: - b\n", "1:4", "a `- ` stands where no list can begin", "next line"),
        ("a: }\n", "1:4", "does not line up", "in quotes"),
        ("%YAML 99.1\n---\na: 1\n", "1:1", "the YAML parser says: found incompatible YAML document", ""),
        ("a: \x01\n", "1:4", "the character U+0001 cannot stand in YAML", "Remove it"),
        ("a: 1\nb: \x0c\n", "2:4", "the character U+000C cannot stand in YAML", "Remove it"),
        ("a: \ud800\n", "1:4", "the character U+D800 cannot stand in YAML", "Remove it"),
    ],
)
def test_a_syntax_error_is_told_in_plain_words_at_its_place(
    parser: Any, text: str, place: str, message: str, remedy: str
) -> None:
    read = compose(text, "f", parser)
    assert not read.complete
    assert read.root is None
    [problem] = read.problems
    assert problem.code == "E100"
    assert str(problem.place) == f"f:{place}"
    assert message in problem.message
    assert remedy in problem.remedy


@pytest.mark.parametrize("parser", PARSERS)
@pytest.mark.parametrize(
    "text", ['a: "\\q"', 'a: "\\ud83d"', 'a: "\\U99999999"', '"\\ud83d": 1', 'a: "\\xZZ"']
)
def test_a_wrong_escape_is_a_syntax_error(parser: Any, text: str) -> None:
    assert [problem.code for problem in compose(text, "f", parser).problems] == ["E100"]


@pytest.mark.parametrize("parser", PARSERS)
def test_all_that_was_found_before_a_syntax_error_is_told_too(parser: Any) -> None:
    problems = compose("a: no\na: *x\nb: [\n", "f", parser).problems
    assert [problem.code for problem in problems] == ["E106", "E107", "E103", "E100"]


def test_a_tab_behind_a_value_is_read_over_or_told_in_plain_words() -> None:
    """The one text of daily life about which the two parsers differ."""
    for parser in PARSERS:
        assert {problem.message for problem in compose("a: 1\t\n", "f", parser).problems} <= {
            "a tab stands where YAML takes spaces only"
        }
