"""What verifies tokens, made from the settings: for the hub, and for commands that ask what it would say."""

from __future__ import annotations

from collections.abc import Callable

from hub.auth.claims import ClaimNames
from hub.auth.fetching import Source
from hub.auth.keys import Key, key_of
from hub.auth.published import PublishedKeys
from hub.auth.ring import KeyRing
from hub.auth.tokens import TokenVerifier
from hub.settings.model import AuthSettings, JwtSettings, KeySettings


def make_verifier(
    auth: AuthSettings,
    *,
    clock: Callable[[], float],
    monotonic: Callable[[], float],
    longest_life: float | None = None,
) -> TokenVerifier | None:
    """The verifier that the settings describe; None where they name no key and nowhere to get one.

    `clock` gives seconds since 1970, `monotonic` seconds that only grow; `longest_life` is `limits.token_life`.
    Raises UnusableKey.
    """
    jwt = auth.jwt
    ring = KeyRing(
        current=_current(jwt),
        previous=None if jwt.previous is None else make_key(jwt.previous),
        named={kid: found for kid, key in jwt.keys.items() if (found := make_key(key)) is not None},
        published=_published(jwt, clock, monotonic),
    )
    if ring == KeyRing():
        return None
    return TokenVerifier(
        ring=ring,
        audience=jwt.audience,
        issuer=jwt.issuer,
        leeway=jwt.leeway,
        require_exp=jwt.require_exp,
        longest_life=longest_life,
        anonymous=auth.anonymous,
        names=claim_names(jwt),
        clock=clock,
    )


def make_key(key: KeySettings | JwtSettings) -> Key | None:
    """The key that a part of the settings describes, if any. Raises UnusableKey."""
    until = key.until if isinstance(key, KeySettings) else None
    return key_of(secret_of(key) or None, key.public_key, key.algorithms, until)


def claim_names(jwt: JwtSettings) -> ClaimNames:
    """Which claims hold user and roles."""
    return ClaimNames(jwt.claims.user, jwt.claims.roles)


def secret_of(key: KeySettings | JwtSettings) -> str:
    """Its secret, "" where it has none."""
    return key.secret.get_secret_value() if key.secret else ""


def fetches_keys(jwt: JwtSettings) -> bool:
    """Whether keys come from an issuer."""
    return jwt.discovery or jwt.jwks_url is not None


def has_key(jwt: JwtSettings) -> bool:
    """Whether there is any key to verify tokens with, or somewhere to get one."""
    named = jwt.secret or jwt.public_key or jwt.previous or jwt.keys
    return bool(named) or fetches_keys(jwt)


def _current(jwt: JwtSettings) -> Key | None:
    # The algorithms may be meant for published keys, which are of several families.
    return make_key(jwt) if jwt.secret or jwt.public_key else None


def _published(
    jwt: JwtSettings, clock: Callable[[], float], monotonic: Callable[[], float]
) -> PublishedKeys | None:
    if not fetches_keys(jwt):
        return None
    for_them = "algorithms" in jwt.model_fields_set and not (jwt.secret or jwt.public_key)
    source = Source(jwt.jwks_url, jwt.issuer, jwt.insecure_url)
    return PublishedKeys(
        source.fetch,
        algorithms=jwt.algorithms if for_them else None,
        clock=clock,
        monotonic=monotonic,
    )
