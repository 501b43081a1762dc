from __future__ import annotations

from pathlib import Path

import pytest

from hub.loader.compose import compose
from hub.loader.dev import dev_overlay, kept_secret, load_dev
from hub.settings.problem import ConfigError
from tests.unit.loader.conftest import Files

CATCH_ALL = "{topic:rest}"


def test_the_secret_is_kept_and_readable_by_its_owner_only(tmp_path: Path) -> None:
    secret = kept_secret(tmp_path / ".hub")
    assert len(secret) >= 32
    assert kept_secret(tmp_path / ".hub") == secret
    assert (tmp_path / ".hub/secret").stat().st_mode & 0o777 == 0o600
    assert kept_secret(tmp_path / "other") != secret


def test_only_the_state_folder_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    load_dev(None, {})
    assert [path.name for path in tmp_path.iterdir()] == [".hub"]
    assert {path.name for path in (tmp_path / ".hub").iterdir()} == {".gitignore", "secret"}


def test_without_a_file_everything_is_open(tmp_path: Path) -> None:
    settings = load_dev(None, {}, state=tmp_path).settings
    assert settings.auth.anonymous is True
    assert settings.auth.jwt.secret is not None
    assert settings.database.url == f"sqlite:///{tmp_path}/dev.db"
    assert {"chat", "dashboards", "notifications"} <= set(settings.plugins)
    topic = settings.topics[CATCH_ALL]
    assert topic.history is not None
    assert (topic.history.size, topic.history.ttl, topic.presence, topic.join_leave) == (
        100,
        300.0,
        True,
        True,
    )
    assert topic.allow is not None
    assert topic.allow.publish == topic.allow.history == ["anyone"]
    assert "http://localhost:5173" in settings.server.allowed_origins


def test_a_file_is_only_filled_up(files: Files, tmp_path: Path) -> None:
    text = """
auth: {anonymous: false, jwt: {secret: my-own-secret}}
server: {allowed_origins: []}
database: {url: "sqlite:///mine.db"}
topics: {"{everything:rest}": {}}
plugins: {greeter: {use: ./greeter}}
"""
    settings = load_dev(files({"hub.yaml": text}) / "hub.yaml", {}, state=tmp_path / "s").settings
    assert settings.auth.anonymous is False
    assert settings.auth.jwt.secret is not None
    assert settings.auth.jwt.secret.get_secret_value() == "my-own-secret"
    assert (settings.server.allowed_origins, settings.database.url) == ([], "sqlite:///mine.db")
    assert (set(settings.topics), set(settings.plugins)) == ({"{everything:rest}"}, {"greeter"})


def test_a_file_gets_what_it_does_not_say(files: Files, tmp_path: Path) -> None:
    settings = load_dev(
        files({"hub.yaml": "topics: {'a:b': {}}\n"}) / "hub.yaml", {}, state=tmp_path / "s"
    ).settings
    assert settings.auth.anonymous is True
    assert set(settings.topics) == {"a:b", CATCH_ALL}
    assert settings.plugins == {}


def test_the_usual_variable_has_a_value_in_development(files: Files, tmp_path: Path) -> None:
    folder = files({"hub.yaml": 'auth: {jwt: {secret: "${HUB_JWT_SECRET}"}}\n'})
    for environ, secret in (({}, kept_secret(tmp_path / "s")), ({"HUB_JWT_SECRET": "given"}, "given")):
        jwt = load_dev(folder / "hub.yaml", environ, state=tmp_path / "s").settings.auth.jwt
        assert jwt.secret is not None
        assert jwt.secret.get_secret_value() == secret


def test_the_environment_wins_over_what_development_adds(tmp_path: Path) -> None:
    environ = {
        "HUB_AUTH__ANONYMOUS": "false",
        "HUB_DATABASE__URL": "sqlite://",
        "HUB_PLUGINS__CHAT__ENABLED": "false",
    }
    settings = load_dev(None, environ, state=tmp_path).settings
    assert (settings.auth.anonymous, settings.database.url) == (False, "sqlite://")
    assert settings.plugins["chat"].enabled is False
    assert settings.plugins["dashboards"].enabled is True


def test_mistakes_are_told_in_development_too_except_weak_secrets(files: Files, tmp_path: Path) -> None:
    folder = files({"hub.yaml": "auth: {jwt: {secret: x}, api_keys: {a: {key: z}}}\n"})
    assert compose(load_dev(folder / "hub.yaml", {}, state=tmp_path / "s"), "dev").plugins == ()
    with pytest.raises(ConfigError, match="E160"):
        compose(load_dev(folder / "hub.yaml", {}, state=tmp_path / "s"), "serve")
    files({"hub.yaml": "auth: {jwt: {secrte: x}}\n"})
    with pytest.raises(ConfigError, match="E101"):
        compose(load_dev(folder / "hub.yaml", {}, state=tmp_path / "s"), "dev")


def test_a_public_key_needs_no_secret() -> None:
    overlay = dev_overlay({"auth": {"jwt": {"public_key": "x"}}}, secret="s", plugins=(), state=Path("s"))
    assert "jwt" not in overlay["auth"]


def test_data_of_any_shape_is_bearable() -> None:
    given = {"auth": 3, "topics": ["a"], "server": {"allowed_origins": None}, "plugins": {"chat": None}}
    overlay = dev_overlay(given, secret="s", plugins=["chat"], state=Path("s"))
    assert overlay["plugins"] == {"chat": {}}
