"""What the verifier of tokens and the reader of published keys must do with any bytes at all."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from functools import cache
from typing import Any, Final

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from hub.auth.claims import ClaimNames
from hub.auth.jwks import MAX_KEYS, KeysError, read_keys
from hub.auth.keys import FAMILIES, key_of
from hub.auth.published import Document, PublishedKeys
from hub.auth.ring import KeyRing
from hub.auth.tokens import TokenVerifier
from hub.errors import ExpiredToken, InvalidToken
from hub.model import Identity

SECRET: Final = "3f9c1e6a7b2d4850c6e1f0a9b8d7c6e5"
NOW: Final = 1_800_000_000.0
GOOD_CLAIMS: Final = {"sub": "ann", "exp": int(NOW) + 600, "info": {"name": "Ann"}}
HEADER: Final = b'{"alg":"HS256","typ":"JWT"}'
KIDS: Final = (None, "rs", "es", "shown-rs", "shown-es", "hs", "nobody", "")
"""Names of keys that a header may bear: of the operator's, of published ones, and of none."""


def b64(data: bytes) -> str:
    """As it stands in tokens."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def signed(header: bytes, claims: bytes, secret: bytes = SECRET.encode()) -> str:
    """A token with any bytes for header and claims, and a signature (HS256) that is right."""
    text = f"{b64(header)}.{b64(claims)}"
    return f"{text}.{b64(hmac.new(secret, text.encode(), hashlib.sha256).digest())}"


GOOD: Final = signed(HEADER, json.dumps(GOOD_CLAIMS).encode())


@cache
def public_keys() -> dict[str, tuple[str, bytes, dict[str, str]]]:
    """An RSA and an elliptic key that everybody may know: in PEM, in DER, and as an entry of a JWKS."""
    encoding, form = serialization.Encoding, serialization.PublicFormat.SubjectPublicKeyInfo
    found = {}
    for name, key in (
        ("rs", rsa.generate_private_key(65_537, 2_048).public_key()),
        ("es", ec.generate_private_key(ec.SECP256R1()).public_key()),
    ):
        pem, der = key.public_bytes(encoding.PEM, form).decode(), key.public_bytes(encoding.DER, form)
        found[name] = (pem, der, {**_entry(key), "kid": f"shown-{name}"})
    return found


def _entry(key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey) -> dict[str, str]:
    if isinstance(key, rsa.RSAPublicKey):
        numbers = key.public_numbers()
        return {"kty": "RSA", "n": b64(numbers.n.to_bytes(256, "big")), "e": "AQAB"}
    point = key.public_numbers()
    x, y = (b64(number.to_bytes(32, "big")) for number in (point.x, point.y))
    return {"kty": "EC", "crv": "P-256", "x": x, "y": y}


def key_set() -> bytes:
    """The public keys as an issuer publishes them."""
    return json.dumps({"keys": [entry for _, _, entry in public_keys().values()]}).encode()


@cache
def verifier() -> TokenVerifier:
    """One that has keys of all kinds: a secret, keys by name, published ones."""

    async def fetch() -> Document:
        raise KeysError("nothing is fetched here")

    published = PublishedKeys(fetch, algorithms=None, clock=lambda: NOW, monotonic=lambda: 0.0)
    published._take(read_keys(key_set(), None))
    named = {name: key_of(None, pem, None) for name, (pem, _, _) in public_keys().items()}
    named["hs"] = key_of("another-secret-8d1f0b7c5a3e2946f0d1", None, None)
    ring = KeyRing(
        current=key_of(SECRET, None, ["HS256"]),
        named={name: key for name, key in named.items() if key},
        published=published,
    )
    return TokenVerifier(
        ring=ring,
        audience=None,
        issuer=None,
        leeway=0.0,
        require_exp=True,
        anonymous=False,
        names=ClaimNames(),
        clock=lambda: NOW,
    )


def token_verifier(data: bytes) -> None:
    """The first byte says what the rest is.

    A token; claims or a header rightly signed; changes to a good token; or how a public key is passed off as a secret.
    """
    if not data:
        return
    which, rest = data[0] % 5, data[1:]
    claims = json.dumps(GOOD_CLAIMS).encode()
    if which == 0:
        token = rest.decode("utf-8", "surrogateescape")
        found = verified(token)
        assert found is None or token.split(".")[:2] == GOOD.split(".")[:2], "a token of nobody's was taken"
    elif which == 1:
        verified(signed(HEADER, rest))
    elif which == 2:
        if verified(signed(rest, claims)) is not None:
            _is_a_header(rest)
    elif which == 3:
        token = changed(GOOD, rest)
        found = verified(token)
        # The last character of a part may hold bits that base64 does not use.
        assert found is None or found.claims == GOOD_CLAIMS, "a changed token was taken"
    else:
        assert verified(confused(rest, claims)) is None, "a public key was taken for a secret"


def _is_a_header(text: bytes) -> None:
    header = json.loads(text)
    assert header["alg"] == "HS256", "another algorithm was taken"
    assert not {"crit", "jku", "x5u", "jwk"} & set(header), "a header was taken that points at a key"
    assert header.get("kid") is None, "a key was used that has another name"


def confused(how: bytes, claims: bytes) -> str:
    """A token with the HMAC of a public key that everybody knows; `how` names key, form, algorithm and `kid`."""
    key, form, algorithm, kid = (*how[:4], 0, 0, 0, 0)[:4]
    pem, der, entry = list(public_keys().values())[key % 2]
    secrets = (pem.encode(), pem.strip().encode(), der, b64(der).encode(), json.dumps(entry).encode())
    header: dict[str, Any] = {"alg": list(FAMILIES)[algorithm % len(FAMILIES)]}
    if (name := KIDS[kid % len(KIDS)]) is not None:
        header["kid"] = name
    return signed(json.dumps(header).encode(), claims, secrets[form % len(secrets)])


def changed(token: str, how: bytes) -> str:
    """The token with characters put in place of others: pairs of bytes, the place and the character."""
    letters = list(token)
    for at, letter in zip(how[::2], how[1::2], strict=False):
        letters[at % len(letters)] = chr(letter)
    return "".join(letters)


def verified(token: str) -> Identity | None:
    """Who it names; None when it was refused as tokens are refused."""
    for ask in (verifier().verify_connection, _of_a_topic):
        try:
            found = ask(token)
        except (InvalidToken, ExpiredToken) as error:
            if len(token) > 8:
                assert token not in str(error), "an error repeats the token"
            continue
        if isinstance(found, Identity):
            return found
    return None


def _of_a_topic(token: str) -> object:
    return verifier().verify_subscription(token, topic="a", user="ann", client="c")


def key_document(data: bytes) -> None:
    """The text of a JWKS: whatever it is, the outcome is public keys or a KeysError."""
    try:
        found = read_keys(data, None)
    except KeysError:
        return
    assert len(found) <= MAX_KEYS
    for kid, key in found.items():
        assert kid is None or isinstance(kid, str)
        assert key.verifiers, "a key is good for nothing"
        assert all(FAMILIES[name] in {"RS", "ES"} for name in key.verifiers), "a published key is a secret"
        for name, verifier_of in key.verifiers.items():
            assert not verifier_of.verify(b"a", hmac.new(data, b"a", "sha256").digest()), name
