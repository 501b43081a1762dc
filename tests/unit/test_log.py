"""What the log says: one line for an event, and of no token or key anything but `***`."""

from __future__ import annotations

import json
import logging
import sys

import pytest

from hub.log import JsonFormatter, TextFormatter, mask

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbm4ifQ.c2lnbmF0dXJl-c2lnbmF0dXJl_c2ln"
TICKET = "oYn3Yl4sQ8y0m8lq2b1cVd0tq8X3JgTgkQ5ZtVb6_nA1bC2d"
KEY = "k4vK2mWq8sT1zXyPk4vK2mWq8sT1zXyP"


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


@pytest.mark.parametrize("formatter", [TextFormatter(), JsonFormatter()])
def test_a_traceback_is_masked_as_the_message_is(formatter: logging.Formatter) -> None:
    try:
        raise ValueError(f"no: /ws/a?ticket={TICKET} {JWT}")
    except ValueError:
        record = logging.LogRecord("x", 40, __file__, 1, "failed: %s", (JWT,), sys.exc_info())
    text = formatter.format(record)
    assert "Traceback" in text
    assert text.count("***") >= 3
    assert TICKET not in text
    assert JWT not in text


def test_a_line_break_of_a_clients_forges_no_line() -> None:
    record = logging.LogRecord("x", 30, __file__, 1, "topic %s", ("a\n12:00:00 error hub: x\u2028",), None)
    assert "\n" not in TextFormatter().format(record)
    assert json.loads(JsonFormatter().format(record))["msg"].startswith("topic a\n12")
