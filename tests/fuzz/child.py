"""One target under atheris until the time is over or a promise broken: `python -m tests.fuzz.child target seconds`."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import atheris  # type: ignore[import-untyped]

from tests.fuzz.__main__ import FOLDER, INPUT_SECONDS, MEMORY_MIB

WATCHED = [
    "hub.transports",
    "hub.protocol",
    "hub.auth",
    "hub.settings",
    "hub.api",
    "yaml",
    "uvicorn.protocols",
]


def main() -> None:
    """Never returns: libFuzzer ends the process, with 0 when nothing was found."""
    target, seconds = sys.argv[1], int(sys.argv[2])
    with atheris.instrument_imports(include=WATCHED, enable_loader_override=False):
        targets = importlib.import_module("tests.fuzz.targets")
    found = FOLDER / target / "found"
    grown = FOLDER / target / "grown"
    for folder in (found, grown):
        folder.mkdir(parents=True, exist_ok=True)
    arguments = [
        sys.argv[0],
        str(grown),
        str(targets.CORPUS / target),
        f"-max_total_time={seconds}",
        f"-timeout={INPUT_SECONDS}",
        f"-rss_limit_mb={MEMORY_MIB}",
        f"-artifact_prefix={found}{Path('/')}",
        "-max_len=4096",
        "-print_final_stats=1",
        "-verbosity=1",
    ]
    atheris.Setup(arguments, targets.TARGETS[target])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
