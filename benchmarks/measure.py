"""One measurement: a server started afresh, the load generator against it, both ended."""

from __future__ import annotations

import json
import os
import resource
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

from benchmarks.contenders import Contender
from benchmarks.scenarios import Scenario
from benchmarks.tools import HERE, ROOT, Tools

OPEN_WITHIN: Final = 30.0
STOP_WITHIN: Final = 5.0
LOAD_WITHIN: Final = 120
"""Seconds that a load may take beyond its duration: opening thousands of connections is slow for some."""


class Failed(Exception):
    """A contender did not start, or the load generator could not measure it."""


def measured(
    tools: Tools, contender: Contender, scenario: Scenario, seconds: float, *more: str
) -> dict[str, Any]:
    """Returns what the load generator found: one contender, one scenario, one fresh server.

    Handshakes are measured on a server that has seen some: what Python imports with the first is nobody's handshake.
    Raises Failed when nothing was found.
    """
    length = seconds * scenario.stretch
    with _server(tools, contender) as (port, pid):
        talk = [each.format(port=port) for each in contender.talk]
        load = [str(tools.loadtest), *talk, *scenario.arguments, "-pid", str(pid), "-label", contender.name]
        if scenario.kind == "handshakes":
            _found([*load, "-duration", "1s"], 1)
        return _found([*load, "-duration", f"{length}s", *more], length)


def _found(command: Sequence[str], length: float) -> dict[str, Any]:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=length + LOAD_WITHIN)
    if done.returncode or not done.stdout.strip():
        raise Failed(f"the load generator ended with {done.returncode}: {done.stderr.strip()[-500:]}")
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def allow_many_sockets() -> None:
    """Raises the limit of open files as far as this user may; servers inherit it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


@contextmanager
def _server(tools: Tools, contender: Contender) -> Iterator[tuple[int, int]]:
    """Runs a contender, with a Redis if it needs one; gives its port and process id once it accepts connections."""
    port, redis = _free_port(), _free_port()
    filled = tools.programs | {"here": str(HERE), "port": str(port), "redis": f"redis://127.0.0.1:{redis}"}
    command = [part.format(**filled) for part in contender.command]
    with ExitStack() as running:
        folder = Path(running.enter_context(tempfile.TemporaryDirectory(prefix="topichub-bench-")))
        if contender.needs_redis:
            store = [tools.programs["redis"], "--port", str(redis), "--bind", "127.0.0.1", "--save", ""]
            running.enter_context(
                _process([*store, "--dir", str(folder)], redis, folder / "redis.log", tools.environment)
            )
        environment = tools.environment | contender.environment
        yield port, running.enter_context(_process(command, port, folder / "server.log", environment))


@contextmanager
def _process(command: Sequence[str], port: int, log: Path, environment: Mapping[str, str]) -> Iterator[int]:
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        _wait(process, port, log)
        yield process.pid
    finally:
        _end(process)


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + OPEN_WITHIN
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise Failed(f"it ended with {process.returncode}: {log.read_text(errors='replace')[-1000:]}")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise Failed(f"it accepts no connections: {log.read_text(errors='replace')[-1000:]}")


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends the process that was started here: kindly, and after some seconds at once."""
    process.terminate()
    try:
        process.wait(STOP_WITHIN)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Machine:
    """How busy this machine was with other things while we measured."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._busy = _busy_seconds()
        self._own = _own_seconds()

    def others(self) -> float:
        """Returns the share of all cores that went to processes that are not ours, from 0 to 1."""
        elapsed = (time.monotonic() - self._began) * (os.cpu_count() or 1)
        return max(0.0, (_busy_seconds() - self._busy - (_own_seconds() - self._own)) / elapsed)


def _busy_seconds() -> float:
    user, nice, system, _idle, _wait, irq, softirq, *_ = map(
        int, Path("/proc/stat").read_text().split("\n")[0].split()[1:]
    )
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def _own_seconds() -> float:
    """CPU of this process and of all its children that have ended."""
    return sum(
        used.ru_utime + used.ru_stime
        for used in (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    )
