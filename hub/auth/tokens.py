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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from hub.auth import claims as read
from hub.auth.claims import Claims
from hub.auth.revocations import Mark, mark_of
from hub.errors import ExpiredToken, InvalidToken, UnusableKey
from hub.model import Identity

MAX_TOKEN_BYTES: Final = 8_192
MIN_SECRET_BYTES: Final = 32
REMEMBERED_TOKENS: Final = 10_000
EXAMPLE_SECRET: Final = "topichub-example-secret-to-be-replaced-by-your-own"  # noqa: S105  (an example is no secret)
"""The secret that documentation and sample configurations may show; `weak_secret` knows it."""

_FAMILIES: Final = {f"{family}{bits}": family for family in ("HS", "RS", "ES") for bits in (256, 384, 512)}
_CURVES: Final = {"ES256": "secp256r1", "ES384": "secp384r1", "ES512": "secp521r1"}
_MIN_RSA_BITS: Final = 2_048
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
    """Verifies tokens against one secret or one public key.

    Up to 10,000 tokens are remembered by hash after their signature was checked, the least recently used forgotten
    first, so that a storm of reconnects does not pay for signatures again; times and claims are checked on every call.
    """

    def __init__(
        self,
        *,
        secret: str | None,
        public_key: str | None,
        algorithms: Sequence[str],
        audience: str | None,
        issuer: str | None,
        leeway: float,
        require_exp: bool,
        clock: Callable[[], float],
    ) -> None:
        """Prepares the key once. Without secret and public key every token is refused.

        `public_key` is PEM. `algorithms` must be of one family that fits the key. `audience` and `issuer` are compared
        only when given; `leeway` (seconds) is the tolerated difference of clocks; `clock` gives seconds since 1970.
        Raises UnusableKey when key and algorithms do not go together.
        """
        self._verify = _verified_payload
        self._keys = _prepare(secret, public_key, algorithms)
        self._audience = audience
        self._issuer = issuer
        self._leeway = leeway
        self._require_exp = require_exp
        self._clock = clock
        self._verified: OrderedDict[bytes, bytes] = OrderedDict()

    def verify_connection(self, token: str) -> Identity:
        """Who a connection token names, and what it grants; raises InvalidToken or ExpiredToken."""
        claims = self._claims(token)
        if "channel" in claims:
            raise InvalidToken("a token for one topic cannot open a connection")
        return Identity(
            user=read.string(claims, "sub"),
            info=read.payload(claims, "info"),
            expires_at=self._expires_at(claims),
            claims=claims,
            topics=read.granted_topics(claims),
            subs=read.server_subscriptions(claims),
        )

    def verify_subscription(self, token: str, *, topic: str, user: str, client: str) -> SubscriptionGrant:
        """What a subscription token grants on a topic to a user's client.

        Raises InvalidToken (with `mismatch` when the token is genuine but for another topic, user or client) or
        ExpiredToken.
        """
        claims = self._claims(token)
        named = tuple(read.string(claims, name) for name in ("channel", "sub", "client"))
        if named[:2] != (topic, user) or named[2] not in {"", client}:
            raise InvalidToken("the token is for another topic, user or client", mismatch=True)
        return SubscriptionGrant(
            info=read.payload(claims, "info"),
            data=read.payload(claims, "data"),
            expires_at=self._expires_at(claims),
            mark=mark_of(claims),
        )

    def _claims(self, token: str) -> Claims:
        if not isinstance(token, str) or len(token) > MAX_TOKEN_BYTES:
            raise InvalidToken(f"a token is a text of at most {MAX_TOKEN_BYTES} bytes")
        if not _FORM.fullmatch(token):
            raise InvalidToken("a token is three parts in base64url with dots between")
        digest = hashlib.sha256(token.encode()).digest()
        payload = self._verified.get(digest)
        if payload is None:
            payload = self._signed_payload(token)
        claims = read.read_object(payload, "the payload")
        try:
            self._check_times(claims)
        except ExpiredToken:
            self._verified.pop(digest, None)
            raise
        self._check_parties(claims)
        self._remember(digest, payload)
        return claims

    def _signed_payload(self, token: str) -> bytes:
        key = self._keys.get(_algorithm(token.partition(".")[0]))
        if key is None:
            raise InvalidToken("its algorithm is not among those accepted")
        try:
            payload = self._verify(token, key)
        except Exception as error:
            # Hostile input makes the library raise more than its own errors.
            raise InvalidToken("its signature does not verify") from error
        if payload is None:
            raise InvalidToken("its signature does not verify")
        return payload

    def _remember(self, digest: bytes, payload: bytes) -> None:
        if digest in self._verified:
            self._verified.move_to_end(digest)
            return
        self._verified[digest] = payload
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

    def _check_parties(self, claims: Mapping[str, Any]) -> None:
        audience = claims.get("aud")
        accepted = audience if isinstance(audience, list) else [audience]
        if self._audience is not None and self._audience not in accepted:
            raise InvalidToken("it is not meant for this hub: `aud` differs from the configured audience")
        if self._issuer is not None and claims.get("iss") != self._issuer:
            raise InvalidToken("`iss` differs from the configured issuer")

    def _expires_at(self, claims: Mapping[str, Any]) -> float | None:
        ends = read.seconds(claims, "expire_at")
        if ends is None:
            return read.seconds(claims, "exp")
        if ends and self._clock() >= ends + self._leeway:
            raise ExpiredToken("its `expire_at` has passed")
        return ends or None


def _verified_payload(token: str, key: Any) -> bytes | None:
    """The payload of a token that a key of the library has signed; None where it has not.

    The library's own way through a token reads its header, which has been read, and is as long again.
    """
    signed, _, signature = token.rpartition(".")
    if not key.verify(signed.encode(), _decoded(signature)):
        return None
    return _decoded(signed.partition(".")[2])


@lru_cache(maxsize=64)
def _algorithm(part: str) -> str:
    """The algorithm that a token's header names; there are few different headers."""
    try:
        text = _decoded(part)
    except binascii.Error as error:
        raise InvalidToken("its header is not base64url") from error
    header = read.read_object(text, "the header")
    if not _REFUSED_HEADERS.isdisjoint(header):
        raise InvalidToken("its header asks for what the hub never does: crit, jku, x5u or jwk")
    algorithm = header.get("alg")
    if not isinstance(algorithm, str):
        raise InvalidToken("its algorithm is not among those accepted")
    return algorithm


def _decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def _prepare(secret: str | None, public_key: str | None, algorithms: Sequence[str]) -> dict[str, Any]:
    """A key object of the library for each algorithm; none when there is nothing to verify with.

    The library costs 0.2 s to import: commands that verify no token do not pay for it.
    """
    unknown = [name for name in algorithms if name not in _FAMILIES]
    if unknown or not algorithms:
        raise UnusableKey(
            f"algorithms are some of {', '.join(_FAMILIES)}; found {', '.join(unknown) or 'none'}"
        )
    families = {_FAMILIES[name] for name in algorithms}
    if len(families) > 1:
        # With both kinds in force a public key could be passed off as a secret.
        raise UnusableKey(f"algorithms must be of one family; found {' and '.join(sorted(families))}")
    if secret is None and public_key is None:
        return {}
    if secret is not None and public_key is not None:
        raise UnusableKey("tokens are verified with a secret or with a public key, not with both")
    if families == {"HS"}:
        if not secret:
            raise UnusableKey("HS256, HS384 and HS512 need a secret that is not empty")
        return {name: _construct(secret, name) for name in algorithms}
    if public_key is None:
        raise UnusableKey("RS* and ES* algorithms need a public key, not a secret")
    return {name: _public(_construct(public_key, name), name) for name in algorithms}


def _construct(key: str, algorithm: str) -> Any:
    from jose import jwk  # noqa: PLC0415
    from jose.exceptions import JOSEError  # noqa: PLC0415

    try:
        return jwk.construct(key, algorithm)
    except (JOSEError, ValueError) as error:
        wanted = (
            "a secret that is no key or certificate" if algorithm.startswith("HS") else "a public key in PEM"
        )
        raise UnusableKey(f"{algorithm} needs {wanted}") from error


def _public(key: Any, algorithm: str) -> Any:
    """The key itself once its kind and strength fit; the library would find out at the first token, or never."""
    from cryptography.hazmat.primitives.asymmetric import ec, rsa  # noqa: PLC0415

    inside = key.prepared_key
    if algorithm in _CURVES:
        if not isinstance(inside, ec.EllipticCurvePublicKey) or inside.curve.name != _CURVES[algorithm]:
            raise UnusableKey(f"{algorithm} needs a public key on curve {_CURVES[algorithm]}")
    elif not isinstance(inside, rsa.RSAPublicKey) or inside.key_size < _MIN_RSA_BITS:
        raise UnusableKey(f"{algorithm} needs an RSA public key of at least {_MIN_RSA_BITS} bits")
    return key


def sign(claims: Mapping[str, Any], secret: str, algorithm: str = "HS256") -> str:
    """A token with these claims; `secret` is a private key in PEM for RS* and ES*.

    Raises UnusableKey when the secret does not fit the algorithm, InvalidToken when the token would be longer than any
    hub accepts, and TypeError when JSON cannot say the claims.
    """
    from jose import jws  # noqa: PLC0415
    from jose.exceptions import JOSEError  # noqa: PLC0415

    if algorithm not in _FAMILIES or not secret:
        raise UnusableKey(f"a token is signed with a secret and one of {', '.join(_FAMILIES)}")
    try:
        token = jws.sign(dict(claims), secret, algorithm=algorithm)
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
