"""What the contenders run on: environments of their own under .tools/bench, made on first use.

Whatever the rivals need is kept apart from the hub's environment. Each folder is named by what it was made of, so a
changed requirement makes a new one; a folder that was not finished is made again.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.contenders import Contender

HERE: Final = Path(__file__).parent
ROOT: Final = HERE.parent
FOLDER: Final = ROOT / ".tools/bench"
REQUIREMENTS: Final = HERE / "rivals/requirements.txt"
NODE_FILES: Final = [HERE / "rivals" / name for name in ("package.json", "package-lock.json", ".npmrc")]
SECONDS: Final = 600
"""No step of an installation takes longer."""


@dataclass(frozen=True, slots=True)
class Tools:
    """Programs by name (`hub`, `python`, `node`, `centrifugo`, `redis`), without those that this machine lacks."""

    loadtest: Path
    programs: dict[str, str]
    environment: dict[str, str]

    def lacks(self, contender: Contender) -> str | None:
        """Returns the tool that this contender needs and the machine does not have."""
        if contender.needs_redis and "redis" not in self.programs:
            return "redis"
        return next(
            (name for name in PROGRAMS if contender.needs(name) and name not in self.programs),
            None,
        )


PROGRAMS: Final = ("hub", "python", "node", "centrifugo")


def prepared(
    contenders: Iterable[Contender], python: Path | None, centrifugo: Path | None, loadtest: Path | None
) -> Tools:
    """Makes what these contenders need and is not there yet. `python` runs the hub and its rivals, not this program."""
    contenders = tuple(contenders)
    programs: dict[str, str] = {}
    environment = dict(os.environ)
    if any(each.needs("hub") for each in contenders):
        programs["hub"] = str(_hub_python(python))
        environment["PYTHONPATH"] = str(ROOT)
    if any(each.needs("python") for each in contenders):
        programs["python"] = str(_environment("rivals", python or Path(sys.executable), REQUIREMENTS))
    node = shutil.which("node")
    if node and shutil.which("npm") and any(each.needs("node") for each in contenders):
        programs["node"] = node
        environment["NODE_PATH"] = str(_packages() / "node_modules")
    if centrifugo:
        programs["centrifugo"] = _program(centrifugo)
    if redis := shutil.which("redis-server") or shutil.which("valkey-server"):
        programs["redis"] = redis
    return Tools(loadtest or _loadtest(), programs, environment)


def _program(path: Path) -> str:
    if not os.access(path, os.X_OK):
        raise SystemExit(f"{path} is not a program")
    return str(path.resolve())


def _hub_python(python: Path | None) -> Path:
    if python is None:
        return Path(sys.executable)
    return _environment("hub", python, ROOT / "requirements/runtime.txt")


def _environment(name: str, base: Path, requirements: Path) -> Path:
    """Returns the interpreter of an environment with these packages, on the Python of `base`."""
    question = "import os, sys; print(os.path.realpath(getattr(sys, '_base_executable', sys.executable)))"
    real = subprocess.run(
        [base, "-c", question], check=True, capture_output=True, text=True, timeout=30
    ).stdout.strip()

    def make(folder: Path) -> None:
        _run([real, "-m", "venv", str(folder)])
        python = str(folder / "bin/python")
        options = ["--quiet", "--require-hashes", "--only-binary", ":all:", "-r", str(requirements)]
        uv = Path(sys.executable).with_name("uv")
        installer = [str(uv), "pip", "install", "--python", python] if uv.exists() else _pip(python)
        _run([*installer, *options])

    return _made(name, [requirements], real, make) / "bin/python"


def _pip(python: str) -> list[str]:
    return [python, "-m", "pip", "--disable-pip-version-check", "install"]


def _packages() -> Path:
    def make(folder: Path) -> None:
        folder.mkdir(parents=True)
        for file in NODE_FILES:
            shutil.copy(file, folder)
        _run(["npm", "ci", "--silent"], folder)

    return _made("node", NODE_FILES, "", make)


def _loadtest() -> Path:
    sources = [*sorted((HERE / "loadtest").glob("*.go")), HERE / "loadtest/go.mod"]

    def make(folder: Path) -> None:
        command = [_go(), "build", "-trimpath", "-buildvcs=false", "-o", str(folder / "loadtest"), "."]
        _run(command, HERE / "loadtest", {"CGO_ENABLED": "0", "GOFLAGS": "", "GOTOOLCHAIN": "local"})

    return _made("loadtest", sources, "", make) / "loadtest"


def _go() -> str:
    """Returns the Go compiler of this machine, or the one that a wheel carries."""
    if found := shutil.which("go"):
        return found
    go = _environment("go", Path(sys.executable), ROOT / "requirements/test-go.txt").with_name("go")
    return str(go)


def _made(name: str, sources: Iterable[Path], also: str, make: Callable[[Path], None]) -> Path:
    """Returns the folder made of these sources; makes it first, if it is not there whole."""
    digest = hashlib.sha256(also.encode())
    for source in sources:
        digest.update(source.read_bytes())
    folder = FOLDER / f"{name}-{digest.hexdigest()[:12]}"
    if not (folder / "ready").exists():
        print(f"topichub: making {folder.relative_to(ROOT)}", file=sys.stderr)
        shutil.rmtree(folder, ignore_errors=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        make(folder)
        (folder / "ready").touch()
    return folder


def _run(command: list[str], folder: Path | None = None, more: dict[str, str] | None = None) -> None:
    index = next(
        (
            os.environ[name]
            for name in ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL")
            if name in os.environ
        ),
        None,
    )
    environment = os.environ | ({"UV_DEFAULT_INDEX": index} if index else {}) | (more or {})
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
