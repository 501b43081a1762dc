from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from hub.auth.jwks import MAX_KEYS, KeysError, age_of, read_keys
from hub.auth.keys import Key, holds_key, key_of, key_of_jwk
from hub.errors import UnusableKey
from tests.services.issuer import IssuerKey
from tests.unit.auth.forging import SECRET, KeyPair, pair

RSA = IssuerKey("r", rsa.generate_private_key(65_537, 2_048))
EC = IssuerKey("e")


def forms(keys: KeyPair) -> dict[str, str]:
    """What a public key may be written as."""
    body = "".join(keys.public.splitlines()[1:-1])
    return {
        "PEM": keys.public,
        "PEM on one line": keys.public.replace("\n", "\\n"),
        "DER in base64": base64.b64encode(keys.der).decode(),
        "DER in base64, in lines": "\n".join(body[at : at + 64] for at in range(0, len(body), 64)),
        "DER in base64 for URLs, unpadded": base64.urlsafe_b64encode(keys.der).decode().rstrip("="),
        "DER in hexadecimal": keys.der.hex(),
        "DER": keys.der.decode("latin-1"),
        "private PEM": keys.private,
    }


@pytest.mark.parametrize("form", forms(pair(EC.inside)))
@pytest.mark.parametrize("key", [RSA, EC], ids=["RSA", "EC"])
def test_no_form_of_a_key_is_taken_for_a_secret(key: IssuerKey, form: str) -> None:
    text = forms(pair(key.inside))[form]
    assert holds_key(text)
    with pytest.raises(UnusableKey, match="no key or certificate"):
        key_of(text, None, ["HS256"])


def test_other_forms_of_keys_are_no_secrets_either() -> None:
    private = RSA.inside.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    locked = RSA.inside.private_bytes(
        serialization.Encoding.DER,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"word"),
    )
    for text in (
        base64.b64encode(private).decode(),
        base64.b64encode(locked).decode(),
        json.dumps(EC.jwk()),
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5 ann@example",
    ):
        assert holds_key(text)


@pytest.mark.parametrize(
    "text", [SECRET, "0" * 40, "MII" + "A" * 40, "{a secret that begins with a brace}", "30" * 20, "ä" * 40]
)
def test_what_only_looks_like_a_key_may_be_a_secret(text: str) -> None:
    assert not holds_key(text)
    assert key_of(text, None, None) is not None


def test_a_key_without_algorithms_is_for_those_of_its_kind() -> None:
    curves = {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1(), "ES512": ec.SECP521R1()}
    keys = {name: pair(ec.generate_private_key(curve)).public for name, curve in curves.items()}
    for name, public in {**keys, "RS256": pair(RSA.inside).public}.items():
        key = key_of(None, public, None)
        assert key is not None
        assert list(key.verifiers) == [name]
    key = key_of(SECRET, None, None)
    assert key is not None
    assert list(key.verifiers) == ["HS256"]


def test_an_rsa_key_is_neither_weak_nor_so_large_that_it_would_hold_up_everybody() -> None:
    for bits in (1_024, 2_040, 16_392):
        public = rsa.RSAPublicNumbers(65_537, (1 << bits) - 1).public_key()
        encoding, form = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        with pytest.raises(UnusableKey, match="2048 to 16384 bits"):
            key_of(None, public.public_bytes(encoding, form).decode(), ["RS256"])


def test_neither_a_key_nor_an_error_repeats_a_secret() -> None:
    key = key_of(SECRET, None, None)
    assert SECRET not in repr(key)
    with pytest.raises(UnusableKey) as caught:
        key_of(SECRET, None, ["RS256"])
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("entry", "algorithms"),
    [
        (RSA.jwk(), ["RS256"]),
        (RSA.jwk(alg=None), ["RS256", "RS384", "RS512"]),
        (RSA.jwk(alg="RS512", use=None), ["RS512"]),
        (EC.jwk(), ["ES256"]),
        (EC.jwk(alg=None, key_ops=["verify"]), ["ES256"]),
        ({**EC.jwk(), "alg": None, "use": None, "key_ops": None}, ["ES256"]),
    ],
)
def test_a_published_key_is_for_the_algorithm_it_names_or_those_of_its_kind(
    entry: dict[str, Any], algorithms: list[str]
) -> None:
    assert list(key_of_jwk(entry, None).verifiers) == algorithms


SMALL = IssuerKey("s", rsa.generate_private_key(65_537, 1_024))  # noqa: S505  (to be refused)
UNUSABLE = [
    {},
    {"kty": "oct", "kid": "o", "k": "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3JldA", "alg": "HS256"},
    {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"},
    {"kty": ["RSA"]},
    {"kty": None},
    RSA.jwk(use="enc"),
    RSA.jwk(use=["sig"]),
    RSA.jwk(key_ops=["encrypt"]),
    RSA.jwk(key_ops="verify"),
    RSA.jwk(alg="RSA-OAEP"),
    RSA.jwk(alg="PS256"),
    RSA.jwk(alg="ES256"),
    RSA.jwk(alg="HS256"),
    RSA.jwk(alg=["RS256"]),
    RSA.jwk(n=7),
    RSA.jwk(n=None),
    RSA.jwk(n=""),
    RSA.jwk(n="%%%"),
    RSA.jwk(n="A" * 1_000_000),
    RSA.jwk(e="AA"),
    SMALL.jwk(),
    EC.jwk(crv="P-384"),
    EC.jwk(crv="secp256k1", alg=None),
    EC.jwk(crv=["P-256"]),
    EC.jwk(x="AAAA"),
    EC.jwk(y="ä"),
]


@pytest.mark.parametrize("entry", UNUSABLE, ids=lambda entry: repr(entry)[:60])
def test_what_is_no_public_key_to_verify_with_is_left_out(entry: dict[str, Any]) -> None:
    with pytest.raises(UnusableKey):
        key_of_jwk(entry, None)
    text = json.dumps({"keys": [entry, EC.jwk()]}).encode()
    assert list(read_keys(text, None)) == ["e"]


def test_a_private_half_that_is_published_is_not_taken_in() -> None:
    private = EC.inside.private_numbers()
    assert isinstance(private, ec.EllipticCurvePrivateNumbers)
    entry = EC.jwk(d=base64.urlsafe_b64encode(private.private_value.to_bytes(32, "big")).decode())
    (verifier,) = key_of_jwk(entry, None).verifiers.values()
    assert verifier.is_public()


def test_only_accepted_algorithms_are_left() -> None:
    text = json.dumps({"keys": [EC.jwk(), RSA.jwk(alg=None)]}).encode()
    found = read_keys(text, frozenset({"RS384"}))
    assert {kid: list(key.verifiers) for kid, key in found.items()} == {"r": ["RS384"]}


def test_names_that_are_no_names_are_left_out() -> None:
    entries = [
        7,
        None,
        EC.jwk(kid=7),
        EC.jwk(kid="k" * 257),
        EC.jwk(kid="k"),
        RSA.jwk(kid=None),
    ]
    found = read_keys(json.dumps({"keys": entries}).encode(), None)
    assert {kid: list(key.verifiers) for kid, key in found.items()} == {"k": ["ES256"], None: ["RS256"]}


def test_of_keys_with_one_name_each_algorithm_has_the_first() -> None:
    other = IssuerKey("k")
    both = [EC.jwk(kid="k"), RSA.jwk(kid="k"), RSA.jwk(kid="k", alg="RS512"), other.jwk()]

    def read(*entries: dict[str, Any]) -> Key:
        return read_keys(json.dumps({"keys": entries}).encode(), None)["k"]

    found = read(*both)
    assert set(found.verifiers) == {"ES256", "RS256", "RS512"}
    assert found.verifiers["ES256"].to_dict() == read(both[0]).verifiers["ES256"].to_dict()
    assert read(both[0], both[3]).mark == read(both[0]).mark
    assert found.mark == read(*both[:3]).mark, "so that tokens stay remembered from look to look"
    assert found.mark not in (read(both[0]).mark, read(both[1]).mark)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"<html>",
        b"[]",
        b"{}",
        b'{"keys":{}}',
        b'{"keys":null}',
        b"\xff",
        b'{"keys":' + b"[" * 100_000,
        json.dumps({"keys": [{}] * (MAX_KEYS + 1)}).encode(),
    ],
)
def test_what_is_no_jwks_is_refused_as_a_whole(text: bytes) -> None:
    with pytest.raises(KeysError):
        read_keys(text, None)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("", 600),
        ("public", 600),
        ("max-age=", 600),
        ("max-age=-5", 600),
        ("public, max-age=7200, must-revalidate", 7_200),
        ("Max-Age = 300", 300),
        ('max-age="300"', 300),
        ("s-max-age=300", 600),
        ("max-age=0", 60),
        ("max-age=59", 60),
        ("max-age=999999999", 86_400),
        ("max-age=7200, no-cache", 60),
        ("no-store", 60),
    ],
)
def test_a_document_is_kept_as_its_cache_control_says_within_a_minute_and_a_day(
    header: str, seconds: float
) -> None:
    assert age_of(header) == seconds
