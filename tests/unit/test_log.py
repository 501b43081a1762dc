"""What the log says: one line per event whatever clients send, and no secrets."""

from __future__ import annotations

import json
import logging
import re
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.log import JsonFormatter, TextFormatter, mask

FORMS = [TextFormatter(), JsonFormatter()]
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbm4ifQ.c2lnbmF0dXJl-c2lnbmF0dXJl_c2ln"
TICKET = "oYn3Yl4sQ8y0m8lq2b1cVd0tq8X3JgTgkQ5ZtVb6_nA1bC2d"
KEY = "k4vK2mWq8sT1zXyPk4vK2mWq8sT1zXyP"
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


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        (f"GET /ws/a?token={JWT}&since=4", "GET /ws/a?token=***&since=4"),
        (f"GET /ws/a?ticket={TICKET} HTTP/1.1", "GET /ws/a?ticket=*** HTTP/1.1"),
        (f"POST /api/info?API_KEY={KEY}", "POST /api/info?API_KEY=***"),
        (f"Authorization: Bearer {JWT}", "Authorization: Bearer ***"),
        (f"[(b'authorization', b'apikey {KEY}')]", "[(b'authorization', b'apikey ***')]"),
        (f"{{'x-api-key': '{KEY}'}}", "{'x-api-key': '***'}"),
        (f"(b'x-api-key', b'{KEY}')", "(b'x-api-key', b'***')"),
        (f"Sec-WebSocket-Protocol: centrifuge-json, bearer, {JWT}, x", None),
        (f"Sec-WebSocket-Protocol: bearer, {TICKET}", "Sec-WebSocket-Protocol: bearer, ***"),
        (f"could not read '{JWT}'", "could not read '***'"),
        (f'{{"connect":{{"token":"{JWT}"}}}}', '{"connect":{"token":"***"}}'),
        ("the bearer of a token", "the bearer of a token"),
        ("topic chat:a.b.c, 3.0.1", "topic chat:a.b.c, 3.0.1"),
    ],
)
def test_what_is_or_stands_for_a_token_is_masked(said: str, shown: str | None) -> None:
    assert mask(said) == (shown or "Sec-WebSocket-Protocol: centrifuge-json, bearer, ***, x")


@pytest.mark.parametrize("formatter", FORMS, ids=["text", "json"])
def test_a_traceback_is_masked_as_the_message_is(formatter: logging.Formatter) -> None:
    try:
        raise ValueError(f"no: /ws/a?ticket={TICKET} {JWT}")
    except ValueError:
        text = formatter.format(record("failed: %s", JWT, error=sys.exc_info()[1]))
    assert "Traceback" in text
    assert text.count("***") >= 3
    assert TICKET not in text
    assert JWT not in text


@given(st.text())
def test_masking_leaves_what_holds_no_secret(text: str) -> None:
    assert mask(text) == text or "=" in text or re.search("bearer|apikey|x-api-key|eyj", text, re.IGNORECASE)
