"""The hub and its rivals side by side: each server started afresh in turns, interleaved rounds, medians.

A line of progress for each measurement goes to standard error, the tables to standard output. Compare the ratios of one
run, never the figures of two.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import contenders, gate, machine, pages, pythons, scenarios, tables
from benchmarks.contenders import Contender
from benchmarks.rounds import Run
from benchmarks.scenarios import Scenario
from benchmarks.tools import Tools, prepared


def main() -> None:
    """Measures what the options name; ends with status 1 when something failed or the gate is shut."""
    options = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # unwinds, so that what was started is ended
    machine.allow_many_sockets()
    try:
        loads = scenarios.chosen(gate.BOUNDS if options.gate else options.scenarios)
        interpreters = pythons.found(options.python)
        rivals = contenders.with_variants(
            contenders.chosen(gate.CONTENDERS if options.gate else options.only),
            [] if options.gate else list(interpreters),
            [] if options.gate else options.loop,
        )
    except ValueError as error:
        raise SystemExit(str(error)) from None
    tools = prepared(rivals, interpreters, options.centrifugo, options.loadtest)
    rivals = tuple(_present(tools, rivals))
    if options.gate:
        sys.exit(
            _gate(Run(tools, rivals, options.seconds, gate.QUICKLY, options.results), loads, options.rounds)
        )
    run = Run(tools, rivals, options.seconds, file=options.results)
    sections = {"machine": _machine(tools)}
    print(sections["machine"])
    for load in loads:
        if not run.entrants(load):
            print(f"{load.name}: nobody to measure", file=sys.stderr)
            continue
        run.measure(load, options.rounds)
        sections[load.name] = _section(run, load, options)
        print(f"\n{sections[load.name]}", flush=True)
        if options.write:  # after each, so that a run that is broken off keeps what it found
            order = ["machine", *(each.name for each in scenarios.ALL)]
            options.write.write_text(pages.replaced(options.write.read_text(), sections, order))
    sys.exit(1 if run.failures else 0)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument(
        "--rounds", type=int, help=f"how often each is measured (3; with --gate {gate.ROUNDS})"
    )
    parser.add_argument("--seconds", type=float, help="how long each load lasts (4; with --gate 2)")
    names = ", ".join(each.name for each in contenders.ALL)
    parser.add_argument("--only", type=_names, default=(), help=f"contenders, with commas between: {names}")
    names = ", ".join(each.name for each in scenarios.ALL)
    parser.add_argument("--scenarios", type=_names, default=(), help=f"loads, with commas between: {names}")
    parser.add_argument("--centrifugo", type=Path, help="the program; without it Centrifugo is left out")
    parser.add_argument(
        *("--python", "-p"),
        action="append",
        default=[],
        help="measure the hub on this Python too: a version (3.13) or a path; may be given several times",
    )
    parser.add_argument(
        *("--loop", "-l"),
        type=_names,
        default=(),
        help="measure the hub on these event loops, with a comma between: uvloop,asyncio; otherwise on uvloop",
    )
    parser.add_argument(
        "--against",
        type=_names,
        default=tables.PEERS,
        help=f"contenders to show ratios to ({','.join(tables.PEERS)})",
    )
    parser.add_argument("--loadtest", type=Path, help="the load generator; otherwise it is built (needs Go)")
    parser.add_argument(
        "--results", type=Path, help="add what each measurement found to this file, a line of JSON each"
    )
    parser.add_argument("--write", type=Path, help="put the tables into this page too, between their marks")
    parser.add_argument(
        "--gate", action="store_true", help="fail if the hub costs too much beside the article's app"
    )
    options = parser.parse_args()
    options.rounds = options.rounds or (gate.ROUNDS if options.gate else 3)
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


def _gate(run: Run, loads: Sequence[Scenario], rounds: int) -> int:
    """Returns the exit status."""

    def measure(more: int) -> gate.Measured:
        for load in loads:
            run.measure(load, more)
        return run.results

    found = gate.judged(measure, rounds)
    if found:
        print("scripts/bench --gate FAILED:", *(each.text for each in found), sep="\n", file=sys.stderr)
        return 1
    print(*gate.verdict(run.results), sep="\n")
    return 0


def _section(run: Run, load: Scenario, options: argparse.Namespace) -> str:
    """One table with its title, the command that makes it, and how quiet the machine was."""
    command = ["scripts/bench", "--scenarios", load.name, "--rounds", options.rounds]
    command += ["--seconds", f"{options.seconds:g}"]
    command += ["--only", ",".join(options.only)] if options.only else []
    command += ["--centrifugo", "PATH"] if options.centrifugo else []
    for python in options.python:
        command += ["--python", python if "/" not in python else "PATH"]
    command += ["--loop", ",".join(options.loop)] if options.loop else []
    command += ["--against", ",".join(options.against)] if options.against != tables.PEERS else []
    told = f"`{' '.join(map(str, command))}`; each load took {load.seconds(options.seconds):g} s"
    if load.pinned and not machine.Cores().can_be_shared:
        told += ", **server and client on the only core**"
    others = f"other programs took {run.others[load.name]:.0%} of the cores meanwhile"
    rows = tables.table(load, run.entrants(load), run.results[load.name], options.against)
    return f"**{load.title}**\n\n{told}; {others}.\n\n{rows}"


def _machine(tools: Tools) -> str:
    """What the figures were taken on, and with what."""
    versions = []
    for name, path in tools.programs.items():
        if name.partition("@")[0] == "hub":
            versions.append(_version([path, "--version"]))
    if "node" in tools.programs:
        versions.append("Node " + _version([tools.programs["node"], "--version"]))
    if "centrifugo" in tools.programs:
        versions.append(_version([tools.programs["centrifugo"], "version"]))
    return ", ".join([f"{datetime.now(UTC):%Y-%m-%d}, {machine.described()}", *versions]) + "."


def _version(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    return (done.stdout or done.stderr).strip().split("\n")[0]


if __name__ == "__main__":
    main()
