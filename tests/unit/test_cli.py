"""The command `hub`: what it prints where, its exit statuses, and what it says when something is wrong."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from hub import __version__
from hub.auth.api_keys import ApiKeys, hashed
from hub.auth.tokens import TokenVerifier, sign, weak_secret
from hub.cli import SECTIONS, commands, run
from hub.cli.banner import welcome
from hub.cli.outcome import outcome
from hub.cli.talk import style, table
from hub.errors import BrokerError, HubError, StoreError
from hub.loader.compose import compose
from hub.serving.develop import Serving
from hub.settings.load import load
from hub.settings.schema import json_schema
from tests.unit.auth.forging import verifier_with

SECRET = "a-secret-for-tests-of-commands-0123456789abcdef"
CONFIG = f"""
version: 1
auth: {{jwt: {{secret: "{SECRET}"}}}}
topics:
  "open:{{name}}": {{allow: {{subscribe: anyone, publish: anyone}}}}
"""
NAMES = [name for section in SECTIONS.values() for name in section]


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An empty folder, an environment that says nothing to the hub, and logging as it was afterwards."""
    monkeypatch.chdir(tmp_path)
    for name in ("HUB_CONFIG", "HUB_URL", "HUB_API_KEY", "HUB_TOKEN", "HUB_JWT_SECRET", "HUB_DEBUG"):
        monkeypatch.delenv(name, raising=False)
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "hub.yaml"
    path.write_text(CONFIG)
    return path


def leaves(group: click.Command, *above: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command with its words, groups included."""
    context = click.Context(group)
    if not isinstance(group, click.Group):
        return
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield (*above, name), command
        yield from leaves(command, *above, name)


class TestHelp:
    def test_hub_alone_is_help(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert run([]) == 0
        alone = capsys.readouterr().out
        assert run(["--help"]) == 0
        assert capsys.readouterr().out == alone
        for section, named in SECTIONS.items():
            assert f"\n{section}:\n" in alone
            for name, sentence in named.items():
                assert f"  {name} " in alone
                assert sentence in alone
        assert max(map(len, alone.splitlines())) <= 80

    def test_it_imports_neither_server_nor_database_nor_models(self) -> None:
        heavy = "starlette uvicorn sqlmodel sqlalchemy redis pydantic jose httpx2 msgspec asyncio"
        found = f"print([name for name in '{heavy}'.split() if name in sys.modules])"
        program = f"import sys; from hub.cli import run; run(['--help']); {found}"
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        assert done.stdout.splitlines()[-1] == "[]"

    @pytest.mark.parametrize("name", NAMES)
    def test_every_command_has_help_with_an_example(
        self, name: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert run([name, "--help"]) == 0
        assert f"Example: hub {name}" in capsys.readouterr().out

    def test_every_command_and_option_has_a_sentence(self) -> None:
        for words, command in leaves(commands):
            assert command.help, words
            for option in command.params:
                if isinstance(option, click.Option) and not option.hidden:
                    assert option.help, (words, option.name)

    def test_every_command_shows_tracebacks_when_asked(self) -> None:
        for words, command in leaves(commands):
            if not isinstance(command, click.Group):
                assert "debug" in {option.name for option in command.params}, words

    def test_the_version_is_told(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert run(["--version"]) == 0
        assert __version__ in capsys.readouterr().out

    @pytest.mark.parametrize(
        ("line", "meant"),
        [(["srve"], "serve"), (["subscrib", "x"], "subscribe"), (["serve", "--prot", "1"], "--port")],
    )
    def test_a_misspelt_word_is_answered_with_the_nearest(
        self, line: list[str], meant: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert run(line) == 2
        assert meant in capsys.readouterr().err


class TestOutcome:
    @pytest.mark.parametrize(
        ("error", "status", "told"),
        [
            (HubError("no luck"), 1, "error: no luck\n"),
            (StoreError("database x is away"), 1, "error: database x is away. (E301)\n"),
            (BrokerError("redis is away"), 1, "error: redis is away. (E210)\n"),
            (PermissionError(13, "Permission denied", "/srv/x"), 1, "error: /srv/x: Permission denied\n"),
            (KeyboardInterrupt(), 130, ""),
            (click.Abort(), 130, ""),
        ],
    )
    def test_errors_are_one_line_and_a_status(
        self, error: BaseException, status: int, told: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert outcome(raising(error)) == status
        said = capsys.readouterr()
        assert said.err == told
        assert said.out == ""

    def test_a_fault_of_the_hub_has_a_traceback_only_when_asked(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert outcome(raising(KeyError("x"))) == 1
        told = capsys.readouterr().err
        assert "KeyError" in told
        assert "--debug" in told
        assert "Traceback" not in told
        monkeypatch.setenv("HUB_DEBUG", "1")
        assert outcome(raising(KeyError("x"))) == 1
        assert "Traceback" in capsys.readouterr().err

    def test_a_reader_that_goes_away_is_no_traceback(self) -> None:
        program = "import os, sys; from hub.cli import run; os.read(0, 1); sys.exit(run(['config']))"
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        with subprocess.Popen([sys.executable, "-c", program], **pipes) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdout.close()
            process.stdin.close()
            assert process.wait(20) == 1
            assert process.stderr is not None
            assert process.stderr.read() == b""


def raising(error: BaseException) -> Callable[[], None]:
    """Work that ends with an error."""

    def work() -> None:
        raise error

    return work


class TestTalk:
    class Terminal:
        def isatty(self) -> bool:
            return True

    def test_colours_are_for_terminals_whose_user_wants_them(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.delenv("NO_COLOR", raising=False)
        terminal: Any = self.Terminal()
        assert style("x", stream=terminal, bold=True) != "x"
        assert style("x", stream=sys.__stdin__, bold=True) == "x"
        monkeypatch.setenv("NO_COLOR", "1")
        assert style("x", stream=terminal, bold=True) == "x"

    def test_columns_are_as_wide_as_they_need_to_be(self) -> None:
        assert table(("A", "B"), [("long", "1"), ("x", "")]) == ["A     B", "long  1", "x"]


class TestCheck:
    def test_a_good_configuration_is_counted(self, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert run(["check"]) == 0
        said = capsys.readouterr()
        assert said.out == "hub.yaml: ok (1 topic, 0 plugins, 0 handlers)\n"
        assert said.err == ""

    def test_every_mistake_is_a_line_on_standard_error(
        self, config: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        config.write_text(CONFIG + "server: {prot: 1}\nplugins: {chatt: {}}\n")
        assert run(["check"]) == 3
        said = capsys.readouterr()
        assert said.out == ""
        first, second, last = said.err.splitlines()
        assert first.startswith("hub.yaml:6:")
        assert "E101" in first
        assert "`port`" in first
        assert second.startswith("hub.yaml:7:")
        assert last == "2 problems found."

    def test_json_has_place_code_and_remedy_of_each(
        self, config: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        config.write_text(CONFIG + "server: {prot: 1}\n")
        assert run(["check", "--json"]) == 3
        told = json.loads(capsys.readouterr().out)
        assert told["ok"] is False
        (problem,) = told["problems"]
        assert (problem["code"], problem["source"], problem["line"], problem["path"]) == (
            "E101",
            "hub.yaml",
            6,
            "server.prot",
        )
        assert "port" in problem["remedy"]

    def test_warnings_count_when_strict(self, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
        config.write_text(CONFIG + 'server: {allowed_origins: ["*"]}\n')
        assert run(["check"]) == 0
        said = capsys.readouterr()
        assert said.err.startswith("warning: hub.yaml:6:")
        assert "ok" in said.out
        assert run(["check", "--strict"]) == 3

    def test_the_configuration_is_the_option_else_the_variable_else_the_file_here(
        self,
        config: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        for name in ("a.yaml", "b.yaml"):
            (tmp_path / name).write_text(CONFIG)
        assert run(["check"]) == 0
        assert capsys.readouterr().out.startswith("hub.yaml: ok")
        monkeypatch.setenv("HUB_CONFIG", "a.yaml")
        assert run(["check"]) == 0
        assert capsys.readouterr().out.startswith("a.yaml: ok")
        assert run(["check", "--config", "b.yaml"]) == 0
        assert capsys.readouterr().out.startswith("b.yaml: ok")

    @pytest.mark.parametrize("name", ["check", "serve", "migrate", "token create --sub ann"])
    def test_without_any_configuration_the_way_out_is_told(
        self, name: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert run(name.split()) == 2
        told = capsys.readouterr().err
        assert "--config" in told
        assert "hub config > hub.yaml" in told


class TestConfigAndSchema:
    def test_the_printed_configuration_passes_the_check(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert run(["config"]) == 0
        (tmp_path / "hub.yaml").write_text(capsys.readouterr().out)
        monkeypatch.setenv("HUB_JWT_SECRET", SECRET)
        assert run(["check"]) == 0, capsys.readouterr().err

    def test_the_schema_is_that_of_the_settings(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert run(["schema", "config"]) == 0
        assert json.loads(capsys.readouterr().out) == json_schema()

    def test_a_configuration_with_mistakes_has_a_schema_all_the_same(
        self, config: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        config.write_text(CONFIG + "plugins: {nosuch: {}}\n")
        assert run(["schema", "config"]) == 0
        said = capsys.readouterr()
        assert json.loads(said.out) == json_schema()
        assert "hub check" in said.err

    def test_the_manifest_has_a_schema_too(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert run(["schema", "plugin"]) == 0
        assert "api" in json.loads(capsys.readouterr().out)["required"]


def verifier(**changes: Any) -> TokenVerifier:
    """What a hub with the tests' secret verifies tokens with."""
    return verifier_with(time.time, **({"secret": SECRET, "leeway": 0.0} | changes))


class TestToken:
    def test_the_token_is_all_there_is_on_standard_output(
        self, config: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert run(["token", "create", "--sub", "ann", "--topics", "chat:*, news:{sub}", "--ttl", "2h"]) == 0
        said = capsys.readouterr()
        identity = verifier().verify_connection(said.out.removesuffix("\n"))
        assert identity.user == "ann"
        assert set(identity.topics) == {"chat:*", "news:{sub}"}
        assert identity.expires_at is not None
        assert abs(identity.expires_at - time.time() - 7_200) < 5
        assert "ann   (the user)" in said.err

    def test_claims_and_topics_to_subscribe_to_are_in_it(
        self, config: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        line = [
            "token",
            "create",
            "--sub",
            "ann",
            "--channels",
            "open:a,open:b",
            "--claims",
            '{"role": "editor"}',
        ]
        assert run(line) == 0
        identity = verifier().verify_connection(capsys.readouterr().out.strip())
        assert identity.has_role("editor")
        assert set(identity.subs) == {"open:a", "open:b"}

    def test_audience_and_issuer_are_those_the_hub_asks_for(
        self, config: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        config.write_text(CONFIG.replace("jwt: {", "jwt: {audience: hub, issuer: me, "))
        assert run(["token", "create", "--sub", "ann"]) == 0
        assert (
            verifier(audience="hub", issuer="me").verify_connection(capsys.readouterr().out.strip()).user
            == "ann"
        )

    @pytest.mark.parametrize(
        "line",
        [
            ["--ttl", "soon"],
            ["--ttl", "0"],
            ["--claims", "[1]"],
            ["--claims", "{"],
            ["--claims", '{"topics": 5}'],
            ["--topics", "{bad"],
            ["--channels", "a" * 300],
        ],
    )
    def test_what_the_hub_would_refuse_is_not_made(
        self, line: list[str], config: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert run(["token", "create", "--sub", "ann", *line]) == 2
        assert capsys.readouterr().out == ""

    def test_a_good_token_is_explained(self, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
        token = sign({"sub": "ann", "exp": int(time.time()) + 90, "x": "\x1b[31m"}, SECRET)
        assert run(["token", "check", token]) == 0
        said = capsys.readouterr()
        assert "expires" in said.out
        assert "in 8" in said.out or "in 90 s" in said.out
        assert "\x1b" not in said.out
        assert said.err == "accepted\n"

    @pytest.mark.parametrize(
        ("claims", "secret", "why"),
        [
            ({"sub": "ann", "exp": 1_000}, SECRET, "`exp` has passed"),
            ({"sub": "ann", "exp": 2**33}, SECRET[::-1], "signature"),
            ({"sub": "ann"}, SECRET, "no `exp`"),
            ({"sub": 5, "exp": 2**33}, SECRET, "`sub` must be a string"),
        ],
    )
    def test_a_bad_one_is_refused_with_the_reason(
        self, claims: dict[str, Any], secret: str, why: str, config: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert run(["token", "check", sign(claims, secret)]) == 1
        said = capsys.readouterr()
        assert why in said.err
        assert "sub" in said.out

    @pytest.mark.parametrize("text", ["", "abc", "a.b.c", "....", "\u20ac.x.y", "e30.W10.x"])
    def test_what_is_no_token_is_refused_like_one(
        self, text: str, config: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert run(["token", "check", text]) == 1
        assert "refused" in capsys.readouterr().err

    def test_a_secret_is_a_good_one_and_never_the_same(self, capsys: pytest.CaptureFixture[str]) -> None:
        made = set()
        for _ in range(3):
            assert run(["token", "secret"]) == 0
            made.add(capsys.readouterr().out.strip())
        assert len(made) == 3
        assert not any(map(weak_secret, made))

    def test_an_api_key_is_two_lines_the_key_and_what_the_configuration_may_hold(
        self, config: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        made = set()
        for _ in range(3):
            assert run(["token", "api-key"]) == 0
            key, stored = capsys.readouterr().out.splitlines()
            assert weak_secret(key) is None
            made.add(key)
        assert len(made) == 3
        config.write_text(CONFIG.replace("auth: {", f'auth: {{api_keys: {{shop: {{key: "{stored}"}}}}, '))
        keys = {"shop": (load(config, {}).settings.auth.api_keys["shop"].key.get_secret_value(), ["*"])}
        assert ApiKeys(keys).find(key) is not None
        assert run(["check"]) == 0
        said = capsys.readouterr()
        assert stored not in said.out + said.err

    def test_check_warns_of_a_key_that_has_ended(
        self, config: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        ended = f'auth: {{api_keys: {{shop: {{key: "{hashed("k")}", until: "2020-01-01T00:00:00Z"}}}}, '
        config.write_text(CONFIG.replace("auth: {", ended))
        assert run(["check"]) == 0
        assert "auth.api_keys.shop.until: the key has ended" in capsys.readouterr().err


class TestMigrate:
    @pytest.fixture
    def notes(self, config: Path, tmp_path: Path) -> None:
        (tmp_path / "notes/migrations").mkdir(parents=True)
        (tmp_path / "notes/plugin.yaml").write_text("name: notes\napi: 1\nmigrations: migrations\n")
        (tmp_path / "notes/migrations/m0001_notes.py").write_text(
            "import sqlalchemy as sa\nfrom alembic import op\n\nrevision = '0001'\ndown_revision = None\n\n\n"
            "def upgrade():\n    op.create_table('notes_note', sa.Column('id', sa.Integer, primary_key=True))\n"
        )
        config.write_text(CONFIG + "plugins: {notes: {use: ./notes}}\n")

    @pytest.mark.usefixtures("notes")
    def test_each_revision_is_a_line_and_check_tells_what_is_missing(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert run(["migrate", "--check"]) == 1
        said = capsys.readouterr()
        assert "notes  -      0001   behind" in said.out
        assert "hub migrate" in said.err
        assert not (tmp_path / "hub.db").exists()
        assert run(["migrate"]) == 0
        assert capsys.readouterr().out == "hub 0001\nnotes 0001\n"
        assert run(["migrate"]) == 0
        assert capsys.readouterr().out == ""
        assert run(["migrate", "--check"]) == 0

    @pytest.mark.usefixtures("notes")
    def test_json_is_for_machines(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert run(["migrate", "--json"]) == 0
        assert json.loads(capsys.readouterr().out) == [
            {"owner": "hub", "revision": "0001"},
            {"owner": "notes", "revision": "0001"},
        ]
        assert run(["migrate", "--check", "--json"]) == 0
        assert {"owner": "notes", "current": "0001", "head": "0001", "ok": True} in json.loads(
            capsys.readouterr().out
        )


class TestPlugins:
    def test_those_that_are_on_off_or_only_installed_are_listed(
        self, config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "greeter").mkdir()
        (tmp_path / "greeter/plugin.yaml").write_text(
            'name: greeter\napi: 1\nversion: "2.5"\ntopics:\n  "greet:{who}": {handlers: {publish: "handlers:reply"}}\n'
        )
        config.write_text(
            CONFIG + "plugins: {chat: {enabled: false}, greeter: {use: ./greeter}, lost: {use: ./lost}}\n"
        )
        assert run(["plugins", "--json"]) == 0
        rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
        assert rows["greeter"]["state"] == "on"
        assert rows["greeter"]["version"] == "2.5"
        assert (rows["greeter"]["topics"], rows["greeter"]["handlers"]) == (1, 1)
        assert rows["chat"]["state"] == "off"
        assert rows["dashboards"]["state"] == "installed"
        assert rows["lost"]["state"] == "broken"

    def test_what_is_not_on_comes_with_the_line_to_paste(
        self, config: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert run(["plugins"]) == 0
        said = capsys.readouterr()
        assert said.out.splitlines()[0].split() == [
            "NAME",
            "VERSION",
            "SOURCE",
            "STATE",
            "TOPICS",
            "HANDLERS",
        ]
        pasted = said.err[said.err.index("  chat: {}") :]
        assert set(yaml.safe_load(pasted)) == {"chat", "dashboards", "notifications"}

    def test_it_needs_no_configuration(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert run(["plugins"]) == 0
        assert "chat" in capsys.readouterr().out

    def test_a_new_one_passes_the_check_once_its_lines_are_pasted(
        self, config: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert run(["plugins", "new", "polls"]) == 0
        said = capsys.readouterr().err
        pasted = said[said.index("  plugins:") : said.index("\n\nThen")]
        config.write_text(CONFIG + "\n".join(line[2:] for line in pasted.splitlines()) + "\n")
        assert run(["check"]) == 0, capsys.readouterr().err
        assert run(["plugins", "new", "polls"]) == 2
        assert "exists" in capsys.readouterr().err

    @pytest.mark.parametrize("name", ["9lives", "Chat", "a-b", "publish", "../x"])
    def test_a_name_that_no_plugin_can_have_is_refused(self, name: str, tmp_path: Path) -> None:
        assert run(["plugins", "new", name]) == 2
        assert not (tmp_path / "plugins").exists()


class TestBanner:
    def banner(self, config: Path, more: str, **changes: Any) -> str:
        config.write_text(CONFIG + more)
        blueprint = compose(load(config, {}), "dev")
        return welcome(Serving(config, blueprint, 8123, 9123, first=True)._replace(**changes))

    def test_passwords_in_addresses_are_not_shown(self, config: Path) -> None:
        text = self.banner(
            config,
            'broker: {url: "redis://me:s3cret@cache:6379/1"}\ndatabase: {url: "postgresql://me:s3cret@db/hub"}\n',
        )
        assert "s3cret" not in text
        assert "redis://cache:6379/1" in text

    def test_the_line_to_try_has_a_key_where_one_is_needed(self, config: Path) -> None:
        key = "0123456789abcdef0123456789"
        keys = f'auth: {{api_keys: {{dev: {{key: "{key}"}}}}, '
        config.write_text(CONFIG.replace("auth: {", keys) + "  lobby: {allow: {publish: nobody}}\n")
        text = welcome(Serving(config, compose(load(config, {}), "dev"), 8123, 0, first=True))
        assert f"--api-key {key}" in text
        assert "/api/{method}" in text

    @pytest.mark.parametrize("more", ["", ", until: '2020-01-01T00:00:00Z'"])
    def test_a_key_that_is_not_known_or_has_ended_is_not_to_be_tried(self, more: str, config: Path) -> None:
        key = "0123456789abcdef0123456789" if more else hashed("0123456789abcdef0123456789")
        keys = f'auth: {{api_keys: {{dev: {{key: "{key}"{more}}}}}, '
        config.write_text(CONFIG.replace("auth: {", keys) + "  lobby: {allow: {publish: nobody}}\n")
        text = welcome(Serving(config, compose(load(config, {}), "dev"), 8123, 0, first=True))
        assert key not in text
        assert "Try" not in text

    def test_where_nobody_may_publish_nothing_is_to_be_tried(self, config: Path) -> None:
        assert "Try" not in self.banner(config, "")

    def test_a_later_start_is_one_line(self, config: Path) -> None:
        assert self.banner(config, "", first=False) == "Serving again on http://127.0.0.1:8123/"
