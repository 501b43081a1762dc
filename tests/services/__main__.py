"""Prepares a test run and says what it will run against: `python -m tests.services`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.services.chromium import find_chromium
from tests.services.missing import find_program
from tests.services.node import find_node

NODE_PROJECTS = Path(__file__).parents[1]


def main() -> int:
    """Installs the npm packages that tests use, so that no test's time goes into it, and lists what was found."""
    node, chromium = find_node(), find_chromium()
    found = {
        "redis": os.environ.get("HUB_TEST_REDIS_URL") or find_program("redis-server", "valkey-server"),
        "node": node and node.path,
        "chromium": chromium and chromium.path,
    }
    print(
        "tests run against:",
        ", ".join(f"{name} {where or 'MISSING'}" for name, where in found.items()),
        file=sys.stderr,
    )
    for lock in sorted(NODE_PROJECTS.glob("*/package-lock.json")):
        if node is not None:
            try:
                node.install(lock.parent)
            except (RuntimeError, subprocess.TimeoutExpired) as error:
                print(error, file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
