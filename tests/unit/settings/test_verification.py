"""The verifier that the settings describe: each of them does what its sentence says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from hub.auth.tokens import TokenVerifier, sign
from hub.errors import ExpiredToken, InvalidToken, KeysUnavailable, UnknownKey
from hub.settings.load import load
from hub.settings.values import moment
from hub.settings.verification import make_verifier
from tests.services.issuer import JWKS, Issuer, IssuerKey
from tests.unit.auth.forging import pair

SECRET, OTHER = "7VbWq2nZ0uXj5rTgKc8sLd3hYf6eMa1p", "b9LkT2xQe7RwZ0aVn5HsJc4mYd8gUf3i"
UNTIL = "2036-12-01T00:00:00Z"
NOW = moment(UNTIL) - 100
KEY = IssuerKey("k")


class Time:
    now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with Issuer() as running:
        running.publish(KEY)
        running.tell()
        yield running


def described(time: Time, *, anonymous: bool = False, **jwt: Any) -> TokenVerifier:
    settings = load(None, {}, overlay={"auth": {"jwt": jwt, "anonymous": anonymous}}).settings
    verifier = make_verifier(settings.auth, clock=time, monotonic=time)
    assert verifier is not None
    return verifier


def token(secret: str = SECRET, kid: str | None = None, **claims: Any) -> str:
    return sign({"sub": "ann", "exp": int(NOW) + 1_000, **claims}, secret, kid=kid)


def test_without_any_key_there_is_none(time: Time) -> None:
    settings = load(None, {}, overlay={"auth": {"anonymous": True}}).settings
    assert make_verifier(settings.auth, clock=time, monotonic=time) is None


def test_previous_and_named_keys_end_when_the_settings_say_so(time: Time) -> None:
    ending = {"secret": OTHER, "until": UNTIL}
    verifier = described(time, secret=SECRET, previous=ending)
    named = described(time, secret=SECRET, keys={"a": ending, "b": {"public_key": pair(KEY.inside).public}})
    assert verifier.verify_connection(token(OTHER)).user == "ann"
    assert named.verify_connection(token(OTHER, "a")).user == "ann"
    time.now = NOW + 100
    for one, ended in ((verifier, token(OTHER)), (named, token(OTHER, "a"))):
        with pytest.raises(InvalidToken, match=r"ended|signature"):
            one.verify_connection(ended)
    assert verifier.verify_connection(token()).user == "ann"
    assert named.verify_connection(KEY.token(NOW + 1_000, kid="b")).user == "ann"


def test_times_parties_and_claims_are_those_of_the_settings(time: Time) -> None:
    verifier = described(
        time,
        secret=SECRET,
        audience="hub",
        issuer="me",
        leeway="20s",
        require_exp=False,
        claims={"user": "email", "roles": "realm.roles"},
    )
    good: dict[str, Any] = {"aud": "hub", "iss": "me", "email": "a@b", "realm": {"roles": ["editor"]}}
    identity = verifier.verify_connection(sign(good, SECRET))
    assert (identity.user, identity.roles) == ("a@b", frozenset({"editor"}))
    assert verifier.verify_connection(token(**good, nbf=NOW + 19)).user == "a@b"
    for wrong in ({"aud": "it"}, {"iss": "you"}, {"email": ""}, {"email": None}, {"nbf": NOW + 21}):
        with pytest.raises(InvalidToken):
            verifier.verify_connection(token(**{**good, **wrong}))
    with pytest.raises(ExpiredToken):
        verifier.verify_connection(token(**{**good, "exp": NOW - 20}))
    with pytest.raises(InvalidToken, match="no `exp`"):
        described(time, secret=SECRET).verify_connection(sign({"sub": "ann"}, SECRET))


def test_who_names_no_user_is_anonymous_where_that_is_allowed(time: Time) -> None:
    assert described(time, secret=SECRET, anonymous=True).verify_connection(token(sub="")).anonymous
    with pytest.raises(InvalidToken, match="names no user"):
        described(time, secret=SECRET).verify_connection(token(sub=""))


@pytest.mark.parametrize(
    ("jwt", "good"),
    [
        ({}, True),
        ({"algorithms": ["RS256", "ES256"]}, True),
        ({"algorithms": ["RS256"]}, False),
        # Beside a secret they are the secret's.
        ({"secret": SECRET, "algorithms": ["HS256"]}, True),
    ],
)
async def test_algorithms_are_for_published_keys_where_there_is_no_secret(
    jwt: dict[str, Any], good: bool, time: Time, issuer: Issuer
) -> None:
    verifier = described(time, jwks_url=issuer.url + JWKS, **jwt)
    if good:
        assert verifier.ring.published is not None
        await verifier.ring.published.looked_up()
        assert verifier.verify_connection(KEY.token(NOW + 1_000)).user == "ann"
        return
    with pytest.raises(InvalidToken, match="algorithm") as refused:
        verifier.verify_connection(KEY.token(NOW + 1_000))
    assert not isinstance(refused.value, UnknownKey)


@pytest.mark.parametrize("insecure", [False, True])
async def test_plain_http_to_others_is_for_those_who_ask_for_it(
    insecure: bool, time: Time, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def lookup(*_: object) -> list[str]:
        return ["127.0.0.1"]

    monkeypatch.setattr("hub.auth.fetching.system_lookup", lookup)
    issuer.tell(jwks_uri=issuer.url.replace("127.0.0.1", "keys.example") + JWKS)
    verifier = described(time, discovery=True, issuer=issuer.url, insecure_url=insecure)
    assert verifier.ring.published is not None
    if insecure:
        await verifier.ring.published.looked_up()
    else:
        with pytest.raises(KeysUnavailable):
            await verifier.ring.published.looked_up()
    assert issuer.asked[JWKS] == insecure


async def test_with_discovery_the_issuer_says_where_its_keys_are(time: Time, issuer: Issuer) -> None:
    verifier = described(time, discovery=True, issuer=issuer.url)
    assert verifier.ring.published is not None
    await verifier.ring.published.looked_up()
    assert verifier.verify_connection(KEY.token(NOW + 1_000, iss=issuer.url)).user == "ann"
    with pytest.raises(InvalidToken, match="iss"):
        verifier.verify_connection(KEY.token(NOW + 1_000, iss=issuer.url + "/"))
