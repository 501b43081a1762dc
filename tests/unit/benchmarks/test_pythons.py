"""Interpreters are found by version or path."""

from __future__ import annotations

import platform
import sys
from pathlib import Path

import pytest

from benchmarks.pythons import found


def test_a_path_is_called_by_its_version() -> None:
    assert found([sys.executable]) == {platform.python_version(): Path(sys.executable)}


def test_what_is_no_python_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is no Python"):
        found([str(tmp_path / "python")])
    with pytest.raises(ValueError, match=r"no Python 3\.99 here"):
        found(["3.99"])
