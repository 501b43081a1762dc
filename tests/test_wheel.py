"""The wheel, installed alone in an empty environment, is the whole product."""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.error
import urllib.request
import zipfile
from pathlib import Path

import pytest

from tests.services.missing import unavailable
from tests.services.ports import free_port
from tests.services.process import ServerProcess

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
CONFIG = """
version: 1
auth: {jwt: {secret: "${TOKEN_SECRET}"}}
plugins: {chat: {}, dashboards: {}, notifications: {}}
"""

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    run([BIN / "python", "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT])
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment that holds the wheel and its locked dependencies, and nothing else."""
    venv = tmp_path_factory.mktemp("alone") / "venv"
    run([BIN / "python", "-m", "venv", *([] if not uv_is_here() else ["--without-pip"]), venv])
    install = [BIN / "uv", "pip", "install", "--quiet", "--python", venv / "bin/python"]
    if not uv_is_here():
        install = [venv / "bin/python", "-m", "pip", "install", "--quiet"]
    locked = [*install, "--require-hashes", "--only-binary", ":all:", "-r", ROOT / "requirements/runtime.txt"]
    done = subprocess.run(locked, capture_output=True, text=True, check=False)
    if done.returncode and uv_is_here():  # without a network, what scripts/install fetched is enough
        done = subprocess.run([*locked, "--offline"], capture_output=True, text=True, check=False)
    if done.returncode:
        unavailable("package index", f"the wheel's test installs its dependencies: {done.stderr[-500:]}")
    run([*install, "--no-deps", wheel])
    return venv / "bin"


def uv_is_here() -> bool:
    return (BIN / "uv").exists()


def run(command: list[str | Path], *, cwd: Path | None = None) -> str:
    """Runs a program as a user would who knows nothing of this checkout; returns its output, fails with it."""
    environ = {key: value for key, value in os.environ.items() if not key.startswith(("HUB_", "PYTHON"))}
    environ["TOKEN_SECRET"] = "only-for-this-test-0123456789abcdef"
    done = subprocess.run(command, cwd=cwd, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "hub.yaml"
    path.write_text(CONFIG)
    return path


def test_the_wheel_holds_all_that_lies_in_the_packages(wheel: Path) -> None:
    listed = run(["git", "ls-files", "--cached", "hub", "plugins"], cwd=ROOT).split()
    tracked = {name.removeprefix("plugins/") for name in listed if (ROOT / name).exists()}
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert tracked <= held, sorted(tracked - held)
    assert {name.split("/")[0] for name in held} == {"hub", "hub_chat", "hub_dashboards", "hub_notifications"}


def test_the_wheel_has_nothing_a_wheel_should_not_have(wheel: Path) -> None:
    run([BIN / "check-wheel-contents", wheel], cwd=ROOT)


def test_the_installed_command_tells_its_version(installed: Path, tmp_path: Path) -> None:
    version = run([installed / "python", "-c", "import hub; print(hub.__version__)"], cwd=tmp_path).strip()
    assert version in run([installed / "hub", "--version"], cwd=tmp_path)


def test_the_installed_command_checks_a_configuration(installed: Path, config: Path) -> None:
    run([installed / "hub", "check", "--config", config], cwd=config.parent)


def test_the_installed_command_migrates_and_serves(
    installed: Path, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run([installed / "hub", "migrate", "--config", config], cwd=config.parent)
    monkeypatch.setenv("TOKEN_SECRET", "only-for-this-test-0123456789abcdef")
    monkeypatch.chdir(config.parent)
    port = free_port()
    command = [installed / "hub", "serve", "--config", config, "--port", str(port)]
    server = ServerProcess(command, config.parent / "hub.log")
    try:
        server.start(lambda: answers(f"http://127.0.0.1:{port}/health/live"), within=20)
    finally:
        server.stop()
    assert "Traceback" not in (config.parent / "hub.log").read_text()


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as reply:
            return reply.status == 200
    except (urllib.error.URLError, OSError):
        return False
