"""Interpreters by version: `3.13` is looked for, anything else is a program's path."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

VERSION: Final = re.compile(r"3\.\d+(\.\d+)?t?")
SECONDS: Final = 30


def found(names: Iterable[str]) -> dict[str, Path]:
    """Returns the interpreters by the names that tables give them: the version asked for, or that of a path's program.

    Raises ValueError, with what to do, when one is nowhere or does not run.
    """
    return dict(_found(name) for name in names)


def _found(name: str) -> tuple[str, Path]:
    if not VERSION.fullmatch(name):
        if version := _version(Path(name)):
            return version, Path(name)
        raise ValueError(
            f"{name} is no Python of 3.11 or later with venv; name a program, or a version such as 3.13"
        )
    for candidate in _candidates(name):
        version = _version(candidate)
        if version and (version == name or version.startswith(f"{name}.")):
            return name, candidate
    raise ValueError(
        f"there is no Python {name} here, on the PATH, under pyenv or known to uv; name its path"
    )


def _candidates(name: str) -> Iterator[Path]:
    if on_path := shutil.which(f"python{name}"):
        yield Path(on_path)
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    newest_first = sorted(pyenv.glob(f"{name}*/bin/python"), key=_numbers, reverse=True)
    yield from newest_first
    uv = Path(sys.executable).with_name("uv")
    if uv.exists():
        known = _output([str(uv), "python", "find", "--no-python-downloads", name])
        if known:
            yield Path(known)


def _numbers(python: Path) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", python.parents[1].name)]


def _version(python: Path) -> str:
    """Its version, or nothing when it does not run, is too old or cannot make an environment."""
    ask = "import sys, venv, ensurepip; print(*sys.version_info[:3], sep='.'); sys.exit(sys.version_info < (3, 11))"
    return _output([str(python), "-c", ask])


def _output(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
