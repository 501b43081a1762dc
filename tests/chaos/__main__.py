"""The long form: all scenarios on all brokers with several seeds, and a table: `python -m tests.chaos --help`."""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
from pathlib import Path

from tests.chaos.brokers import BROKERS, MissingServerError
from tests.chaos.history import load
from tests.chaos.judge import Verdict, judge
from tests.chaos.presence.run import attend, judged_presence
from tests.chaos.run import FOLDER, Load, judged, run
from tests.chaos.scenarios import PRESENCE, SCENARIOS, Scenario, fits
from tests.chaos.site import Site, site

COLUMNS = ("acked", "failed", "unknown", "received", "lost", "duplicated", "reordered", "told")
HEADS = (
    "acked",
    "failed",
    "unknown",
    "received",
    "silently lost",
    "duplicated",
    "reordered",
    "honestly told",
)


def main() -> int:
    """Runs what was asked for; 0 when every run was honest."""
    options = _options()
    if options.judge:
        return _judge_again(options.judge)
    names = [scenario.name for scenario in SCENARIOS]
    chosen = [scenario for scenario in SCENARIOS if not options.scenario or scenario.name in options.scenario]
    if options.scenario and len(chosen) < len(set(options.scenario)):
        print(f"scenarios are: {', '.join(names)}", file=sys.stderr)
        return 2
    first = options.seed if options.seed is not None else random.SystemRandom().randrange(10**6)
    seeds = [first + number for number in range(options.seeds)]
    how = Load(options.seconds, options.subscribers, options.publishers)
    _print_row("broker", "scenario", "seed", *HEADS)
    failures = 0
    for broker in options.broker or BROKERS:
        with tempfile.TemporaryDirectory(prefix="hub-chaos-") as folder:
            try:
                with site(broker, Path(folder)) as place:
                    failures += _all_on(place, chosen, seeds, how)
            except MissingServerError as missing:
                failures += 1
                print(missing, file=sys.stderr)
    if failures:
        print(f"{failures} runs failed; their histories are in {FOLDER}", file=sys.stderr)
    return 1 if failures else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/chaos", description=__doc__)
    parser.add_argument("--broker", action="append", choices=BROKERS, help="only this one (may be repeated)")
    parser.add_argument("--scenario", action="append", help="only this one (may be repeated)")
    parser.add_argument("--seeds", type=int, default=5, help="runs of each scenario on each broker")
    parser.add_argument("--seed", type=int, help="the first seed; random otherwise")
    parser.add_argument("--seconds", type=float, default=10.0, help="how long faults last")
    parser.add_argument("--subscribers", type=int, default=20)
    parser.add_argument("--publishers", type=int, default=6)
    parser.add_argument("--judge", type=Path, metavar="FILE", help="judge a history that was kept")
    return parser.parse_args()


def _all_on(place: Site, chosen: list[Scenario], seeds: list[int], how: Load) -> int:
    failures = 0
    for scenario in chosen:
        for seed in seeds if fits(scenario, place.broker) else ():
            verdict = asyncio.run(_verdict(scenario, place, seed, how))
            _report(place.broker, scenario.name, seed, verdict)
            failures += not verdict.honest
    return failures


async def _verdict(scenario: Scenario, place: Site, seed: int, how: Load) -> Verdict:
    """Carries a scenario out; what goes wrong with the site itself is a finding too."""
    try:
        if scenario is PRESENCE:
            return judged_presence(await attend(place, seed, how))
        return judged(scenario, await run(scenario, place, seed, how))
    except Exception as error:  # noqa: BLE001 - the other runs are to be made all the same
        return Verdict(findings=[f"it could not be carried out: {error!r}"])


def _report(broker: str, scenario: str, seed: int, verdict: Verdict) -> None:
    _print_row(broker, scenario, seed, *(getattr(verdict, column) for column in COLUMNS))
    for finding in verdict.findings:
        print(f"    {finding}")


def _print_row(broker: str, scenario: str, seed: object, *counts: object) -> None:
    widths = [max(9, len(head)) for head in HEADS]
    row = "  ".join(f"{count:>{width}}" for count, width in zip(counts, widths, strict=True))
    print(f"{broker:14}  {scenario:18}  {seed:>7}  {row}", flush=True)


def _judge_again(path: Path) -> int:
    history = load(path)
    verdict = judge(history)
    _print_row("broker", "scenario", "seed", *HEADS)
    _report(history.broker, history.scenario, history.seed, verdict)
    for fault in history.faults:
        print(f"    {fault}")
    return 0 if verdict.honest else 1


if __name__ == "__main__":
    sys.exit(main())
