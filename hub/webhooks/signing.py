"""Signatures of Standard Webhooks: who receives a request can tell that the hub sent it, and when."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Iterable
from typing import Final

PREFIX: Final = "whsec_"
LEAST_BYTES: Final = 24
MOST_BYTES: Final = 64
"""What the specification wants of a key."""


def new_secret() -> str:
    """A random secret, as receivers and the hub are configured with it."""
    return PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def read_secret(text: str) -> bytes:
    """The key behind `whsec_<base64>`; raises ValueError, whose message does not repeat it."""
    if not text.startswith(PREFIX):
        raise ValueError(f"a webhook secret begins with {PREFIX}")
    try:
        key = base64.b64decode(text.removeprefix(PREFIX), validate=True)
    except binascii.Error:
        raise ValueError(f"a webhook secret is base64 behind {PREFIX}") from None
    if not LEAST_BYTES <= len(key) <= MOST_BYTES:
        raise ValueError(f"a webhook secret holds {LEAST_BYTES} to {MOST_BYTES} bytes, this one {len(key)}")
    return key


class Signer:
    """Signs with every secret that is in force, so that a receiver may know the old one or the new one."""

    __slots__ = ("_keys",)

    def __init__(self, keys: Iterable[bytes]) -> None:
        self._keys = tuple(keys)

    @property
    def ready(self) -> bool:
        """Whether there is any secret."""
        return bool(self._keys)

    def headers(self, message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
        """The headers of a request with this body, sent at this second since 1970."""
        signed = b"%s.%d.%s" % (message_id.encode(), timestamp, body)
        signatures = (hmac.digest(key, signed, hashlib.sha256) for key in self._keys)
        return {
            "webhook-id": message_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": " ".join(f"v1,{base64.b64encode(each).decode()}" for each in signatures),
        }


def new_message_id() -> str:
    """An id that no other request has, so that a receiver can tell one that it got twice."""
    return f"msg_{secrets.token_urlsafe(18)}"
