"""Prepares a test run and says what it will run against: `python -m tests.services`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.services.chromium import find_chromium
from tests.services.helm import find_helm
from tests.services.missing import find_program
from tests.services.node import find_node
from tests.services.postgres import find_postgres

NODE_PROJECTS = Path(__file__).parents[1]


def given(name: str) -> str | None:
    """The name of the variable that holds a server's address, if it is set."""
    variable = f"HUB_TEST_{name}_URL"
    return variable if os.environ.get(variable) else None


def main() -> int:
    """Installs the npm packages that tests use, so that no test's time goes into it, and lists what was found."""
    node, chromium = find_node(), find_chromium()
    found = {
        "redis": given("REDIS") or find_program("redis-server", "valkey-server"),
        "nats": given("NATS") or find_program("nats-server"),
        "postgres": given("POSTGRES") or find_postgres(),
        "node": node and node.path,
        "chromium": chromium and chromium.path,
        "helm": find_helm(),
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
