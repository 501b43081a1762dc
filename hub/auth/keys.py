"""One key that tokens are verified with: of one family, for the algorithms that it is made for, and for a time.

The family comes from the key and never from a token, so that nobody can have a public key taken for a secret.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from hub.errors import UnusableKey

FAMILIES: Final = {f"{family}{bits}": family for family in ("HS", "RS", "ES") for bits in (256, 384, 512)}
"""The algorithms that the hub knows, with the family of each."""
_CURVES: Final = {"ES256": "secp256r1", "ES384": "secp384r1", "ES512": "secp521r1"}
_OF_CURVES: Final = {curve: name for name, curve in _CURVES.items()}
_MIN_RSA_BITS: Final = 2_048
MAX_RSA_BITS: Final = 16_384
"""Larger ones would make each token cost more than it is worth."""
MAX_KID: Final = 256
"""Characters of a key's name; a longer one names no key."""
_WANTED: Final = "a secret that is no key or certificate"
_SEQUENCE: Final = b"\x30"


@dataclass(slots=True, eq=False)
class Key:
    """A key, prepared once: what verifies, by algorithm.

    `until` (seconds since 1970) is when it ends, None for never; it may be moved. `mark` is the same for the same key
    and algorithms, and tells nothing about a secret that could be printed.
    """

    verifiers: Mapping[str, Any] = field(repr=False)
    until: float | None = None
    mark: bytes = field(default=b"", repr=False)

    def ended(self, now: float) -> bool:
        """Whether nothing that it signed is to be accepted any more."""
        return self.until is not None and now >= self.until

    def joined(self, other: Key) -> Key:
        """This one for what it verifies, and the other for the algorithms that it has beyond."""
        if self.verifiers.keys() >= other.verifiers.keys():
            return self
        mark = hashlib.sha256(self.mark + other.mark).digest()
        return Key({**other.verifiers, **self.verifiers}, self.until, mark)


def key_of(
    secret: str | None,
    public_key: str | None,
    algorithms: Sequence[str] | None,
    until: float | None = None,
) -> Key | None:
    """The key of a secret or of a public key in PEM; None where neither is given.

    Without algorithms a secret is for HS256, an RSA key for RS256, an elliptic one for the algorithm of its curve.
    Raises UnusableKey when key and algorithms do not go together.
    """
    if algorithms is not None:
        _check_family(algorithms)
    if secret is None and public_key is None:
        return None
    if secret is not None and public_key is not None:
        raise UnusableKey("tokens are verified with a secret or with a public key, not with both")
    if algorithms is None:
        algorithms = ["HS256"] if secret is not None else [_natural(str(public_key))]
    if FAMILIES[algorithms[0]] == "HS":
        if not secret:
            raise UnusableKey("HS256, HS384 and HS512 need a secret that is not empty")
        return Key({name: _secret(secret, name) for name in algorithms}, until)
    if public_key is None:
        raise UnusableKey("RS* and ES* algorithms need a public key, not a secret")
    return Key({name: _public(_construct(public_key, name), name) for name in algorithms}, until)


def key_of_jwk(jwk: Mapping[str, Any], accepted: frozenset[str] | None) -> Key:
    """The public key of an entry of a JWKS, for the algorithm that it names, else for those of its kind.

    `accepted` narrows the algorithms down. Raises UnusableKey for whatever is no RSA or elliptic public key to verify
    signatures with, and for one that is too weak.
    """
    # Some issuers write null for what they leave open.
    given = {name: value for name, value in jwk.items() if value is not None}
    kind, use, operations = given.get("kty"), given.get("use", "sig"), given.get("key_ops", ["verify"])
    family = {"RSA": "RS", "EC": "ES"}.get(kind) if isinstance(kind, str) else None
    if family is None or use != "sig" or not isinstance(operations, list) or "verify" not in operations:
        raise UnusableKey("it is no RSA or elliptic key that verifies signatures")
    public = {name: jwk.get(name) for name in _PARTS[family]}
    if not all(isinstance(part, str) and len(part) <= _LONGEST_PART for part in public.values()):
        raise UnusableKey("its parts are missing or too long")
    named = jwk.get("alg")
    names = [
        name
        for name in _algorithms_of(family, public)
        if named in (None, name) and (accepted is None or name in accepted)
    ]
    if not names:
        raise UnusableKey("it is for an algorithm that is not accepted")
    verifiers = {name: _public(_construct({"kty": kind, **public}, name), name) for name in names}
    return Key(verifiers, mark=hashlib.sha256(json.dumps([public, names]).encode()).digest())


_PARTS: Final = {"RS": ("n", "e"), "ES": ("crv", "x", "y")}
_LONGEST_PART: Final = MAX_RSA_BITS // 6 + 2
_JWK_CURVES: Final = {"P-256": "ES256", "P-384": "ES384", "P-521": "ES512"}


def _algorithms_of(family: str, public: Mapping[str, Any]) -> Sequence[str]:
    if family == "RS":
        return [name for name in FAMILIES if FAMILIES[name] == "RS"]
    return [name for curve, name in _JWK_CURVES.items() if curve == public["crv"]]


def _check_family(algorithms: Sequence[str]) -> None:
    unknown = [name for name in algorithms if name not in FAMILIES]
    if unknown or not algorithms:
        raise UnusableKey(
            f"algorithms are some of {', '.join(FAMILIES)}; found {', '.join(unknown) or 'none'}"
        )
    families = {FAMILIES[name] for name in algorithms}
    if len(families) > 1:
        # With both kinds in force a public key could be passed off as a secret.
        raise UnusableKey(f"algorithms must be of one family; found {' and '.join(sorted(families))}")


def _secret(secret: str, algorithm: str) -> Any:
    if holds_key(secret):
        # Everybody may know a public key, and could sign with it.
        raise UnusableKey(f"{algorithm} needs {_WANTED}")
    return _construct(secret, algorithm)


def _construct(key: str | Mapping[str, Any], algorithm: str) -> Any:
    """The library's key. It costs 0.2 s to import: commands that verify no token do not pay for it."""
    from jose import jwk  # noqa: PLC0415

    try:
        return jwk.construct(dict(key) if isinstance(key, Mapping) else key, algorithm)
    except Exception as error:
        # Keys of strangers make the library raise more than its own errors.
        wanted = _WANTED if algorithm.startswith("HS") else "a public key in PEM"
        raise UnusableKey(f"{algorithm} needs {wanted}") from error


def _public(key: Any, algorithm: str) -> Any:
    """The key itself once its kind and strength fit; the library would find out at the first token, or never."""
    from cryptography.hazmat.primitives.asymmetric import ec, rsa  # noqa: PLC0415

    inside = key.prepared_key
    if algorithm in _CURVES:
        if not isinstance(inside, ec.EllipticCurvePublicKey) or inside.curve.name != _CURVES[algorithm]:
            raise UnusableKey(f"{algorithm} needs a public key on curve {_CURVES[algorithm]}")
    elif not isinstance(inside, rsa.RSAPublicKey) or not _MIN_RSA_BITS <= inside.key_size <= MAX_RSA_BITS:
        raise UnusableKey(f"{algorithm} needs an RSA public key of {_MIN_RSA_BITS} to {MAX_RSA_BITS} bits")
    return key


def _natural(public_key: str) -> str:
    """The algorithm that a public key in PEM is for when nobody says."""
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import load_pem_public_key  # noqa: PLC0415

    try:
        found = load_pem_public_key(public_key.encode("utf-8", "replace"))
    except Exception:  # noqa: BLE001 - what cannot be read is told about as one that is for RSA
        return "RS256"
    if isinstance(found, ec.EllipticCurvePublicKey):
        return _OF_CURVES.get(found.curve.name, "ES256")
    return "RS256"


_SPACE: Final = re.compile(r"\s+")


def holds_key(text: str) -> bool:
    """Whether a text is a key or a certificate in PEM, DER, DER in base64 or hexadecimal, JWK or the form of SSH."""
    if "-----BEGIN" in text or text.lstrip().startswith(("ssh-", "ecdsa-sha2-")):
        return True
    if text.lstrip().startswith("{"):
        try:
            return "kty" in json.loads(text)
        except (ValueError, RecursionError):
            return False
    return any(_is_der(data) for data in _readings(text))


def _readings(text: str) -> Iterator[bytes]:
    """The bytes that a text may stand for: each of its characters one byte, base64, hexadecimal."""
    packed = _SPACE.sub("", text)
    plain = packed.rstrip("=").replace("-", "+").replace("_", "/")
    readers: tuple[Callable[[], bytes], ...] = (
        lambda: text.encode("latin-1"),
        lambda: base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True),
        lambda: binascii.unhexlify(packed),
    )
    for read in readers:
        try:
            yield read()
        except ValueError:
            continue


def _is_der(data: bytes) -> bool:
    if not data.startswith(_SEQUENCE):
        return False
    from cryptography import x509  # noqa: PLC0415
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415

    readers: tuple[Callable[[bytes], object], ...] = (
        serialization.load_der_public_key,
        lambda found: serialization.load_der_private_key(found, password=None),
        x509.load_der_x509_certificate,
    )
    for read in readers:
        try:
            read(data)
        except TypeError:
            return True  # a private key under a password
        except Exception:  # noqa: BLE001, S112 - whatever it says, it did not find a key
            continue
        return True
    return False
