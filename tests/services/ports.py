"""TCP ports that no other test process is given, whether it is a worker of this run or belongs to another run."""

from __future__ import annotations

import fcntl
import os
import socket
import tempfile
from collections.abc import Iterator
from functools import cache
from itertools import cycle
from pathlib import Path
from typing import Final

PORTS: Final = range(10_000, 32_500)
"""Below those that outgoing connections take (from 32,768 on Linux), so that none sits where a killed server stood."""
BLOCK: Final = 450
"""Ports of one process. They are given in turn, so that one comes again long after its server has gone."""


def free_port() -> int:
    """Returns a TCP port of this process's own that is free on 127.0.0.1. Raises RuntimeError when there is none."""
    ports = _ports()
    for _ in range(BLOCK):
        port = next(ports)
        if _is_free(port):
            return port
    raise RuntimeError("all ports that this process may give to servers are taken")


@cache
def _ports() -> Iterator[int]:
    return cycle(_own_block())


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _own_block() -> range:
    """Ports that are this process's until it ends: a lock on a file says so, which the system lets go by itself."""
    for start in range(PORTS.start, PORTS.stop, BLOCK):
        file = Path(tempfile.gettempdir()) / f"topichub-ports-{start}.lock"
        try:
            gate = os.open(file, os.O_RDONLY | os.O_CREAT, 0o644)
        except OSError:  # another user's
            continue
        try:
            fcntl.flock(gate, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(gate)
            continue
        return range(start, start + BLOCK)
    raise RuntimeError("more test processes run on this machine than there are ports for")
