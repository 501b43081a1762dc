"""What `hub check` says of the keys that verify tokens."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from hub.settings.load import load
from hub.settings.report import Report
from hub.settings.rules import check_rules
from hub.settings.values import moment

SECRET = "7VbWq2nZ0uXj5rTgKc8sLd3hYf6eMa1p"
OTHER = "b9LkT2xQe7RwZ0aVn5HsJc4mYd8gUf3i"
SPKI = PublicFormat.SubjectPublicKeyInfo
RSA = rsa.generate_private_key(65_537, 2_048).public_key()
PEM = RSA.public_bytes(Encoding.PEM, SPKI).decode()
EC_PEM = ec.generate_private_key(ec.SECP384R1()).public_key().public_bytes(Encoding.PEM, SPKI).decode()
DER = base64.b64encode(RSA.public_bytes(Encoding.DER, SPKI)).decode()
SOON = "2036-12-01T00:00:00Z"
URL = "https://login.example/keys"


def broken(**jwt: Any) -> list[str]:
    """Codes and settings of what is wrong."""
    loaded = load(None, {}, overlay={"auth": {"jwt": jwt}})
    report = Report(loaded.problems)
    check_rules(loaded.verdict, "serve", report)
    return [f"{problem.code} {problem.path.removeprefix('auth.jwt')}" for problem in report.problems]


def _named(value: dict[str, Any] | list[str]) -> str:
    """A test's name, without the keys, which are made anew by every process that collects it."""
    return " ".join(value)


@pytest.mark.parametrize(
    "jwt",
    [
        {"secret": SECRET, "previous": {"secret": OTHER, "until": SOON}},
        {"public_key": PEM, "algorithms": ["RS256"], "previous": {"secret": OTHER, "until": SOON}},
        {
            "secret": SECRET,
            "keys": {"a": {"secret": OTHER}, "b": {"public_key": PEM}, "c": {"public_key": EC_PEM}},
        },
        {"keys": {"a": {"secret": OTHER, "algorithms": ["HS512"], "until": "2020-01-01T00:00:00+02:00"}}},
        {"jwks_url": URL},
        {"jwks_url": URL, "algorithms": ["RS256", "ES256"]},
        {"jwks_url": URL, "secret": SECRET, "algorithms": ["HS256"]},
        {"jwks_url": "http://127.0.0.1:8080/keys"},
        {"jwks_url": "http://localhost/keys"},
        {"jwks_url": "http://[::1]/keys"},
        {"jwks_url": "http://keys.example", "insecure_url": True},
        {"discovery": True, "issuer": "https://login.example/realms/main"},
        {"jwks_url": URL, "claims": {"user": "email", "roles": "realm_access.roles"}},
    ],
    ids=_named,
)
def test_what_goes_together(jwt: dict[str, Any]) -> None:
    assert broken(**jwt) == []


@pytest.mark.parametrize(
    ("jwt", "told"),
    [
        ({"secret": SECRET, "previous": {"secret": OTHER}}, ["E104 .previous.until"]),
        ({"secret": SECRET, "previous": {"until": SOON}}, ["E104 .previous"]),
        ({"secret": SECRET, "previous": {"secret": SECRET, "until": SOON}}, ["E114 .previous"]),
        ({"secret": SECRET, "previous": {"secret": "short", "until": SOON}}, ["E160 .previous.secret"]),
        ({"secret": SECRET, "previous": {"secret": OTHER, "until": "soon"}}, ["E102 .previous.until"]),
        ({"secret": SECRET, "previous": {"secret": OTHER, "until": 1}}, ["E102 .previous.until"]),
        ({"secret": SECRET, "keys": {"a": {}}}, ["E104 .keys.a"]),
        ({"secret": SECRET, "keys": {"a": {"secret": ""}}}, ["E104 .keys.a"]),
        ({"secret": SECRET, "keys": {"a": {"secret": "short"}}}, ["E160 .keys.a.secret"]),
        (
            {"secret": SECRET, "keys": {"a": {"secret": OTHER, "public_key": PEM}}},
            ["E114 .keys.a.public_key"],
        ),
        (
            {"secret": SECRET, "keys": {"a": {"secret": OTHER, "algorithms": ["RS256"]}}},
            ["E161 .keys.a.secret"],
        ),
        (
            {"secret": SECRET, "keys": {"a": {"public_key": PEM, "algorithms": ["HS256"]}}},
            ["E161 .keys.a.public_key"],
        ),
        (
            {"secret": SECRET, "keys": {"a": {"public_key": PEM, "algorithms": ["RS256", "ES256"]}}},
            ["E114 .keys.a.algorithms"],
        ),
        ({"secret": SECRET, "keys": {"a": {"public_key": "x"}}}, ["E161 .keys.a.public_key"]),
        ({"secret": SECRET, "keys": {"a": {"secret": DER}}}, ["E161 .keys.a.secret"]),
        ({"secret": DER}, ["E161 .secret"]),
        ({"secret": PEM}, ["E161 .secret"]),
        ({"secret": SECRET, "previous": {"secret": DER, "until": SOON}}, ["E161 .previous.secret"]),
        ({"jwks_url": URL, "algorithms": ["HS256"]}, ["E114 .algorithms"]),
        ({"jwks_url": URL, "algorithms": ["HS256", "RS256"]}, ["E114 .algorithms"]),
        ({"discovery": True, "issuer": "https://a.example", "algorithms": ["HS512"]}, ["E114 .algorithms"]),
        ({"discovery": True}, ["E104 .discovery"]),
        ({"discovery": True, "issuer": "https://a.example", "jwks_url": URL}, ["E114 .discovery"]),
        ({"discovery": True, "issuer": "me"}, ["E102 .issuer"]),
        ({"discovery": True, "issuer": "http://login.example"}, ["E112 .issuer"]),
        ({"jwks_url": "http://keys.example"}, ["E112 .jwks_url"]),
        ({"jwks_url": "http://localhost.evil.example/keys"}, ["E112 .jwks_url"]),
        ({"jwks_url": "file:///etc/keys"}, ["E102 .jwks_url"]),
        ({"jwks_url": "https://"}, ["E102 .jwks_url"]),
        ({"jwks_url": "https://user:word@keys.example/"}, ["E102 .jwks_url"]),
        ({"jwks_url": "https://keys.example/a b"}, ["E102 .jwks_url"]),
        ({"jwks_url": "https://keys.example:port/"}, ["E102 .jwks_url"]),
        ({"jwks_url": "https://[keys.example/"}, ["E102 .jwks_url"]),
    ],
    ids=_named,
)
def test_what_cannot_work_is_told_with_its_code_and_place(jwt: dict[str, Any], told: list[str]) -> None:
    assert broken(**jwt) == told


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-01T00:00:00Z", 0.0),
        ("1970-01-01t00:00:01.5z", 1.5),
        ("1970-01-01T02:00:00+02:00", 0.0),
        ("1969-12-31T19:00:00-05:00", 0.0),
    ],
)
def test_a_time_has_its_zone(text: str, seconds: float) -> None:
    assert moment(text) == seconds


@pytest.mark.parametrize(
    "value",
    [
        "",
        "2026-12-01",
        "2026-12-01T00:00:00",
        "2026-13-01T00:00:00Z",
        "2026-12-01T00:00Z",
        "tomorrow",
        5,
        None,
    ],
)
def test_what_is_no_time_with_a_zone_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match=r"zone|month"):
        moment(value)
