"""A service that a machine lacks is skipped loudly on a laptop and fails in CI."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.timeout(90)
ROOT = Path(__file__).parents[2]
LACKING = """
from tests.services.missing import unavailable
def test_needs_a_server():
    unavailable("flux-capacitor", "apt install flux")
"""


def run_pytest(folder: Path, *options: str, ci: str) -> subprocess.CompletedProcess[str]:
    test = folder / "test_lacking.py"
    test.write_text(LACKING)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        f"--rootdir={ROOT}",
        f"--config-file={ROOT}/pyproject.toml",
    ]
    return subprocess.run(
        [*command, "-p", "tests.services.missing", "-p", "no:cacheprovider", *options, test],
        cwd=ROOT,
        env={**os.environ, "CI": ci},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("workers", ["-n0", "-n2"])
def test_on_a_laptop_the_run_passes_and_ends_by_saying_what_to_install(tmp_path: Path, workers: str) -> None:
    done = run_pytest(tmp_path, workers, ci="")
    assert done.returncode == 0, done.stdout
    assert "NOT TESTED on this machine" in done.stdout
    assert "flux-capacitor: apt install flux" in done.stdout


@pytest.mark.parametrize(("ci", "workers"), [("true", "-n2"), ("1", "-n0")])
def test_in_ci_the_run_fails(tmp_path: Path, ci: str, workers: str) -> None:
    done = run_pytest(tmp_path, workers, ci=ci)
    assert done.returncode == 1, done.stdout
    assert "In CI nothing is skipped" in done.stdout
