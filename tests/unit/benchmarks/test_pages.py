"""The page of the tables: a run replaces the sections that it measured."""

from __future__ import annotations

import pytest

from benchmarks.pages import BEGIN, END, replaced

ORDER = ["machine", "broadcast", "rooms"]
EMPTY = f"before\n{BEGIN}\nold words\n{END}\nafter\n"


def test_what_stands_outside_the_marks_is_kept() -> None:
    page = replaced(EMPTY, {"rooms": "a table"}, ORDER)
    assert page.startswith(f"before\n{BEGIN}\n")
    assert page.endswith(f"{END}\nafter\n")
    assert "old words" not in page


def test_a_section_that_was_not_measured_stays_and_order_is_kept() -> None:
    page = replaced(EMPTY, {"rooms": "| 1 |", "machine": "two cores"}, ORDER)
    page = replaced(page, {"broadcast": "| 2 |"}, ORDER)
    page = replaced(page, {"rooms": "| 3 |"}, ORDER)
    found = [page.index(text) for text in ("two cores", "| 2 |", "| 3 |")]
    assert found == sorted(found)
    assert "| 1 |" not in page


def test_writing_the_same_again_changes_nothing() -> None:
    page = replaced(EMPTY, {"rooms": "| 1 |"}, ORDER)
    assert replaced(page, {"rooms": "| 1 |"}, ORDER) == page


def test_a_page_without_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="does not have the lines"):
        replaced("no marks", {}, ORDER)
