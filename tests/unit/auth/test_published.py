"""Keys that an issuer publishes, fetched over HTTP from one that counts who asks; only clocks are made up."""

from __future__ import annotations

import asyncio
import gzip
import ssl
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from hub.auth.fetching import Source
from hub.auth.jwks import KeysError
from hub.auth.keys import key_of
from hub.auth.published import KEPT_SECONDS, LAST_RETRY, PAUSE_SECONDS, PublishedKeys
from hub.auth.ring import KeyRing
from hub.auth.tokens import TokenVerifier, sign
from hub.errors import InvalidToken, KeysUnavailable, UnknownKey
from tests.services.issuer import ABOUT, JWKS, Answer, Issuer, IssuerKey
from tests.unit.auth.forging import NOW, SECRET, Clock, b64, forge, pair

EXP = NOW + 500_000
OLD, NEW = IssuerKey("old"), IssuerKey("new")
MakeVerifier = Callable[..., TokenVerifier]


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with Issuer() as running:
        running.publish(OLD)
        yield running


@pytest.fixture
def steady() -> Clock:
    """The clock that only grows, whatever the time of day does."""
    return Clock(1_000.0)


@pytest.fixture
def published(issuer: Issuer, clock: Clock, steady: Clock) -> PublishedKeys:
    return keys_of(Source(issuer.url + JWKS, None, False), clock, steady)


def keys_of(source: Source, clock: Clock, steady: Clock, **more: Any) -> PublishedKeys:
    return PublishedKeys(source.fetch, **{"algorithms": None, "clock": clock, "monotonic": steady, **more})


@pytest.fixture
def verifier(make_verifier: MakeVerifier, published: PublishedKeys) -> TokenVerifier:
    return make_verifier(ring=KeyRing(published=published))


async def user_of(verifier: TokenVerifier, token: str) -> str:
    """Who a token names, found out as the hub does."""
    try:
        return verifier.verify_connection(token).user
    except UnknownKey:
        assert verifier.ring.published is not None
        await verifier.ring.published.looked_up()
        return verifier.verify_connection(token).user


async def test_a_key_is_looked_for_when_a_token_names_it_and_known_from_then_on(
    verifier: TokenVerifier, issuer: Issuer
) -> None:
    for _ in range(3):
        assert await user_of(verifier, OLD.token(EXP)) == "ann"
    assert issuer.asked == {JWKS: 1}


async def test_a_key_that_is_rotated_in_is_found_by_the_first_token_that_names_it(
    verifier: TokenVerifier, issuer: Issuer
) -> None:
    verifier.ring.published._take({})  # type: ignore[union-attr]
    issuer.publish(OLD, NEW)
    assert await user_of(verifier, NEW.token(EXP)) == "ann"
    assert await user_of(verifier, OLD.token(EXP)) == "ann"
    assert issuer.asked == {JWKS: 1}


async def test_a_thousand_tokens_with_invented_keys_ask_the_issuer_once_in_half_a_minute(
    verifier: TokenVerifier, issuer: Issuer, steady: Clock
) -> None:
    tokens = [OLD.token(EXP, kid=f"invented-{number}") for number in range(100)] * 10
    for round_ in range(1, 4):
        answers = await asyncio.gather(
            *(user_of(verifier, token) for token in tokens), return_exceptions=True
        )
        assert {type(answer) for answer in answers} == {UnknownKey}
        assert issuer.asked == {JWKS: round_}
        for token in tokens[:20]:  # too soon for another look: nobody can say
            steady.now += 1
            with pytest.raises(KeysUnavailable):
                await user_of(verifier, token)
        assert issuer.asked == {JWKS: round_}
        steady.now += PAUSE_SECONDS


async def test_those_who_wait_for_one_look_all_get_in(verifier: TokenVerifier, issuer: Issuer) -> None:
    issuer.open.clear()
    waiting = [asyncio.create_task(user_of(verifier, OLD.token(EXP, sub=f"u{n}"))) for n in range(50)]
    while not issuer.asked:
        await asyncio.sleep(0.01)
    waiting[0].cancel()  # whoever gives up takes nobody along
    issuer.open.set()
    answers = await asyncio.gather(*waiting, return_exceptions=True)
    assert answers[1:] == [f"u{n}" for n in range(1, 50)]
    assert isinstance(answers[0], asyncio.CancelledError)
    assert issuer.asked == {JWKS: 1}


async def test_without_any_key_a_token_is_refused_for_now_and_not_for_good(
    verifier: TokenVerifier, issuer: Issuer, published: PublishedKeys, steady: Clock
) -> None:
    issuer.answers[JWKS] = Answer(b"gone", 503)
    with pytest.raises(KeysUnavailable) as caught:
        await user_of(verifier, OLD.token(EXP))
    assert (caught.value.code, caught.value.temporary) == (100, True)
    assert not published.usable
    issuer.publish()
    steady.now += PAUSE_SECONDS
    with pytest.raises(KeysUnavailable):  # a document without keys helps nobody
        await user_of(verifier, OLD.token(EXP))
    issuer.publish(OLD)
    steady.now += PAUSE_SECONDS
    assert await user_of(verifier, OLD.token(EXP)) == "ann"
    assert published.usable


@pytest.mark.parametrize("body", [b"", b"<html>", b'{"keys":7}', b'{"keys":[' + b"{}," * 200 + b"{}]}"])
async def test_a_look_that_fails_leaves_the_keys_that_are_known(
    verifier: TokenVerifier, issuer: Issuer, clock: Clock, steady: Clock, body: bytes
) -> None:
    assert await user_of(verifier, OLD.token(EXP)) == "ann"
    issuer.answers[JWKS] = Answer(body)
    clock.now += 100_000
    steady.now += 100_000
    with pytest.raises(KeysUnavailable):
        await user_of(verifier, NEW.token(EXP))
    assert await user_of(verifier, OLD.token(EXP)) == "ann"


async def test_a_key_that_is_no_longer_published_ends_after_an_hour_with_all_its_tokens(
    verifier: TokenVerifier, issuer: Issuer, clock: Clock, steady: Clock
) -> None:
    token = OLD.token(EXP)
    assert await user_of(verifier, token) == "ann"
    issuer.publish(NEW)
    steady.now += PAUSE_SECONDS
    assert await user_of(verifier, NEW.token(EXP)) == "ann"
    clock.now += KEPT_SECONDS - 1
    assert await user_of(verifier, token) == "ann"
    assert await user_of(verifier, OLD.token(EXP, sub="bob")) == "bob"
    clock.now += 1
    for again in (token, OLD.token(EXP, sub="eve")):
        with pytest.raises(InvalidToken):
            verifier.verify_connection(again)


async def test_another_look_does_not_prolong_what_is_no_longer_published(
    verifier: TokenVerifier, published: PublishedKeys, issuer: Issuer, clock: Clock
) -> None:
    assert await user_of(verifier, OLD.token(EXP)) == "ann"
    issuer.publish(NEW)
    await published._looked()
    clock.now += KEPT_SECONDS - 10
    await published._looked()
    clock.now += 10
    await published._looked()
    with pytest.raises(UnknownKey):
        verifier.verify_connection(OLD.token(EXP))
    assert published._former == {}
    issuer.publish(NEW, OLD)
    await published._looked()
    clock.now += 2 * KEPT_SECONDS
    assert await user_of(verifier, OLD.token(EXP)) == "ann"


async def test_a_key_that_is_published_again_does_not_end(
    verifier: TokenVerifier, published: PublishedKeys, issuer: Issuer, clock: Clock
) -> None:
    token = OLD.token(EXP)
    assert await user_of(verifier, token) == "ann"
    for entries in ((NEW,), (NEW, OLD)):
        issuer.publish(*entries)
        await published._looked()
    clock.now += 2 * KEPT_SECONDS
    assert verifier.verify_connection(token).user == "ann"


async def test_a_key_that_is_replaced_under_its_name_ends_at_once(
    verifier: TokenVerifier, published: PublishedKeys, issuer: Issuer
) -> None:
    token = OLD.token(EXP)
    assert await user_of(verifier, token) == "ann"
    issuer.publish(IssuerKey("old"))
    await published._looked()
    for again in (token, OLD.token(EXP, sub="bob")):
        with pytest.raises(InvalidToken):
            verifier.verify_connection(again)


async def test_of_keys_that_come_and_go_no_more_than_200_are_kept(
    published: PublishedKeys, issuer: Issuer
) -> None:
    entry = OLD.jwk()
    for batch in range(5):
        issuer.publish(*({**entry, "kid": f"{batch}-{number}"} for number in range(100)))
        await published._looked()
        assert len(published._current) + len(published._former) <= 200
    assert published.find("4-0", NOW)
    assert not published.find("0-0", NOW)


async def test_no_token_with_a_secret_is_good_and_none_makes_the_hub_ask(
    verifier: TokenVerifier, published: PublishedKeys, issuer: Issuer
) -> None:
    issuer.publish(OLD, {"kty": "oct", "kid": "oct", "k": b64(SECRET.encode()), "alg": "HS256"})
    der = pair(OLD.inside).der
    for _ in range(2):
        for kid in ("old", "oct", "new", None):
            for secret in (SECRET.encode(), pair(OLD.inside).public.encode(), der, b""):
                header = {"alg": "HS256"} if kid is None else {"alg": "HS256", "kid": kid}
                with pytest.raises(InvalidToken) as caught:
                    verifier.verify_connection(forge({"sub": "ann", "exp": EXP}, header, secret))
                assert not isinstance(caught.value, UnknownKey)
        assert sum(issuer.asked.values()) < 2
        await published._looked()


@pytest.mark.parametrize("kid", ["../keys", "http://127.0.0.1:1/", "' OR 1=1", "k" * 256, "\x00", ""])
async def test_a_name_never_becomes_an_address(verifier: TokenVerifier, issuer: Issuer, kid: str) -> None:
    header = {"alg": "ES256", "kid": kid}
    with pytest.raises(UnknownKey):
        await user_of(verifier, forge({"sub": "ann", "exp": EXP}, header))
    assert issuer.asked == {JWKS: 1}


async def test_who_names_no_key_is_verified_with_the_only_one(
    verifier: TokenVerifier, issuer: Issuer, steady: Clock
) -> None:
    sole = IssuerKey(None)
    issuer.publish(sole)
    assert await user_of(verifier, sole.token(EXP)) == "ann"
    issuer.publish(sole, NEW)
    steady.now += PAUSE_SECONDS
    assert await user_of(verifier, NEW.token(EXP)) == "ann"
    with pytest.raises(InvalidToken, match="kid"):
        await user_of(verifier, sole.token(EXP, sub="bob"))


async def test_own_keys_and_published_ones_go_together(
    make_verifier: MakeVerifier, published: PublishedKeys
) -> None:
    ring = KeyRing(key_of(SECRET, None, None), None, {"mine": key_of(SECRET[::-1], None, None)}, published)  # type: ignore[dict-item]
    verifier = make_verifier(ring=ring)
    mine = {"sub": "me", "exp": EXP}
    assert verifier.verify_connection(sign(mine, SECRET)).user == "me"
    assert verifier.verify_connection(sign(mine, SECRET[::-1], kid="mine")).user == "me"
    assert await user_of(verifier, OLD.token(EXP)) == "ann"
    for token in (sign(mine, SECRET, kid="old"), OLD.token(EXP, kid="mine")):
        with pytest.raises(InvalidToken):
            await user_of(verifier, token)


async def test_only_configured_algorithms_are_accepted(issuer: Issuer, clock: Clock, steady: Clock) -> None:
    rsa_key = IssuerKey("rsa", rsa.generate_private_key(65_537, 2_048))
    issuer.publish(OLD, rsa_key)
    published = keys_of(Source(issuer.url + JWKS, None, False), clock, steady, algorithms=["RS256", "HS256"])
    await published.looked_up()
    assert published.find("rsa", NOW)
    assert not published.find("old", NOW)
    assert not published.accepts("HS256")


async def test_in_the_background_it_looks_when_the_document_is_old_and_sooner_after_a_failure(
    issuer: Issuer, clock: Clock, steady: Clock
) -> None:
    pauses: list[float] = []
    go_on = asyncio.Event()

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        await go_on.wait()
        go_on.clear()

    async def after(count: int) -> float:
        while len(pauses) < count:
            await asyncio.sleep(0.005)
        return pauses[-1]

    issuer.publish(OLD, Cache_Control="public, max-age=7200")
    published = keys_of(Source(issuer.url + JWKS, None, False), clock, steady, sleep=sleep)
    await published.start()
    assert await after(1) == 7_200
    issuer.answers[JWKS].status = 500
    expected = [1, 2, 4, 8, 16, 32, LAST_RETRY, LAST_RETRY]
    for number, seconds in enumerate(expected, 2):
        go_on.set()
        assert await after(number) == seconds
    assert published.find("old", NOW)
    issuer.publish(NEW)
    go_on.set()
    assert await after(len(expected) + 2) == 600
    assert published.find("new", NOW)
    await published.stop()
    assert issuer.asked == {JWKS: len(pauses)}


async def test_whoever_waits_when_it_stops_is_told_to_come_back(
    published: PublishedKeys, issuer: Issuer
) -> None:
    issuer.open.clear()
    waiting = asyncio.create_task(published.looked_up())
    while not issuer.asked:
        await asyncio.sleep(0.01)
    await published.stop()
    with pytest.raises(KeysUnavailable):
        await waiting


# --- Where the keys are -----------------------------------------------------------------------------------------


def asking(issuer: Issuer, name: str | None = None) -> Source:
    return Source(None, name or issuer.url, False)


@pytest.mark.parametrize("slash", ["", "/"])
async def test_the_issuer_says_where_its_keys_are(issuer: Issuer, slash: str) -> None:
    issuer.tell(issuer=issuer.url + slash)
    assert b"old" in (await asking(issuer, issuer.url + slash).fetch()).text
    assert issuer.asked == {ABOUT: 1, JWKS: 1}


@pytest.mark.parametrize(
    "more",
    [
        {"issuer": "https://evil.example"},
        {"issuer": None},
        {"jwks_uri": None},
        {"jwks_uri": ["http://127.0.0.1"]},
        {"jwks_uri": "http://keys.example/plain"},
        {"jwks_uri": "file:///etc/passwd"},
        {"jwks_uri": "/keys"},
    ],
)
async def test_a_document_of_somebody_else_or_without_a_safe_address_is_refused(
    issuer: Issuer, more: dict[str, Any]
) -> None:
    issuer.tell(**more)
    with pytest.raises(KeysError):
        await asking(issuer).fetch()
    assert issuer.asked == {ABOUT: 1}


async def test_an_issuer_is_compared_letter_by_letter(issuer: Issuer) -> None:
    issuer.tell()
    with pytest.raises(KeysError, match="another issuer"):
        await asking(issuer, issuer.url + "/").fetch()


async def test_keys_come_over_plain_http_from_this_machine_or_where_the_operator_says_so(
    issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def lookup(*_: object) -> list[str]:
        return ["127.0.0.1"]

    monkeypatch.setattr("hub.auth.fetching.system_lookup", lookup)
    elsewhere = issuer.url.replace("127.0.0.1", "keys.example") + JWKS
    issuer.tell(jwks_uri=elsewhere)
    for source in (Source(elsewhere, None, False), Source(None, issuer.url, False)):
        with pytest.raises(KeysError, match="plain http"):
            await source.fetch()
    assert issuer.asked == {ABOUT: 1}
    for source in (Source(elsewhere, None, True), Source(None, issuer.url, True)):
        assert b"old" in (await source.fetch()).text


async def test_redirects_lead_nowhere_but_to_the_same_origin(issuer: Issuer) -> None:
    source = Source(f"{issuer.url}/moved", None, False)
    with Issuer() as elsewhere:
        elsewhere.publish(NEW)
        for target in (
            elsewhere.url + JWKS,
            "https://127.0.0.1/keys",
            "file:///etc/passwd",
            "//evil.example/keys",
        ):
            issuer.answers["/moved"] = Answer(status=302, headers={"Location": target})
            with pytest.raises(KeysError, match="origin"):
                await source.fetch()
        assert not elsewhere.asked
    issuer.answers["/moved"] = Answer(status=307, headers={"Location": JWKS})
    assert b"old" in (await source.fetch()).text
    issuer.answers["/moved"] = Answer(status=302, headers={"Location": "/moved"})
    with pytest.raises(KeysError, match="redirects"):
        await source.fetch()


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (Answer(b"{}", 404), "404"),
        (Answer(b"{}", 204), "204"),
        (Answer(b" " * 1_048_577), "1048576 bytes"),
        (Answer(b"{}", headers={"Content-Encoding": "gzip"}), "inflated"),
        (Answer(b"{}", headers={"Content-Encoding": "br"}), "not asked for"),
        (Answer(gzip.compress(b" " * 1_048_577), headers={"Content-Encoding": "gzip"}), "1048576 bytes"),
        (Answer(b"{}", headers={"Content-Length": "9"}), "rules of HTTP"),
    ],
)
async def test_an_answer_that_is_odd_or_too_long_is_refused(
    issuer: Issuer, answer: Answer, told: str
) -> None:
    issuer.answers[JWKS] = answer
    with pytest.raises(KeysError, match=told):
        await Source(f"{issuer.url}{JWKS}", None, False).fetch()


async def test_an_issuer_that_does_not_answer_is_waited_for_a_few_seconds(
    issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hub.auth.fetching.SECONDS", 0.2)
    issuer.open.clear()
    with pytest.raises(KeysError, match="no answer within"):
        await Source(f"{issuer.url}{JWKS}", None, False).fetch()


async def test_two_documents_and_their_redirects_have_no_more_time_than_one(
    issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hub.auth.fetching.SECONDS", 2.0)
    issuer.tell()
    for path in (ABOUT, JWKS):
        issuer.answers[path] = replace(issuer.answers[path], delay=1.3)
    with pytest.raises(KeysError, match="no answer within"):
        await asking(issuer).fetch()


async def test_what_went_wrong_is_told_without_the_query_of_the_address(issuer: Issuer) -> None:
    with pytest.raises(KeysError) as caught:
        await Source(f"{issuer.url}/none?key=hidden", None, False).fetch()
    assert "hidden" not in str(caught.value)


async def test_an_issuer_in_a_private_network_may_be_asked_and_what_gives_out_credentials_never(
    monkeypatch: pytest.MonkeyPatch, issuer: Issuer
) -> None:
    found = {"login.corp.example": "127.0.0.1", "cloud.example": "169.254.169.254"}

    async def lookup(name: str, _: int) -> list[str]:
        return [found[name]]

    monkeypatch.setattr("hub.auth.fetching.system_lookup", lookup)
    port = issuer.url.rpartition(":")[2]
    assert b"old" in (await Source(f"http://login.corp.example:{port}{JWKS}", None, True).fetch()).text
    for url in ("http://cloud.example/keys", "http://169.254.169.254/keys", "http://[fd00:ec2::254]/keys"):
        with pytest.raises(KeysError, match=r"may be connected to|is refused"):
            await Source(url, None, True).fetch()
    assert issuer.asked == {JWKS: 1}


async def test_who_publishes_over_https_has_a_certificate_that_this_machine_trusts(
    certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    served.load_cert_chain(certificate)
    with Issuer(tls=served) as issuer:
        issuer.publish(OLD)
        source = Source(issuer.url + JWKS, None, False)
        with pytest.raises(KeysError, match="certificate"):
            await source.fetch()
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert b"old" in (await source.fetch()).text
