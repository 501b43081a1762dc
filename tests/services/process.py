"""A server process of our own: started on a free port, killed, frozen and started again by the test that owns it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path


class ServerProcess:
    """One program in a process that only this object ends; its output goes to `log`."""

    def __init__(self, command: Sequence[str | Path], log: Path) -> None:
        self._command = [str(part) for part in command]
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        """Whether the process was started and has not ended (a frozen one runs)."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The number of the process that was started."""
        if self._process is None:
            raise RuntimeError(f"{self._command[0]} was not started")
        return self._process.pid

    def start(self, ready: Callable[[], bool], *, within: float = 25) -> None:
        """Starts the program and returns once `ready()`; raises RuntimeError with its output if that never comes."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + within
        while not ready():
            if not self.running or time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(
                    f"{self._command[0]} did not start: {self._log.read_text(errors='replace')[-2000:]}"
                )
            time.sleep(0.01)

    def kill(self) -> None:
        """Ends the process at once (SIGKILL), as a crash does."""
        self._end(signal.SIGKILL)

    def stop(self, *, within: float = 10) -> None:
        """Asks the process to end (SIGTERM), and kills it if it does not."""
        self._end(signal.SIGTERM, within=within)

    def freeze(self) -> None:
        """Stops the process where it is (SIGSTOP): connections stay open and nothing answers."""
        self._signal(signal.SIGSTOP)
        if self._process is not None and self.running:
            os.waitid(
                os.P_PID, self._process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT
            )  # until it stands still

    def thaw(self) -> None:
        """Lets a frozen process go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)

    def _end(self, number: signal.Signals, *, within: float = 10) -> None:
        if self._process is None:
            return
        self._signal(number)
        self.thaw()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(within)
        with contextlib.suppress(ProcessLookupError):  # what it started goes with it
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._process = None
