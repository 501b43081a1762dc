"""This machine: its cores, who else uses them, and what it is."""

from __future__ import annotations

import os
import platform
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Cores:
    """Shares the cores out between server and client: one for the server, all others for the client."""

    def __init__(self) -> None:
        self.all = sorted(os.sched_getaffinity(0))

    @property
    def can_be_shared(self) -> bool:
        """Whether there are two of them."""
        return len(self.all) > 1

    @contextmanager
    def only(self, role: str) -> Iterator[None]:
        """Keeps what is started meanwhile on the cores of this role, `server` or `client`, if there are two cores."""
        if not self.can_be_shared:
            yield
            return
        os.sched_setaffinity(0, self.all[:1] if role == "server" else self.all[1:])
        try:
            yield
        finally:
            os.sched_setaffinity(0, self.all)


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


def described() -> str:
    """Returns what the figures are taken on: cores, processor, kernel."""
    processor = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.machine(),
    )
    kernel = ".".join(platform.release().split("-")[0].split(".")[:2])
    return f"{os.cpu_count()} cores ({processor}), Linux {kernel}"


def allow_many_sockets() -> None:
    """Raises the limit of open files as far as this user may; servers inherit it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
