"""What a machine lacks: on a laptop a test is skipped and the run ends by saying what to install; in CI it fails."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter

IN_CI = os.environ.get("CI", "").lower() in {"1", "true", "yes"}

_remedies: dict[str, str] = {}


def unavailable(what: str, remedy: str) -> NoReturn:
    """Skips the test that asked for `what`, and tells at the end of the run how to get it."""
    _remedies[what] = remedy
    pytest.skip(f"no {what} here: {remedy}")


def find_program(*names: str) -> Path | None:
    """Finds the first of `names` on the PATH, else among the programs that wheels brought into this environment."""
    beside_python = Path(sys.executable).parent
    for name in names:
        found = shutil.which(name) or shutil.which(name, path=str(beside_python))
        if found:
            return Path(found)
    return None


def _fail_if_skipped(report: pytest.TestReport | pytest.CollectReport) -> None:
    if report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"In CI nothing is skipped. {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if IN_CI:
        _fail_if_skipped(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    if IN_CI:
        _fail_if_skipped(report)
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    told: dict[str, object] | None = getattr(session.config, "workeroutput", None)
    if told is not None:  # a worker of several: the run's own process says it for all
        told["remedies"] = _remedies


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    _remedies.update(getattr(node, "workeroutput", {}).get("remedies", {}))


def pytest_terminal_summary(terminalreporter: TerminalReporter) -> None:
    if not _remedies:
        return
    terminalreporter.section("NOT TESTED on this machine", sep="!", yellow=True, bold=True)
    for what, remedy in sorted(_remedies.items()):
        terminalreporter.line(f"{what}: {remedy}")
