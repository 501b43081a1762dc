"""What lies in config/ is made from the code, can be used as it is, and belongs together."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import jsonschema_rs
import pytest

from hub.loader.compose import compose
from hub.settings.document import Document
from hub.settings.example import example_yaml
from hub.settings.load import load
from hub.settings.problem import ConfigError
from tests.docs.generated import CONFIG, EXAMPLE, SCHEMA, schema_json

SECRET = "7VbWq2nZ0uXj5rTgKc8sLd3hYf6eMa1p"
PRODUCTION = CONFIG / "hub.production.yaml"
PRODUCTION_ENVIRON = {
    "HUB_JWT_SECRET": SECRET,
    "HUB_API_KEY": "k4vK2mWq8sT1zXyP",
    "HUB_BROKER_URL": "redis://:password@redis.internal:6379/0",
    "HUB_DATABASE_URL": "postgresql://hub:password@postgres.internal/hub",
    "HUB_ORIGIN": "https://www.example.com",
    "HUB_PROXY": "10.0.0.0/24",
}
STALE = "it is not what the code makes: run scripts/generate"


def test_hub_yaml_is_what_the_code_makes() -> None:
    assert EXAMPLE.read_text() == example_yaml(), STALE


def test_hub_schema_json_is_what_the_code_makes() -> None:
    assert SCHEMA.read_text() == schema_json(), STALE


def test_hub_yaml_starts_with_all_bundled_plugins_once_its_secret_is_set() -> None:
    blueprint = compose(load(EXAMPLE, {"HUB_JWT_SECRET": SECRET}), "serve")
    assert {plugin.name for plugin in blueprint.plugins} == {"chat", "dashboards", "notifications"}


def test_hub_yaml_names_the_variable_that_it_needs() -> None:
    with pytest.raises(
        ConfigError, match=r"auth\.jwt\.secret: the environment variable HUB_JWT_SECRET is not set"
    ):
        compose(load(EXAMPLE, {}), "check")


def test_the_production_file_starts_with_the_variables_that_it_tells_of() -> None:
    told = set(re.findall(r"(?m)^#   (HUB_\w+) ", PRODUCTION.read_text()))
    assert told == set(PRODUCTION_ENVIRON)
    blueprint = compose(load(PRODUCTION, PRODUCTION_ENVIRON), "serve")
    assert blueprint.settings.server.internal is not None
    assert blueprint.settings.server.workers > 1


@pytest.mark.parametrize("variable", sorted(PRODUCTION_ENVIRON))
def test_the_production_file_misses_each_variable_by_name(variable: str) -> None:
    environ = {name: value for name, value in PRODUCTION_ENVIRON.items() if name != variable}
    loaded = load(PRODUCTION, environ)
    assert [variable in str(problem) for problem in loaded.problems] == [True]


@pytest.mark.parametrize("path", [EXAMPLE, PRODUCTION], ids=lambda path: path.name)
def test_editors_find_nothing_wrong(path: Path) -> None:
    assert path.read_text().startswith("# yaml-language-server: $schema=hub.schema.json\n")
    validator = jsonschema_rs.Draft202012Validator(json.loads(SCHEMA.read_text()))
    assert [error.message for error in validator.iter_errors(Document.read(path).data)] == []


def test_nginx_takes_its_configuration(tmp_path: Path) -> None:
    nginx = shutil.which("nginx")
    if nginx is None:
        pytest.skip("nginx is not installed; its configuration is not checked here")
    certificate = ["-subj", "/CN=hub.example.com", "-days", "2", "-nodes", "-newkey", "rsa:2048"]
    files = ["-keyout", tmp_path / "hub.key", "-out", tmp_path / "hub.crt"]
    subprocess.run(["openssl", "req", "-x509", *certificate, *files], check=True, capture_output=True)
    text = (CONFIG / "nginx.conf").read_text()
    text = text.replace("/etc/nginx/tls", str(tmp_path)).replace("/var/log/nginx", str(tmp_path))
    (tmp_path / "nginx.conf").write_text(f"pid {tmp_path}/nginx.pid;\n{text}")
    done = subprocess.run(
        [nginx, "-t", "-q", "-c", tmp_path / "nginx.conf", "-e", tmp_path / "error.log"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_nginx_sends_no_query_to_its_log_and_buffers_nothing() -> None:
    text = (CONFIG / "nginx.conf").read_text()
    formats = re.findall(r"(?m)^ *log_format .*", text)
    assert len(formats) == 1
    assert not re.search(r"\$(request|request_uri|args|query_string|is_args)\b", formats[0])
    assert "proxy_buffering off;" in text
