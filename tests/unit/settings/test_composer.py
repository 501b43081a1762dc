from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from hub.settings.composer import MAX_DEPTH, MAX_PROBLEMS, Composition, compose, compose_inline
from hub.settings.nodes import ScalarNode, any_faulty, construct, walk
from hub.settings.problem import Place

PARSERS = [yaml.SafeLoader, *([yaml.CSafeLoader] if yaml.__with_libyaml__ else [])]


def codes(read: Composition) -> list[str]:
    return [problem.code for problem in read.problems]


def only(read: Composition) -> str:
    [problem] = read.problems
    return str(problem)


def data(read: Composition) -> Any:
    assert read.problems == ()
    assert read.complete
    assert read.root is not None
    return construct(read.root)


def test_unquoted_words_get_types_and_quoted_ones_stay_text() -> None:
    text = "a: 8000\nb: '8000'\nc: \"true\"\nd: true\ne:\nf: ''\ng: |\n  12\nh: 1.5\n"
    expected = {"a": 8000, "b": "8000", "c": "true", "d": True, "e": None, "f": "", "g": "12\n", "h": 1.5}
    assert data(compose(text, "f")) == expected


def test_nodes_know_line_and_column_in_characters() -> None:
    root = compose("ä: {ö: [ü, x]}\nb:\n  - c\n", "f").root
    assert root is not None
    assert walk(root, ("ä", "ö", 1)).place == Place("f", 1, 12)
    assert walk(root, ("b", 0)).place == Place("f", 3, 5)


def test_an_empty_text_has_no_root_and_no_problem() -> None:
    for text in ("", "# nothing\n", "---\n"):
        read = compose(text, "f")
        assert read.problems == ()
        assert read.root is None or construct(read.root) is None


def test_an_unclear_word_says_what_was_found_what_it_may_mean_and_how_to_write_it() -> None:
    assert only(compose("auth:\n  anonymous: no\n", "hub.yaml")) == (
        "hub.yaml:2:14 auth.anonymous: `no` is not clear: it may mean `false` or the text. "
        'Write false, or "no" in quotes for the text. (E106)'
    )


@pytest.mark.parametrize("word", ["no", "ON", "y", "012", "1:30", "1_000", "2026-11-22", ".inf", ".nan"])
def test_an_unclear_word_is_refused_as_value_and_taken_as_text_when_quoted_or_a_key(word: str) -> None:
    assert codes(compose(f"a: {word}", "f")) == ["E106"]
    assert codes(compose(f"[{word}]" if ":" not in word else f"- {word}", "f")) == ["E106"]
    assert data(compose(f"a: '{word}'", "f")) == {"a": word}
    assert data(compose(f"{word}: 1", "f")) == {word: 1}


def test_a_duplicate_key_names_both_lines() -> None:
    assert only(compose("plugins:\n  chat: {}\n  x: 1\n  chat: {}\n", "hub.yaml")) == (
        "hub.yaml:4:3 plugins.chat: duplicate key `chat`, first at line 2. "
        "One of the two would be lost without notice; keep one, or merge them. (E103)"
    )


def test_a_key_given_three_times_is_two_problems_and_the_first_counts() -> None:
    read = compose('a: 1\na: 2\n"a": 3', "f")
    assert codes(read) == ["E103", "E103"]
    assert read.root is not None
    assert construct(read.root) == {"a": 1}


def test_equal_keys_in_different_maps_are_no_duplicates() -> None:
    assert data(compose("a: {x: 1}\nb: {x: 1, a: 2}", "f")) == {"a": {"x": 1}, "b": {"x": 1, "a": 2}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: *x", "f:1:4 a: an alias (`*name`) is not taken"),
        ("*x : 1", "f:1:1: an alias (`*name`) is not taken"),
        ("a: &x", "f:1:4 a: an anchor (`&name`) is not taken"),
        ("a: &x {b: 1}", "f:1:4 a: an anchor (`&name`) is not taken"),
        ("&x a: 1", "f:1:1 a: an anchor (`&name`) is not taken"),
        ("a:\n  <<: {b: 1}", "f:2:3 a: a merge key (`<<`) is not taken"),
        ("a: !foo 1", "f:1:4 a: a tag (`!name`) is not taken"),
        ("a: ! 1", "f:1:4 a: a tag (`!name`) is not taken"),
        ("a: !!str 1", "f:1:4 a: a tag (`!name`) is not taken"),
        ("a: !!python/object/apply:os.system [echo]", "f:1:4 a: a tag (`!name`) is not taken"),
        ("!!map {a: 1}", "f:1:1: a tag (`!name`) is not taken"),
        ("a: 1\n---\nb: 2\n", "f:2:1: a second document begins here"),
    ],
)
def test_features_that_hide_what_a_file_says_are_refused(text: str, message: str) -> None:
    problem = only(compose(text, "f"))
    assert message in problem
    assert problem.endswith("(E107)")


def test_aliases_are_refused_however_many_they_would_become() -> None:
    levels = "\n".join(f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]" for n in range(1, 12))
    read = compose(f"l0: &l0 x\n{levels}\n", "f")
    assert set(codes(read)) == {"E107"}
    assert len(read.problems) == MAX_PROBLEMS
    assert not read.complete


def test_a_quoted_merge_key_is_an_ordinary_key() -> None:
    assert data(compose('"<<": 1', "f")) == {"<<": 1}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "8000: x",
            'f:1:1 8000: the key is a number, and only text can be a key. Write "8000" in quotes. (E110)',
        ),
        (
            "1.5: x",
            'f:1:1 "1.5": the key is a number, and only text can be a key. Write "1.5" in quotes. (E110)',
        ),
        (
            "true: x",
            'f:1:1 true: the key is a boolean, and only text can be a key. Write "true" in quotes. (E110)',
        ),
        ("~: x", 'f:1:1 ~: the key is null, and only text can be a key. Write "~" in quotes. (E110)'),
        (
            "? [a]\n: x",
            "f:1:3: the key is a list or map, and only text can be a key. Write a text as the key. (E110)",
        ),
        (
            "{{a: 1}: x}",
            "f:1:2: the key is a list or map, and only text can be a key. Write a text as the key. (E110)",
        ),
    ],
)
def test_a_key_that_is_no_text_is_refused(text: str, message: str) -> None:
    assert only(compose(text, "f")) == message


@pytest.mark.parametrize("brackets", ["[]", "{}"])
def test_nesting_has_a_bound(brackets: str) -> None:
    def nest(depth: int) -> str:
        inner = "a: " if brackets == "{}" else ""
        return (brackets[0] + inner) * (depth - 1) + brackets + brackets[1] * (depth - 1)

    assert compose(nest(MAX_DEPTH), "f").problems == ()
    read = compose(nest(MAX_DEPTH + 1), "f")
    assert codes(read) == ["E111"]
    assert not read.complete


@pytest.mark.parametrize("parser", PARSERS)
@pytest.mark.parametrize("text", ["[" * 200_000, "{a: " * 100_000, "- " * 200_000, "? " * 200_000])
def test_bottomless_nesting_ends_at_the_bound(parser: Any, text: str) -> None:
    assert codes(compose(text, "f", parser))[-1] in {"E111", "E100"}


def test_reading_stops_at_a_hundred_problems() -> None:
    read = compose("- no\n" * 500, "f")
    assert len(read.problems) == MAX_PROBLEMS
    assert not read.complete


def test_a_value_that_was_refused_is_marked() -> None:
    root = compose("a: no\nb: *x\nc: &y\nd: ok", "f").root
    assert root is not None
    assert [any_faulty(walk(root, (key,)).node) for key in "abcd"] == [True, True, True, False]


def test_inline_values_have_one_place_and_keep_their_text_to_themselves() -> None:
    place = Place("environment variable HUB_A__B")
    read = compose_inline('{x: [no, 12, "y"]}', place, ("a", "b"), "$HUB_A__B")
    assert data(read) == {"x": ["no", 12, "y"]}
    assert read.root is not None
    found = walk(read.root, ("x", 1))
    assert found.place == place
    assert isinstance(found.node, ScalarNode)
    assert (found.node.text, found.node.written, found.node.outside) == ("12", "$HUB_A__B", True)


def test_inline_problems_have_the_place_and_path_of_the_whole() -> None:
    read = compose_inline("[s3cret", Place("environment variable HUB_A__B"), ("a", "b"), "$HUB_A__B")
    assert only(read).startswith("environment variable HUB_A__B a.b: ")
    assert "s3cret" not in only(read)


YAMLISH = st.lists(
    st.sampled_from(
        [
            *(
                "a",
                "b: ",
                "- ",
                "? ",
                ": ",
                "\n",
                "\n  ",
                "\t",
                "[",
                "]",
                "{",
                "}",
                ",",
                "'",
                '"',
                "|",
                ">",
                "&x ",
                "*x",
            ),
            *(
                "!t ",
                "!<",
                "!!",
                "%YAML 1.1",
                "---",
                "...",
                "<<",
                "# c",
                "no",
                "012",
                "1",
                "${A}",
                "\\",
                "\\u12",
                "\ufeff",
            ),
            *("\x85", "\u2028", "\r", "\0", "\ud800", "é", "𝄞", "|2-", ">+", "~", "=", "@", "`", "''"),
        ]
    ),
    max_size=40,
).map("".join)


@pytest.mark.parametrize("parser", PARSERS)
@given(text=st.text() | YAMLISH)
def test_no_text_makes_reading_raise(parser: Any, text: str) -> None:
    read = compose(text, "f", parser)
    assert read.complete or read.problems
    assert all(str(problem).isprintable() for problem in read.problems)


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**18), 10**18)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner)
    ),
    max_leaves=20,
)


@pytest.mark.parametrize("parser", PARSERS)
@pytest.mark.parametrize("flow", [True, False, None])
@given(value=VALUES)
def test_what_is_written_without_tricks_reads_back_the_same(
    parser: Any, flow: bool | None, value: Any
) -> None:
    text = yaml.dump(value, Dumper=PlainDumper, default_flow_style=flow, allow_unicode=True)
    assert data(compose(text, "f", parser)) == value


class PlainDumper(yaml.SafeDumper):
    """Writes every text in double quotes, and equal objects as often as they stand."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


PlainDumper.add_representer(
    str, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"')
)
