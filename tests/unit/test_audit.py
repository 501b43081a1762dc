"""What the audit of the locked requirements says: a package that nobody could ask about is no clean one."""

from __future__ import annotations

from typing import Any

import pytest

from tests import audit

CLEAN: dict[str, Any] = {"name": "starlette", "version": "1.10.0", "vulns": []}
SKIPPED: dict[str, Any] = {"name": "uvicorn", "skip_reason": "not found on PyPI"}
HURT: dict[str, Any] = {
    "name": "jinja2",
    "version": "2.0",
    "vulns": [{"id": "PYSEC-2019-217", "aliases": ["CVE-2019-10906"], "fix_versions": ["2.10.1"]}],
}
EXCUSED: dict[str, Any] = {
    "name": "ecdsa",
    "version": "0.19.1",
    "vulns": [{"id": "PYSEC-2024-1", "aliases": ["CVE-2024-23342"], "fix_versions": []}],
}


@pytest.mark.parametrize(
    ("found", "code"),
    [
        ([CLEAN], 0),
        ([CLEAN, EXCUSED], 0),
        ([CLEAN, HURT], 1),
        ([SKIPPED, HURT], 1),
        ([CLEAN, SKIPPED], 2),
        ([], 2),
    ],
)
def test_only_what_was_asked_about_and_has_no_advisory_is_clean(
    found: list[dict[str, Any]], code: int
) -> None:
    assert audit.report("runtime.txt", found) == code


def test_the_remedy_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    audit.report("runtime.txt", [HURT])
    assert "jinja2 2.0: PYSEC-2019-217, mended in 2.10.1" in capsys.readouterr().out


def test_a_program_that_says_nothing_is_no_all_clear(capsys: pytest.CaptureFixture[str]) -> None:
    assert audit.main("false", "pypi", "runtime.txt") == 2
    assert "could not be asked" in capsys.readouterr().err
