"""Tokens: what proves who a client is. The only module that knows python-jose.

A token is a JWT signed with HMAC, RSA or ECDSA. The library checks the signature and nothing else; everything it is
lax about is checked here: the token's length and form, the depth of its JSON, headers that point at keys, times,
audience and issuer. Whatever a client sends as a token, the outcome is an identity, `InvalidToken` or `ExpiredToken`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from hub.auth import claims as read
from hub.auth.claims import ClaimNames, Claims
from hub.auth.keys import FAMILIES, MAX_KID, Key, holds_key
from hub.auth.revocations import Mark, mark_of
from hub.auth.ring import KeyRing
from hub.errors import ExpiredToken, InvalidToken, UnusableKey
from hub.model import Identity

MAX_TOKEN_BYTES: Final = 8_192
MIN_SECRET_BYTES: Final = 32
REMEMBERED_TOKENS: Final = 10_000
EXAMPLE_SECRET: Final = "topichub-example-secret-to-be-replaced-by-your-own"  # noqa: S105  (an example is no secret)
"""The secret that documentation and sample configurations may show; `weak_secret` knows it."""

_FORM: Final = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_REFUSED_HEADERS: Final = frozenset({"crit", "jku", "x5u", "jwk"})
_EXAMPLES: Final = frozenset(
    {EXAMPLE_SECRET, "a-string-secret-at-least-256-bits-long", "bbe7d157-a253-4094-9759-06a8236543f9"}
)
# Made of nothing but words that ask to be replaced; digits alone are not, so one letter is asked for.
_EXAMPLE_WORDS: Final = re.compile(
    r"(?=.*[a-z])(?:[\W\d_]|change|me|please|replace|your|own|my|this|the|a|an|is|it|in|to|with|for|not|do|use|be|by|"
    r"example|sample|default|test|demo|dev|development|production|prod|insecure|unsafe|only|super|very|long|random|"
    r"at|least|once|bits?|bytes?|characters?|chars?|string|secret|key|token|password|passphrase|jwt|hmac|hs|signing|"
    r"value|here|hub|topichub)+"
)


@dataclass(frozen=True, slots=True)
class SubscriptionGrant:
    """What a subscription token grants: `info` (its `chan_info`) and `data` as JSON text, and when it ends, if ever.

    `mark` is what revocations know the token by.
    """

    info: bytes | None
    data: bytes | None
    expires_at: float | None
    mark: Mark


class TokenVerifier:
    """Verifies tokens against a ring of keys.

    Up to 10,000 tokens are remembered by hash after their signature was checked, the least recently used forgotten
    first, so that a storm of reconnects does not pay for signatures again; times and claims are checked on every call.
    """

    def __init__(
        self,
        *,
        ring: KeyRing,
        audience: str | None,
        issuer: str | None,
        leeway: float,
        require_exp: bool,
        anonymous: bool,
        names: ClaimNames,
        clock: Callable[[], float],
        longest_life: float | None = None,
    ) -> None:
        """Verifies with the keys of `ring`; with none every token is refused.

        `audience` and `issuer` are compared only when given; `leeway` (seconds) is the tolerated difference of clocks;
        `anonymous` says whether a token that names no user is good for the anonymous one; `names` says which claims
        hold user and roles; `clock` gives seconds since 1970. With `longest_life` (seconds) a token needs `iat` and
        `exp` and lives no longer than that, so that a revoked one may be forgotten afterwards.
        """
        self._verify = _verified_payload
        self.ring = ring
        self._audience = audience
        self._issuer = issuer
        self._leeway = leeway
        self._require_exp = require_exp
        self._anonymous = anonymous
        self.names = names
        self._clock = clock
        self._longest_life = longest_life
        self._verified: OrderedDict[bytes, tuple[Key, bytes]] = OrderedDict()

    def verify_connection(self, token: str) -> Identity:
        """Who a connection token names, and what it grants.

        Raises ExpiredToken, InvalidToken, and of the latter UnknownKey where it helps to look at the published keys.
        """
        claims = self._claims(token)
        if "channel" in claims:
            raise InvalidToken("a token for one topic cannot open a connection")
        user = read.user(claims, self.names)
        if not user and not self._anonymous:
            raise InvalidToken(
                f"it names no user in `{self.names.user}`, and anonymous ones are not admitted"
            )
        return read.bearer(claims, user, self._expires_at(claims), self.names)

    def verify_subscription(self, token: str, *, topic: str, user: str, client: str) -> SubscriptionGrant:
        """What a subscription token grants on a topic to a user's client.

        Raises InvalidToken (with `mismatch` when the token is genuine but for another topic, user or client; as
        UnknownKey where it helps to look at the published keys) or ExpiredToken.
        """
        claims = self._claims(token)
        named = (
            read.string(claims, "channel"),
            read.user(claims, self.names),
            read.string(claims, "client"),
        )
        if named[:2] != (topic, user) or named[2] not in {"", client}:
            raise InvalidToken("the token is for another topic, user or client", mismatch=True)
        return SubscriptionGrant(
            info=read.payload(claims, "info"),
            data=read.payload(claims, "data"),
            expires_at=self._expires_at(claims),
            mark=mark_of(user, claims),
        )

    def _claims(self, token: str) -> Claims:
        if not isinstance(token, str) or len(token) > MAX_TOKEN_BYTES:
            raise InvalidToken(f"a token is a text of at most {MAX_TOKEN_BYTES} bytes")
        if not _FORM.fullmatch(token):
            raise InvalidToken("a token is three parts in base64url with dots between")
        digest = hashlib.sha256(token.encode()).digest()
        known = self._verified.get(digest)
        if known is None or known[0].ended(self._clock()):
            self._verified.pop(digest, None)
            known = self._signed(token)
        claims = read.read_object(known[1], "the payload")
        try:
            self._check_times(claims)
        except ExpiredToken:
            self._verified.pop(digest, None)
            raise
        self._check_parties(claims)
        self._remember(digest, known)
        return claims

    def _signed(self, token: str) -> tuple[Key, bytes]:
        """The payload, with the key that has signed it."""
        algorithm, kid = _header(token.partition(".")[0])
        cause: Exception | None = None
        for key in self.ring.candidates(kid, algorithm, self._clock()):
            try:
                payload = self._verify(token, key.verifiers[algorithm])
            except Exception as error:  # noqa: BLE001
                # Hostile input makes the library raise more than its own errors.
                cause = error
                continue
            if payload is not None:
                return key, payload
        raise InvalidToken("its signature does not verify") from cause

    def _remember(self, digest: bytes, verified: tuple[Key, bytes]) -> None:
        if digest in self._verified:
            self._verified.move_to_end(digest)
            return
        self._verified[digest] = verified
        if len(self._verified) > REMEMBERED_TOKENS:
            self._verified.popitem(last=False)

    def _check_times(self, claims: Mapping[str, Any]) -> None:
        now = self._clock()
        expires, starts = read.seconds(claims, "exp"), read.seconds(claims, "nbf")
        if expires is None:
            if self._require_exp:
                raise InvalidToken("it has no `exp`")
        elif now >= expires + self._leeway:
            raise ExpiredToken("its `exp` has passed")
        if starts is not None and now < starts - self._leeway:
            raise InvalidToken("its `nbf` lies in the future")
        if self._longest_life is not None:
            self._check_life(read.seconds(claims, "iat"), expires, now)

    def _check_life(self, issued: float | None, expires: float | None, now: float) -> None:
        if issued is None or expires is None:
            raise InvalidToken("limits.token_life asks for `iat` and `exp`, and it has not both")
        # Of one that was issued in the future, the life is counted from now.
        if expires - min(issued, now) > (self._longest_life or 0.0):
            raise InvalidToken("more than limits.token_life lies between its `iat` and its `exp`")

    def _check_parties(self, claims: Mapping[str, Any]) -> None:
        audience = claims.get("aud")
        accepted = audience if isinstance(audience, list) else [audience]
        if self._audience is not None and self._audience not in accepted:
            raise InvalidToken("it is not meant for this hub: `aud` differs from the configured audience")
        if self._issuer is not None and claims.get("iss") != self._issuer:
            raise InvalidToken("`iss` differs from the configured issuer")

    def _expires_at(self, claims: Mapping[str, Any]) -> float | None:
        ends = read.ending(claims)
        if "expire_at" in claims and ends is not None and self._clock() >= ends + self._leeway:
            raise ExpiredToken("its `expire_at` has passed")
        return ends


def _verified_payload(token: str, key: Any) -> bytes | None:
    """The payload of a token that a key of the library has signed; None where it has not.

    The library's own way through a token reads its header, which has been read, and is as long again.
    """
    signed, _, signature = token.rpartition(".")
    if not key.verify(signed.encode(), _decoded(signature)):
        return None
    return _decoded(signed.partition(".")[2])


@lru_cache(maxsize=64)
def _header(part: str) -> tuple[str, str | None]:
    """The algorithm and the `kid` that a token's header names; there are few different headers."""
    try:
        text = _decoded(part)
    except binascii.Error as error:
        raise InvalidToken("its header is not base64url") from error
    header = read.read_object(text, "the header")
    if read.repeats(text):
        raise InvalidToken("its header says a thing twice")
    if not _REFUSED_HEADERS.isdisjoint(header):
        raise InvalidToken("its header asks for what the hub never does: crit, jku, x5u or jwk")
    algorithm, kid = header.get("alg"), header.get("kid")
    if not isinstance(algorithm, str):
        raise InvalidToken("its algorithm is not among those accepted")
    if "kid" in header and not (isinstance(kid, str) and len(kid) <= MAX_KID):
        raise InvalidToken(f"its `kid` is not a text of at most {MAX_KID} characters")
    return algorithm, kid


def _decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def sign(claims: Mapping[str, Any], secret: str, algorithm: str = "HS256", *, kid: str | None = None) -> str:
    """A token with these claims; `secret` is a private key in PEM for RS* and ES*, `kid` names the key in the header.

    Raises UnusableKey when the secret does not fit the algorithm, InvalidToken when the token would be longer than any
    hub accepts, and TypeError when JSON cannot say the claims.
    """
    from jose import jws  # noqa: PLC0415
    from jose.exceptions import JOSEError  # noqa: PLC0415

    if algorithm not in FAMILIES or not secret:
        raise UnusableKey(f"a token is signed with a secret and one of {', '.join(FAMILIES)}")
    if FAMILIES[algorithm] == "HS" and holds_key(secret):
        raise UnusableKey(f"the secret does not fit {algorithm}: it is a key or a certificate")
    try:
        headers = None if kid is None else {"kid": kid}
        token = jws.sign(dict(claims), secret, headers=headers, algorithm=algorithm)
    except JOSEError as error:
        raise UnusableKey(f"the secret does not fit {algorithm}") from error
    if len(token) > MAX_TOKEN_BYTES:
        raise InvalidToken(f"a token has at most {MAX_TOKEN_BYTES} bytes, this one would have {len(token)}")
    return token


def weak_secret(secret: str, least: int = MIN_SECRET_BYTES) -> str | None:
    """Why a secret must not guard anything: shorter than `least` bytes, or known from documentation; else None."""
    size = len(secret.encode("utf-8", "surrogatepass"))
    if size < least:
        return f"it has {size} bytes, and at least {least} are needed to withstand guessing"
    plain = secret.strip().lower()
    if plain in _EXAMPLES or _EXAMPLE_WORDS.fullmatch(plain):
        return "it is an example from documentation, known to everybody"
    if plain in (plain + plain)[1:-1]:
        return "it repeats a shorter text"
    return None
