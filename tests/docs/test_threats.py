"""The page of threats: each row names tests that exist, so that no defence is only told."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = ROOT / "docs" / "design" / "threats.md"
_ROW: Final = re.compile(r"\| (?P<threat>[^|]+) \| (?P<defence>[^|]+) \| (?P<proof>[^|]+) \|")
_PROOF: Final = re.compile(r"`(?P<path>tests/[\w/]+\.py|plugins/[\w/]+\.py)(?:::(?P<name>test_\w+))?`")


def rows() -> list[tuple[str, str]]:
    """Threats with their cells of proof."""
    found = [_ROW.fullmatch(line) for line in PAGE.read_text().splitlines()]
    cells = [(row["threat"].strip(), row["proof"]) for row in found if row is not None]
    return [(threat, proof) for threat, proof in cells if threat != "threat" and not threat.startswith("---")]


@cache
def names_in(path: str) -> frozenset[str]:
    """The names of the tests in a file."""
    tree = ast.parse((ROOT / path).read_text())
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, functions))


def test_the_page_has_its_rows() -> None:
    assert len(rows()) >= 30


@pytest.mark.parametrize(("threat", "proof"), rows(), ids=lambda text: text[:40])
def test_every_threat_is_met_by_a_test_that_exists(threat: str, proof: str) -> None:
    named = list(_PROOF.finditer(proof))
    assert named, f"no test is named against {threat!r}"
    for match in named:
        assert (ROOT / match["path"]).is_file(), match["path"]
        if match["name"]:
            assert match["name"] in names_in(match["path"]), match[0]
