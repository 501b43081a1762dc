from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hub.settings.load import Loaded, load
from hub.settings.problem import ConfigError


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def write(text: str, **environ: str) -> Loaded:
        (tmp_path / "hub.yaml").write_text(text)
        return load(tmp_path / "hub.yaml", environ)

    return write


def told(loaded: Loaded) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        _ = loaded.settings
    return [str(problem) for problem in raised.value.problems]


def test_without_a_file_the_defaults_hold() -> None:
    loaded = load(None, {})
    assert (loaded.settings.server.port, loaded.path, loaded.folder) == (8000, None, Path())


def test_an_empty_file_is_the_defaults(write: Any) -> None:
    assert write("# nothing yet\n").settings == load(None, {}).settings


def test_environment_wins_over_the_file_and_the_caller_over_both(tmp_path: Path) -> None:
    (tmp_path / "hub.yaml").write_text("server: {host: a, port: 1, workers: 2}\n")
    environ = {"HUB_SERVER__PORT": "2", "HUB_SERVER__WORKERS": "3"}
    server = load(tmp_path / "hub.yaml", environ, overlay={"server": {"workers": 4}}).settings.server
    assert (server.host, server.port, server.workers) == ("a", 2, 4)


def test_the_overlay_adds_to_maps_and_replaces_lists() -> None:
    overlay = {"topics": {"a:b": {}}, "server": {"allowed_origins": ["http://a.example"]}}
    environ = {"HUB_TOPICS__C:D": "{}", "HUB_SERVER__ALLOWED_ORIGINS": '["http://c.example"]'}
    settings = load(None, environ, overlay=overlay).settings
    assert set(settings.topics) == {"a:b", "c:d"}
    assert settings.server.allowed_origins == ["http://a.example"]


def test_a_mistake_in_the_overlay_is_told_as_the_command_lines() -> None:
    loaded = load(None, {}, overlay={"server": {"port": "x"}})
    assert told(loaded)[0].startswith('the command line server.port: found the text "x"')


@pytest.mark.parametrize("written", ["${VALUE}", '"${VALUE}"', "'${VALUE}'"])
def test_what_comes_from_the_environment_is_taken_as_its_place_wants_it(write: Any, written: str) -> None:
    text = f"""
server:
  port: {written}
  host: {written}
client:
  ping: {written}
  message_bytes: {written}
"""
    settings = write(text, VALUE="8123").settings
    assert (settings.server.port, settings.server.host) == (8123, "8123")
    assert (settings.client.ping, settings.client.message_bytes) == (8123.0, 8123)


@pytest.mark.parametrize(
    "secret", ["12345678901234567890123456789012", "0x1F", "1e3", "true", "null", "0815", ""]
)
def test_a_secret_from_the_environment_is_text_whatever_it_looks_like(write: Any, secret: str) -> None:
    jwt = write("auth:\n  jwt:\n    secret: ${SECRET}\n", SECRET=secret).settings.auth.jwt
    assert (jwt.secret.get_secret_value() if jwt.secret else "") == (secret if secret != "null" else "")


@pytest.mark.parametrize(("text", "value"), [("true", True), ("false", False)])
def test_a_boolean_from_the_environment_is_a_boolean_with_quotes_and_without(
    write: Any, text: str, value: bool
) -> None:
    assert write('auth: {anonymous: "${A}"}\n', A=text).settings.auth.anonymous is value
    assert write("", HUB_AUTH__ANONYMOUS=text).settings.auth.anonymous is value


@pytest.mark.parametrize("text", ["yes", "1", "on", "True!"])
def test_words_that_are_no_boolean_stay_mistakes_when_they_come_from_the_environment(
    write: Any, text: str
) -> None:
    assert "where true or false is needed" in told(write("auth:\n  anonymous: ${A}\n", A=text))[0]


def test_values_from_outside_and_secrets_are_never_shown(write: Any) -> None:
    text = """
        server: {port: "${LEAK}", allowed_origins: ["${LEAK}"], drain: "${LEAK}"}
        auth: {jwt: {secret: [leaked-1234], algorithms: ["${LEAK}"]}, api_keys: {a: {key: 123456789}}}
        database: {url: {leaked-1234: leaked-1234}}
        topics: {"a:b": {allow: {subscribe: "${LEAK}"}}}
    """
    lines = told(write(text, LEAK="leaked-1234", HUB_CLIENT__PING="leaked-1234"))
    assert len(lines) == 9
    assert "leaked-1234" not in "\n".join(lines)
    assert "123456789" not in "\n".join(lines)
    assert "the text of ${LEAK}" in lines[0]


def test_an_unknown_override_is_told_with_its_variable(write: Any) -> None:
    lines = told(write("", HUB_SERVER__PROT="1", HUB_SERVR__PORT="2"))
    assert lines[0].startswith(
        "environment variable HUB_SERVER__PROT server.prot: unknown setting. Did you mean"
    )
    assert "(E109)" in lines[1]


def test_a_file_that_is_missing_is_one_problem(tmp_path: Path) -> None:
    lines = told(load(tmp_path / "none.yaml", {}))
    assert len(lines) == 1
    assert "(E108)" in lines[0]


def test_what_remains_is_everything_that_is_not_wrong(write: Any) -> None:
    loaded = write(
        "server: {port: x, workers: 3}\ntopics: {'a:b': {presence: maybe}, 'c:d': {}}\nbroker: 3\n"
    )
    assert len(told(loaded)) == 3
    assert loaded.remains.server.workers == 3
    assert set(loaded.remains.topics) == {"a:b", "c:d"}


def test_a_mistake_behind_a_mistake_is_told_in_the_same_run(write: Any) -> None:
    text = "topics: {'a:b': {max_bytes: x, history: {ttl: 2d, meta_ttl: 1h}, presence: 1}}\n"
    assert [line.split(": ")[0].split()[-1] for line in told(write(text))] == [
        "topics.a:b.max_bytes",
        "topics.a:b.history",
        "topics.a:b.presence",
    ]


def test_what_follows_from_a_mistake_only_is_not_told(write: Any) -> None:
    lines = told(
        write("topics: {'a:b': {history: {ttl: 2d, meta_ttl: x}}}\nauth: {api_keys: {a: {key: '${NONE}'}}}\n")
    )
    assert ["meta_ttl" in lines[0], "(E105)" in lines[1], len(lines)] == [True, True, 2]
