"""Shares of what a server does, from a profile by perf: the kernel's sends and reads, the event loop, Python.

    perf record -F 2000 -e cpu-clock -g -p PID -o perf.data -- sleep 5
    perf script -i perf.data -F ip,sym,dso | python benchmarks/shares.py

Each sample counts for the innermost thing that is going on; what the kernel does is told apart by the system call that
it was asked for. On loopback a packet is received in the sender's time, which counts by itself: on a network it is
another machine's.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Final

_KERNEL: Final = (
    (
        "kernel: the receiver's half of TCP, on loopback in the sender's time",
        re.compile(r"net_rx_action|backlog"),
    ),
    ("kernel: writing to sockets", re.compile(r"sys_(write|writev|sendto|sendmsg)\b")),
    ("kernel: reading from sockets", re.compile(r"sys_(read|readv|recvfrom|recvmsg)\b")),
    ("kernel: waiting for events", re.compile(r"sys_epoll|epoll_wait")),
)
_USER: Final = (
    ("uvloop", re.compile(r"/uvloop/|\bloop\.cpython")),
    ("msgspec, the mask, struct, asyncio's C parts", re.compile(r"\.cpython-[^/]*\.so")),
    ("interpreter: the loop over bytecodes", re.compile(r"^\S+ _PyEval_EvalFrameDefault ")),
    (
        "interpreter: memory and reference counts",
        re.compile(r"(?i)^\S+ \S*(alloc|free|gc_|_gc|newreference|frame_clear|tuple_?pack|cfree)"),
    ),
    ("interpreter: calls, attributes, dictionaries, the rest", re.compile(r"python")),
)
_OTHER: Final = ("kernel: interrupts and the rest", "the C library and the rest")


def samples(lines: Iterable[str]) -> Iterator[list[str]]:
    """The stacks, innermost first."""
    stack: list[str] = []
    for line in lines:
        if line.strip():
            stack.append(line.strip())
        elif stack:
            yield stack
            stack = []
    if stack:
        yield stack


def kind(stack: list[str]) -> str:
    """What was going on."""
    if "[kernel" in stack[0]:
        for name, sign in _KERNEL:
            if any(sign.search(frame) for frame in stack):
                return name
        return _OTHER[0]
    for name, sign in _USER:
        if sign.search(stack[0]):
            return name
    return _OTHER[1]


def main() -> None:
    """Prints one row for each kind."""
    counted = Counter(map(kind, samples(sys.stdin)))
    total = sum(counted.values())
    if not total:
        raise SystemExit("no samples came; see how it is called: " + (__doc__ or ""))
    print("| | % |\n| --- | --- |")
    for name in (*(name for name, _ in _KERNEL), _OTHER[0], *(name for name, _ in _USER), _OTHER[1]):
        print(f"| {name} | {counted[name] / total * 100:.1f} |")
    print(f"\n{total} samples.")


if __name__ == "__main__":
    main()
