"""`hub config show`: the configuration in force, where each value comes from, and nothing secret."""

from __future__ import annotations

import base64
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from hub.cli import run
from hub.loader.compose import compose
from hub.settings import masking
from hub.settings.example import ORDER, example_yaml
from hub.settings.load import load
from hub.settings.masking import Masks
from hub.settings.model import Settings

SECRET = "7VbWq2nZ0uXj5rTgKc8sLd3hYf6eMa1p-not-to-be-seen"
PLUGIN = {
    "shop/plugin.yaml": """
        name: shop
        api: 1
        settings: "settings:ShopSettings"
        """,
    "shop/settings.py": """
        from dataclasses import dataclass
        from typing import Annotated

        from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretBytes, SecretStr

        from hub.plugin import FromFile

        class Account(BaseModel):
            user: str
            password: SecretStr

        def account(value):
            return dict(zip(("user", "password"), value.split(":"))) if isinstance(value, str) else value

        class Menu(BaseModel):
            soup: int

        # The hub then knows another text than the one that was given, by which it cannot find that again.
        Turned = Annotated[SecretStr, AfterValidator(lambda value: SecretStr(value.get_secret_value()[::-1]))]

        @dataclass
        class Till:
            number: int
            pin: Turned

        class ShopSettings(BaseModel):
            model_config = ConfigDict(extra="forbid")
            token: SecretStr | None = None
            raw: SecretBytes | None = None
            unpacked: Annotated[SecretStr, AfterValidator(lambda value: value.get_secret_value())] = ""
            many: dict[str, SecretStr] = {}
            pairs: tuple[SecretStr, int] | None = None
            by_token: dict[Turned, str] = {}
            deep: list[dict[str, list[Account]]] = []
            main: Annotated[Account, BeforeValidator(account)] | None = None
            till: Till | None = None
            preset: SecretStr = Field(SecretStr("preset-secret-of-the-code"))
            search: str = "http://localhost"
            label: str = "none"
            copy_of: str = ""
            limit: float = 1.5
            menu: Annotated[Menu, FromFile()] | None = None
        """,
    "menu.yaml": "soup: 4",
}


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An empty folder, an environment that says nothing to the hub, and Python's path as it was afterwards."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("HUB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if "pytest-of" in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def written(text: str) -> None:
    Path("hub.yaml").write_text(dedent(text))
    for name, content in PLUGIN.items():
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text(dedent(content))


def shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    status = run(["config", "show", *arguments])
    said = capsys.readouterr()
    assert said.err == ""
    assert status == 0
    return said.out


def settings(capsys: pytest.CaptureFixture[str], given: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """What is shown of the settings of the plugin, and everything that was printed."""
    plugins = {"shop": {"use": "./shop", "settings": given}}
    written(json.dumps({"auth": {"anonymous": True}, "plugins": plugins}))
    out = shown(capsys) + shown(capsys, "--json") + shown(capsys, "--json", "--origin")
    whole = yaml.safe_load(shown(capsys))
    assert whole == json.loads(shown(capsys, "--json"))
    found: dict[str, Any] = whole["plugins"]["shop"]["settings"]
    return found, out


class TestOrigins:
    CONFIG = """\
        version: 1
        server:
          port: 9100
          host: ${HOST}
          internal: {port: 9000}
        auth: {anonymous: true}
        topics:
          "news:{section}":
            allow: {subscribe: anyone}
            history: {ttl: 1h}
        plugins:
          shop:
            use: ./shop
            settings:
              limit: "${LIMIT}"
              label: ${LABEL}
        """

    @pytest.fixture(autouse=True)
    def _given(self, monkeypatch: pytest.MonkeyPatch) -> None:
        written(self.CONFIG)
        given = {"HOST": "0.0.0.0", "LIMIT": "2", "LABEL": "12345"}  # noqa: S104 - nothing listens
        given |= {
            "HUB_SERVER__DRAIN": "3s",
            "HUB_CLIENT__PING": "20",
            "HUB_SERVER__INTERNAL__HOST": "127.0.0.2",
        }
        given |= {
            "HUB_SERVER__ALLOWED_ORIGINS": '["https://a.example"]',
            "HUB_PLUGINS__SHOP__SETTINGS__SEARCH": "x",
        }
        for name, value in given.items():
            monkeypatch.setenv(name, value)

    def test_each_value_stands_with_the_file_the_variable_or_the_default_that_it_is_from(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        lines = shown(capsys, "--origin").splitlines()
        for line in (
            "version: 1  # hub.yaml:1:10",
            "  port: 9100  # hub.yaml:3:9",
            "  host: 0.0.0.0  # hub.yaml:4:9",
            "    port: 9000  # hub.yaml:5:20",
            "    host: 127.0.0.2  # HUB_SERVER__INTERNAL__HOST",
            "  drain: 3s  # HUB_SERVER__DRAIN",
            '  allowed_origins: ["https://a.example"]  # HUB_SERVER__ALLOWED_ORIGINS',
            "  workers: 1  # default",
            "  ping: 20  # HUB_CLIENT__PING",
            "  message_bytes: 64KiB  # default",
            "      subscribe: anyone  # hub.yaml:9:24",
            "      ttl: 1h  # hub.yaml:10:20",
            "      limit: 2  # hub.yaml:15:14",
            '      label: "12345"  # hub.yaml:16:14',
            "      search: x  # HUB_PLUGINS__SHOP__SETTINGS__SEARCH",
            "      many: {}  # default",
        ):
            assert line in lines, line
        assert all("  # " in line or line.endswith(":") for line in lines)

    def test_without_origins_the_values_are_the_same_and_have_no_comments(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        out = shown(capsys)
        assert "#" not in out
        assert yaml.safe_load(out) == yaml.safe_load(shown(capsys, "--origin"))

    def test_json_has_the_values_and_with_origins_both(self, capsys: pytest.CaptureFixture[str]) -> None:
        values, origins = json.loads(shown(capsys, "--json")), json.loads(shown(capsys, "--json", "--origin"))
        assert values == yaml.safe_load(shown(capsys))
        assert values["server"]["port"] == 9100
        assert origins["server"]["port"] == {"value": 9100, "origin": "hub.yaml:3:9"}
        assert origins["server"]["drain"] == {"value": "3s", "origin": "HUB_SERVER__DRAIN"}
        assert origins["log"]["level"] == {"value": "info", "origin": "default"}
        assert origins["sockets"] == {"value": {}, "origin": "default"}

    def test_sections_stand_in_the_order_of_the_example(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert list(yaml.safe_load(shown(capsys))) == list(ORDER) == list(yaml.safe_load(example_yaml()))

    def test_what_a_plugin_says_of_a_topic_is_not_covered_by_defaults(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        topics = yaml.safe_load(shown(capsys))["topics"]
        assert topics == {"news:{section}": {"allow": {"subscribe": "anyone"}, "history": {"ttl": "1h"}}}

    @pytest.mark.parametrize(
        "label", ["no", "1e3", "", "costs ${much}, \x1b[31m\u2028 \U0001f600 # and: 'more'\n"]
    )
    def test_it_means_the_same_when_it_is_read_again(
        self, label: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("LABEL", label)
        before = compose(load(Path("hub.yaml"), os.environ), "check")
        again = self.read_again(shown(capsys))
        assert again.settings.model_dump(exclude={"plugins"}) == before.settings.model_dump(
            exclude={"plugins"}
        )
        masked = {"preset", "unpacked"}
        assert [each.settings.model_dump(exclude=masked) for each in again.plugins] == [
            each.settings.model_dump(exclude=masked) for each in before.plugins
        ]

    @staticmethod
    def read_again(text: str) -> Any:
        Path("again.yaml").write_text(text)
        return compose(load(Path("again.yaml"), {}), "check")


def places(
    schema: dict[str, Any], root: dict[str, Any], path: tuple[str, ...] = ()
) -> Iterator[tuple[str, ...]]:
    """Every place of a secret, found in the JSON Schema that pydantic makes: `*` for any name, `0` for an item."""
    if "$ref" in schema:
        schema = root["$defs"][schema["$ref"].rpartition("/")[2]]
    if schema.get("format") == "password":
        yield path
    for key, below in schema.get("properties", {}).items():
        yield from places(below, root, (*path, key))
    for option in schema.get("anyOf", []):
        yield from places(option, root, path)
    for part, key in (("additionalProperties", "*"), ("items", "0")):
        if isinstance(schema.get(part), dict):
            yield from places(schema[part], root, (*path, key))


SCHEMA = Settings.model_json_schema()
SECRETS = sorted(set(places(SCHEMA, SCHEMA)))
API_KEY = ("auth", "api_keys", "*", "key")


def with_secret(path: tuple[str, ...], secret: str) -> dict[str, Any]:
    """A configuration with a secret at one place, and what it needs around it."""
    data: Any = secret
    for part in reversed(path):
        data = [data] if part == "0" else {"named" if part == "*" else part: data}
    if "previous" in path:
        data["auth"]["jwt"]["previous"]["until"] = "2099-12-01T00:00:00Z"
        data["auth"]["jwt"]["secret"] = "another-secret-" + SECRET
    data.setdefault("auth", {})["anonymous"] = True
    whole: dict[str, Any] = data
    return whole


class TestSecrets:
    def test_the_places_of_all_secrets_are_known_to_this_test(self) -> None:
        assert {API_KEY, ("auth", "jwt", "secret"), ("webhooks", "secrets", "0")} <= set(SECRETS)
        assert len(SECRETS) >= 5

    @pytest.mark.parametrize("by_variable", [False, True])
    @pytest.mark.parametrize("path", SECRETS, ids=".".join)
    def test_no_secret_of_the_model_is_ever_printed(
        self,
        path: tuple[str, ...],
        by_variable: bool,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        marker = base64.b64encode(os.urandom(32)).decode()
        monkeypatch.setenv("MARKED", f"whsec_{marker}")
        given = "${MARKED}" if by_variable else f"whsec_{marker}"
        Path("hub.yaml").write_text(json.dumps(with_secret(path, given)))
        for arguments in ((), ("--origin",), ("--json",), ("--json", "--origin")):
            out = shown(capsys, *arguments)
            assert marker not in out
            assert ("sha256:" if path == API_KEY else "***") in out

    def test_an_override_of_a_secret_is_masked_and_its_variable_told(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        Path("hub.yaml").write_text("version: 1\n")
        Path("secret").write_text(SECRET)
        monkeypatch.setenv("HUB_AUTH__JWT__SECRET_FILE", "secret")
        monkeypatch.setenv("HUB_WEBHOOKS__SECRETS", "whsec_" + base64.b64encode(b"s" * 32).decode())
        out = shown(capsys, "--origin")
        assert '    secret: "***"  # HUB_AUTH__JWT__SECRET_FILE' in out.splitlines()
        assert '  secrets: "***"  # HUB_WEBHOOKS__SECRETS' in out.splitlines()
        assert SECRET not in out

    @pytest.mark.parametrize("form", ["key", "hash"])
    def test_an_api_key_is_the_hash_that_was_made_with_it_and_the_check_takes_it(
        self, form: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert run(["token", "api-key"]) == 0
        key, stored = capsys.readouterr().out.splitlines()
        given = key if form == "key" else stored
        Path("hub.yaml").write_text(json.dumps(with_secret(API_KEY, given) | {"version": 1}))
        out = shown(capsys)
        assert yaml.safe_load(out)["auth"]["api_keys"]["named"]["key"] == stored
        assert key not in out
        Path("again.yaml").write_text(out)
        assert run(["check", "--config", "again.yaml"]) == 0

    def test_with_the_masked_values_put_in_it_is_the_same_configuration(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        Path("hub.yaml").write_text(example_yaml())
        monkeypatch.setenv("HUB_JWT_SECRET", SECRET)
        out = shown(capsys, "--origin")
        assert SECRET not in out
        assert out.count("***") == 1
        Path("again.yaml").write_text(out.replace("***", SECRET))
        assert run(["check", "--config", "again.yaml"]) == 0
        again = compose(load(Path("again.yaml"), {}), "check").settings
        before = compose(load(Path("hub.yaml"), os.environ), "check").settings
        assert again.model_dump(exclude={"plugins"}) == before.model_dump(exclude={"plugins"})

    def test_algorithms_that_an_issuer_chooses_are_not_narrowed_by_the_default(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        url = "https://id.example.com/keys?tenant=not-to-be-seen"
        Path("hub.yaml").write_text(json.dumps({"auth": {"jwt": {"jwks_url": url, "audience": "hub"}}}))
        out = shown(capsys)
        assert "not-to-be-seen" not in out
        assert yaml.safe_load(out)["auth"]["jwt"]["jwks_url"] == "https://id.example.com/keys?***"
        Path("hub.yaml").write_text(out)
        assert run(["check"]) == 0

    def test_passwords_and_queries_of_urls_are_masked_wherever_they_stand(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        broker = [
            "redis://ann:p%40hidden@127.0.0.1:1/0",
            "redis://:hidden@127.0.0.1:2?client_name=hub&password=hidden",
        ]
        given = {
            "broker": {"url": broker},
            "database": {"url": "postgresql://hub:hidden@db/hub?sslmode=require&p%61ssword=hidden"},
            "auth": {"anonymous": True},
            "webhooks": {"secrets": "whsec_" + base64.b64encode(b"s" * 32).decode()},
            "handlers": {"connect": "https://hooks.example.com/in?key=hidden"},
            "topics": {"a": {"handlers": {"publish": ["https://hooks.example.com/out?hidden"]}}},
        }
        Path("hub.yaml").write_text(json.dumps(given))
        out = shown(capsys)
        assert "hidden" not in out
        found = yaml.safe_load(out)
        assert found["broker"]["url"] == [
            "redis://ann:***@127.0.0.1:1/0",
            "redis://:***@127.0.0.1:2?client_name=hub&password=***",
        ]
        assert found["database"]["url"] == "postgresql://hub:***@db/hub?sslmode=require&p%61ssword=***"
        assert found["handlers"]["connect"] == "https://hooks.example.com/in?***"
        assert found["topics"]["a"]["handlers"]["publish"] == ["https://hooks.example.com/out?***"]

    @pytest.mark.parametrize(
        ("text", "masked"),
        [
            ("nats://hidden@127.0.0.1:4222", "nats://***@127.0.0.1:4222"),
            ("nats://ann:hidden@127.0.0.1:4222?replicas=3", "nats://ann:***@127.0.0.1:4222?replicas=3"),
            ("redis+cluster://ann:hi/d?d#en@h1:1,h2:2", "redis+cluster://ann:***@h1:1,h2:2"),
            (
                "redis+sentinel://u:hidden@h:1/0?sentinel_master_name=m&sentinel_password=hidden",
                "redis+sentinel://u:***@h:1/0?sentinel_master_name=m&sentinel_password=***",
            ),
            ("HTTPS://hidden@errors.example.com/1", "HTTPS://***@errors.example.com/1"),
            ("https://ann:hidden@example.com/?a=b#c", "https://ann:***@example.com/?***#c"),
            ("https://example.com:8000/a@b", "https://example.com:8000/a@b"),
            ("postgresql://hub@db/hub", "postgresql://hub@db/hub"),
            ("sqlite:////data/a:b@c.db", "sqlite:////data/a:b@c.db"),
            ("Bearer 0123456789abcdef0123", "Bearer ***"),
            ("-----BEGIN PRIVATE KEY-----\nhidden", "***"),
            ("-----BEGIN PUBLIC KEY-----\nshown", "-----BEGIN PUBLIC KEY-----\nshown"),
            ("role:{x}@y?z=1", "role:{x}@y?z=1"),
        ],
    )
    def test_a_text_is_masked_where_it_is_secret(self, text: str, masked: str) -> None:
        assert Masks([]).text(text) == masked

    def test_public_keys_are_shown(self, capsys: pytest.CaptureFixture[str]) -> None:
        public = ec.generate_private_key(ec.SECP256R1()).public_key()
        pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
        Path("public.pem").write_text(pem)
        Path("hub.yaml").write_text('auth: {jwt: {public_key: "${file:public.pem}", algorithms: [ES256]}}')
        out = shown(capsys)
        assert yaml.safe_load(out)["auth"]["jwt"]["public_key"] == pem.removesuffix("\n")
        Path("hub.yaml").write_text(out)
        assert run(["check"]) == 0


class TestPlugins:
    def test_settings_that_are_no_secrets_are_shown_with_their_defaults(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        found, _ = settings(capsys, {"label": "tea", "menu": "menu.yaml"})
        assert found["label"] == "tea"
        assert found["menu"] == "menu.yaml"
        assert found["limit"] == 1.5
        assert found["token"] is None

    @pytest.mark.parametrize(
        "given",
        [
            {"token": "hidden-1"},
            {"token": "${HIDDEN}"},
            {"raw": "hidden-1"},
            {"unpacked": "hidden-1"},
            {"many": {"a": "hidden-1", "b": "hidden-2"}},
            {"pairs": ["hidden-1", 4]},
            {"by_token": {"hidden-1": "ann"}},
            {"deep": [{"a": [{"user": "ann", "password": "hidden-1"}]}]},
            {"main": "ann:hidden-1"},
            {"main": {"user": "ann", "password": "hidden-1"}},
            {"till": {"number": 1, "pin": "hidden-1"}},
            {"search": "https://ann:hidden-1@search.example.com/"},
            {"token": "hidden-1", "label": "hidden-1"},
            {"token": "a-hidden-1-that-is-long", "copy_of": "it is a-hidden-1-that-is-long"},
        ],
        ids=repr,
    )
    def test_no_secret_of_a_plugin_is_ever_printed(
        self, given: dict[str, Any], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HIDDEN", "hidden-1")
        found, out = settings(capsys, given)
        assert "hidden" not in out
        assert "preset-secret" not in out
        assert "***" in json.dumps({key: found[key] for key in given})

    def test_of_a_plugin_that_is_off_every_setting_is_hidden(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        off = {"enabled": False, "settings": {"token": "hidden", "more": [{"pin": 4711}], "none": None}}
        Path("hub.yaml").write_text(json.dumps({"auth": {"anonymous": True}, "plugins": {"shop": off}}))
        out = shown(capsys)
        assert "hidden" not in out
        assert yaml.safe_load(out)["plugins"]["shop"] == {
            "enabled": False,
            "settings": {"token": "***", "more": [{"pin": "***"}], "none": None},
        }
        Path("hub.yaml").write_text(out)
        assert run(["check"]) == 0

    def test_secrets_of_any_kind_of_value_are_found(self) -> None:
        class Opaque:
            def __init__(self) -> None:
                self.kept = Settings.model_validate({"auth": {"jwt": {"secret": SECRET}}}).auth.jwt.secret

        assert list(masking.secret_texts([{"a": (Opaque(),)}])) == [SECRET]


class TestMistakes:
    def test_a_configuration_with_mistakes_is_told_of_as_by_the_check(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        Path("hub.yaml").write_text(
            f'auth: {{jwt: {{secret: "{SECRET}"}}}}\nserver: {{prot: 1}}\nbroker: {{url: 4}}\n'
        )
        assert run(["check"]) == 3
        checked = capsys.readouterr()
        assert run(["config", "show"]) == 3
        said = capsys.readouterr()
        assert said.out == ""
        assert said.err == checked.err
        assert "hub.yaml:2:10 server.prot" in said.err
        assert SECRET not in said.err

    def test_and_in_json_too(self, capsys: pytest.CaptureFixture[str]) -> None:
        Path("hub.yaml").write_text("server: {prot: 1}\nauth: {anonymous: true}\n")
        assert run(["check", "--json"]) == 3
        checked = capsys.readouterr().out
        assert run(["config", "show", "--json"]) == 3
        assert capsys.readouterr().out == checked

    def test_without_a_configuration_it_says_how_to_get_one(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert run(["config", "show"]) == 2
        assert "hub config > hub.yaml" in capsys.readouterr().err


def test_config_alone_is_the_example_as_before(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["config"]) == 0
    assert capsys.readouterr().out == example_yaml()
