"""Every answer of a running hub is as its OpenAPI document says, whatever is asked."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.fuzz.api import BRIEFLY, ask


@pytest.mark.timeout(240)
def test_answers_are_as_the_document_says_whatever_is_asked(tmp_path: Path) -> None:
    status, said, log = ask(tmp_path, *BRIEFLY)
    assert status == 0, said
    assert re.search(r"Selected: (3[89]|[4-9]\d)/\1\n", said), said
    assert "Traceback" not in log
