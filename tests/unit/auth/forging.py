"""Keys, a clock that tests turn, and tokens written by hand as no library would write them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from hub.auth.claims import ClaimNames
from hub.auth.keys import key_of
from hub.auth.ring import KeyRing
from hub.auth.tokens import TokenVerifier

SECRET = "6c1d7f0b9a5e4c2f8b3a0d9e7c6b5a41"
NOW = 1_800_000_000.0


@dataclass
class Clock:
    now: float = NOW

    def __call__(self) -> float:
        return self.now


@dataclass(frozen=True)
class KeyPair:
    private: str
    public: str
    der: bytes


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def as_bytes(part: Any) -> bytes:
    return part if isinstance(part, bytes) else json.dumps(part).encode()


def forge(payload: Any, header: Any = None, secret: bytes = SECRET.encode()) -> str:
    """A token with any bytes as header and payload, and a signature (HS256) that is right."""
    head = as_bytes({"alg": "HS256", "typ": "JWT"} if header is None else header)
    signed = f"{b64(head)}.{b64(as_bytes(payload))}"
    return f"{signed}.{b64(hmac.new(secret, signed.encode(), hashlib.sha256).digest())}"


def pair(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> KeyPair:
    public = key.public_key()
    encoding, form = serialization.Encoding, serialization.PublicFormat.SubjectPublicKeyInfo
    private = key.private_bytes(encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return KeyPair(
        private.decode(),
        public.public_bytes(encoding.PEM, form).decode(),
        public.public_bytes(encoding.DER, form),
    )


def verifier_with(clock: Callable[[], float], **changes: Any) -> TokenVerifier:
    """A verifier with the tests' secret, a secret or public key of its own, or a whole ring."""
    options: dict[str, Any] = {
        "audience": None,
        "issuer": None,
        "leeway": 10.0,
        "require_exp": True,
        "anonymous": True,
        "names": ClaimNames(),
        "clock": clock,
        **changes,
    }
    key = [
        options.pop(name, usual)
        for name, usual in (("secret", SECRET), ("public_key", None), ("algorithms", ["HS256"]))
    ]
    options.setdefault("ring", KeyRing(key_of(*key)))
    return TokenVerifier(**options)
