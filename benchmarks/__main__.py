"""The hub and its rivals side by side: each server started afresh in turns, interleaved rounds, medians.

A line of progress for each measurement goes to standard error, the tables to standard output. Compare the ratios of one
run, never the figures of two.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from benchmarks import contenders, gate, scenarios
from benchmarks.contenders import Contender
from benchmarks.measure import Failed, Machine, allow_many_sockets, measured
from benchmarks.scenarios import Scenario
from benchmarks.tables import Found, ratio, replaced, table
from benchmarks.tools import Tools, prepared

Results = dict[str, dict[str, list[Found]]]
"""Scenario -> contender -> what each round found."""
SHOWN: Final = {"fanout": "cpu_us_per_delivery", "idle": "kib_per_conn", "handshakes": "cpu_ms_per_handshake"}


def main() -> None:
    """Measures what the options name; ends with status 1 when something failed or the gate is shut."""
    options = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # unwinds, so that what was started is ended
    allow_many_sockets()
    asked = gate.CONTENDERS if options.gate else options.only
    try:
        rivals = contenders.chosen(asked)
        loads = scenarios.chosen(gate.BOUNDS if options.gate else options.scenarios)
    except ValueError as error:
        raise SystemExit(str(error)) from None
    tools = prepared(rivals, options.python, options.centrifugo, options.loadtest)
    rivals = tuple(_present(tools, rivals))
    machine = Machine()
    results, failures = _results(tools, rivals, loads, options)
    text = _report(tools, machine, loads, results, options.rounds, options.seconds)
    print(text)
    if options.write:
        options.write.write_text(replaced(options.write.read_text(), text))
    complaints = list(gate.complaints(results)) if options.gate else []
    print(*complaints, sep="\n", file=sys.stderr)
    if options.gate and not complaints:
        print(*_verdict(results), sep="\n", file=sys.stderr)
    sys.exit(1 if failures or complaints else 0)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("--rounds", type=int, help="how often each is measured (3; with --gate 2)")
    parser.add_argument("--seconds", type=float, help="how long each load lasts (4; with --gate 2)")
    names = ", ".join(each.name for each in contenders.ALL)
    parser.add_argument("--only", type=_names, default=(), help=f"contenders, with commas between: {names}")
    names = ", ".join(each.name for each in scenarios.ALL)
    parser.add_argument("--scenarios", type=_names, default=(), help=f"loads, with commas between: {names}")
    parser.add_argument("--centrifugo", type=Path, help="the program; without it Centrifugo is left out")
    parser.add_argument(
        "--python", type=Path, help="runs the hub and its rivals; otherwise the Python of .venv"
    )
    parser.add_argument("--loadtest", type=Path, help="the load generator; otherwise it is built (needs Go)")
    parser.add_argument(
        "--results", type=Path, help="add what each measurement found to this file, a line of JSON each"
    )
    parser.add_argument("--write", type=Path, help="put the tables into this page too, between its two marks")
    parser.add_argument(
        "--gate", action="store_true", help="fail if the hub costs more than the article's app"
    )
    options = parser.parse_args()
    options.rounds = options.rounds or (2 if options.gate else 3)
    options.seconds = options.seconds or (2 if options.gate else 4)
    return options


def _names(given: str) -> tuple[str, ...]:
    return tuple(filter(None, given.split(",")))


def _present(tools: Tools, rivals: Sequence[Contender]) -> Iterator[Contender]:
    for contender in rivals:
        if missing := tools.lacks(contender):
            print(f"{contender.title}: left out, this machine has no {missing}", file=sys.stderr)
        else:
            yield contender


def _results(
    tools: Tools, rivals: Sequence[Contender], loads: Sequence[Scenario], options: argparse.Namespace
) -> tuple[Results, int]:
    """Measures everything; returns what was found, and how many measurements failed."""
    results: Results = {load.name: {each.name: [] for each in rivals if load.takes(each)} for load in loads}
    failures = 0
    more = gate.QUICKLY if options.gate else ()
    for load in loads:
        among = [each for each in rivals if load.takes(each)]
        for turn in range(options.rounds):
            start = turn % max(len(among), 1)
            for contender in among[start:] + among[:start]:  # nobody always follows the same one
                where = f"{load.name} {turn + 1}/{options.rounds} {contender.name}"
                try:
                    found = measured(tools, contender, load, options.seconds, *more)
                except (Failed, subprocess.TimeoutExpired) as error:
                    failures += 1
                    print(f"{where}: FAILED: {error}", file=sys.stderr)
                    continue
                results[load.name][contender.name].append(found)
                _tell(where, load, found, options.results)
    return results, failures


def _tell(where: str, load: Scenario, found: dict[str, Any], file: Path | None) -> None:
    key = SHOWN[load.kind]
    wrong = {
        name: found[name] for name in ("errors", "unreached", "lost", "corrupt", "dropped") if found.get(name)
    }
    print(f"{where}: {key} {found.get(key)} {wrong or ''}", file=sys.stderr, flush=True)
    if file:
        with file.open("a") as lines:
            print(json.dumps({"scenario": load.name, **found}), file=lines)


def _report(
    tools: Tools, machine: Machine, loads: Sequence[Scenario], results: Results, rounds: int, seconds: float
) -> str:
    head = (
        f"{_machine(tools)}. {rounds} rounds of {seconds:g} seconds, medians, lowest and highest in brackets. "
        f"Other programs took {machine.others():.0%} of the cores meanwhile."
    )
    return "\n\n".join([head, *(table(load, results[load.name]) for load in loads if results[load.name])])


def _machine(tools: Tools) -> str:
    """What the figures were taken on."""
    cpu = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.machine(),
    )
    versions = [
        _version([tools.programs[name], "--version"]) for name in ("python", "hub") if name in tools.programs
    ][:1]
    if "node" in tools.programs:
        versions.append("Node " + _version([tools.programs["node"], "--version"]))
    if "centrifugo" in tools.programs:
        versions.append(_version([tools.programs["centrifugo"], "version"]))
    on = f"{os.cpu_count()} cores ({cpu}), Linux {platform.release()}"
    return ", ".join([f"{datetime.now(UTC):%Y-%m-%d}, {on}", *versions])


def _version(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    return (done.stdout or done.stderr).strip().split("\n")[0]


def _verdict(results: Results) -> Iterator[str]:
    for scenario, bound in gate.BOUNDS.items():
        hub, article = (results[scenario][name] for name in gate.CONTENDERS)
        found = ratio(hub, article, "cpu_us_per_delivery") or 0.0
        yield f"{scenario}: the hub takes {found:.2f} of the article's CPU per delivery, allowed is {bound:.2f}"


if __name__ == "__main__":
    main()
