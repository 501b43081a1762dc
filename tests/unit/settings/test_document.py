from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.settings.document import SIZE_LIMIT, Document
from hub.settings.overrides import overrides
from hub.settings.problem import ConfigError, Place

HUB = """\
version: 1
server:
  port: ${PORT:-8000}
auth:
  jwt: {secret: "${SECRET}", algorithms: [HS256]}
  password: ${PASSWORD}
plugins:
  chat:
    enabled: true
"""
ENVIRON = {"SECRET": "s3cret-s3cret", "PASSWORD": "12345"}


@pytest.fixture
def document() -> Document:
    return Document.parse(HUB, "config/hub.yaml").expanded(ENVIRON)


def messages(document: Document) -> list[str]:
    return [str(problem) for problem in document.problems]


def test_a_file_is_read_and_named_as_it_was_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hub.yaml").write_text("a: 1\n")
    monkeypatch.chdir(tmp_path)
    document = Document.read("hub.yaml")
    assert (document.data, document.problems, document.complete) == ({"a": 1}, (), True)
    assert str(document.place(("a",))) == "hub.yaml:1:1"
    assert Document.read(tmp_path / "hub.yaml").source == str(tmp_path / "hub.yaml")


def test_a_byte_order_mark_and_windows_line_ends_are_read_over(tmp_path: Path) -> None:
    (tmp_path / "hub.yaml").write_bytes(b"\xef\xbb\xbfa: 1\r\nb:\r\n  - c\r\n")
    document = Document.read(tmp_path / "hub.yaml")
    assert document.data == {"a": 1, "b": ["c"]}
    assert document.place(("b", 0)).line == 3
    assert Document.parse("\ufeffa: 1", "f").data == {"a": 1}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (
            None,
            "{}: the file cannot be used: there is no such file. Check the path, or write the file. (E108)",
        ),
        (b"a: \xff", "{}:1:4: the file cannot be used: it is not UTF-8. Save it as UTF-8. (E108)"),
        (
            b"#" * (SIZE_LIMIT + 1),
            "{}: the file cannot be used: it is bigger than 1024 KiB. Check that it is the right file. (E108)",
        ),
    ],
)
def test_a_file_that_cannot_be_used_is_a_problem(
    tmp_path: Path, content: bytes | None, expected: str
) -> None:
    path = tmp_path / "hub.yaml"
    if content is not None:
        path.write_bytes(content)
    document = Document.read(path)
    assert messages(document) == [expected.format(path)]
    assert (document.data, document.complete) == ({}, False)


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    assert "it is a folder. Name a file in it. (E108)" in messages(Document.read(tmp_path))[0]


def test_a_text_has_the_same_limit_as_a_file() -> None:
    assert Document.parse("#" * SIZE_LIMIT, "f").problems == ()
    assert [problem.code for problem in Document.parse("#" + "é" * (SIZE_LIMIT // 2), "f").problems] == [
        "E108"
    ]


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "~\n", "\n\n"])
def test_an_empty_file_holds_no_settings_and_no_problem(text: str) -> None:
    document = Document.parse(text, "f")
    assert (document.data, document.problems, document.complete) == ({}, (), True)
    assert document.place(("server", "port")) == Place("f", 1, 1)


@pytest.mark.parametrize(
    ("text", "what"),
    [("- a\n", "a list"), ("hello", "a single value"), ("'x'", "a single value"), ("8", "a single value")],
)
def test_a_file_that_is_no_map_is_a_problem(text: str, what: str) -> None:
    document = Document.parse(text, "f")
    assert messages(document) == [
        f"f:1:1: the file holds {what}, not a map. Write `key: value` lines. (E102)"
    ]
    assert (document.data, document.complete) == ({}, False)


def test_a_file_with_a_syntax_error_has_no_data_and_is_not_complete() -> None:
    document = Document.parse("a: 1\nb: [\n", "f")
    assert (document.data, document.complete) == ({}, False)
    assert [problem.code for problem in document.problems] == ["E100"]
    assert document.expanded({}).with_overrides([]).complete is False


def test_data_is_expanded_and_belongs_to_the_caller(document: Document) -> None:
    assert document.data == {
        "version": 1,
        "server": {"port": 8000},
        "auth": {"jwt": {"secret": "s3cret-s3cret", "algorithms": ["HS256"]}, "password": 12345},
        "plugins": {"chat": {"enabled": True}},
    }
    document.data["server"].clear()
    assert document.data["server"] == {"port": 8000}


def test_the_place_of_a_setting_is_its_keys_and_of_its_value_the_values(document: Document) -> None:
    loc = ("auth", "jwt", "secret")
    assert document.place(loc) == Place("config/hub.yaml", 5, 9)
    assert document.value_place(loc) == Place("config/hub.yaml", 5, 17)
    assert document.place(("auth", "jwt", "algorithms", 0)) == Place("config/hub.yaml", 5, 43)
    assert document.value_place(("plugins", "chat")) == Place("config/hub.yaml", 9, 5)


def test_a_setting_that_is_not_there_leads_to_the_map_that_lacks_it(document: Document) -> None:
    assert document.place(("auth", "jwt", "issuer")) == Place("config/hub.yaml", 5, 3)
    assert document.place(("topics", "x")) == Place("config/hub.yaml", 1, 1)
    assert document.place(()) == Place("config/hub.yaml", 1, 1)


def test_tags_of_unions_in_a_location_are_skipped(document: Document) -> None:
    assert document.place(("plugins", "chat", "function-after[check()]", "enabled", "bool")).line == 9
    assert document.path(("plugins", "chat", "function-after[check()]", "enabled", "bool")) == (
        "plugins",
        "chat",
        "enabled",
    )


def test_steps_add_their_problems_to_those_before() -> None:
    document = Document.parse("server: {port: no, host: '${X}'}\n", "f")
    document = document.expanded({}).with_overrides(overrides({"HUB_SEVER__A": "1"}, ["server"]))
    assert [problem.code for problem in document.problems] == ["E106", "E105", "E109"]
    assert str(ConfigError(document.problems)).endswith("3 problems found.")


def test_a_document_does_not_change() -> None:
    first = Document.parse("server: {port: 1}\n", "f")
    second = first.with_overrides(overrides({"HUB_SERVER__PORT": "2"}, ["server"]))
    assert (first.data, second.data) == ({"server": {"port": 1}}, {"server": {"port": 2}})


def test_an_override_wins_over_an_expansion_and_is_not_expanded() -> None:
    document = Document.parse("server: {host: '${A}'}\n", "f").expanded({"A": "a"})
    document = document.with_overrides(overrides({"HUB_SERVER__HOST": "${A}"}, ["server"])).expanded(
        {"A": "a"}
    )
    assert document.data == {"server": {"host": "${A}"}}
    assert str(document.place(("server", "host"))) == "environment variable HUB_SERVER__HOST"


def test_relative_files_start_at_the_folder_of_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "s").write_text("s3cret\n")
    (tmp_path / "hub.yaml").write_text("a: ${file:s}\n")
    document = Document.read(tmp_path / "hub.yaml").expanded({})
    assert document.with_overrides(overrides({"HUB_B__C_FILE": "s"}, ["b"])).data == {
        "a": "s3cret",
        "b": {"c": "s3cret"},
    }


def test_a_values_text_stays_at_hand_whatever_its_type(document: Document) -> None:
    assert document.text(("auth", "password")) == "12345"
    assert document.text(("version",)) == "1"
    assert document.text(("auth", "jwt")) is None


def test_text_takes_the_place_of_a_type_where_the_value_came_from_outside(document: Document) -> None:
    text = document.with_text(
        [("auth", "password", "str"), ("version",), ("auth", "jwt", "secret"), ("auth",)]
    )
    assert text.data["auth"]["password"] == "12345"
    assert text.data["version"] == 1
    assert text.place(("auth", "password")) == document.place(("auth", "password"))


def test_an_empty_value_from_outside_can_be_a_text() -> None:
    document = Document.parse("a: ${A}\n", "f").expanded({"A": ""})
    assert document.data == {"a": None}
    assert document.with_text([("a",)]).data == {"a": ""}


def test_a_document_with_nothing_to_take_as_text_is_itself(document: Document) -> None:
    assert document.with_text([("version",), ("nowhere",), ("auth", "jwt", "secret")]) is document


def test_what_may_be_shown_is_never_what_came_from_outside(document: Document) -> None:
    document = document.with_overrides(
        overrides({"HUB_SERVER__HOST": "s3cret", "HUB_SERVER__X": "[s3cret]"}, ["server"])
    )
    assert document.shown(("auth", "jwt", "secret")) == "${SECRET}"
    assert document.shown(("server", "port")) == "${PORT:-8000}"
    assert document.shown(("server", "host")) == "$HUB_SERVER__HOST"
    assert document.shown(("server", "x", 0)) == "$HUB_SERVER__X"
    assert document.shown(("version",)) == "1"
    assert document.shown(("auth", "jwt")) == "a map"
    assert document.shown(("auth", "jwt", "algorithms")) == "a list"


def test_a_value_found_wrong_already_is_told_from_others() -> None:
    document = Document.parse("a: {b: no, c: '${X}', d: 1}\ne: *f\n", "f").expanded({})
    for loc in [("a", "b"), ("a", "b", "bool"), ("a", "c"), ("a",), ("e",)]:
        assert document.faulty(loc), loc
    for missing in [("a", "d"), ("a", "x"), ("z",)]:
        assert not document.faulty(missing), missing


TEXTS = (
    st.text()
    | st.text(st.sampled_from("ab:- \n\t[]{},'\"&*!|>#%@$no012.~?\\<\ud800"))
    | st.binary().map(lambda raw: raw.decode("latin-1"))
)


@given(text=TEXTS, environ=st.dictionaries(st.sampled_from(["a", "b", "HUB_A__B", "HUB_B__A"]), st.text()))
def test_no_text_and_no_environment_make_a_document_raise(text: str, environ: dict[str, str]) -> None:
    document = Document.parse(text, "f").expanded(environ).with_overrides(overrides(environ, ["a", "b"]))
    assert isinstance(document.data, dict)
    assert str(ConfigError(document.problems)).count("\n") == len(document.problems)
    for loc in [(), ("a",), ("a", "b"), ("a", 0), (0,)]:
        document.place(loc)
        document.value_place(loc)
        document.text(loc)
        document.shown(loc)
        document.faulty(loc)


@given(raw=st.binary())
def test_no_file_makes_a_document_raise(tmp_path_factory: pytest.TempPathFactory, raw: bytes) -> None:
    path = tmp_path_factory.mktemp("d") / "hub.yaml"
    path.write_bytes(raw)
    document = Document.read(path)
    assert isinstance(document.data, dict)
    assert document.complete or document.problems
