"""What JSON may hold that reaches clients, handlers and plugins, whichever way it came."""

from __future__ import annotations

import base64
import json
import math
import re
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from hub import metrics, payloads
from hub.auth import claims
from hub.errors import InvalidToken, ReplyError
from hub.fitness import doubtful
from hub.plugin import validated

REFUSED = [
    pytest.param(b"1e999", "number", id="infinite"),
    pytest.param(b"[-1.5E+0400]", "number", id="infinite in an array"),
    pytest.param(b"18446744073709551616", "number", id="65 bits"),
    pytest.param(b"-9223372036854775809", "number", id="64 bits and a sign"),
    pytest.param(b"1" * 4_300, "number", id="4300 digits"),
    pytest.param(b'{"a":"\\u0000"}', "NUL", id="NUL"),
    pytest.param(b'{"a\\\\\\u0000":1}', "NUL", id="NUL behind a backslash, in a name"),
    pytest.param(b"[" * 65 + b"]" * 65, "deeper", id="65 levels"),
]
TWICE = [b'{"a":1,"a":2}', b'{"a":1,"\\u0061":2}', b'[{"b":{"c":1,"d":2,"c":3}}]']
TAKEN = [
    b"18446744073709551615",
    b"-9223372036854775808",
    b"1e308",
    b"1e-999",
    b'"' + b"1" * 5_000 + b'"',
    b'"1e999"',
    b'"\\\\u0000"',
    b'{"a":1,"A":2,"b":{"a":1}}',
    b"[" * 64 + b"]" * 64,
    b'["2026-11-23 13:24:15", "0123456789-0123456789-0123456789"]',
    b"0." + b"1" * 400,
    b"null",
]
NONE = [
    b"NaN",
    b"[Infinity]",
    b"-Infinity",
    b'"\\ud800"',
    b'{"\\udc00":1}',
    b'"a\0b"',
    b'"\xff"',
    b'"\xed\xa0\x80"',
    b"01",
    b"",
]


class Anything(BaseModel):
    """A plugin's model that takes all."""

    a: Any = None


@pytest.mark.parametrize(("raw", "why"), REFUSED)
def test_what_breaks_some_reader_is_refused(raw: bytes, why: str) -> None:
    assert doubtful(raw), "the fast way would let it pass"
    with pytest.raises(ReplyError, match=why) as caught:
        payloads.check(raw, twice=False)
    assert caught.value.code == 107


@pytest.mark.parametrize("raw", TWICE)
def test_a_name_that_stands_twice_is_refused_where_the_hub_judges(raw: bytes) -> None:
    payloads.check(raw, twice=False)
    with pytest.raises(ReplyError, match="twice"):
        payloads.check(raw)


@pytest.mark.parametrize("raw", TAKEN)
def test_what_every_reader_takes_passes(raw: bytes) -> None:
    payloads.check(raw)
    assert payloads.fault(raw) == ""


@pytest.mark.parametrize("raw", NONE)
def test_what_is_no_json_is_none(raw: bytes) -> None:
    assert payloads.fault(raw)
    with pytest.raises(ReplyError, match="Invalid JSON") as caught:
        payloads.decode(raw)
    assert caught.value.code == 107


def test_a_nesting_that_the_decoder_does_not_get_down_to_is_refused_as_too_deep_and_counted() -> None:
    before = deep()
    with pytest.raises(ReplyError, match="deeper than 64"):
        payloads.fault(b"[" * 100_000 + b"]" * 100_000)
    with pytest.raises(ReplyError, match="deeper than 64"):
        payloads.check(b"[" * 65 + b"]" * 65)
    assert deep() == before + 2


def deep() -> float:
    return metrics.REGISTRY.get_sample_value("hub_limited_total", {"limit": "json_depth"}) or 0.0


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(values, st.booleans(), st.sampled_from([None, 1]))
def test_every_value_without_such_things_passes_and_stays_the_same(
    value: Any, short: bool, indent: int | None
) -> None:
    text = json.dumps(value, ensure_ascii=short, indent=indent)
    raw = text.encode(errors="surrogatepass")
    if "\0" in "".join(strings(value)) or payloads.fault(raw):
        return
    assert msgspec.json.encode(payloads.decode(raw)) == msgspec.json.encode(json.loads(text))


def strings(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [text for pair in value.items() for item in pair for text in strings(item)]
    return [text for item in value for text in strings(item)] if isinstance(value, list) else []


@given(st.from_regex(rb"-?(0|[1-9][0-9]{0,24})(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,5})?", fullmatch=True))
def test_numbers_pass_if_and_only_if_they_are_finite_and_have_64_bits(number: bytes) -> None:
    whole = number.lstrip(b"-").isdigit()
    fits = -(2**63) <= int(number) < 2**64 if whole else math.isfinite(float(number))
    try:
        payloads.check(b'{"a":[' + number + b"]}")
    except ReplyError:
        assert not fits
    else:
        assert fits


@pytest.mark.parametrize(
    "raw", [*(case.values[0] for case in REFUSED), *(b'{"a":%b}' % raw for raw in TWICE), *NONE[:-1]]
)
def test_a_plugins_body_is_held_to_it_before_its_model_sees_it(raw: Any) -> None:
    with pytest.raises(ReplyError) as caught:
        validated(Anything, b'{"a":%b}' % raw)
    assert caught.value.code == 107
    assert re.search("Invalid JSON|the payload", caught.value.message)


@pytest.mark.parametrize("name", ["info", "b64info"])
@pytest.mark.parametrize(
    "raw", [b"18446744073709551616", b'{"a":"\\u0000"}', b"1e999", b"[" * 65 + b"]" * 65]
)
def test_what_a_token_shows_of_its_bearer_is_held_to_it(name: str, raw: bytes) -> None:
    text = b'"%b"' % base64.b64encode(raw) if name == "b64info" else raw
    with pytest.raises(InvalidToken):
        claims.payload(claims.read_object(b'{"%b":%b}' % (name.encode(), text), "the token"), "info")
