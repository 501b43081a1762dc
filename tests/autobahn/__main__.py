"""Runs the Autobahn test suite against the hub's connections: python -m tests.autobahn [--cases 1.* 12.*].

The suite is a package for Python 2.7, which is installed into .tools/autobahn on first use; its pages on each case come
to .tools/autobahn/reports. Ends with 1 when a case failed, and with 2 when the suite cannot be run.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
PLACE: Final = ROOT / ".tools/autobahn"
REQUIREMENTS: Final = Path(__file__).with_name("requirements.txt")
LOOPS: Final = ("uvloop", "asyncio")
FORMS: Final = ("detached", "asgi")
PLAIN: Final = ("1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "10.*")
COMPRESSED: Final = ("12.*", "13.*")
GOOD: Final = frozenset({"OK", "NON-STRICT", "INFORMATIONAL"})
"""How the suite calls what it lets pass; UNIMPLEMENTED, where an offer of compression was declined, is none of it."""
RUN: Final = (
    "import site, sys; site.addsitedir(sys.argv.pop(1)); from autobahntestsuite.wstest import run; run()"
)
Verdicts = dict[str, dict[str, str]]


class Missing(Exception):
    """Something that the suite needs is not here; the text says what, and where to get it."""


def find_python2(named: str | None) -> str:
    """A Python 2.7: the one named, or the first of that name. Raises Missing."""
    candidates = [named] if named else ["python2.7", "python2", "pypy2"]
    told = "import sys; sys.exit(sys.version_info[:2] != (2, 7))"
    for candidate in candidates:
        path = shutil.which(candidate)
        if path and subprocess.run([path, "-c", told], capture_output=True, check=False).returncode == 0:
            return path
    raise Missing(
        f"no Python 2.7 was found as {', '.join(candidates)}: the Autobahn test suite runs on nothing newer. "
        "Install one (pyenv install 2.7.18) and name it: scripts/autobahn --python2 PATH"
    )


def install(python2: str) -> Path:
    """Installs the suite, once; returns its folder. Raises Missing."""
    packages = PLACE / "packages"
    stamp = packages / ".requirements"
    wanted = hashlib.sha256(REQUIREMENTS.read_bytes() + python2.encode()).hexdigest()
    if stamp.exists() and stamp.read_text() == wanted:
        return packages
    shutil.rmtree(packages, ignore_errors=True)
    if subprocess.run([python2, "-m", "pip", "--version"], capture_output=True, check=False).returncode:
        raise Missing(f"{python2} has no pip: run {python2} -m ensurepip")
    print(f"installing the suite into {packages.relative_to(ROOT)}", file=sys.stderr)
    line = [python2, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    line += ["--target", str(packages), "--requirement", str(REQUIREMENTS)]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Missing(f"the suite could not be installed: {done.stderr[-2_000:]}")
    stamp.write_text(wanted)
    return packages


@contextmanager
def echo(loop: str) -> Iterator[int]:
    """Runs the server that the suite talks to; gives its port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    server = subprocess.Popen([sys.executable, "-m", "tests.autobahn.echo", str(port), loop], cwd=ROOT)
    try:
        _await(server, port)
        yield port
        if server.poll() is not None:
            raise RuntimeError(f"the echo server on {loop} has ended")
    finally:
        server.terminate()
        server.wait(10)


def _await(server: subprocess.Popen[bytes], port: int) -> None:
    for _ in range(200):
        if server.poll() is not None:
            break
        with socket.socket() as tried:
            if tried.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError("the echo server did not start")


def judge(python2: str, packages: Path, loop: str, forms: Sequence[str], cases: Sequence[str]) -> Verdicts:
    """Runs the cases on one event loop; how each form did in each case."""
    reports = PLACE / "reports" / loop
    shutil.rmtree(reports, ignore_errors=True)
    reports.mkdir(parents=True)
    with echo(loop) as port:
        servers = [{"agent": form, "url": f"ws://127.0.0.1:{port}/{form}"} for form in forms]
        spec = {"outdir": str(reports), "servers": servers, "cases": list(cases)}
        spec |= {"exclude-cases": [], "exclude-agent-cases": {}}
        (reports / "spec.json").write_text(json.dumps(spec))
        line = [python2, "-c", RUN, str(packages), "-m", "fuzzingclient", "-s", str(reports / "spec.json")]
        with (reports / "log.txt").open("wb") as log:
            subprocess.run(line, cwd=reports, stdout=log, stderr=log, check=True)
    found = json.loads((reports / "index.json").read_text())
    return {form: {case: _verdict(each) for case, each in found[form].items()} for form in forms}


def _verdict(case: dict[str, str]) -> str:
    """The worse of how it behaved and how it closed."""
    return (
        case["behavior"] if case["behaviorClose"] in GOOD or case["behavior"] not in GOOD else "FAILED CLOSE"
    )


def table(verdicts: Verdicts) -> str:
    """A line for each server."""
    lines = ["| server | cases | strictly | not strictly | only inform | failed |"]
    lines.append("| --- | --- | --- | --- | --- | --- |")
    for name, cases in verdicts.items():
        seen = Counter(cases.values())
        failed = len(cases) - sum(seen[verdict] for verdict in GOOD)
        passed = f"{seen['OK']} | {seen['NON-STRICT']} | {seen['INFORMATIONAL']}"
        lines.append(f"| {name} | {len(cases)} | {passed} | {failed} |")
    return "\n".join(lines)


def failures(verdicts: Verdicts) -> list[str]:
    """What failed, a line for each."""
    return [
        f"{name}: case {case}: {verdict}"
        for name, cases in verdicts.items()
        for case, verdict in cases.items()
        if verdict not in GOOD
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Installs, runs, prints; returns the exit status."""
    parser = argparse.ArgumentParser(prog="scripts/autobahn", description=__doc__)
    parser.add_argument("--python2", help="a Python 2.7; else the first one found by name")
    parser.add_argument("--cases", nargs="+", default=[*PLAIN, *COMPRESSED], help='such as 1.* or "12.1.*"')
    parser.add_argument("--loops", nargs="+", choices=LOOPS, default=LOOPS)
    parser.add_argument("--forms", nargs="+", choices=FORMS, default=FORMS)
    given = parser.parse_args(arguments)
    verdicts: Verdicts = {}
    try:
        python2 = find_python2(given.python2)
        packages = install(python2)
        for loop in given.loops:
            found = judge(python2, packages, loop, given.forms, given.cases)
            verdicts |= {f"{form}, {loop}": cases for form, cases in found.items()}
    except Missing as missing:
        print(missing, file=sys.stderr)
        return 2
    print(table(verdicts))
    failed = failures(verdicts)
    if failed:
        print("\n" + "\n".join(failed))
    return 1 if failed or not all(verdicts.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
