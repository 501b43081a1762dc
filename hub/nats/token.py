"""Names of any kind as tokens of NATS subjects."""

from __future__ import annotations

import re
import string
from hashlib import blake2b
from typing import Final

_PLAIN: Final = frozenset((string.ascii_letters + string.digits + "_-:@/+,=~!").encode())
_EMPTY: Final = "%"
_ESCAPED: Final = re.compile(rb"%([0-9A-F]{2})")


def token_of(name: str) -> str:
    """A name as one token of a subject: bytes other than plain ones stand as %XX. No two names share a token."""
    raw = name.encode("utf-8", "surrogatepass")
    return "".join(chr(byte) if byte in _PLAIN else f"%{byte:02X}" for byte in raw) or _EMPTY


def name_of(token: str) -> str:
    """The name whose token it is."""
    if token == _EMPTY:
        return ""
    raw = _ESCAPED.sub(lambda found: bytes([int(found[1], 16)]), token.encode())
    return raw.decode("utf-8", "surrogatepass")


def digest_of(name: str) -> str:
    """Forty letters for a name of any length, too many to meet the same twice."""
    return blake2b(name.encode("utf-8", "surrogatepass"), digest_size=20).hexdigest()
