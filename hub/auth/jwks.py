"""What issuers publish: a JWKS, the document with their keys, and for how long it may be kept."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from hub.auth import claims
from hub.auth.keys import MAX_KID, Key, key_of_jwk
from hub.errors import HubError, InvalidToken, UnusableKey

MAX_KEYS: Final = 100
"""Entries of a document; one with more is refused as a whole."""
LEAST_AGE: Final = 60.0
USUAL_AGE: Final = 600.0
GREATEST_AGE: Final = 86_400.0
"""Seconds between which a document is kept before the next look; the usual ones where the issuer does not say."""
_MAX_AGE: Final = re.compile(r"(?:^|[\s,])max-age\s*=\s*\"?(\d{1,10})", re.IGNORECASE)
_AT_ONCE: Final = re.compile(r"(?:^|[\s,])no-(?:cache|store)(?:$|[\s,=])", re.IGNORECASE)


class KeysError(HubError):
    """The published keys cannot be had: what was fetched, or that nothing was; the text names no secret."""


def read_document(text: bytes, what: str) -> Mapping[str, Any]:
    """The JSON object of a document; raises KeysError."""
    try:
        return claims.read_object(text, what)
    except InvalidToken as error:
        raise KeysError(str(error)) from error


def read_keys(text: bytes, accepted: frozenset[str] | None) -> dict[str | None, Key]:
    """The usable keys of a JWKS by `kid`; under None one without a name. Raises KeysError for what is no JWKS.

    Others than RSA and elliptic ones to verify signatures with are left out, and so are weak ones. Of several with one
    name (an RSA and an elliptic one, say) each algorithm has the first that is usable. `accepted` are the algorithms to
    accept, None for all.
    """
    entries = read_document(text, "the JWKS").get("keys")
    if not isinstance(entries, list):
        raise KeysError("the JWKS has no list `keys`")
    if len(entries) > MAX_KEYS:
        raise KeysError(f"the JWKS has {len(entries)} keys, and at most {MAX_KEYS} are taken")
    found: dict[str | None, Key] = {}
    for entry in entries:
        kid = entry.get("kid") if isinstance(entry, dict) else ""
        if not isinstance(entry, dict) or not (kid is None or (isinstance(kid, str) and len(kid) <= MAX_KID)):
            continue
        try:
            key = key_of_jwk(entry, accepted)
        except UnusableKey:
            continue
        found[kid] = found[kid].joined(key) if kid in found else key
    return found


def age_of(cache_control: str) -> float:
    """Seconds that a document may be kept by its Cache-Control."""
    if _AT_ONCE.search(cache_control):
        return LEAST_AGE
    found = _MAX_AGE.search(cache_control)
    return min(max(float(found[1]), LEAST_AGE), GREATEST_AGE) if found else USUAL_AGE
