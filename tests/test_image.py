"""Dockerfile and compose.yaml agree with the files they use, as far as that can be told without a container engine."""

from __future__ import annotations

import os
import re
import shlex
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509

ROOT = Path(__file__).parents[1]
GIVEN = {
    "HUB_JWT_SECRET": "only-for-this-test-0123456789abcdef",
    "HUB_API_KEY": "only-for-this-test-fedcba9876543210",
    "POSTGRES_PASSWORD": "letters",
}


@pytest.fixture(scope="module")
def services() -> dict[str, dict[str, Any]]:
    """The services of compose.yaml, with its variables filled in."""
    text = re.sub(r"\$\{(\w+):\?[^}]*\}", lambda match: GIVEN[match[1]], (ROOT / "compose.yaml").read_text())
    found: dict[str, dict[str, Any]] = yaml.safe_load(text)["services"]
    return found


def dockerfile() -> list[list[str]]:
    """The instructions of the Dockerfile, split as a shell would."""
    text = (ROOT / "Dockerfile").read_text().replace("\\\n", "")
    return [shlex.split(line) for line in text.splitlines() if line and not line.startswith("#")]


def test_the_image_copies_only_what_exists_and_what_is_not_ignored() -> None:
    copied = [
        source
        for words in dockerfile()
        if words[0] == "COPY" and "--from=build" not in words
        for source in words[1:-1]
    ]
    let_in = re.findall(r"^!(.+)$", (ROOT / ".dockerignore").read_text(), flags=re.MULTILINE)
    assert copied
    for source in copied:
        assert (ROOT / source).exists(), source
        assert source.split("/")[0] in let_in, source


def test_the_image_runs_as_a_numeric_user_without_privileges() -> None:
    users = [words[1] for words in dockerfile() if words[0] == "USER"]
    assert re.fullmatch(r"[1-9]\d+:[1-9]\d+", users[-1])


def test_the_image_installs_only_from_locks_with_hashes() -> None:
    commands = [" ".join(words) for words in dockerfile() if words[0] == "RUN"]
    installs = [install for command in commands for install in re.findall(r"pip install ([^&]*)", command)]
    assert installs
    assert all("--require-hashes" in install or "--no-index" in install for install in installs)


def test_files_that_compose_mounts_exist(services: dict[str, dict[str, Any]]) -> None:
    mounts = [
        mount
        for service in services.values()
        for mount in service.get("volumes", ())
        if mount.startswith("./")
    ]
    assert mounts
    assert not [mount for mount in mounts if not (ROOT / mount.split(":")[0]).is_file()]


def test_the_production_configuration_passes_with_what_compose_gives(
    services: dict[str, dict[str, Any]],
) -> None:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("HUB_")}
    done = subprocess.run(
        [Path(sys.executable).with_name("hub"), "check", "--config", ROOT / "config/hub.production.yaml"],
        env=environ | services["hub-1"]["environment"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_nginx_finds_the_nodes_and_the_nodes_trust_nginx(services: dict[str, dict[str, Any]]) -> None:
    address = {
        name: service["networks"]["default"]["ipv4_address"]
        for name, service in services.items()
        if "networks" in service
    }
    upstreams = set(
        re.findall(r"^\s*server ([\d.]+):8000", (ROOT / "config/nginx.conf").read_text(), flags=re.MULTILINE)
    )
    assert {address["hub-1"], address["hub-2"]} == upstreams
    assert services["hub-1"]["environment"]["HUB_PROXY"] == address["nginx"]


def test_the_certificate_that_compose_makes_is_one_for_localhost(
    services: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    for _ in range(2):  # the second time it is kept
        subprocess.run([sys.executable, "-c", *services["certificate"]["command"]], cwd=tmp_path, check=True)
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(tmp_path / "hub.crt", tmp_path / "hub.key")
    certificate = x509.load_pem_x509_certificate((tmp_path / "hub.crt").read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost"]


def test_the_nodes_have_longer_to_stop_than_the_hub_takes(services: dict[str, dict[str, Any]]) -> None:
    drain = yaml.safe_load((ROOT / "config/hub.production.yaml").read_text())["server"]["drain"]
    assert int(services["hub-1"]["stop_grace_period"].rstrip("s")) > int(drain.rstrip("s"))
