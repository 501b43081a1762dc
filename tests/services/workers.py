"""How many processes share the tests out among themselves when `scripts/test` asks for as many as fit (`-n auto`)."""

from __future__ import annotations

import os
from typing import Final

import pytest

BESIDE_THE_CORES: Final = 1
"""More workers than cores: most tests wait for a server that starts, dies or is silent."""
EMPTIED: Final = ("HUB_TEST_REDIS_URL", "HUB_TEST_NATS_URL")
"""Servers that a test empties before it begins. One that all workers shared would be emptied under their hands."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    if any(map(os.environ.get, EMPTIED)):
        return 0
    return (os.cpu_count() or 1) + BESIDE_THE_CORES


def pytest_configure(config: pytest.Config) -> None:
    given = next(filter(os.environ.get, EMPTIED), None)
    if given and config.getoption("numprocesses", None):
        raise pytest.UsageError(f"several workers would empty the one server of {given}: run with -n0")
