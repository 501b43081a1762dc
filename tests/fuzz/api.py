"""A running hub asked all that its OpenAPI document describes; `scripts/fuzz api [seconds]`."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from hub.auth.tokens import sign
from tests.services.hub import API_KEY, SECRET, HubProcess

SECONDS: Final = 600
SEED: Final = 20_261_123
CONFIG: Final = f"""
version: 1
server: {{port: 0, drain: 1s}}
database: {{url: "sqlite:///hub.db"}}
auth:
  anonymous: true
  jwt: {{secret: "{SECRET}"}}
  api_keys: {{tests: {{key: "{API_KEY}"}}}}
plugins: {{chat: {{}}, dashboards: {{}}, notifications: {{}}}}
topics:
  "{{any:rest}}":
    allow: {{subscribe: anyone, publish: anyone, history: anyone, presence: anyone}}
    history: {{size: 20, ttl: 1m}}
    presence: true
"""


BRIEFLY: Final = (
    "--seed",
    str(SEED),
    "--generation-deterministic",
    "-n",
    "6",
    "--phases",
    "coverage,fuzzing",
)
"""For a run of half a minute that is the same each time."""


def ask(folder: Path, *options: str) -> tuple[int, str, str]:
    """Starts a hub in the folder and has schemathesis ask it; its exit status, what it says, and the hub's log."""
    (folder / "hub.yaml").write_text(CONFIG)
    with HubProcess("serve", "--config", "hub.yaml", cwd=folder) as hub:
        url = hub.url()
        done = subprocess.run(
            [*_command(url), *options], cwd=folder, capture_output=True, text=True, check=False
        )
        hub.stop()
        return done.returncode, done.stdout + done.stderr, hub.said


def _command(url: str) -> list[str]:
    claims = {"sub": "ann", "exp": 4_000_000_000, "roles": ["notifier"]}
    return [
        *(sys.executable, "-m", "schemathesis.cli", "run", f"{url}/openapi.json"),
        *("-H", f"X-API-Key: {API_KEY}", "-H", f"Authorization: Bearer {sign(claims, SECRET)}"),
        # Some rules no schema can say, such as those of names: what it allows may be refused. And what was created for
        # one user is not there for another.
        *("--checks", "all", "--exclude-checks", "positive_data_acceptance,ensure_resource_availability"),
        *("--request-timeout", "10", "--max-response-time", "5"),
        *("--warnings", "off", "--no-color"),
    ]


def main() -> int:
    """Asks until the time is over; 0 when every answer was as described and the log holds no traceback."""
    seconds = int(sys.argv[1]) if sys.argv[1:] else SECONDS
    with tempfile.TemporaryDirectory(prefix="hub-fuzz-") as folder:
        status, said, log = ask(Path(folder), "--max-time", str(seconds), "--generation-database", "none")
    print(said)
    if "Traceback" in log:
        print(log, file=sys.stderr)
        return 1
    return status


if __name__ == "__main__":
    raise SystemExit(main())
