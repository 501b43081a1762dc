"""Helm, for the tests that render the chart: HUB_TEST_HELM, or one on the PATH or in .tools/bin."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.services.missing import find_program, unavailable

REMEDY = (
    "install Helm (macOS: brew install helm; with Go: "
    "GOBIN=$PWD/.tools/bin go install helm.sh/helm/v4/cmd/helm@v4.3.1), "
    "or set HUB_TEST_HELM to its program"
)
BUILT_HERE = Path(__file__).parents[2] / ".tools/bin/helm"


def find_helm() -> Path | None:
    """Finds the helm program by HUB_TEST_HELM, on the PATH, or where scripts/test builds it for CI."""
    named = os.environ.get("HUB_TEST_HELM")
    if named:
        return Path(named)
    return find_program("helm") or (BUILT_HERE if BUILT_HERE.exists() else None)


@pytest.fixture
def helm() -> Path:
    """The path of the helm program."""
    found = find_helm()
    if found is None:
        unavailable("Helm", REMEDY)
    return found
