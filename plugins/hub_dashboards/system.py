"""What the machine counts, read by psutil: raw counts at a moment, and the figures between two of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import psutil

T = TypeVar("T")
_DISK: Final = Path.cwd().anchor
_IDLE: Final = ("idle", "iowait")
_COUNTED_TWICE: Final = ("guest", "guest_nice")
"""Linux counts the time of guests in `user` and `nice` as well."""


@dataclass(frozen=True, slots=True)
class Counts:
    """Counters and gauges of the machine at a moment; None is what it does not tell.

    Seconds, bytes and percent; `at` is a clock that never goes back.
    """

    at: float
    busy: float | None
    total: float | None
    load: float | None
    memory: float | None
    memory_used: float | None
    disk: float | None
    disk_read: float | None
    disk_write: float | None
    net_in: float | None
    net_out: float | None
    process_busy: float | None
    process_memory: float | None


def read_counts(process: psutil.Process) -> Counts:
    """Reads everything: about a millisecond of files under /proc, so it belongs in a thread."""
    cpu = _told(psutil.cpu_times)
    memory = _told(psutil.virtual_memory)
    disk = _told(lambda: psutil.disk_usage(_DISK))
    disks = _told(psutil.disk_io_counters)
    net = _told(psutil.net_io_counters)
    own = _told(process.cpu_times)
    rss = _told(process.memory_info)
    load = _told(psutil.getloadavg)
    total = None if cpu is None else sum(cpu) - sum(getattr(cpu, name, 0.0) for name in _COUNTED_TWICE)
    idle = sum(getattr(cpu, name, 0.0) for name in _IDLE)
    return Counts(
        at=time.monotonic(),
        busy=None if total is None else total - idle,
        total=total,
        load=load[0] if load else None,
        memory=_of(memory, "percent"),
        memory_used=_of(memory, "used"),
        disk=_of(disk, "percent"),
        disk_read=_of(disks, "read_bytes"),
        disk_write=_of(disks, "write_bytes"),
        net_in=_of(net, "bytes_recv"),
        net_out=_of(net, "bytes_sent"),
        process_busy=None if own is None else own.user + own.system,
        process_memory=_of(rss, "rss"),
    )


def system_figures(before: Counts, now: Counts) -> dict[str, float | None]:
    """Every metric of the source `system` between two moments, in its unit."""
    seconds = now.at - before.at
    share = per_second(before.busy, now.busy, _less(now.total, before.total))
    process = per_second(before.process_busy, now.process_busy, seconds)
    return {
        "cpu": None if share is None else round(min(100.0, 100 * share), 1),
        "load": None if now.load is None else round(now.load, 2),
        "memory": now.memory,
        "memory_used": now.memory_used,
        "disk": now.disk,
        "disk_read": _whole(per_second(before.disk_read, now.disk_read, seconds)),
        "disk_write": _whole(per_second(before.disk_write, now.disk_write, seconds)),
        "net_in": _whole(per_second(before.net_in, now.net_in, seconds)),
        "net_out": _whole(per_second(before.net_out, now.net_out, seconds)),
        "process_cpu": None if process is None else round(100 * process, 1),
        "process_memory": now.process_memory,
    }


def per_second(before: float | None, now: float | None, seconds: float | None) -> float | None:
    """How much a counter grew per second; one that went back counts as still, no time or no counter gives None."""
    grown = _less(now, before)
    return None if grown is None or not seconds or seconds < 0 else max(0.0, grown) / seconds


def _less(now: float | None, before: float | None) -> float | None:
    return None if now is None or before is None else now - before


def _whole(value: float | None) -> float | None:
    return None if value is None else round(value)


def _of(found: Any, name: str) -> float | None:
    return None if found is None else getattr(found, name)


def _told(ask: Callable[[], T]) -> T | None:
    """What the machine says, None where it refuses: containers and rare systems hide some of it."""
    try:
        return ask()
    except (OSError, RuntimeError, psutil.Error):
        return None
