"""Fuzzes one target or all of them with atheris: `python -m tests.fuzz [target] [seconds]`; see `scripts/fuzz`.

Each target runs in a process of its own. New inputs that reach more code are kept for the next run in `.tools/fuzz`; an
input that breaks a promise is written there too, and goes into the corpus by hand, as a test.
"""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Final

FOLDER: Final = Path(".tools/fuzz")
SECONDS: Final = 180
MEMORY_MIB: Final = 1_024
INPUT_SECONDS: Final = 10


def main() -> int:
    """Runs what was asked for; 0 when no promise was broken."""
    words = [word for word in sys.argv[1:] if not word.isdecimal()]
    seconds = next((int(word) for word in sys.argv[1:] if word.isdecimal()), SECONDS)
    from tests.fuzz.targets import TARGETS  # noqa: PLC0415 - a child imports it under the fuzzer's eyes

    if unknown := [word for word in words if word not in TARGETS]:
        print(f"no target {unknown[0]!r}; targets are: {', '.join(TARGETS)}", file=sys.stderr)
        return 2
    if find_spec("atheris") is None:
        print("atheris has no wheel for this machine; it has them for Linux on x86-64", file=sys.stderr)
        return 2
    broken = [target for target in words or TARGETS if not _runs(target, seconds)]
    for target in broken:
        print(f"{target} BROKE A PROMISE; the input is in {FOLDER / target}", file=sys.stderr)
    return 1 if broken else 0


def _runs(target: str, seconds: int) -> bool:
    print(f"== {target}, {seconds} s", flush=True)
    done = subprocess.run([sys.executable, "-m", "tests.fuzz.child", target, str(seconds)], check=False)
    return done.returncode == 0


if __name__ == "__main__":
    raise SystemExit(main())
