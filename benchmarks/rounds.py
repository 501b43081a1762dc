"""A run: rounds in which every contender has its turn, and what they found."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.contenders import Contender
from benchmarks.machine import Machine
from benchmarks.measure import Failed, measured
from benchmarks.scenarios import Scenario
from benchmarks.tables import LAYOUTS, Found
from benchmarks.tools import Tools

WRONG: Final = (
    "errors",
    "unreached",
    "lost",
    "gaps",
    "duplicates",
    "disorder",
    "stray",
    "corrupt",
    "dropped",
)


class Run:
    """Measures contenders under loads, round by round. `more` are further arguments of the load generator."""

    def __init__(
        self,
        tools: Tools,
        contenders: Sequence[Contender],
        seconds: float,
        more: Sequence[str] = (),
        file: Path | None = None,
    ) -> None:
        self._tools = tools
        self._contenders = contenders
        self._seconds = seconds
        self._more = more
        self._file = file
        self.results: dict[str, dict[str, list[Found]]] = {}
        """Scenario -> contender -> what each round found."""
        self.others: dict[str, float] = {}
        """Scenario -> the share of the cores that went to other programs meanwhile."""
        self.failures = 0

    def entrants(self, load: Scenario) -> tuple[Contender, ...]:
        """Returns who is measured under this load."""
        return load.entrants(self._contenders)

    def measure(self, load: Scenario, rounds: int) -> None:
        """Measures all entrants so many times; nobody always follows the same one. What fails is told, and counted."""
        among = self.entrants(load)
        results = self.results.setdefault(load.name, {each.name: [] for each in among})
        machine = Machine()
        for turn in range(rounds):
            start = turn % max(len(among), 1)
            for contender in among[start:] + among[:start]:
                where = f"{load.name} {turn + 1}/{rounds} {contender.name}"
                try:
                    found = measured(self._tools, contender, load, self._seconds, *self._more)
                except (Failed, subprocess.TimeoutExpired) as error:
                    self.failures += 1
                    print(f"{where}: FAILED: {error}", file=sys.stderr, flush=True)
                    continue
                results[contender.name].append(found)
                self._tell(where, load, found)
        self.others[load.name] = machine.others()

    def _tell(self, where: str, load: Scenario, found: dict[str, Any]) -> None:
        key = LAYOUTS[load.kind].key
        wrong = {name: found[name] for name in WRONG if found.get(name)}
        print(f"{where}: {key} {found.get(key)} {wrong or ''}", file=sys.stderr, flush=True)
        if self._file:
            with self._file.open("a") as lines:
                print(json.dumps({"scenario": load.name, **found}), file=lines)
