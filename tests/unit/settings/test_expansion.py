from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.settings.composer import compose
from hub.settings.expansion import SECRET_LIMIT, Expander, expand_tree
from hub.settings.nodes import ScalarNode, construct, walk
from hub.settings.problem import Problem

ENVIRON = {
    "HOST": "db",
    "PORT": "5432",
    "EMPTY": "",
    "NO": "no",
    "TRUE": "true",
    "NESTED": "${HOST}",
    "_x1": "x",
}


def expand(text: str, folder: Path = Path()) -> str:
    given = Expander(ENVIRON, folder).expand(text)
    assert given.faults == ()
    return given.text


def faults(text: str, folder: Path = Path()) -> list[str]:
    return [f"{fault.message} ({fault.code})" for fault in Expander(ENVIRON, folder).expand(text).faults]


def tree(text: str, folder: Path = Path()) -> tuple[Any, tuple[Problem, ...]]:
    read = compose(text, "f")
    assert read.root is not None
    root, problems = expand_tree(read.root, Expander(ENVIRON, folder))
    return construct(root), problems


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("${HOST}", "db"),
        ("${_x1}", "x"),
        ("${EMPTY}", ""),
        ("http://${HOST}:${PORT}/", "http://db:5432/"),
        ("${HOST}${PORT}", "db5432"),
        ("${UNSET:-default}", "default"),
        ("${EMPTY:-default}", "default"),
        ("${HOST:-default}", "db"),
        ("${UNSET:-}", ""),
        ("${UNSET:-redis://a:6379/0?x=$y}", "redis://a:6379/0?x=$y"),
        ("${UNSET:-a:-b}", "a:-b"),
        ("${UNSET:-two\nlines}", "two\nlines"),
        ("${UNSET:-{}}", "{}"),
        ("$${HOST}", "${HOST}"),
        ("$$${HOST}", "$${HOST}"),
        ("$${${HOST}}", "${db}"),
        ("$HOST $$ $ {HOST} }", "$HOST $$ $ {HOST} }"),
        ("${NESTED}", "${HOST}"),
    ],
)
def test_expansions_are_put_in(text: str, expected: str) -> None:
    assert expand(text) == expected


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("${UNSET}", "the environment variable UNSET is not set (E105)"),
        ("${host}", "the environment variable host is not set (E105)"),
        ("a${HOST", "a `${` is never closed by `}` (E113)"),
        ("${", "a `${` is never closed by `}` (E113)"),
        ("${}", "a `${...}` names neither a variable nor a file (E113)"),
        ("${1X}", "a `${...}` names neither a variable nor a file (E113)"),
        ("${ HOST }", "a `${...}` names neither a variable nor a file (E113)"),
        ("${HOST-default}", "a `${...}` names neither a variable nor a file (E113)"),
        ("${file:}", "a `${...}` names neither a variable nor a file (E113)"),
        ("${UNSET:-${HOST}}", "a `${` stands inside another, and expansions do not nest (E113)"),
    ],
)
def test_an_expansion_that_cannot_be_made_says_why(text: str, fault: str) -> None:
    assert faults(text) == [fault]


def test_a_variable_that_is_not_utf_8_is_not_taken() -> None:
    for text in ("${A}", "${A:-x}"):
        [fault] = Expander({"A": "s3cret\udcff"}, Path()).expand(text).faults
        assert (fault.code, fault.message) == ("E105", "the environment variable A is not UTF-8")


def test_all_faults_of_a_text_are_told() -> None:
    assert len(faults("${A} ${B} ${1} ${")) == 4


def test_a_missing_variable_names_both_remedies() -> None:
    [fault] = Expander({}, Path()).expand("${HUB_JWT_SECRET}").faults
    assert fault.remedy == "Set it, or write ${HUB_JWT_SECRET:-...} with a default."


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"s3cret", "s3cret"),
        (b"s3cret\n", "s3cret"),
        (b"s3cret\r\n", "s3cret"),
        (b"s3cret\n\n", "s3cret\n"),
        (b"s3cret\r", "s3cret\r"),
        (b"\xef\xbb\xbfs\xc3\xa9cret\n", "sécret"),
        (b"-----BEGIN\nabc\n-----END\n", "-----BEGIN\nabc\n-----END"),
        (b"${HOST}\n", "${HOST}"),
        (b"", ""),
        (b"\n", ""),
    ],
)
def test_a_file_gives_its_text_without_one_line_end(tmp_path: Path, content: bytes, expected: str) -> None:
    (tmp_path / "secret").write_bytes(content)
    assert expand("${file:%s}" % (tmp_path / "secret")) == expected


def test_a_relative_file_lies_by_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "a b").write_text("x\n")
    assert expand("<${file:keys/a b}>", tmp_path) == "<x>"
    assert expand("${file:./keys/../keys/a b}", tmp_path) == "x"


def test_a_file_that_cannot_be_read_says_which_and_why(tmp_path: Path) -> None:
    (tmp_path / "big").write_text("x" * (SECRET_LIMIT + 1))
    (tmp_path / "most").write_text("x" * SECRET_LIMIT)
    (tmp_path / "binary").write_bytes(b"s3cret\xff")
    assert len(expand("${file:most}", tmp_path)) == SECRET_LIMIT
    assert faults("${file:none}", tmp_path) == ["`${file:none}` cannot be read: there is no such file (E105)"]
    assert faults("${file:.}", tmp_path) == ["`${file:.}` cannot be read: it is a folder (E105)"]
    assert faults("${file:big}", tmp_path) == [
        "`${file:big}` cannot be read: it is bigger than 64 KiB (E105)"
    ]
    assert faults("${file:binary}", tmp_path) == ["`${file:binary}` cannot be read: it is not UTF-8 (E105)"]
    assert faults("${file:a\0b}", tmp_path) == [
        "`${file:a\0b}` cannot be read: the system says: embedded null byte (E105)"
    ]


def test_an_unquoted_expansion_gets_its_type_from_its_text() -> None:
    text = "a: ${PORT}\nb: ${UNSET:-8000}\nc: ${TRUE}\nd: ${UNSET:-1.5}\ne: ${EMPTY}\nf: ${HOST}\ng: ${UNSET:-null}\n"
    assert tree(text) == ({"a": 5432, "b": 8000, "c": True, "d": 1.5, "e": None, "f": "db", "g": None}, ())


@pytest.mark.parametrize("text", ['a: "${PORT}"', "a: '${PORT}'", "a: |-\n  ${PORT}\n", "a: >-\n  ${PORT}\n"])
def test_a_quoted_expansion_stays_text(text: str) -> None:
    assert tree(text) == ({"a": "5432"}, ())


def test_an_expansion_among_other_text_makes_text() -> None:
    assert tree(
        "[1${PORT}, ${PORT}0, ${PORT}${PORT}, $${PORT}]".replace("[", "- ")
        .replace(", ", "\n- ")
        .replace("]", "")
    )[0] == ["15432", "54320", "54325432", "${PORT}"]


@pytest.mark.parametrize("word", ["no", "012", "1:30", "1_000", "2026-11-22", ".inf"])
def test_an_unclear_word_from_outside_is_text_and_no_problem(word: str) -> None:
    assert tree(f"a: ${{UNSET:-{word}}}") == ({"a": word}, ())


def test_keys_are_not_expanded() -> None:
    assert tree('"${PORT}": 1\nb${HOST}: 2') == ({"${PORT}": 1, "b${HOST}": 2}, ())


def test_a_problem_has_the_place_and_path_of_its_value() -> None:
    data, problems = tree("auth:\n  jwt:\n    secret: ${HUB_JWT_SECRET}\n    keys: ['${A}', x]\n")
    assert [str(problem) for problem in problems] == [
        (
            "f:3:13 auth.jwt.secret: the environment variable HUB_JWT_SECRET is not set. "
            "Set it, or write ${HUB_JWT_SECRET:-...} with a default. (E105)"
        ),
        (
            "f:4:12 auth.jwt.keys[0]: the environment variable A is not set. "
            "Set it, or write ${A:-...} with a default. (E105)"
        ),
    ]
    assert data == {"auth": {"jwt": {"secret": None, "keys": [None, "x"]}}}


def test_lines_stay_right_when_values_bring_line_ends() -> None:
    read = compose("a: ${UNSET:-x}\nb: '${A}'\nc: 1\n", "f")
    assert read.root is not None
    root, _ = expand_tree(read.root, Expander({"A": "x\ny\nz: 1\n"}, Path()))
    assert walk(root, ("c",)).place.line == 3
    assert construct(root) == {"a": "x", "b": "x\ny\nz: 1\n", "c": 1}


def test_what_was_expanded_is_not_expanded_again() -> None:
    read = compose("a: ${NESTED}\nb: $${HOST}\n", "f")
    assert read.root is not None
    expander = Expander(ENVIRON, Path())
    once, _ = expand_tree(read.root, expander)
    twice, problems = expand_tree(once, expander)
    assert (construct(twice), problems) == ({"a": "${HOST}", "b": "${HOST}"}, ())


def test_a_node_keeps_what_was_written_beside_its_text() -> None:
    read = compose("a: ${PORT:-1}", "f")
    assert read.root is not None
    node = walk(expand_tree(read.root, Expander(ENVIRON, Path()))[0], ("a",)).node
    assert isinstance(node, ScalarNode)
    assert (node.text, node.value, node.written, node.outside) == ("5432", 5432, "${PORT:-1}", True)


@given(
    text=st.text(st.sampled_from("${}:-AB1_file/ \n\0é")),
    secret=st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
)
def test_no_text_makes_expansion_raise_or_tell_a_secret(text: str, secret: str) -> None:
    secret = f"<{secret}>"
    expanded = Expander({"A": secret, "B": secret}, Path("/nonexistent")).expand(text)
    assert all(secret not in fault.message + fault.remedy for fault in expanded.faults)
