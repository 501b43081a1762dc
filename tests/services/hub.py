"""The command `hub` as a person runs it: in a folder, in a process of its own, with an exit status and two streams."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Self

SECRET = "a-secret-for-tests-of-commands-0123456789abcdef"
API_KEY = "an-api-key-for-tests-of-commands"
CONFIG = f"""
version: 1
server: {{port: 0, drain: 1s}}
auth:
  anonymous: true
  jwt: {{secret: "{SECRET}"}}
  api_keys: {{tests: {{key: "{API_KEY}"}}}}
topics:
  "open:{{name}}": {{allow: {{subscribe: anyone, publish: anyone}}, history: {{size: 100, ttl: 1h}}}}
  "brief:{{name}}": {{allow: {{subscribe: anyone, publish: anyone}}}}
  "closed:{{name}}": {{allow: {{subscribe: authenticated, publish: authenticated}}}}
"""
_ADDRESS = re.compile(r"https?://[\w.\[\]:]+:\d+")


def environ(**more: str) -> dict[str, str]:
    """An environment that says nothing to the hub, but for what is given."""
    return {key: value for key, value in os.environ.items() if not key.startswith("HUB_")} | more


def command(*arguments: str | Path) -> list[str]:
    """The command line of `hub` with some arguments."""
    return [str(Path(sys.executable).with_name("hub")), *map(str, arguments)]


def run_hub(
    *arguments: str | Path, cwd: Path, stdin: str | None = None, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs one command to its end."""
    return subprocess.run(
        command(*arguments),
        cwd=cwd,
        env=environ(**(env or {})),
        input=stdin,
        stdin=subprocess.DEVNULL if stdin is None else None,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


class HubProcess:
    """A command that goes on until it is stopped, its streams in files. As a context manager it leaves nothing."""

    def __init__(self, *arguments: str | Path, cwd: Path, env: Mapping[str, str] | None = None) -> None:
        self.out = cwd / f"hub-{time.monotonic_ns()}.out"
        self._err = self.out.with_suffix(".err")
        with self.out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(
                command(*arguments),
                cwd=cwd,
                env=environ(**(env or {})),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    @property
    def said(self) -> str:
        """What it has said on standard error so far."""
        return self._err.read_text(errors="replace")

    @property
    def printed(self) -> str:
        """What it has printed on standard output so far."""
        return self.out.read_text(errors="replace")

    def wait_until_said(self, pattern: str, *, times: int = 1, within: float = 40) -> re.Match[str]:
        """Waits until a line matches for the given time, and returns that match."""
        return self._wait(lambda: self.said, pattern, times, within)

    def wait_until_printed(self, pattern: str, *, times: int = 1, within: float = 40) -> re.Match[str]:
        """The same for standard output."""
        return self._wait(lambda: self.printed, pattern, times, within)

    def url(self) -> str:
        """The address on which it serves, once it does; those after it are the internal ones."""
        self.wait_until_said(r"serves http|Page +http")
        found = _ADDRESS.search(self.said)
        assert found is not None, self.said
        return found.group()

    def stop(self, number: signal.Signals = signal.SIGTERM, *, within: float = 30) -> int:
        """Sends a signal and returns the exit status."""
        self.process.send_signal(number)
        return self.wait(within=within)

    def wait(self, *, within: float = 30) -> int:
        """Waits for its end and returns the exit status."""
        try:
            return self.process.wait(within)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it still runs; it said:\n{self.said}") from None

    def _wait(self, text: object, pattern: str, times: int, within: float) -> re.Match[str]:
        assert callable(text)
        deadline = time.monotonic() + within
        while True:
            found = list(re.finditer(pattern, text()))
            if len(found) >= times:
                return found[times - 1]
            over = self.process.poll() is not None or time.monotonic() > deadline
            if over and len(list(re.finditer(pattern, text()))) < times:
                raise AssertionError(
                    f"{pattern!r} did not come {times} times; it said:\n{self.said}{self.printed}"
                )
            time.sleep(0.02)
