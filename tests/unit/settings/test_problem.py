from __future__ import annotations

import re

import pytest

from hub.errors import HubError
from hub.settings.problem import (
    ConfigCode,
    ConfigError,
    Fault,
    Place,
    Problem,
    did_you_mean,
    dotted,
    nearest,
    shortened,
)


def test_place_prints_source_line_and_column() -> None:
    assert str(Place("hub.yaml", 12, 5)) == "hub.yaml:12:5"


def test_place_without_line_prints_its_source() -> None:
    assert str(Place("environment variable HUB_X", 0, 0)) == "environment variable HUB_X"


def test_problem_prints_place_path_message_remedy_and_code() -> None:
    problem = Problem(
        ConfigCode.UNKNOWN_SETTING,
        Place("config/hub.yaml", 12, 5),
        "plugins.chat.enabeld",
        "unknown setting",
        "Did you mean `enabled`? Settings of chat: enabled, rooms.",
    )
    assert str(problem) == (
        "config/hub.yaml:12:5 plugins.chat.enabeld: unknown setting. "
        "Did you mean `enabled`? Settings of chat: enabled, rooms. (E101)"
    )


def test_problem_without_path_or_remedy_prints_neither() -> None:
    assert str(Problem("E108", Place("hub.yaml"), "", "there is no such file")) == (
        "hub.yaml: there is no such file. (E108)"
    )


def test_problem_prints_as_one_line_that_steers_no_terminal() -> None:
    text = str(Problem("E101", Place("a\nb.yaml", 1, 1), "x\x1b[31m", "line\r\nbreak\u2028"))
    assert text.isprintable()
    assert text == "a\\nb.yaml:1:1 x\\x1b[31m: line\\r\\nbreak\\u2028. (E101)"


def test_fault_becomes_a_problem_where_its_text_stands() -> None:
    fault = Fault(ConfigCode.NOT_AVAILABLE, "not there", "Put it there.")
    assert fault.at(Place("h", 1, 2), ("a", 0)) == Problem(
        "E105", Place("h", 1, 2), "a[0]", "not there", "Put it there."
    )


def test_config_error_lists_all_problems_by_place_and_counts_them() -> None:
    problems = [
        Problem("E101", Place("b.yaml", 1, 1), "", "third"),
        Problem("E101", Place("a.yaml", 10, 1), "", "second"),
        Problem("E101", Place("a.yaml", 9, 40), "", "first"),
    ]
    error = ConfigError(problems)
    assert [problem.message for problem in error.problems] == ["first", "second", "third"]
    assert str(error).splitlines() == [
        "a.yaml:9:40: first. (E101)",
        "a.yaml:10:1: second. (E101)",
        "b.yaml:1:1: third. (E101)",
        "3 problems found.",
    ]
    assert isinstance(error, HubError)


def test_config_error_counts_one_problem_in_the_singular() -> None:
    assert str(ConfigError([Problem("E101", Place("a"), "", "x")])).endswith("\n1 problem found.")


def test_codes_are_unique_and_each_has_a_sentence() -> None:
    numbers = [code.value for code in ConfigCode]
    assert len(numbers) == len(set(numbers)) == len(ConfigCode.__members__)
    for code in ConfigCode:
        assert re.fullmatch(r"E1\d\d", code)
        assert code.sentence.endswith(".")
        assert code.sentence[0].isupper()


def test_a_code_is_its_number_as_text() -> None:
    assert ConfigCode.UNKNOWN_SETTING == "E101"
    assert f"{ConfigCode.UNKNOWN_SETTING}" == "E101"
    assert ConfigCode("E101") is ConfigCode.UNKNOWN_SETTING


@pytest.mark.parametrize(
    ("name", "expected"),
    [("enabeld", "enabled"), ("ENABLED", "enabled"), ("Jwt", "jwt"), ("zzz", None), ("", None)],
)
def test_nearest_finds_what_was_meant(name: str, expected: str | None) -> None:
    assert nearest(name, ["enabled", "rooms", "jwt"]) == expected


def test_nearest_keeps_the_spelling_of_the_allowed_name() -> None:
    assert nearest("hub_server", ["HUB_SERVER"]) == "HUB_SERVER"


def test_did_you_mean_is_empty_when_nothing_comes_near() -> None:
    assert did_you_mean("prot", ["port", "host"]) == "Did you mean `port`? "
    assert did_you_mean("zzz", ["port", "host"]) == ""


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ((), ""),
        (("auth", "jwt", "algorithms", 0), "auth.jwt.algorithms[0]"),
        (("topics", "news:{section}", "allow"), "topics.news:{section}.allow"),
        (("topics", "chat.room"), 'topics."chat.room"'),
        (("a", ""), 'a.""'),
    ],
)
def test_a_path_prints_as_people_write_it(path: tuple[str | int, ...], expected: str) -> None:
    assert dotted(path) == expected


def test_long_texts_are_shortened() -> None:
    assert shortened("x" * 60) == "x" * 60
    assert shortened("x" * 61) == "x" * 59 + "…"
