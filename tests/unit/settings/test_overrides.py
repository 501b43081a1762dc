from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.settings.composer import compose
from hub.settings.nodes import MapNode, ScalarNode, construct, walk
from hub.settings.overrides import Override, apply, overrides
from hub.settings.problem import Place

SECTIONS = ("server", "broker", "auth", "plugins", "topics")
FILE = """\
server: {host: h, port: 8000, internal: null, allowed_origins: [a, b]}
auth: {jwt: {secret: x, algorithms: [HS256]}, secret_file: keep}
broker: {url: "memory://"}
plugins: {Chat: {enabled: true}}
"""


def root(text: str = FILE) -> MapNode:
    node = compose(text, "hub.yaml").root
    assert isinstance(node, MapNode)
    return node


def overridden(environ: dict[str, str], folder: Path = Path()) -> tuple[Any, list[str]]:
    node, problems = apply(root(), overrides(environ, SECTIONS), folder)
    return construct(node), [str(problem) for problem in problems]


def value(text: str) -> Any:
    data, problems = overridden({"HUB_SERVER__X": text})
    assert problems == []
    return data["server"]["x"]


def test_a_variable_names_section_and_key() -> None:
    assert overrides({"HUB_SERVER__PORT": "9100"}, SECTIONS) == [
        Override(("server", "port"), "9100", "HUB_SERVER__PORT")
    ]


@pytest.mark.parametrize(
    "name",
    [
        "HUB_JWT_SECRET",
        "HUB_API_KEY",
        "HUB_URL",
        "HUB_CONFIG",
        "HUB_TEST_REDIS",
        "HUB_",
        "HUB",
        "XHUB_SERVER__PORT",
        "PATH",
    ],
)
def test_variables_without_two_underscores_or_the_prefix_are_none(name: str) -> None:
    assert overrides({name: "x"}, SECTIONS) == []


def test_another_prefix_may_be_given() -> None:
    assert [
        given.path for given in overrides({"MY_SERVER__PORT": "1", "HUB_SERVER__PORT": "2"}, SECTIONS, "MY_")
    ] == [("server", "port")]


def test_the_case_of_a_name_does_not_count() -> None:
    data, problems = overridden(
        {"HUB_Server__PORT": "1", "HUB_PLUGINS__CHAT__ENABLED": "false", "HUB_BROKER__NEW": "x"}
    )
    assert problems == []
    assert data["server"]["port"] == 1
    assert data["plugins"] == {"Chat": {"enabled": False}}
    assert data["broker"] == {"url": "memory://", "new": "x"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("9100", 9100),
        ("true", True),
        ("null", None),
        ("1.5", 1.5),
        ("redis://h:6379/0", "redis://h:6379/0"),
        ("a: b", "a: b"),
        ("no", "no"),
        ("012", "012"),
        ("${HOME}", "${HOME}"),
        ('"9100"', "9100"),
        ("'it''s'", "it's"),
        ('"not closed', '"not closed'),
        ('"a" and "b"', '"a" and "b"'),
        ("'", "'"),
        ("*", "*"),
        ("!x", "!x"),
        ("a\x01b", "a\x01b"),
        ("[]", []),
        ("[https://a.example, https://b.example]", ["https://a.example", "https://b.example"]),
        ('["a", 1, true, null]', ["a", 1, True, None]),
        ('{"a": {"b": [1]}}', {"a": {"b": [1]}}),
        ("{a: no}", {"a": "no"}),
    ],
)
def test_a_value_is_a_word_a_quoted_text_a_list_or_a_map(text: str, expected: Any) -> None:
    assert value(text) == expected


def test_an_empty_variable_takes_nothing_away_and_is_a_mistake() -> None:
    data, problems = overridden({"HUB_SERVER__HOST": ""})
    assert data == construct(root())
    [problem] = problems
    assert problem.startswith("environment variable HUB_SERVER__HOST server.host: the variable is empty")
    assert problem.endswith("Unset it to keep it, or set it to null to have none. (E102)")


def test_a_list_replaces_and_a_map_is_merged() -> None:
    data, problems = overridden(
        {"HUB_SERVER__ALLOWED_ORIGINS": "[c]", "HUB_AUTH__JWT": "{secret: y, issuer: z}"}
    )
    assert problems == []
    assert data["server"]["allowed_origins"] == ["c"]
    assert data["auth"]["jwt"] == {"secret": "y", "algorithms": ["HS256"], "issuer": "z"}


def test_a_map_is_made_where_the_file_has_none_or_null() -> None:
    data, problems = overridden({"HUB_SERVER__INTERNAL__PORT": "9000", "HUB_TOPICS__A__B__C": "1"})
    assert problems == []
    assert data["server"]["internal"] == {"port": 9000}
    assert data["topics"] == {"a": {"b": {"c": 1}}}


def test_a_longer_path_refines_a_shorter_one() -> None:
    environ = {"HUB_SERVER__INTERNAL__PORT": "2", "HUB_SERVER__INTERNAL": "{host: a, port: 1}"}
    assert overridden(environ)[0]["server"]["internal"] == {"host": "a", "port": 2}


def test_overridden_values_stand_in_the_environment_and_the_rest_where_it_was() -> None:
    node, _ = apply(
        root(), overrides({"HUB_SERVER__PORT": "1", "HUB_AUTH__JWT": "{a: [b]}"}, SECTIONS), Path()
    )
    assert str(walk(node, ("server", "port")).place) == "environment variable HUB_SERVER__PORT"
    assert walk(node, ("server", "port")).node.place == Place("environment variable HUB_SERVER__PORT", 0, 0)
    assert str(walk(node, ("auth", "jwt", "a", 0)).place) == "environment variable HUB_AUTH__JWT"
    assert str(walk(node, ("server", "host")).place) == "hub.yaml:1:10"
    assert str(walk(node, ("auth", "jwt", "secret")).place) == "hub.yaml:2:14"
    assert str(walk(node, ("server",)).place) == "hub.yaml:1:1"


def test_an_overridden_value_shows_the_variable_and_keeps_its_text() -> None:
    node = walk(
        apply(root(), overrides({"HUB_AUTH__JWT__SECRET": "12345"}, SECTIONS), Path())[0],
        ("auth", "jwt", "secret"),
    )
    assert isinstance(node.node, ScalarNode)
    assert (node.node.text, node.node.value, node.node.written) == ("12345", 12345, "$HUB_AUTH__JWT__SECRET")


@pytest.mark.parametrize(
    ("variable", "message"),
    [
        (
            "HUB_SEVER__PORT",
            (
                "environment variable HUB_SEVER__PORT sever.port: there is no section `sever` to override. "
                "Did you mean HUB_SERVER__PORT? Sections: auth, broker, plugins, server, topics. "
                "If the variable is not for the hub, give it a name without `__`. (E109)"
            ),
        ),
        (
            "HUB_ZZZ__PORT",
            (
                "environment variable HUB_ZZZ__PORT zzz.port: there is no section `zzz` to override. "
                "Sections: auth, broker, plugins, server, topics. "
                "If the variable is not for the hub, give it a name without `__`. (E109)"
            ),
        ),
        *(
            (
                name,
                (
                    f"environment variable {name} {path}: a part of the variable's name is empty. "
                    "An override is named HUB_SECTION__KEY. (E109)"
                ),
            )
            for name, path in (
                ("HUB_SERVER__", 'server.""'),
                ("HUB___PORT", '"".port'),
                ("HUB_SERVER____PORT", 'server."".port'),
                ("HUB_SERVER___FILE", "server._file"),
            )
        ),
        (
            "HUB_SERVER__PORT__X",
            (
                "environment variable HUB_SERVER__PORT__X server.port.x: `server.port` (hub.yaml:1:19) is not a map, "
                "so nothing in it can be overridden. Override the whole value, or make it a map. (E109)"
            ),
        ),
        (
            "HUB_SERVER__ALLOWED_ORIGINS__0",
            (
                "environment variable HUB_SERVER__ALLOWED_ORIGINS__0 server.allowed_origins.0: "
                "`server.allowed_origins` (hub.yaml:1:47) is not a map, so nothing in it can be overridden. "
                "Override the whole value, or make it a map. (E109)"
            ),
        ),
    ],
)
def test_a_variable_that_leads_nowhere_is_a_problem_and_changes_nothing(variable: str, message: str) -> None:
    assert overridden({variable: "x"}) == (construct(root()), [message])


@pytest.mark.parametrize(
    ("variable", "text"), [("HUB_SERVER__HOST", "s3cret\udcff"), ("HUB_SERVER__\udcff", "x")]
)
def test_a_variable_that_is_not_utf_8_is_a_problem(variable: str, text: str) -> None:
    data, [problem] = overridden({variable: text})
    assert data == construct(root())
    assert "the variable's name or value is not UTF-8. Set it to UTF-8 text. (E109)" in problem
    assert "s3cret" not in problem


def test_a_key_given_twice_in_a_variable_is_a_problem() -> None:
    _, [problem] = overridden({"HUB_AUTH__JWT": "{a: 1, a: 2}"})
    assert problem.startswith(
        "environment variable HUB_AUTH__JWT auth.jwt.a: duplicate key `a`, for the second time."
    )


def test_a_name_of_very_many_parts_is_a_problem() -> None:
    _, [problem] = overridden({"HUB_SERVER" + "__X" * 10_000: "1"})
    assert "more than 64 parts" in problem


def test_two_variables_for_one_setting_are_a_problem(tmp_path: Path) -> None:
    (tmp_path / "s").write_text("x")
    data, problems = overridden({"HUB_AUTH__JWT__SECRET": "a", "HUB_AUTH__JWT__SECRET_FILE": "s"}, tmp_path)
    assert problems == [
        (
            "environment variable HUB_AUTH__JWT__SECRET_FILE auth.jwt.secret: "
            "the environment variable HUB_AUTH__JWT__SECRET sets the same setting. Unset one of the two. (E103)"
        )
    ]
    assert data["auth"]["jwt"]["secret"] == "a"
    assert len(overridden({"HUB_SERVER__PORT": "1", "HUB_server__port": "2"})[1]) == 1


def test_a_variable_ending_in_file_reads_the_value_from_the_file(tmp_path: Path) -> None:
    (tmp_path / "s").write_text("s3cret\n")
    (tmp_path / "p").write_text("9100\n")
    (tmp_path / "l").write_text("[not a list\n")
    environ = {
        "HUB_AUTH__JWT__SECRET_FILE": "s",
        "HUB_SERVER__PORT_FILE": str(tmp_path / "p"),
        "HUB_SERVER__HOST_FILE": "l",
    }
    data, problems = overridden(environ, tmp_path)
    assert problems == []
    assert data["auth"]["jwt"]["secret"] == "s3cret"
    assert data["server"]["port"] == 9100
    assert data["server"]["host"] == "[not a list"


def test_a_key_that_ends_in_file_in_the_configuration_is_set_itself() -> None:
    data, problems = overridden({"HUB_AUTH__SECRET_FILE": "/nonexistent"})
    assert problems == []
    assert data["auth"]["secret_file"] == "/nonexistent"


def test_a_file_that_cannot_be_read_is_a_problem(tmp_path: Path) -> None:
    _, problems = overridden({"HUB_AUTH__JWT__SECRET_FILE": "none"}, tmp_path)
    assert problems == [
        (
            "environment variable HUB_AUTH__JWT__SECRET_FILE auth.jwt.secret: "
            "the file named by HUB_AUTH__JWT__SECRET_FILE "
            f"cannot be read: there is no such file. Make sure that the hub can read {tmp_path / 'none'} "
            "and that it holds nothing but the value. (E105)"
        )
    ]


def test_a_list_or_map_that_cannot_be_read_is_a_problem_that_does_not_show_it() -> None:
    node, problems = apply(root(), overrides({"HUB_AUTH__JWT__SECRET": "{s3cret: ["}, SECTIONS), Path())
    [problem] = problems
    assert (problem.code, problem.path) == ("E100", "auth.jwt.secret")
    assert str(problem.place) == "environment variable HUB_AUTH__JWT__SECRET"
    assert "s3cret" not in str(problem)
    assert "put it in quotes" in problem.remedy
    found = walk(node, ("auth", "jwt", "secret")).node
    assert isinstance(found, ScalarNode)
    assert found.faulty


@given(
    environ=st.dictionaries(
        st.text(st.sampled_from("SERVrBOKPT_file0.- "), max_size=20).map(lambda name: f"HUB_{name}"),
        st.text(st.sampled_from("[]{}\"',: a1!&*\n\0é-#|>")) | st.text(),
    )
)
def test_no_environment_makes_overriding_raise(environ: dict[str, str]) -> None:
    node, problems = apply(root(), overrides(environ, SECTIONS), Path("/nonexistent"))
    construct(node)
    assert all(str(problem).isprintable() for problem in problems)
