"""One measurement: a server started afresh, the load generator against it, both ended."""

from __future__ import annotations

import json
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any, Final

from benchmarks.contenders import Contender
from benchmarks.machine import Cores
from benchmarks.scenarios import SLOW_READERS, Scenario
from benchmarks.tools import HERE, ROOT, Tools

OPEN_WITHIN: Final = 30.0
STOP_WITHIN: Final = 5.0
LOAD_WITHIN: Final = 120
"""Seconds that a load may take beyond its duration: opening thousands of connections is slow for some."""


MEMORY: Final = frozenset({"idle", "slow", "deflate"})
"""Kinds of load whose table shows memory."""


class Failed(Exception):
    """A contender did not start, or the load generator could not measure it."""


def measured(
    tools: Tools, contender: Contender, scenario: Scenario, asked: float, *more: str
) -> dict[str, Any]:
    """Returns what the load generator found: one contender, one scenario, one fresh server.

    Handshakes and memory are measured on a server that has seen some clients: what it loads for the first is nobody's
    own. Slow readers are measured against a server that has none. Raises Failed when nothing was found.
    """
    seconds = scenario.seconds(asked)
    if scenario.kind == "slow":
        without = _loaded(tools, contender, scenario, seconds, more)
        found = _loaded(tools, contender, scenario, seconds, (*more, "-slow", str(SLOW_READERS)))
        return found | slowed(without, found)
    return _loaded(tools, contender, scenario, seconds, more)


def slowed(without: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what slow readers changed: how many times the others' p99 grew, MiB for each, how many were let go."""
    slow = found["slow"]
    grown = found["rss_mib_grown"] - without.get("rss_mib_grown", 0.0)
    return {
        "p99_without_ms": without["p99_ms"],
        "p99_growth": found["p99_ms"] / without["p99_ms"] if without["p99_ms"] else None,
        "mib_per_slow": max(grown, 0.0) / slow["connections"],
        "let_go": slow["closed_by_server"],
    }


def _loaded(
    tools: Tools, contender: Contender, scenario: Scenario, seconds: float, more: Sequence[str]
) -> dict[str, Any]:
    cores = Cores() if scenario.pinned else None
    with _server(tools, contender, cores) as (port, pid):
        talk = [*contender.talk, *scenario.load(contender), "-pid", str(pid), "-label", contender.name]
        load = [str(tools.loadtest), *(filled(each, {"port": str(port)}) for each in talk)]
        if scenario.kind == "handshakes":
            _found([*load, "-duration", "1s"], 1)
        elif scenario.kind in MEMORY:
            _found([*load, "-mode", "idle", "-conns", "10", "-settle", "300ms", "-duration", "1ms"], 1)
        with cores.only("client") if cores else nullcontext():
            return _found([*load, "-duration", f"{seconds}s", *more], seconds)


def filled(text: str, values: Mapping[str, str]) -> str:
    """Returns the text with these names in braces replaced; other braces stay."""
    for name, value in values.items():
        text = text.replace(f"{{{name}}}", value)
    return text


def _found(command: Sequence[str], seconds: float) -> dict[str, Any]:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=seconds + LOAD_WITHIN)
    if done.returncode or not done.stdout.strip():
        raise Failed(f"the load generator ended with {done.returncode}: {done.stderr.strip()[-500:]}")
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


@contextmanager
def _server(tools: Tools, contender: Contender, cores: Cores | None) -> Iterator[tuple[int, int]]:
    """Runs a contender, with a Redis if it needs one; gives its port and process id once it accepts connections."""
    port, redis = _free_port(), _free_port()
    values = tools.programs | {"here": str(HERE), "port": str(port), "redis": f"redis://127.0.0.1:{redis}"}
    command = [filled(part, values) for part in contender.command]
    with ExitStack() as running:
        folder = Path(running.enter_context(tempfile.TemporaryDirectory(prefix="topichub-bench-")))
        if contender.needs_redis:
            store = [tools.programs["redis"], "--port", str(redis), "--bind", "127.0.0.1", "--save", ""]
            running.enter_context(
                _process([*store, "--dir", str(folder)], redis, folder / "redis.log", tools.environment)
            )
        environment = {**tools.environment, **contender.environment}
        server = _process(command, port, folder / "server.log", environment, cores)
        yield port, running.enter_context(server)


@contextmanager
def _process(
    command: Sequence[str],
    port: int,
    log: Path,
    environment: Mapping[str, str],
    cores: Cores | None = None,
) -> Iterator[int]:
    with log.open("wb") as output, cores.only("server") if cores else nullcontext():
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
        if _answers(port):
            return
        time.sleep(0.05)
    raise Failed(f"it answers no connections: {log.read_text(errors='replace')[-1000:]}")


def _answers(port: int) -> bool:
    """Whether the server says anything, or hangs up: a port may be open long before what serves it is loaded."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as probe:
            probe.sendall(b"GET / HTTP/1.0\r\n\r\n")
            probe.recv(1)
    except ConnectionResetError:
        return True
    except OSError:
        return False
    return True


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
