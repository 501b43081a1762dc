"""What settings must keep to among themselves, beyond what each of them may say by itself.

`dev` differs from `serve` and `check` in one thing: it accepts weak secrets.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from ipaddress import ip_network
from typing import Final
from urllib.parse import urlsplit

from hub.auth.api_keys import HASHED, Scope, digest_of
from hub.auth.tokens import weak_secret
from hub.errors import HubError, StoreError, TopicError, UnusableKey
from hub.redis import cluster_url, sentinel_url
from hub.redis.cluster_url import ClusterUrl
from hub.redis.sentinel_url import SentinelUrl
from hub.settings.case import Case, Mode
from hub.settings.key_rules import KEY_RULES, MAKE_SECRET
from hub.settings.model import Settings
from hub.settings.nodes import Path
from hub.settings.problem import ConfigCode, did_you_mean
from hub.settings.report import Report
from hub.settings.reserved import SCOPES
from hub.settings.verdict import Verdict
from hub.settings.webhook_rules import WEBHOOK_RULES
from hub.store.url import parse_url

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


def _api_keys(case: Case) -> None:
    first: dict[bytes, str] = {}
    for name, setting in case.settings.auth.api_keys.items():
        loc = ("auth", "api_keys", name, "key")
        key = setting.key.get_secret_value()
        try:
            digest = digest_of(key)
        except UnusableKey as error:
            remedy = "`hub token api-key` makes a key and its hash."
            case.say(loc, ConfigCode.UNUSABLE_KEY, str(error), remedy)
            continue
        if digest in first:
            case.say(
                loc,
                ConfigCode.CONFLICTING_SETTINGS,
                f"it is the key of `{first[digest]}` too, so that nobody can tell the two apart",
                "Give each its own.",
            )
        first.setdefault(digest, name)
        # What a hash was made of nobody can say.
        weak = None if key.startswith(HASHED) else weak_secret(key, API_KEY_BYTES)
        if weak and case.mode != "dev" and not case.settings.auth.jwt.insecure_secret:
            remedy = f"{MAKE_SECRET}, or set auth.jwt.insecure_secret to true for a trial."
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


_RULES: Final[tuple[Callable[[Case], None], ...]] = (
    _ports,
    _proxies,
    _broker,
    _database,
    *KEY_RULES,
    _api_keys,
    _scopes,
    *WEBHOOK_RULES,
)
