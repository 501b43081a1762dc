from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeAlias

import pytest

from hub.loader.blueprint import Blueprint
from hub.loader.compose import compose
from hub.settings.load import load

Files: TypeAlias = Callable[[Mapping[str, str]], Path]
Compose: TypeAlias = Callable[[Mapping[str, str]], Blueprint]


@pytest.fixture(autouse=True)
def path_as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Composing appends folders to Python's path, and modules found there must not be found by the next test."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if getattr(sys.modules[name], "__file__", None) and "pytest-of" in str(sys.modules[name].__file__):
            del sys.modules[name]


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """Writes files below the test's folder; returns the folder."""

    def write(texts: Mapping[str, str]) -> Path:
        for name, text in texts.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path

    return write


@pytest.fixture
def composed(files: Files) -> Compose:
    """Composes hub.yaml among the files written, with anonymous clients allowed."""

    def run(texts: Mapping[str, str]) -> Blueprint:
        folder = files(texts)
        return compose(load(folder / "hub.yaml", {}, overlay={"auth": {"anonymous": True}}), "serve")

    return run
