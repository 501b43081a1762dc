"""What the log says: one line per event whatever clients send, and no secrets."""

from __future__ import annotations

import json
import logging
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.log import JsonFormatter, TextFormatter, mask

FORMS = [TextFormatter(), JsonFormatter()]
FORGED = "a topic\n12:00:00 info    hub: all is well\r\x1b[2K\u2028\x85"


def record(message: str, *arguments: object, error: BaseException | None = None) -> logging.LogRecord:
    info = (type(error), error, error.__traceback__) if error is not None else None
    return logging.LogRecord("hub", logging.INFO, "", 0, message, arguments, info)


@pytest.mark.parametrize("form", FORMS, ids=["text", "json"])
def test_nobody_writes_a_second_line(form: logging.Formatter) -> None:
    line = form.format(record("no such topic: %s", FORGED))
    assert len(line.splitlines()) == 1 or isinstance(form, JsonFormatter)
    assert "\n" not in line
    assert "\r" not in line
    assert "\x1b" not in line


def test_a_line_for_machines_is_one_object_with_the_text_as_it_was() -> None:
    entry = json.loads(JsonFormatter().format(record("no such topic: %s", FORGED)))
    assert entry["msg"] == f"no such topic: {FORGED}"


def test_what_an_error_says_begins_no_line_of_the_log() -> None:
    try:
        raise ValueError(FORGED)
    except ValueError:
        error = sys.exc_info()[1]
    event, *below = TextFormatter().format(record("a handler failed", error=error)).split("\n")
    assert event.endswith("info    hub: a handler failed")
    assert below
    assert all(line.startswith("  ") for line in below)
    assert "\x1b" not in "".join(below)
    assert "Traceback" in json.loads(JsonFormatter().format(record("failed", error=error)))["exc"]


@pytest.mark.parametrize("name", ["token", "ticket", "api_key", "cf_connect", "TOKEN"])
@pytest.mark.parametrize("form", FORMS, ids=["text", "json"])
def test_what_lets_in_is_masked_wherever_an_address_stands(form: logging.Formatter, name: str) -> None:
    address = f"/ws/lobby?a=1&{name}=se-cr.et_%41&b=2"
    try:
        raise ValueError(f"cannot answer {address}")
    except ValueError as failed:
        line = form.format(record("GET %s", address, error=failed))
    assert "cr.et" not in line
    assert line.count("***") == 2
    assert "b=2" in line


@given(st.text())
def test_masking_leaves_what_holds_no_secret(text: str) -> None:
    assert mask(text) == text or "=" in text
