"""Each folder in `refused/` holds a configuration that must not start; `#!` in a line says what is wrong there."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from hub.loader.compose import compose
from hub.settings.case import Mode
from hub.settings.load import load
from hub.settings.problem import ConfigCode, ConfigError, Problem

REFUSED = Path(__file__).parent / "refused"
CASES = sorted(path.parent.name for path in REFUSED.glob("*/hub.yaml"))
ELSEWHERE = {
    ConfigCode.UNREADABLE_FILE: "test_compose.py",
    ConfigCode.UNKNOWN_OVERRIDE: "test_compose.py",
    ConfigCode.TOO_DEEP: "settings/test_composer.py",
    ConfigCode.MISSING_PACKAGE: "settings/test_rules.py",
}


@dataclass(frozen=True)
class Expected:
    source: str
    line: int
    code: str
    column: int | None
    text: str

    def meets(self, problem: Problem) -> bool:
        place = problem.place
        return (
            (place.source, place.line, str(problem.code)) == (self.source, self.line, self.code)
            and self.column in {None, place.column}
            and self.text in str(problem)
        )


def expected(folder: Path) -> list[Expected]:
    found = []
    for path in sorted([folder / "hub.yaml", *folder.rglob("plugin.yaml")]):
        for number, line in enumerate(path.read_text().splitlines(), 1):
            for mark in line.split("#!")[1:]:
                code, column, text = re.fullmatch(r" (E\d+)(?:@(\d+))? ?(.*?) *", mark).groups()  # type: ignore[union-attr]
                found.append(Expected(str(path), number, code, int(column) if column else None, text))
    return found


def refusal(folder: Path, mode: Mode) -> ConfigError:
    with pytest.raises(ConfigError) as raised:
        compose(load(folder / "hub.yaml", {}), mode)
    return raised.value


@pytest.fixture(autouse=True)
def forget_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.path", list(sys.path))


@pytest.mark.parametrize("case", CASES)
def test_every_mistake_of_a_configuration_is_told_at_once_at_its_place(case: str) -> None:
    error = refusal(REFUSED / case, "serve")
    wanted = expected(REFUSED / case)
    told = list(error.problems)
    missing = [one for one in wanted if not any(one.meets(problem) for problem in told)]
    surplus = [str(problem) for problem in told if not any(one.meets(problem) for one in wanted)]
    assert (missing, surplus) == ([], [])
    assert len(told) == len(wanted)


@pytest.mark.parametrize("case", CASES)
def test_check_refuses_what_serve_refuses(case: str) -> None:
    assert str(refusal(REFUSED / case, "check")) == str(refusal(REFUSED / case, "serve"))


def test_every_code_has_a_configuration_that_is_refused_with_it() -> None:
    covered = {one.code for case in CASES for one in expected(REFUSED / case)}
    assert {str(code) for code in ConfigCode} - covered == {str(code) for code in ELSEWHERE}


def test_no_secret_of_a_webhook_is_repeated() -> None:
    text = str(refusal(REFUSED / "webhook_secret", "check"))
    assert "webhooks.secrets" in text
    assert "s3cr3t" not in text
