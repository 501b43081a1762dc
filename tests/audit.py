"""Runs pip-audit over locked requirements and says plainly what it found, and what it could not find out."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any, Final

CLEAN, VULNERABLE, UNKNOWN = 0, 1, 2
ACCEPTED: Final = {
    "CVE-2024-23342": "python-jose installs ecdsa, and the hub never uses it: its keys are those of cryptography",
    "GHSA-wj6h-64fc-37mp": "the same by its other name",
}
"""Advisories that do not touch the hub, and why."""


def ask(program: str, service: str, file: str) -> list[dict[str, Any]] | None:
    """What pip-audit says of each package in a file; None when it said nothing."""
    command = [program, "--require-hashes", "--disable-pip", "--progress-spinner", "off", "--format", "json"]
    done = subprocess.run(
        [*command, "--vulnerability-service", service, "--requirement", file],
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        found: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        reasons = done.stderr.strip().splitlines() or ["no answer"]
        print(f"{file}: {service} could not be asked: {reasons[-1]}", file=sys.stderr)
        return None
    return found


def report(file: str, found: list[dict[str, Any]]) -> int:
    """Prints what is wrong with the packages of a file; returns the exit code that it deserves."""
    unknown = [each["name"] for each in found if "skip_reason" in each]
    vulnerable = [
        (each, vulnerability)
        for each in found
        for vulnerability in each.get("vulns", ())
        if ACCEPTED.keys().isdisjoint([vulnerability["id"], *vulnerability.get("aliases", ())])
    ]
    for package, vulnerability in vulnerable:
        better = ", ".join(vulnerability.get("fix_versions") or ["no version yet"])
        print(f"{file}: {package['name']} {package['version']}: {vulnerability['id']}, mended in {better}")
    if unknown:
        print(f"{file}: nothing could be learnt of {', '.join(unknown)}", file=sys.stderr)
    if not found:
        print(f"{file}: no package was found in it", file=sys.stderr)
    print(
        f"{file}: {len(found) - len(unknown)} of {len(found)} packages asked about, {len(vulnerable)} advisories"
    )
    if vulnerable:
        return VULNERABLE
    return UNKNOWN if unknown or not found else CLEAN


def main(program: str, service: str, *files: str) -> int:
    """Audits files; the exit code is 1 for a vulnerability anywhere, else 2 where something is not known, else 0."""
    answers = [(file, ask(program, service, file)) for file in files]
    codes = [UNKNOWN if found is None else report(file, found) for file, found in answers]
    return VULNERABLE if VULNERABLE in codes else max(codes)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
