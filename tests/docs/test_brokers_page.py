"""The page that compares the brokers names its proofs: tests that exist, and scenarios that the chaos suite has."""

from __future__ import annotations

import re

import pytest

from tests.chaos.scenarios import named
from tests.docs.markdown import ROOT

PAGE = (ROOT / "docs/reference/brokers.md").read_text()
PROOFS = sorted(set(re.findall(r"`(\w[\w/]*\.py)::(test_\w+)`", PAGE)))
SCENARIOS = sorted(set(re.findall(r"`chaos::([a-z ,]+)`", PAGE)))


@pytest.mark.parametrize(("file", "test"), PROOFS)
def test_proof_is_a_test_that_exists(file: str, test: str) -> None:
    assert re.search(rf"(?m)^ *(async )?def {test}\(", (ROOT / "tests" / file).read_text())


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_scenario_is_one_of_the_chaos_suite(scenario: str) -> None:
    assert named(scenario).name == scenario


def test_nothing_that_looks_like_a_proof_is_passed_over() -> None:
    assert PAGE.count("::") == len(re.findall(r"`(?:\w[\w/]*\.py::test_\w+|chaos::[a-z ,]+|chaos::…)`", PAGE))
    assert len(PROOFS) > 40
    assert len(SCENARIOS) > 5
