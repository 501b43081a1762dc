"""What the keys that verify tokens must keep to: each fits its algorithms, and each way to have keys its conditions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from hub.auth.fetching import discovery_url, url_problem
from hub.auth.keys import holds_key
from hub.auth.tokens import weak_secret
from hub.errors import UnusableKey
from hub.settings.case import Case
from hub.settings.model import JwtSettings, KeySettings
from hub.settings.nodes import Path
from hub.settings.problem import ConfigCode, Fault
from hub.settings.verification import fetches_keys, has_key, make_key, secret_of

MAKE_SECRET: Final = 'Make one with `python3 -c "import secrets; print(secrets.token_urlsafe(48))"`'  # noqa: S105
_JWT: Final = ("auth", "jwt")
_FAMILIES: Final = {"HS": "secret", "RS": "RSA", "ES": "elliptic curve"}


def _current(case: Case) -> None:
    jwt = case.settings.auth.jwt
    if secret_of(jwt) or jwt.public_key:
        _key(case, _JWT, jwt)
    elif not has_key(jwt):
        _without_key(case, jwt)
    elif fetches_keys(jwt):
        _for_published(case, jwt)


def _further(case: Case) -> None:
    jwt = case.settings.auth.jwt
    found: list[tuple[Path, KeySettings]] = [((*_JWT, "keys", kid), key) for kid, key in jwt.keys.items()]
    if jwt.previous is not None:
        found.append(((*_JWT, "previous"), jwt.previous))
    for loc, key in found:
        if secret_of(key) or key.public_key:
            _key(case, loc, key)
        else:
            fault = Fault(
                ConfigCode.MISSING_SETTING,
                "it has neither a secret nor a public key",
                "Give secret for HS*, or public_key for RS* and ES*.",
            )
            case.report.add(
                case.verdict, loc, fault, at_key=True, given=[(*loc, "secret"), (*loc, "public_key")]
            )
    if jwt.previous is not None and _same(jwt.previous, jwt):
        case.say(
            (*_JWT, "previous"),
            ConfigCode.CONFLICTING_SETTINGS,
            "it is the present key, so that its end would change nothing",
            "Give the key that was there before, or leave `previous` out.",
        )


def _same(previous: KeySettings, jwt: JwtSettings) -> bool:
    return (secret_of(previous), previous.public_key) == (secret_of(jwt), jwt.public_key)


def _published(case: Case) -> None:
    jwt = case.settings.auth.jwt
    if jwt.discovery and jwt.jwks_url is not None:
        case.say(
            (*_JWT, "discovery"),
            ConfigCode.CONFLICTING_SETTINGS,
            "a jwks_url is given too, and only one of them can say where the keys are",
            "Leave out jwks_url to ask the issuer, or discovery to fetch the keys from there.",
            (*_JWT, "jwks_url"),
        )
    if jwt.discovery and jwt.issuer is None:
        case.say(
            (*_JWT, "discovery"),
            ConfigCode.MISSING_SETTING,
            "issuer is not set, so there is nobody to ask where the keys are",
            "Set auth.jwt.issuer to the `iss` of the tokens, such as https://login.example.com/realms/main.",
            (*_JWT, "issuer"),
        )
    if jwt.jwks_url is not None:
        _url(case, "jwks_url", jwt.jwks_url)
    if jwt.discovery and jwt.issuer is not None:
        _url(case, "issuer", discovery_url(jwt.issuer))


def _url(case: Case, name: str, url: str) -> None:
    problem = url_problem(url, insecure=case.settings.auth.jwt.insecure_url)
    if problem is None:
        return
    plain = url.startswith("http://")
    code = ConfigCode.UNKNOWN_SCHEME if plain else ConfigCode.WRONG_VALUE
    remedy = (
        "Write https://, or set auth.jwt.insecure_url to true for a trial." if plain else "Write https://…"
    )
    case.say((*_JWT, name), code, problem, remedy, (*_JWT, "insecure_url"))


def _for_published(case: Case, jwt: JwtSettings) -> None:
    """Secrets are never published, so algorithms of secrets would be good for nothing but confusion."""
    if "algorithms" not in jwt.model_fields_set:
        return
    secret = [name for name in jwt.algorithms if name.startswith("HS")]
    if secret:
        case.say(
            (*_JWT, "algorithms"),
            ConfigCode.CONFLICTING_SETTINGS,
            f"{', '.join(secret)} verifies with a secret, and the issuer publishes only public keys",
            "Name some of RS* and ES*, leave `algorithms` out for all of them, or give a secret too.",
        )


def _key(case: Case, loc: Path, key: JwtSettings | KeySettings) -> None:
    families = sorted({_FAMILIES[name[:2]] for name in key.algorithms or ()})
    if len(families) > 1:
        case.say(
            (*loc, "algorithms"),
            ConfigCode.CONFLICTING_SETTINGS,
            f"{', '.join(key.algorithms or ())} are of different families, and one key cannot serve both",
            "Name algorithms of one family: HS* with a secret, RS* with an RSA key, ES* with an elliptic curve key.",
        )
        return
    if secret_of(key) and key.public_key:
        case.say(
            (*loc, "public_key"),
            ConfigCode.CONFLICTING_SETTINGS,
            "a secret and a public key are given, and only one of them can be used",
            "Keep secret for HS*, or public_key for RS* and ES*.",
            (*loc, "secret"),
        )
    elif families == ["secret"] or (not families and secret_of(key)):
        _shared_secret(case, loc, key)
    else:
        _public_key(case, loc, key)


def _shared_secret(case: Case, loc: Path, key: JwtSettings | KeySettings) -> None:
    if key.public_key:
        case.say(
            (*loc, "public_key"),
            ConfigCode.UNUSABLE_KEY,
            f"{', '.join(key.algorithms or ())} verifies with a secret, not with a public key",
            "Add `algorithms: [RS256]` (or another RS* or ES*), or give a secret.",
            (*loc, "algorithms"),
        )
        return
    secret = secret_of(key)
    if holds_key(secret):
        form = "PEM key" if "-----BEGIN" in secret else "key or certificate"
        case.say(
            (*loc, "secret"),
            ConfigCode.UNUSABLE_KEY,
            f"it holds a {form}, which is no shared secret",
            "Give the public key as public_key and add `algorithms: [RS256]` (or another RS* or ES*).",
        )
    elif case.mode != "dev" and not case.settings.auth.jwt.insecure_secret and (weak := weak_secret(secret)):
        remedy = f"{MAKE_SECRET}, or set auth.jwt.insecure_secret to true for a trial."
        case.say((*loc, "secret"), ConfigCode.WEAK_SECRET, f"the secret is too weak: {weak}", remedy)


def _public_key(case: Case, loc: Path, key: JwtSettings | KeySettings) -> None:
    if secret_of(key):
        case.say(
            (*loc, "secret"),
            ConfigCode.UNUSABLE_KEY,
            f"{', '.join(key.algorithms or ())} verifies with a public key, not with a secret",
            "Give public_key in place of secret, or `algorithms: [HS256]`.",
            (*loc, "algorithms"),
        )
    elif (problem := _unusable(key)) is not None:
        remedy = (
            "RS* needs an RSA key of 2,048 bits or more, ES256 one on P-256, ES384 on P-384, ES512 on P-521; "
        )
        remedy += "`openssl pkey -in key.pem -pubout` writes the public half of a key as PEM."
        case.say((*loc, "public_key"), ConfigCode.UNUSABLE_KEY, problem, remedy, (*loc, "algorithms"))


def _unusable(key: JwtSettings | KeySettings) -> str | None:
    """What the verifier that the hub will use says against the key."""
    try:
        make_key(key)
    except UnusableKey as error:
        return str(error)
    return None


def _without_key(case: Case, jwt: JwtSettings) -> None:
    families = sorted({_FAMILIES[name[:2]] for name in jwt.algorithms})
    if len(families) > 1:
        _key(case, _JWT, jwt)
    elif families == ["secret"]:
        _no_key(case, "secret", "Set it to ${HUB_JWT_SECRET}. " + MAKE_SECRET)
    else:
        named = ", ".join(jwt.algorithms)
        _no_key(case, "public_key", f"{named} needs it: write the PEM text, or ${{file:/path/to/key.pem}}")


def _no_key(case: Case, name: str, remedy: str) -> None:
    """A hub without a key admits nobody but anonymous clients."""
    if case.settings.auth.anonymous and name == "secret":
        return
    fault = Fault(
        ConfigCode.MISSING_SETTING,
        f"{name} is not set, so no token can be verified",
        f"{remedy}; or set auth.anonymous to true." if name == "secret" else f"{remedy}.",
    )
    case.report.add(case.verdict, _JWT, fault, at_key=True, given=[("auth", "anonymous")])


KEY_RULES: Final[tuple[Callable[[Case], None], ...]] = (_current, _further, _published)
