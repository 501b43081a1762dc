"""The page of limits: it names every limit there is, with its default, a metric that exists, and a test that does."""

from __future__ import annotations

import ast
import re
from functools import cache
from typing import Final

import pytest
import yaml

from hub import metrics
from hub.errors import DISCONNECT_CODES, REPLY_CODES, SOCKET_CODES
from hub.settings.model import LimitSettings
from tests.docs.markdown import ROOT

PAGE: Final = ROOT / "docs/reference/limits.md"
_TEST: Final = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")
_METRIC: Final = re.compile(r"`(hub_\w+)(?:\{(\w+)=\"(\w+)\"\})?`")
_STANDARD: Final = {1009}


def rows() -> list[list[str]]:
    """The cells of the tables whose last column is a test."""
    found = [[cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.read_text().splitlines()]
    return [cells for cells in found if len(cells) > 2 and "tests/" in cells[-1]]


LIMITS: Final = [cells for cells in rows() if len(cells) == 5]


@cache
def defaults() -> dict[str, str]:
    """The example of all settings: each with its default, by the path of it."""
    whole = yaml.compose((ROOT / "config/hub.yaml").read_text())
    found: dict[str, str] = {}

    def walk(node: yaml.Node, path: str) -> None:
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                walk(value, f"{path}.{key.value}".strip("."))
        elif isinstance(node, yaml.ScalarNode):
            found[path] = node.value

    assert whole is not None
    walk(whole, "")
    return found


@cache
def names_in(path: str) -> frozenset[str]:
    tree = ast.parse((ROOT / path).read_text())
    return frozenset(
        node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )


def counted() -> set[str]:
    """The names of limits under which the code counts."""
    found: set[str] = set()
    for path in (ROOT / "hub").rglob("*.py"):
        found |= set(
            re.findall(r"(?:LIMITED\.labels|_over|\bover|_too_many|Bound)\(\s*\"(\w+)\"", path.read_text())
        )
    return found


def test_there_are_rows() -> None:
    assert len(LIMITS) > 30


@pytest.mark.parametrize("cells", rows(), ids=lambda cells: cells[0][:50])
def test_every_limit_is_held_by_a_test_that_exists(cells: list[str]) -> None:
    named = _TEST.findall(cells[-1])
    assert named
    for path, name in named:
        assert name in names_in(path)


def test_every_setting_of_the_section_is_on_the_page_with_its_default() -> None:
    told = {cells[0].split("`")[1]: cells[1] for cells in LIMITS if cells[0].startswith("`")}
    assert {f"limits.{name}" for name in LimitSettings.model_fields} <= set(told)
    for name, default in told.items():
        if name.startswith("limits."):
            value = LimitSettings.model_fields[name.partition(".")[2]].default
            assert default == ("off" if value is None else f"{value:,}"), name
        elif name in defaults():
            assert defaults()[name] == default, name


@pytest.mark.parametrize("cells", LIMITS, ids=lambda cells: cells[0][:50])
def test_its_metrics_and_codes_exist(cells: list[str]) -> None:
    exposed = metrics.exposition().decode()
    for name, label, value in _METRIC.findall(cells[3]):
        assert f"# TYPE {name} " in exposed, name
        if name == "hub_limited_total":
            assert (label, value in counted()) == ("limit", True), value
    known = {code.number for code in (*REPLY_CODES, *DISCONNECT_CODES, *SOCKET_CODES)} | _STANDARD
    for number in map(int, re.findall(r"\b(1\d\d\d|[34]\d\d\d|1\d\d)\b", cells[2])):
        assert number in known, number


def test_whatever_is_counted_as_a_limit_is_on_the_page() -> None:
    told = {
        value
        for cells in LIMITS
        for name, _, value in _METRIC.findall(cells[3])
        if name == "hub_limited_total"
    }
    assert counted() == told
