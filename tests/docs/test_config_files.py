"""What lies in config/ is made from the code, can be used as it is, and belongs together."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import jsonschema_rs
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from hub.loader.compose import compose
from hub.settings.document import Document
from hub.settings.example import example_yaml
from hub.settings.load import load
from hub.settings.problem import ConfigError
from tests.docs.generated import CONFIG, EXAMPLE, SCHEMA, schema_json
from tests.services.missing import find_program, unavailable

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


def self_signed(key: rsa.RSAPrivateKey) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "hub.example.com")])
    now = datetime.now(UTC)
    unsigned = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    return unsigned.not_valid_before(now).not_valid_after(now + timedelta(days=2)).sign(key, SHA256())


def test_nginx_takes_its_configuration(tmp_path: Path) -> None:
    nginx = find_program("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    if nginx is None:
        unavailable("nginx", "install nginx (Debian: apt install nginx-light; macOS: brew install nginx)")
    key = rsa.generate_private_key(65_537, 2_048)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "hub.key").write_bytes(pem)
    (tmp_path / "hub.crt").write_bytes(self_signed(key).public_bytes(Encoding.PEM))
    text = (CONFIG / "nginx.conf").read_text()
    text = text.replace("/etc/nginx/tls", str(tmp_path)).replace("/var/log/nginx", str(tmp_path))
    (tmp_path / "nginx.conf").write_text(f"pid {tmp_path}/nginx.pid;\n{text}")
    done = subprocess.run(
        [nginx, "-t", "-q", "-c", tmp_path / "nginx.conf", "-e", tmp_path / "error.log"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_nginx_sends_no_query_to_its_log_and_buffers_nothing() -> None:
    text = (CONFIG / "nginx.conf").read_text()
    formats = re.findall(r"(?m)^ *log_format .*", text)
    assert len(formats) == 1
    assert not re.search(r"\$(request|request_uri|args|query_string|is_args)\b", formats[0])
    assert "proxy_buffering off;" in text
