"""Which key a token is verified with, and until when."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from hub.auth.keys import Key, key_of
from hub.auth.ring import KeyRing
from hub.auth.tokens import TokenVerifier, sign
from hub.errors import ExpiredToken, HubError, InvalidToken, UnknownKey
from tests.unit.auth.forging import NOW, SECRET, Clock, KeyPair, b64, forge, pair

EXP = int(NOW) + 86_400
OTHER = "0f9e8d7c6b5a41d2c3b4a5968778695a-other"
THIRD = "third-7d1a0c9be84f4c5fa2b63e0d9a7c6b51"
MakeVerifier = Callable[..., TokenVerifier]


def key(secret: str | None = None, public: str | None = None, until: float | None = None, **more: Any) -> Key:
    found = key_of(secret, public, more.get("algorithms"), until)
    assert found is not None
    return found


def claims(**more: Any) -> dict[str, Any]:
    return {"sub": "ann", "exp": EXP, **more}


def headed(header: dict[str, Any], secret: str = SECRET) -> str:
    return forge(claims(), {"alg": "HS256", **header}, secret.encode())


@pytest.fixture
def rings(make_verifier: MakeVerifier, rsa_pair: KeyPair) -> TokenVerifier:
    named = {"b": key(OTHER), "r": key(None, rsa_pair.public)}
    return make_verifier(ring=KeyRing(key(SECRET), key(THIRD, until=NOW + 60), named))


def test_a_token_is_verified_with_the_key_that_it_names(rings: TokenVerifier, rsa_pair: KeyPair) -> None:
    for token in (
        sign(claims(), SECRET),
        sign(claims(), OTHER, kid="b"),
        sign(claims(), rsa_pair.private, "RS256", kid="r"),
    ):
        assert rings.verify_connection(token).user == "ann"


def test_a_key_verifies_nothing_under_the_name_of_another(rings: TokenVerifier, rsa_pair: KeyPair) -> None:
    for token in (
        sign(claims(), OTHER),
        sign(claims(), SECRET, kid="b"),
        sign(claims(), OTHER, kid="r"),
        sign(claims(), rsa_pair.private, "RS256", kid="b"),
        sign(claims(), rsa_pair.private, "RS256"),
        sign(claims(), THIRD, kid="b"),
    ):
        with pytest.raises(InvalidToken):
            rings.verify_connection(token)


def test_the_public_key_of_a_name_is_no_secret_under_it(rings: TokenVerifier, rsa_pair: KeyPair) -> None:
    for secret in (
        rsa_pair.public.encode(),
        rsa_pair.public.strip().encode(),
        rsa_pair.der,
        b64(rsa_pair.der).encode(),
    ):
        for header in ({"kid": "r"}, {}, {"kid": "b"}):
            with pytest.raises(InvalidToken):
                rings.verify_connection(forge(claims(), {"alg": "HS256", **header}, secret))


def test_the_key_before_counts_until_its_deadline_and_not_a_moment_longer(
    rings: TokenVerifier, clock: Clock
) -> None:
    token = sign(claims(), THIRD)
    clock.now = NOW + 59.9
    assert rings.verify_connection(token).user == "ann"
    clock.now = NOW + 60
    for _ in range(2):
        with pytest.raises(InvalidToken):
            rings.verify_connection(token)
    assert not rings._verified
    assert rings.verify_connection(sign(claims(), SECRET)).user == "ann"


def test_the_key_before_may_be_of_another_family(make_verifier: MakeVerifier, rsa_pair: KeyPair) -> None:
    verifier = make_verifier(ring=KeyRing(key(None, rsa_pair.public), key(SECRET, until=NOW + 60)))
    assert verifier.verify_connection(sign(claims(), rsa_pair.private, "RS256")).user == "ann"
    assert verifier.verify_connection(sign(claims(), SECRET)).user == "ann"
    with pytest.raises(InvalidToken):
        verifier.verify_connection(forge(claims(), secret=rsa_pair.public.encode()))


def test_a_named_key_ends_for_tokens_that_were_verified_before_too(
    make_verifier: MakeVerifier, clock: Clock
) -> None:
    verifier = make_verifier(ring=KeyRing(named={"b": key(OTHER, until=NOW + 5)}))
    token = sign(claims(), OTHER, kid="b")
    assert verifier.verify_connection(token).user == "ann"
    clock.now = NOW + 5
    with pytest.raises(InvalidToken, match="ended"):
        verifier.verify_connection(token)


def test_only_the_algorithms_of_a_key_are_its_own(make_verifier: MakeVerifier) -> None:
    verifier = make_verifier(ring=KeyRing(named={"b": key(OTHER, algorithms=["HS512"])}))
    assert verifier.verify_connection(sign(claims(), OTHER, "HS512", kid="b")).user == "ann"
    with pytest.raises(InvalidToken, match="algorithm"):
        verifier.verify_connection(sign(claims(), OTHER, "HS256", kid="b"))


def test_a_name_means_nothing_where_no_keys_have_names(make_verifier: MakeVerifier) -> None:
    verifier = make_verifier(ring=KeyRing(key(SECRET), key(OTHER, until=NOW + 60)))
    for secret in (SECRET, OTHER):
        assert verifier.verify_connection(sign(claims(), secret, kid="anything")).user == "ann"


HOSTILE: list[dict[str, Any] | bytes] = [
    {"kid": "../../../../dev/null"},
    {"kid": "/etc/passwd"},
    {"kid": "' OR 1=1 --"},
    {"kid": "x' UNION SELECT 'aaaa"},
    {"kid": "https://evil.example/key"},
    {"kid": "file:///proc/self/environ"},
    {"kid": "b\x00"},
    {"kid": "b "},
    {"kid": "B"},
    {"kid": "__class__"},
    {"kid": ""},
    {"kid": "k" * 256},
    {"kid": "k" * 257},
    {"kid": "k" * 5_000},
    {"kid": 0},
    {"kid": 1},
    {"kid": 1e3},
    {"kid": True},
    {"kid": None},
    {"kid": ["b"]},
    {"kid": {"b": 1}},
    {"kid": "r"},
    {"alg": "none", "kid": "b"},
    {"alg": "HS256", "kid": "b", "crit": ["b64"], "b64": False},
    {"alg": "HS256", "kid": "b", "jku": "https://evil.example"},
    {"alg": "HS256", "kid": "b", "x5u": "https://evil.example"},
    {"alg": "HS256", "kid": "b", "jwk": {}},
    b'{"alg":"HS256","kid":"r","kid":"b"}',
    b'{"alg":"none","alg":"HS256","kid":"b"}',
    b'{"alg":"HS256","kid":"b","\\u0061lg":"HS256"}',
    b'{"alg":"HS256","kid":"b","x":{"y":1,"y":2}}',
    b'{"alg":"HS256","kid":' + b"9" * 400 + b"}",
    b'{"alg":"HS256","kid":"\\ud800"}',
    b'{"alg":"HS256","kid":"\\udc00b"}',
    b'{"alg":"HS256","kid":' + b"[" * 1_000,
    b'{"alg":"HS256","kid":NaN}',
    b'{"alg":"HS256","kid":Infinity}',
]


@pytest.mark.parametrize("header", HOSTILE, ids=lambda header: repr(header)[:50])
def test_a_name_that_is_odd_finds_no_key_though_the_signature_is_right(
    rings: TokenVerifier, header: dict[str, Any] | bytes
) -> None:
    whole = header if isinstance(header, bytes) else {"alg": "HS256", **header}
    for secret in (SECRET, OTHER, THIRD):
        for _ in range(2):
            with pytest.raises(InvalidToken) as caught:
                rings.verify_connection(forge(claims(), whole, secret.encode()))
            assert not isinstance(caught.value, UnknownKey)


def test_huge_numbers_that_nobody_reads_do_no_harm(rings: TokenVerifier) -> None:
    token = forge(claims(x=10**400), b'{"alg":"HS256","kid":"b","x":1' + b"0" * 400 + b"}", OTHER.encode())
    assert rings.verify_connection(token).user == "ann"


def test_a_token_of_8_kib_passes_and_one_of_a_byte_more_does_not(make_verifier: MakeVerifier) -> None:
    verifier = make_verifier()
    lengths = {}
    for pad in range(6_020, 6_080):
        token = forge(claims(pad="x" * pad))
        lengths[len(token)] = token
    assert verifier.verify_connection(lengths[8_192]).user == "ann"
    over = min(length for length in lengths if length > 8_192)
    assert over <= 8_194
    with pytest.raises(InvalidToken, match="8192"):
        verifier.verify_connection(lengths[over])


def test_who_names_no_user_is_anonymous_only_where_that_is_allowed(make_verifier: MakeVerifier) -> None:
    for more in ({}, {"sub": ""}):
        token = forge({"exp": EXP, **more})
        assert make_verifier(anonymous=True).verify_connection(token).anonymous
        with pytest.raises(InvalidToken, match="names no user"):
            make_verifier(anonymous=False).verify_connection(token)


def test_an_expired_token_of_a_key_that_ended_is_invalid(make_verifier: MakeVerifier, clock: Clock) -> None:
    verifier = make_verifier(ring=KeyRing(named={"b": key(OTHER, until=NOW + 5)}))
    token = sign({"sub": "ann", "exp": int(NOW) + 1}, OTHER, kid="b")
    clock.now = NOW + 4
    assert verifier.verify_connection(token).user == "ann"
    clock.now = NOW + 12
    with pytest.raises(HubError) as caught:
        verifier.verify_connection(token)
    assert not isinstance(caught.value, ExpiredToken)


def test_a_small_key_of_a_named_one_is_refused_at_once() -> None:
    with pytest.raises(HubError, match="2048"):
        key(None, pair(rsa.generate_private_key(65_537, 1_024)).public)  # noqa: S505  (to be refused)
