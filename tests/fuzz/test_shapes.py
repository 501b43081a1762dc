"""What has the right shape and any content at all breaks no promise of any target: bytes alone seldom get so far."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from hub.api.methods import METHODS as API
from hub.protocol.commands import METHODS
from hub.settings.model import Settings
from tests.fuzz.frames import frame_reader
from tests.fuzz.hostile_entries import frame
from tests.fuzz.texts import command_decoder, settings_file
from tests.fuzz.tokens import KIDS, key_document, key_set, token_verifier

texts = st.text(max_size=12) | st.sampled_from(["open:x", "", "\0", "a\nb", "\u202e", "1e999"])
plain = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | texts
values = st.recursive(
    plain, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3), max_leaves=6
)


def as_json(value: Any) -> bytes:
    """As a careless client writes it: NaN and halves of surrogate pairs too."""
    return json.dumps(value).encode()


# Frames: the kinds of the standard and the unknown ones, with fragments, reserved bits and control frames amid them.

frames = st.lists(
    st.tuples(
        st.sampled_from(
            [0x81, 0x82, 0x01, 0x02, 0x00, 0x80, 0x89, 0x8A, 0x88, 0xC1, 0x41, 0xC0, 0x83, 0x09, 0x91]
        ),
        st.binary(max_size=8)
        | st.sampled_from(
            [b"\x03\xe8bye", b"\x03\xed", bytes(126), "ä€".encode(), b"\xe2\x82", bytes(2_001)]
        ),
    ),
    min_size=1,
    max_size=8,
)


@settings(max_examples=300)
@given(frames, st.integers(0, 255))
@example([(0x01, b"\xe2\x82"), (0x89, b""), (0x80, b"\xac")], 1)
def test_any_row_of_frames_is_read_as_another_implementation_reads_it(
    row: list[tuple[int, bytes]], how: int
) -> None:
    frame_reader(bytes([how]) + b"".join(frame(first, payload) for first, payload in row))


# Commands

FIELDS = [
    "channel",
    "token",
    "data",
    "limit",
    "since",
    "offset",
    "epoch",
    "recover",
    "subs",
    "tf",
    "delta",
    "method",
]
requests = st.dictionaries(st.sampled_from(FIELDS), values | st.just({"offset": 1, "epoch": ""}), max_size=4)
commands = st.fixed_dictionaries(
    {"id": st.integers(-1, 2**33) | values}, optional=dict.fromkeys(METHODS, requests | values)
)


@settings(max_examples=120)
@given(st.lists(commands, min_size=1, max_size=3))
def test_any_commands_are_decoded_or_end_the_session(several: list[Mapping[str, Any]]) -> None:
    command_decoder(b"\x00" + b"\n".join(as_json(command) for command in several))


@settings(max_examples=200)
@given(
    st.integers(1, 1 + len(API)),
    st.dictionaries(st.sampled_from([*FIELDS, "user", "commands"]), values, max_size=5),
)
def test_any_request_is_decoded_or_refused(which: int, request: Mapping[str, Any]) -> None:
    command_decoder(bytes([which]) + as_json(request))


# Tokens and published keys

headers = st.dictionaries(
    st.sampled_from(["alg", "kid", "typ", "crit", "jku", "jwk", "x5u", "b64", "zip", "cty"]),
    values | st.sampled_from(["HS256", "RS256", "ES256", "none", *KIDS]),
    max_size=4,
)
claims = st.dictionaries(
    st.sampled_from(
        ["sub", "exp", "nbf", "iat", "aud", "iss", "jti", "info", "channel", "client", "role", "roles"]
    )
    | st.sampled_from(["topics", "caps", "subs", "channels", "expire_at", "meta", "user"]),
    values | st.sampled_from([1_900_000_000, "ann", "a", {"open:{x}": ["sub"]}, {"a": {}}]),
    max_size=6,
)


@settings(max_examples=300)
@given(headers)
def test_a_signed_token_with_any_header_is_taken_for_what_it_says_alone(header: Mapping[str, Any]) -> None:
    token_verifier(b"\x02" + as_json({"alg": "HS256", **header}))


@settings(max_examples=300)
@given(claims)
def test_a_signed_token_with_any_claims_is_read_or_refused(said: Mapping[str, Any]) -> None:
    token_verifier(b"\x01" + as_json({"sub": "ann", "exp": 1_900_000_000, **said}))


parts = st.dictionaries(
    st.sampled_from(["kty", "n", "e", "crv", "x", "y", "alg", "use", "kid", "key_ops", "d", "k"]),
    values
    | st.sampled_from(["RSA", "EC", "oct", "P-521", "RS512", "HS256", "AQAB", "AA", "sig", ["verify"], "rs"]),
    max_size=4,
)


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1), parts), max_size=4))
def test_a_key_set_with_any_changes_holds_public_keys_or_none(
    changes: list[tuple[int, dict[str, Any]]],
) -> None:
    good = json.loads(key_set())["keys"]
    key_document(as_json({"keys": [{**good[which], **changed} for which, changed in changes]}))


# hub.yaml

sections = st.sampled_from([*Settings.model_fields, "topics", "sockets", "nothing"])
names = (
    st.sampled_from(["port", "url", "secret", "keys", "allow", "history", "size", "ttl", "jwt", "host"])
    | texts
)
written = texts.filter(str.isprintable) | st.sampled_from(
    ["${X}", "${X:-1}", "1h", "anyone", "sqlite://", "*"]
)
settings_of = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | written,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.dictionaries(sections, settings_of, max_size=4))
def test_any_settings_are_judged_with_codes(document: Mapping[str, Any]) -> None:
    settings_file(yaml.safe_dump({"version": 1, **document}, allow_unicode=True).encode("utf-8", "replace"))
