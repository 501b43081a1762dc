"""What every rule among settings looks at, and where it says what it finds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from hub.settings.model import Settings
from hub.settings.nodes import Path
from hub.settings.problem import ConfigCode, Fault
from hub.settings.report import Report
from hub.settings.verdict import Verdict

Mode: TypeAlias = Literal["serve", "dev", "check"]


@dataclass(frozen=True, slots=True)
class Case:
    """What every rule looks at, and where it says what it finds."""

    verdict: Verdict[Settings]
    settings: Settings
    mode: Mode
    report: Report

    def say(self, loc: Path, code: ConfigCode, message: str, remedy: str = "", *given: Path) -> None:
        """Reports the value at `loc`, unless a mistake there or in one of the places `given` is known."""
        self.report.add(self.verdict, loc, Fault(code, message, remedy), given=given)
