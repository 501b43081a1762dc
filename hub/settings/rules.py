"""What settings must keep to among themselves, beyond what each of them may say by itself.

`dev` differs from `serve` and `check` in one thing: it accepts weak secrets.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from ipaddress import ip_network
from typing import Final, Literal, TypeAlias
from urllib.parse import urlsplit

from hub.auth.api_keys import Scope
from hub.auth.tokens import TokenVerifier, weak_secret
from hub.errors import HubError, StoreError, TopicError, UnusableKey
from hub.redis import cluster_url, sentinel_url
from hub.redis.cluster_url import ClusterUrl
from hub.redis.sentinel_url import SentinelUrl
from hub.settings.model import JwtSettings, Settings
from hub.settings.nodes import Path
from hub.settings.problem import ConfigCode, Fault, did_you_mean
from hub.settings.report import Report
from hub.settings.reserved import SCOPES
from hub.settings.verdict import Verdict
from hub.store.url import parse_url

Mode: TypeAlias = Literal["serve", "dev", "check"]

API_KEY_BYTES: Final = 16
_DRIVERS: Final = {
    "redis": "redis",
    "rediss": "redis",
    "redis+sentinel": "redis",
    "rediss+sentinel": "redis",
    "redis+cluster": "redis",
    "rediss+cluster": "redis",
    "nats": "nats",
    "tls": "nats",
    "postgresql": "asyncpg",
    "postgres": "asyncpg",
    "postgresql+asyncpg": "asyncpg",
}
_EXTRAS: Final = {"redis": "redis", "asyncpg": "postgres", "nats": "nats"}
_REDIS: Final = ("redis", "rediss", *sentinel_url.SCHEMES, *cluster_url.SCHEMES)
_BROKERS: Final = ("memory", *_REDIS, "nats", "tls", "postgresql")
_BROKER_SPELLINGS: Final = (*_BROKERS, "postgres")
_DATABASES: Final = ("sqlite", "postgresql")
_DATABASE_SPELLINGS: Final = (*_DATABASES, "postgres", "postgresql+asyncpg", "sqlite+aiosqlite")
_MAKE: Final = 'Make one with `python3 -c "import secrets; print(secrets.token_urlsafe(48))"`'
_JWT: Final = ("auth", "jwt")


@dataclass(frozen=True, slots=True)
class Case:
    """What every rule looks at, and where it says what it finds."""

    verdict: Verdict[Settings]
    settings: Settings
    mode: Mode
    report: Report

    def say(self, loc: Path, code: ConfigCode, message: str, remedy: str = "", *given: Path) -> None:
        """Reports the value at `loc`, unless a mistake there or in one of the places `given` is known."""
        self.report.add(self.verdict, loc, Fault(code, message, remedy), given=given)


def check_rules(verdict: Verdict[Settings], mode: Mode, report: Report) -> None:
    """Reports every rule that the settings break."""
    case = Case(verdict, verdict.value or Settings(), mode, report)
    for rule in _RULES:
        rule(case)


def _ports(case: Case) -> None:
    server = case.settings.server
    if server.internal and server.port and server.internal.port == server.port:
        case.say(
            ("server", "internal", "port"),
            ConfigCode.CONFLICTING_SETTINGS,
            f"port {server.port} is the public port too",
            "Choose another port, or set server.internal to null to serve both on the public port.",
            ("server", "port"),
        )


def _proxies(case: Case) -> None:
    for number, text in enumerate(case.settings.server.trusted_proxies):
        try:
            if text != "*":
                ip_network(text)
        except ValueError:
            remedy = "Write an address (10.0.0.5), a network (10.0.0.0/24), or * to believe everybody."
            message = "it is neither an address nor a network"
            case.say(("server", "trusted_proxies", number), ConfigCode.WRONG_VALUE, message, remedy)


def _broker(case: Case) -> None:
    urls = case.settings.broker.url
    for number, url in enumerate(urls):
        _broker_url(case, ("broker", "url", number) if len(urls) > 1 else ("broker", "url"), url)
    if len(urls) > 1 and any(url.partition("://")[0] not in _REDIS for url in urls):
        case.say(
            ("broker", "url"),
            ConfigCode.CONFLICTING_SETTINGS,
            "topics can be shared out over several servers of Redis only",
            "Write one URL, or several that begin with redis:// or rediss://.",
        )


def _broker_url(case: Case, loc: Path, url: str) -> None:
    scheme = _scheme(case, loc, url, _BROKER_SPELLINGS, _BROKERS)
    if scheme == "memory" and case.settings.server.workers > 1:
        case.say(
            ("server", "workers"),
            ConfigCode.MEMORY_WITH_WORKERS,
            f"{case.settings.server.workers} workers cannot share the broker memory://, which lives in one process",
            "Set workers to 1, or broker.url to redis://host:6379.",
            loc,
        )
    if scheme in sentinel_url.SCHEMES:
        _read(case, loc, url, SentinelUrl.parse, sentinel_url.FORM)
    elif scheme in cluster_url.SCHEMES:
        _read(case, loc, url, ClusterUrl.parse, cluster_url.FORM)
    elif scheme is not None and not _is_address(url):
        case.say(loc, ConfigCode.WRONG_VALUE, "its host or port cannot be read", "Write redis://host:6379/0.")


def _read(case: Case, loc: Path, url: str, parse: Callable[[str], object], form: str) -> None:
    """Reports what the reader of such URLs says against one."""
    try:
        parse(url)
    except HubError as error:
        case.say(loc, ConfigCode.WRONG_VALUE, str(error), f"Write {form}.")


def _database(case: Case) -> None:
    loc = ("database", "url")
    url = case.settings.database.url
    if _scheme(case, loc, url, _DATABASE_SPELLINGS, _DATABASES) is None:
        return
    try:
        parse_url(url)
    except StoreError as error:
        case.say(loc, ConfigCode.WRONG_VALUE, str(error))


def _scheme(case: Case, loc: Path, url: str, known: tuple[str, ...], named: tuple[str, ...]) -> str | None:
    """The scheme of a URL, when it is one of the known; reports an unknown one and a missing driver."""
    scheme, separator, _ = url.partition("://")
    listed = f"{did_you_mean(scheme, named)}Use {', '.join(named)}."
    if not separator:
        case.say(loc, ConfigCode.UNKNOWN_SCHEME, "it is no URL: it does not begin with scheme://", listed)
        return None
    if scheme not in known:
        case.say(loc, ConfigCode.UNKNOWN_SCHEME, f"scheme `{scheme}` is not known", listed)
        return None
    driver = _DRIVERS.get(scheme)
    return scheme if driver is None or _has(case, loc, scheme, driver) else None


def _has(case: Case, loc: Path, scheme: str, driver: str) -> bool:
    if find_spec(driver) is not None:
        return True
    case.say(
        loc,
        ConfigCode.MISSING_PACKAGE,
        f"{scheme}:// needs the package `{driver}`, which is not installed",
        f"Install it: pip install 'topichub[{_EXTRAS[driver]}]'.",
    )
    return False


def _is_address(url: str) -> bool:
    try:
        hosts = urlsplit(url).netloc.rpartition("@")[2].split(",")  # PostgreSQL may have several
        return all(urlsplit(f"//{host}").port != 0 for host in hosts)
    except ValueError:
        return False


def _algorithms(case: Case) -> None:
    jwt = case.settings.auth.jwt
    families = sorted({_FAMILIES[name[:2]] for name in jwt.algorithms})
    if len(families) > 1:
        case.say(
            (*_JWT, "algorithms"),
            ConfigCode.CONFLICTING_SETTINGS,
            f"{', '.join(jwt.algorithms)} are of different families, and one key cannot serve both",
            "Name algorithms of one family: HS* with a secret, RS* with an RSA key, ES* with an elliptic curve key.",
        )
        return
    if _secret(jwt) and jwt.public_key:
        case.say(
            (*_JWT, "public_key"),
            ConfigCode.CONFLICTING_SETTINGS,
            "a secret and a public key are given, and only one of them can be used",
            "Keep secret for HS*, or public_key for RS* and ES*.",
            (*_JWT, "secret"),
        )
    elif families == ["secret"]:
        _shared_secret(case, jwt)
    else:
        _public_key(case, jwt)


_FAMILIES: Final = {"HS": "secret", "RS": "RSA", "ES": "elliptic curve"}


def _shared_secret(case: Case, jwt: JwtSettings) -> None:
    if jwt.public_key:
        case.say(
            (*_JWT, "public_key"),
            ConfigCode.UNUSABLE_KEY,
            f"{', '.join(jwt.algorithms)} verifies with a secret, not with a public key",
            "Add `algorithms: [RS256]` (or another RS* or ES*), or give a secret.",
            (*_JWT, "algorithms"),
        )
        return
    secret = _secret(jwt)
    if not secret:
        _no_key(case, "secret", "Set it to ${HUB_JWT_SECRET}. " + _MAKE)
    elif "-----BEGIN" in secret:
        case.say(
            (*_JWT, "secret"),
            ConfigCode.UNUSABLE_KEY,
            "it holds a PEM key, which is no shared secret",
            "Give the public key as public_key and add `algorithms: [RS256]` (or another RS* or ES*).",
        )
    elif case.mode != "dev" and not jwt.insecure_secret and (weak := weak_secret(secret)):
        remedy = f"{_MAKE}, or set auth.jwt.insecure_secret to true for a trial."
        case.say((*_JWT, "secret"), ConfigCode.WEAK_SECRET, f"the secret is too weak: {weak}", remedy)


def _public_key(case: Case, jwt: JwtSettings) -> None:
    named = ", ".join(jwt.algorithms)
    if _secret(jwt):
        case.say(
            (*_JWT, "secret"),
            ConfigCode.UNUSABLE_KEY,
            f"{named} verifies with a public key, not with a secret",
            "Give public_key in place of secret, or `algorithms: [HS256]`.",
            (*_JWT, "algorithms"),
        )
    elif not jwt.public_key:
        _no_key(case, "public_key", f"{named} needs it: write the PEM text, or ${{file:/path/to/key.pem}}")
    elif (problem := _unusable(jwt)) is not None:
        remedy = (
            "RS* needs an RSA key of 2,048 bits or more, ES256 one on P-256, ES384 on P-384, ES512 on P-521; "
        )
        remedy += "`openssl pkey -in key.pem -pubout` writes the public half of a key as PEM."
        case.say((*_JWT, "public_key"), ConfigCode.UNUSABLE_KEY, problem, remedy, (*_JWT, "algorithms"))


def _unusable(jwt: JwtSettings) -> str | None:
    """What the verifier that the hub will use says against the key."""
    try:
        TokenVerifier(
            secret=None,
            public_key=jwt.public_key,
            algorithms=jwt.algorithms,
            audience=None,
            issuer=None,
            leeway=0.0,
            require_exp=True,
            clock=time.time,
        )
    except UnusableKey as error:
        return str(error)
    return None


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


def _api_keys(case: Case) -> None:
    first: dict[str, str] = {}
    for name, setting in case.settings.auth.api_keys.items():
        loc = ("auth", "api_keys", name, "key")
        key = setting.key.get_secret_value()
        if key in first:
            case.say(
                loc,
                ConfigCode.CONFLICTING_SETTINGS,
                f"it is the key of `{first[key]}` too, so that nobody can tell the two apart",
                "Give each its own.",
            )
        first.setdefault(key, name)
        weak = weak_secret(key, API_KEY_BYTES)
        if weak and case.mode != "dev" and not case.settings.auth.jwt.insecure_secret:
            remedy = f"{_MAKE}, or set auth.jwt.insecure_secret to true for a trial."
            case.say(loc, ConfigCode.WEAK_SECRET, f"the API key is too weak: {weak}", remedy)


def _scopes(case: Case) -> None:
    known = [*SCOPES, *case.settings.plugins]
    for name, setting in case.settings.auth.api_keys.items():
        for number, text in enumerate(setting.allow):
            loc = ("auth", "api_keys", name, "allow", number)
            try:
                method = Scope.parse(text).method
            except TopicError as error:
                case.say(loc, ConfigCode.BAD_PATTERN, str(error))
                continue
            if method not in {"*", *known}:
                remedy = f"{did_you_mean(method, known)}Methods and plugins: {', '.join(known)}."
                case.say(loc, ConfigCode.WRONG_VALUE, f"the API has no method or plugin `{method}`", remedy)


def _secret(jwt: JwtSettings) -> str:
    return jwt.secret.get_secret_value() if jwt.secret else ""


_RULES: Final[tuple[Callable[[Case], None], ...]] = (
    _ports,
    _proxies,
    _broker,
    _database,
    _algorithms,
    _api_keys,
    _scopes,
)
