"""Node.js 18 or newer, for the published JavaScript clients; packages come from a folder's package-lock.json."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.services.missing import find_program, unavailable

OLDEST = 18
REMEDY = (
    "run scripts/test (it brings a wheel or a package), or install Node.js 18 or newer with npm "
    "(Debian, Ubuntu: apt install nodejs npm; macOS: brew install node), or set HUB_TEST_NODE to its node"
)


@dataclass(frozen=True, slots=True)
class Node:
    """A Node.js that runs scripts; `path` is its node, `npm` the npm beside it."""

    path: Path
    npm: Path

    def install(self, folder: Path) -> Path:
        """Installs what `folder`/package-lock.json names, once; returns `folder`/node_modules."""
        modules = folder / "node_modules"
        stamp = modules / ".topichub-lock"
        wanted = hashlib.sha256((folder / "package-lock.json").read_bytes()).hexdigest()
        with (folder / "package-lock.json").open("rb") as gate:
            fcntl.flock(gate, fcntl.LOCK_EX)
            if not stamp.exists() or stamp.read_text() != wanted:
                self._npm_ci(folder)
                stamp.write_text(wanted)
        return modules

    def _npm_ci(self, folder: Path) -> None:
        path = f"{self.path.parent}{os.pathsep}{os.environ.get('PATH', '')}"
        command = [self.npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
        done = subprocess.run(
            command,
            cwd=folder,
            env={**os.environ, "PATH": path},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"npm ci in {folder} failed: {done.stdout}{done.stderr}")


def find_node() -> Node | None:
    """Finds a Node.js that is new enough and has npm, by HUB_TEST_NODE, on the PATH, or in a wheel."""
    named = os.environ.get("HUB_TEST_NODE")
    path = Path(named) if named else find_program("node", "nodejs")
    if path is None or _major(path) < OLDEST:
        return None
    beside = shutil.which("npm", path=str(path.parent))
    npm = Path(beside) if beside else find_program("npm")
    return Node(path, npm) if npm else None


def _major(path: Path) -> int:
    said = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=20, check=False).stdout
    number = said.strip().removeprefix("v").split(".")[0]
    return int(number) if number.isdigit() else 0


@pytest.fixture(scope="session")
def _found_node() -> Node | None:
    return find_node()


@pytest.fixture
def node(_found_node: Node | None) -> Node:
    """Node.js: `node.path` runs scripts, `node.install(folder)` brings the packages of that folder's lock."""
    if _found_node is None:
        unavailable("Node.js 18+", REMEDY)
    return _found_node
