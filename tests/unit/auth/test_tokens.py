from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given, settings
from hypothesis import strategies as st

from hub.auth import tokens
from hub.auth.revocations import Mark
from hub.auth.tokens import EXAMPLE_SECRET, SubscriptionGrant, TokenVerifier, sign, weak_secret
from hub.errors import ExpiredToken, HubError, InvalidToken, UnusableKey
from hub.model import Identity
from tests.unit.auth.forging import NOW, SECRET, Clock, KeyPair, b64, forge, pair, verifier_with

EXP = int(NOW) + 60
MakeVerifier = Callable[..., TokenVerifier]


def claims(**more: Any) -> dict[str, Any]:
    return {"sub": "ann", "exp": EXP, **more}


# --- What a good token says -----------------------------------------------------------------------------------


def test_a_signed_token_gives_its_identity(verifier: TokenVerifier) -> None:
    written = claims(
        info={"name": "Ann\n"}, role="editor", channels=["news:all"], topics={"chat:*": ["sub", "publish"]}
    )
    assert verifier.verify_connection(sign(written, SECRET)) == Identity(
        user="ann",
        info=b'{"name":"Ann\\n"}',
        expires_at=float(EXP),
        claims=written,
        topics={"chat:*": frozenset({"subscribe", "publish"})},
        subs={"news:all": {}},
    )


def test_without_sub_the_user_is_anonymous(verifier: TokenVerifier) -> None:
    assert verifier.verify_connection(forge({"exp": EXP})).anonymous


@pytest.mark.parametrize(("expire_at", "ends"), [(0, None), (EXP + 500, EXP + 500.0), (NOW - 5, NOW - 5)])
def test_expire_at_goes_before_exp_for_the_end_of_the_session(
    verifier: TokenVerifier, expire_at: float, ends: float | None
) -> None:
    assert verifier.verify_connection(forge(claims(expire_at=expire_at))).expires_at == ends


def test_an_expire_at_that_has_passed_is_expired(verifier: TokenVerifier) -> None:
    with pytest.raises(ExpiredToken, match="expire_at"):
        verifier.verify_connection(forge(claims(expire_at=NOW - 11)))


def test_exp_may_be_missing_only_when_configured_so(make_verifier: MakeVerifier) -> None:
    token = forge({"sub": "ann"})
    with pytest.raises(InvalidToken, match="no `exp`"):
        make_verifier().verify_connection(token)
    assert make_verifier(require_exp=False).verify_connection(token).expires_at is None


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
def test_each_hmac_algorithm_verifies(make_verifier: MakeVerifier, algorithm: str) -> None:
    verifier = make_verifier(algorithms=["HS256", "HS384", "HS512"])
    assert verifier.verify_connection(sign(claims(), SECRET, algorithm)).user == "ann"


@pytest.mark.parametrize("algorithm", ["RS256", "RS384", "RS512"])
def test_each_rsa_algorithm_verifies(make_verifier: MakeVerifier, rsa_pair: KeyPair, algorithm: str) -> None:
    verifier = make_verifier(secret=None, public_key=rsa_pair.public, algorithms=[algorithm])
    assert verifier.verify_connection(sign(claims(), rsa_pair.private, algorithm)).user == "ann"


@pytest.mark.parametrize(
    ("algorithm", "curve"), [("ES256", ec.SECP256R1()), ("ES384", ec.SECP384R1()), ("ES512", ec.SECP521R1())]
)
def test_each_ecdsa_algorithm_verifies(
    make_verifier: MakeVerifier, algorithm: str, curve: ec.EllipticCurve
) -> None:
    keys = pair(ec.generate_private_key(curve))
    verifier = make_verifier(secret=None, public_key=keys.public, algorithms=[algorithm])
    assert verifier.verify_connection(sign(claims(), keys.private, algorithm)).user == "ann"


# --- Times ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithms", [["HS256"], ["HS256", "HS512"]])
def test_exp_is_kept_to_the_second_with_leeway(
    make_verifier: MakeVerifier, clock: Clock, algorithms: list[str]
) -> None:
    verifier, token = make_verifier(algorithms=algorithms), forge(claims())
    clock.now = EXP + 9.9
    assert verifier.verify_connection(token).user == "ann"
    clock.now = EXP + 10.0
    with pytest.raises(ExpiredToken):
        verifier.verify_connection(token)


def test_nbf_is_kept_with_leeway(verifier: TokenVerifier, clock: Clock) -> None:
    token = forge(claims(nbf=NOW + 20))
    with pytest.raises(InvalidToken, match="nbf"):
        verifier.verify_connection(token)
    clock.now = NOW + 10
    assert verifier.verify_connection(token).user == "ann"


# --- Audience and issuer ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("aud", ["hub", ["other", "hub"]])
def test_a_configured_audience_must_be_among_the_tokens(make_verifier: MakeVerifier, aud: Any) -> None:
    assert make_verifier(audience="hub").verify_connection(forge(claims(aud=aud))).user == "ann"


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"aud": None},
        {"aud": "hubs"},
        {"aud": []},
        {"aud": ["other"]},
        {"aud": {"hub": 1}},
        {"aud": [["hub"]]},
    ],
)
def test_another_or_no_audience_is_refused(make_verifier: MakeVerifier, more: dict[str, Any]) -> None:
    with pytest.raises(InvalidToken, match="aud"):
        make_verifier(audience="hub").verify_connection(forge(claims(**more)))


@pytest.mark.parametrize("more", [{}, {"iss": None}, {"iss": "https://other"}, {"iss": ["https://me"]}])
def test_another_or_no_issuer_is_refused(make_verifier: MakeVerifier, more: dict[str, Any]) -> None:
    verifier = make_verifier(issuer="https://me")
    assert verifier.verify_connection(forge(claims(iss="https://me"))).user == "ann"
    with pytest.raises(InvalidToken, match="iss"):
        verifier.verify_connection(forge(claims(**more)))


def test_without_configuration_audience_and_issuer_do_not_matter(verifier: TokenVerifier) -> None:
    assert verifier.verify_connection(forge(claims(aud="other", iss="https://other"))).user == "ann"


# --- Hostile tokens ---------------------------------------------------------------------------------------------

GOOD = forge(claims())
HEAD, BODY, SIGNATURE = GOOD.split(".")
DEEP = b"[" * 2_000 + b"]" * 2_000


@pytest.mark.parametrize(
    "token",
    [
        "",
        "garbage",
        ".",
        "..",
        f"{HEAD}.{BODY}",
        f"{HEAD}.{BODY}.",
        f"{HEAD}..{SIGNATURE}",
        f".{BODY}.{SIGNATURE}",
        f"{GOOD}.{SIGNATURE}",
        f"{GOOD}.e30.e30",
        f"{HEAD}.{BODY}.{SIGNATURE[:-2]}",
        f"{HEAD}.{BODY}.{b64(bytes(32))}",
        f"{HEAD}.{b64(b'{}')}.{SIGNATURE}",
        f" {GOOD}",
        f"{GOOD}\n",
        f"{GOOD}=",
        f"{GOOD}\x00",
        f"{HEAD}.{BODY}.ä{SIGNATURE[1:]}",
        f"{HEAD}.{BODY}.\ud800",
        f"A.{BODY}.{SIGNATURE}",
        f"{HEAD}.AAAAA.{SIGNATURE}",
        f"{HEAD}.{BODY}.AAAAA",
        forge(claims(pad="x" * 8_192)),
        "A" * 10_000_000,
        forge(claims(), secret=b"another secret of thirty-two bytes"),
        forge(claims(), secret=b""),
    ],
    ids=lambda token: ascii(token[:24]),
)
def test_what_is_no_token_of_ours_is_refused(verifier: TokenVerifier, token: str) -> None:
    with pytest.raises(InvalidToken) as caught:
        verifier.verify_connection(token)
    assert not caught.value.mismatch


@pytest.mark.parametrize("token", [None, 7, b"a.b.c", ["a.b.c"]])
def test_what_is_no_text_is_refused(verifier: TokenVerifier, token: Any) -> None:
    with pytest.raises(InvalidToken, match="text"):
        verifier.verify_connection(token)


@pytest.mark.parametrize(
    "header",
    [
        {},
        {"typ": "JWT"},
        {"alg": None},
        {"alg": ""},
        {"alg": "none"},
        {"alg": "NONE"},
        {"alg": "hs256"},
        {"alg": "HS384"},
        {"alg": "RS256"},
        {"alg": "dir"},
        {"alg": "A128KW"},
        {"alg": ["HS256"]},
        {"alg": {"HS256": 1}},
        {"alg": 256},
        {"alg": "HS256", "crit": ["exp"]},
        {"alg": "HS256", "crit": []},
        {"alg": "HS256", "jku": "https://evil.example/keys"},
        {"alg": "HS256", "x5u": "https://evil.example/cert"},
        {"alg": "HS256", "jwk": {"kty": "oct", "k": "AAAA"}},
        [],
        ["HS256"],
        "HS256",
        None,
        7,
        b"",
        b"{",
        b"\xff\xfe",
        b'{"alg":"HS256","x":NaN}',
        b'{"alg":"HS256","x":1e999}',
        b'{"alg":"HS256","x":' + b"9" * 4_400 + b"}",
        b'{"alg":"HS256","x":"\\ud800"}',
        b'{"alg":"HS256","x":' + DEEP + b"}",
        b"[" * 5_000,
        b'{"alg":"HS256","x":"' + b'\\"[' * 1_500,
    ],
    ids=lambda header: repr(header)[:40],
)
def test_a_header_that_is_odd_is_refused_though_the_signature_is_right(
    verifier: TokenVerifier, header: Any
) -> None:
    with pytest.raises(InvalidToken):
        verifier.verify_connection(forge(claims(), b"null" if header is None else header))


def test_harmless_headers_are_ignored(verifier: TokenVerifier) -> None:
    header = {"alg": "HS256", "kid": "../../etc/passwd", "typ": "at+jwt", "x5c": [], "note": "[" * 100 + '"{'}
    assert verifier.verify_connection(forge(claims(), header)).user == "ann"


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"null",
        b"[]",
        b'"sub"',
        b"{",
        b"\xff",
        b'{"exp":NaN}',
        b'{"exp":Infinity}',
        b'{"exp":1e999}',
        b'{"exp":' + b"9" * 5_000 + b"}",
        b'{"exp":1800000060,"x":' + DEEP + b"}",
        b'{"exp":1800000060,"x":' + b"[" * 65 + b"]" * 65 + b"}",
        b'{"exp":1800000060,"sub":"\\ud800"}',
        b'{"exp":1800000060,"sub":"\\udc00"}',
        b'{"exp":1800000060,"\\ud800":1}',
        b'{"exp":1800000060}{}',
        claims(exp=None),
        claims(exp=str(EXP)),
        claims(exp=True),
        claims(exp=[EXP]),
        claims(exp=-1),
        claims(exp=10**30),
        claims(exp=EXP * 1_000),
        claims(expire_at=EXP * 1_000),
        claims(exp=2.0**60),
        claims(nbf="0"),
        claims(nbf=None),
        claims(expire_at="never"),
        claims(expire_at=None),
        claims(expire_at=False),
        claims(sub=7),
        claims(sub=None),
        claims(sub=["ann"]),
        claims(sub="an\x00n"),
        claims(sub="an\nn"),
        claims(channel="news:all"),
        claims(channel=""),
        claims(channel=None),
    ],
    ids=lambda payload: repr(payload)[:48],
)
def test_a_payload_that_is_odd_is_refused_though_the_signature_is_right(
    verifier: TokenVerifier, payload: Any
) -> None:
    token = forge(payload)
    for _ in range(2):  # the second time it might come from what is remembered
        with pytest.raises(InvalidToken):
            verifier.verify_connection(token)


def test_depth_counts_brackets_of_json_and_not_those_in_its_strings(verifier: TokenVerifier) -> None:
    deep = claims(x=json.loads("[" * 63 + "]" * 63), wide=[[]] * 200, text='\\"[{' * 100)
    assert verifier.verify_connection(forge(deep)).claims == deep


def test_a_public_key_does_not_pass_as_a_secret(make_verifier: MakeVerifier, rsa_pair: KeyPair) -> None:
    verifier = make_verifier(secret=None, public_key=rsa_pair.public, algorithms=["RS256", "RS512"])
    for secret in (rsa_pair.der, rsa_pair.public.encode(), rsa_pair.public.strip().encode()):
        with pytest.raises(InvalidToken, match="algorithm"):
            verifier.verify_connection(forge(claims(), secret=secret))


def test_a_token_of_another_rsa_key_is_refused(make_verifier: MakeVerifier, rsa_pair: KeyPair) -> None:
    other = pair(rsa.generate_private_key(65_537, 2_048))
    verifier = make_verifier(secret=None, public_key=rsa_pair.public, algorithms=["RS256"])
    with pytest.raises(InvalidToken, match="signature"):
        verifier.verify_connection(sign(claims(), other.private, "RS256"))


def test_whatever_the_library_raises_the_token_is_invalid(
    verifier: TokenVerifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    def explode(*_: Any, **__: Any) -> bytes:
        raise RecursionError

    monkeypatch.setattr(verifier, "_verify", explode)
    with pytest.raises(InvalidToken, match="signature"):
        verifier.verify_connection(GOOD)


def test_no_error_repeats_the_token(verifier: TokenVerifier, clock: Clock) -> None:
    clock.now = EXP + 100
    for token in (GOOD, forge(claims(), {"alg": "none"}), f"{HEAD}.{BODY}.AAAA", "A" * 9_000):
        with pytest.raises(HubError) as caught:
            verifier.verify_connection(token)
        assert token[:9] not in str(caught.value)


def test_without_any_key_every_token_is_refused(make_verifier: MakeVerifier) -> None:
    verifier = make_verifier(secret=None)
    for token in (GOOD, forge(claims(), secret=b""), forge(claims(), {"alg": "none"})):
        with pytest.raises(InvalidToken):
            verifier.verify_connection(token)


# --- No input raises anything else ------------------------------------------------------------------------------

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
known_claims = st.sampled_from(
    [
        "sub",
        "exp",
        "nbf",
        "iat",
        "aud",
        "iss",
        "info",
        "b64info",
        "data",
        "b64data",
        "expire_at",
        "channel",
        "channels",
        "subs",
        "topics",
        "client",
        "role",
    ]
)
odd_claims = st.dictionaries(known_claims, json_values, max_size=6)
SHARED = verifier_with(lambda: NOW, leeway=0.0)


def verify_both(token: str) -> None:
    with suppress(InvalidToken, ExpiredToken):
        assert isinstance(SHARED.verify_connection(token), Identity)
    with suppress(InvalidToken, ExpiredToken):
        grant = SHARED.verify_subscription(token, topic="a", user="ann", client="c")
        assert isinstance(grant, SubscriptionGrant)


@given(st.text() | st.from_regex(r"\A[A-Za-z0-9_-]*\.[A-Za-z0-9_-]*\.[A-Za-z0-9_-]*\Z"))
def test_any_text_is_verified_or_refused(token: str) -> None:
    verify_both(token)


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_any_bytes_rightly_signed_are_verified_or_refused(header: bytes, payload: bytes) -> None:
    verify_both(forge(payload, header))


@settings(max_examples=300)
@given(odd_claims, st.booleans())
def test_any_claims_rightly_signed_are_verified_or_refused(odd: dict[str, Any], timely: bool) -> None:
    verify_both(forge({"channel": "a", "sub": "ann", **odd, **({"exp": EXP} if timely else {})}))


@given(st.integers(0, len(GOOD) - 1), st.characters())
def test_no_changed_character_makes_another_token_of_a_good_one(at: int, character: str) -> None:
    changed = GOOD[:at] + character + GOOD[at + 1 :]
    try:
        found = SHARED.verify_connection(changed)
    except InvalidToken:
        return
    # The last character of a part may hold bits that base64 does not use.
    assert found == SHARED.verify_connection(GOOD)


# --- What is remembered -----------------------------------------------------------------------------------------


@pytest.fixture
def checked(verifier: TokenVerifier, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The tokens whose signature was checked, in order."""
    seen: list[str] = []
    original = verifier._verify

    def counting(token: str, *arguments: Any, **more: Any) -> Any:
        seen.append(token)
        return original(token, *arguments, **more)

    monkeypatch.setattr(verifier, "_verify", counting)
    return seen


def test_a_token_is_checked_once_and_its_identities_share_nothing(
    verifier: TokenVerifier, checked: list[str]
) -> None:
    token = forge(claims(roles=["reader"], channel="a"))
    first = verifier.verify_connection(forge(claims(roles=["reader"])))
    first.claims["roles"].append("admin")
    assert verifier.verify_connection(forge(claims(roles=["reader"]))).claims["roles"] == ["reader"]
    assert len(checked) == 1
    verifier.verify_subscription(token, topic="a", user="ann", client="c")
    verifier.verify_subscription(token, topic="a", user="ann", client="c")
    assert len(checked) == 2


def test_a_remembered_token_still_expires_and_is_then_forgotten(
    verifier: TokenVerifier, clock: Clock, checked: list[str]
) -> None:
    verifier.verify_connection(GOOD)
    clock.now = EXP + 11
    for _ in range(2):
        with pytest.raises(ExpiredToken):
            verifier.verify_connection(GOOD)
    assert len(checked) == 2
    assert not verifier._verified


def test_only_good_tokens_are_remembered_and_the_least_used_forgotten(
    verifier: TokenVerifier, checked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens, "REMEMBERED_TOKENS", 2)
    one, two, three = (forge(claims(jti=str(number))) for number in range(3))
    for token in (one, two, one):
        verifier.verify_connection(token)
    for bad in (forge(claims(), secret=b"no"), forge(claims(nbf=EXP))):
        with pytest.raises(InvalidToken):
            verifier.verify_connection(bad)
    checked.clear()
    for token in (three, one, two):
        verifier.verify_connection(token)
    assert checked == [three, two]
    assert len(verifier._verified) == 2


def test_what_is_remembered_is_no_token(verifier: TokenVerifier) -> None:
    verifier.verify_connection(GOOD)
    [(digest, (_, payload))] = verifier._verified.items()
    assert (len(digest), json.loads(payload)) == (32, claims())


# --- Subscription tokens ----------------------------------------------------------------------------------------


def subscribe(verifier: TokenVerifier, user: str = "ann", **more: Any) -> SubscriptionGrant:
    token = forge({"exp": EXP, "channel": "room:1", **more})
    return verifier.verify_subscription(token, topic="room:1", user=user, client="c1")


def test_a_subscription_token_grants_its_topic_to_its_user(verifier: TokenVerifier) -> None:
    grant = subscribe(verifier, sub="ann", client="c1", info={"n": 1})
    assert grant == SubscriptionGrant(b'{"n":1}', None, float(EXP), Mark("", "ann", 0.0))


@pytest.mark.parametrize(
    ("user", "named"),
    [
        ("ann", {"sub": "bob"}),
        ("ann", {}),
        ("", {"sub": "ann"}),
        ("ann", {"sub": "ann", "channel": "room:2"}),
        ("ann", {"sub": "ann", "channel": ""}),
        ("ann", {"sub": "ann", "client": "c2"}),
    ],
)
def test_a_subscription_token_for_another_topic_user_or_client_is_a_mismatch(
    verifier: TokenVerifier, user: str, named: dict[str, Any]
) -> None:
    with pytest.raises(InvalidToken) as caught:
        subscribe(verifier, user=user, **named)
    assert caught.value.mismatch


def test_a_connection_token_is_no_subscription_token(verifier: TokenVerifier) -> None:
    with pytest.raises(InvalidToken) as caught:
        verifier.verify_subscription(GOOD, topic="room:1", user="ann", client="c1")
    assert caught.value.mismatch


def test_without_sub_the_token_is_for_the_anonymous_user(verifier: TokenVerifier) -> None:
    assert subscribe(verifier, user="", data=[1, "x"]).data == b'[1,"x"]'


@pytest.mark.parametrize("more", [{"sub": 7}, {"channel": 7}, {"client": 7}, {"exp": "x"}, {"b64info": "%"}])
def test_a_garbled_subscription_token_is_invalid_without_mismatch(
    verifier: TokenVerifier, more: dict[str, Any]
) -> None:
    with pytest.raises(InvalidToken) as caught:
        subscribe(verifier, **{"sub": "ann", **more})
    assert not caught.value.mismatch


def test_a_subscription_token_may_never_end_or_have_ended(verifier: TokenVerifier) -> None:
    assert subscribe(verifier, sub="ann", expire_at=0).expires_at is None
    passed: list[dict[str, Any]] = [{"exp": NOW - 20}, {"expire_at": NOW - 20}]
    for more in passed:
        with pytest.raises(ExpiredToken):
            subscribe(verifier, sub="ann", **more)


# --- Keys and algorithms ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"algorithms": []}, "found none"),
        ({"algorithms": ["none"]}, "found none"),
        ({"algorithms": ["HS256", "EdDSA"]}, "EdDSA"),
        ({"algorithms": "HS256"}, "found H, S, 2, 5, 6"),
        ({"algorithms": ["HS256", "RS256"]}, "HS and RS"),
        ({"algorithms": ["RS256", "ES256"]}, "ES and RS"),
        ({"secret": ""}, "not empty"),
        ({"algorithms": ["RS256"]}, "public key, not a secret"),
        ({"secret": None, "public_key": "x"}, "need a secret"),
        ({"public_key": "x"}, "not with both"),
        ({"secret": None, "public_key": "x", "algorithms": ["RS256"]}, "PEM"),
        ({"secret": None, "public_key": "x", "algorithms": ["ES256"]}, "PEM"),
        ({"secret": None, "public_key": "{}", "algorithms": ["RS256"]}, "PEM"),
    ],
)
def test_keys_and_algorithms_that_do_not_fit_are_refused_at_once(
    make_verifier: MakeVerifier, changes: dict[str, Any], reason: str
) -> None:
    with pytest.raises(UnusableKey, match=reason):
        make_verifier(**changes)


def test_only_the_public_half_of_the_right_kind_is_accepted(
    make_verifier: MakeVerifier, rsa_pair: KeyPair, ec_pair: KeyPair
) -> None:
    small = pair(rsa.generate_private_key(65_537, 1_024))  # noqa: S505  (to be refused)
    for algorithm, key in (
        ("RS256", rsa_pair.private),
        ("RS256", ec_pair.public),
        ("RS256", small.public),
        ("ES256", ec_pair.private),
        ("ES256", rsa_pair.public),
        ("ES384", ec_pair.public),
    ):
        with pytest.raises(UnusableKey, match="public key"):
            make_verifier(secret=None, public_key=key, algorithms=[algorithm])


def test_a_key_in_place_of_a_secret_is_refused(make_verifier: MakeVerifier, rsa_pair: KeyPair) -> None:
    for key in (rsa_pair.public, rsa_pair.private, "ssh-rsa AAAAB3NzaC1yc2E ann@example"):
        with pytest.raises(UnusableKey, match="no key or certificate"):
            make_verifier(secret=key)
        with pytest.raises(UnusableKey, match="does not fit"):
            sign(claims(), key)


# --- Signing ----------------------------------------------------------------------------------------------------


def test_signing_leaves_the_claims_alone_and_says_what_it_cannot_sign(rsa_pair: KeyPair) -> None:
    written = claims()
    assert sign(written, SECRET).count(".") == 2
    assert written == claims()
    for secret, algorithm in (("", "HS256"), (SECRET, "none"), (SECRET, "RS256"), (rsa_pair.public, "RS256")):
        with pytest.raises(UnusableKey):
            sign(written, secret, algorithm)
    with pytest.raises(InvalidToken, match="8192"):
        sign(claims(pad="x" * 8_000), SECRET)
    with pytest.raises(TypeError):
        sign(claims(when=object()), SECRET)


# --- Weak secrets -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("secret", "reason"),
    [
        ("", "0 bytes"),
        ("secret", "6 bytes"),
        ("changeme", "8 bytes"),
        (SECRET[:31], "31 bytes"),
        (EXAMPLE_SECRET, "example"),
        (f" {EXAMPLE_SECRET.upper()} ", "example"),
        ("a-string-secret-at-least-256-bits-long", "example"),
        ("bbe7d157-a253-4094-9759-06a8236543f9", "example"),
        ("change-me-to-a-long-random-string-please", "example"),
        ("CHANGE_ME_IN_PRODUCTION_0123456789", "example"),
        ("your-256-bit-secret-key-change-it-at-once", "example"),
        ("your-very-long-jwt-secret-key-here-1234", "example"),
        ("changemechangemechangemechangeme", "example"),
        ("x" * 40, "repeats"),
        ("0123456789abcdef0123456789abcdef", "repeats"),
        (SECRET, None),
        ("48151623421337271828182845904523536", None),
        ("correct horse battery staple and more", None),
        ("ä" * 15 + "\ud800ö", None),
    ],
)
def test_a_secret_that_can_be_guessed_is_named_weak(secret: str, reason: str | None) -> None:
    found = weak_secret(secret)
    assert found == reason if reason is None else reason in (found or "")


def test_how_long_a_secret_must_be_is_the_askers_choice() -> None:
    assert weak_secret(SECRET[:16], 16) is None
    assert "15 bytes, and at least 16" in (weak_secret(SECRET[:15], 16) or "")
