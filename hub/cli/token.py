"""`hub token`: tokens and secrets, made and explained."""

from __future__ import annotations

import json
import os
import secrets
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from hub.cli.configuration import config_option, debug_option, found, needed
from hub.cli.outcome import FAILED
from hub.cli.talk import fail, say

if TYPE_CHECKING:
    from hub.auth.tokens import TokenVerifier
    from hub.settings.load import Loaded
    from hub.settings.model import AuthSettings, JwtSettings, KeySettings, Settings

SECRET_BYTES: Final = 48
_DEV_SECRET: Final = Path(".hub/secret")


@click.group("token", epilog="Example: hub token create --sub ann --topics 'chat:*' --ttl 1h")
def command() -> None:
    """Make and explain tokens and secrets."""


class Seconds(click.ParamType[float]):
    """A duration such as 90, 30s, 1h or 7d."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Seconds, at least one."""
        from hub.settings.values import duration

        try:
            seconds = duration(float(value) if isinstance(value, str) and value.isdigit() else value)
        except ValueError as error:
            self.fail(str(error), param, ctx)
        if seconds < 1:
            self.fail("a token lives at least for a second", param, ctx)
        return seconds


class JsonObject(click.ParamType[dict[str, Any]]):
    """A JSON object."""

    name = "json"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> dict[str, Any]:
        """The object as a dict."""
        if isinstance(value, dict):
            return value
        try:
            read = json.loads(value)
        except ValueError as error:
            self.fail(f"it is not JSON: {error}", param, ctx)
        if not isinstance(read, dict):
            self.fail('it is not a JSON object, such as {"role": "editor"}', param, ctx)
        return read


@command.command("create")
@config_option
@click.option("--sub", required=True, help="The user whom the token names.")
@click.option("--ttl", type=Seconds(), default="1h", show_default=True, help="How long it is good.")
@click.option(
    "--topics", default="", help="Patterns it gives rights on, with commas between: 'chat:*,news:{sub}'."
)
@click.option(
    "--channels", default="", help="Topics that its bearer is subscribed to at once, with commas between."
)
@click.option("--kid", help="The key of `auth.jwt.keys` to sign it with; it is named in the token.")
@click.option("--claims", type=JsonObject(), default=dict, help='Further claims: \'{"role": "editor"}\'.')
@debug_option
def create(
    config: Path | None,
    sub: str,
    ttl: float,
    topics: str,
    channels: str,
    kid: str | None,
    claims: dict[str, Any],
) -> None:
    """Make a token, signed with the configuration's secret, or with that of --kid.

    The token is the only line on standard output. Where `allow` says `token`, the patterns of --topics open a topic;
    elsewhere its own rules decide.
    """
    from hub.auth.tokens import sign
    from hub.errors import ExpiredToken, InvalidToken

    settings = _settings(_loaded(config))
    jwt = settings.auth.jwt
    signing, algorithm = _signing_key(jwt, kid)
    now = int(time.time())
    whole = {jwt.claims.user: sub, "iat": now, "exp": now + int(ttl), **_parties(jwt)}
    whole |= {name: _list(text) for name, text in (("topics", topics), ("channels", channels)) if text}
    whole |= claims
    try:
        token = sign(whole, signing, algorithm, kid=kid)
        _verify(settings, token)
    except (InvalidToken, ExpiredToken) as error:
        raise click.UsageError(f"the hub would refuse this token: {error}") from error
    _explain({"alg": algorithm} if kid is None else {"alg": algorithm, "kid": kid}, whole, now)
    click.echo(token)


@command.command("check")
@click.argument("token")
@config_option
@debug_option
def check(token: str, config: Path | None) -> int:
    """Explain a token, and why the hub would refuse it if it would; `-` reads it from standard input.

    Ends with status 1 for a token that would be refused.
    """
    from hub.errors import ExpiredToken, InvalidToken, KeysUnavailable
    from hub.settings.verification import has_key

    settings = _settings(_loaded(config))
    text = (sys.stdin.read() if token == "-" else token).strip()  # noqa: S105 - a dash is no token
    header, claims = _parts(text)
    _explain(header, claims, int(time.time()), err=False)
    if not has_key(settings.auth.jwt):
        fail("refused: auth.jwt has neither a secret nor a public key, so the hub accepts no token")
        return FAILED
    try:
        _verify(settings, text)
    except (InvalidToken, ExpiredToken, KeysUnavailable) as error:
        fail(f"refused: {error.message if isinstance(error, KeysUnavailable) else error}")
        return FAILED
    say("accepted")
    return 0


@command.command("secret")
@click.option("--webhook", is_flag=True, help="Print one for webhooks.secrets: whsec_….")
@debug_option
def secret(*, webhook: bool) -> None:
    """Print a random secret, for HUB_JWT_SECRET or an API key."""
    from hub.webhooks.signing import new_secret

    click.echo(new_secret() if webhook else secrets.token_urlsafe(SECRET_BYTES))


@command.command("api-key")
@debug_option
def api_key() -> None:
    """Print a random API key, and on a second line its hash.

    The hash can stand in auth.api_keys in the place of the key, which then only the backend has.
    """
    from hub.auth.api_keys import hashed

    key = secrets.token_urlsafe(SECRET_BYTES)
    click.echo(key)
    click.echo(hashed(key))


def _loaded(config: Path | None) -> Loaded:
    """The configuration; where it has no key of its own and `hub dev` has run, with what that adds."""
    from hub.loader.dev import load_dev
    from hub.settings.load import load
    from hub.settings.verification import has_key

    path = found(config) if _DEV_SECRET.exists() else needed(config)
    loaded = load(path, os.environ) if path else None
    if _DEV_SECRET.exists() and (loaded is None or not has_key(loaded.remains.auth.jwt)):
        say("The configuration has no key, so this is about `hub dev` in this folder.")
        return load_dev(path, os.environ)
    return loaded or load(needed(config), os.environ)


def _settings(loaded: Loaded) -> Settings:
    """What says how tokens are verified; raises ConfigError when the configuration has mistakes."""
    return loaded.settings


def _signing_key(jwt: JwtSettings, kid: str | None) -> tuple[str, str]:
    """The secret to sign with, and the algorithm."""
    from hub.settings.problem import did_you_mean
    from hub.settings.verification import has_key

    key: KeySettings | JwtSettings | None = jwt if kid is None else jwt.keys.get(kid)
    if key is None:
        hint = did_you_mean(str(kid), jwt.keys)
        raise click.UsageError(f"auth.jwt.keys has no key of this name. {hint}".rstrip())
    if key.secret is not None:
        return key.secret.get_secret_value(), (key.algorithms or ["HS256"])[0]
    if kid is None and jwt.keys and not jwt.public_key:
        raise click.UsageError("auth.jwt.secret is not set; name a key of auth.jwt.keys with --kid")
    raise click.UsageError(
        "this hub verifies tokens with a public key; only who has the private key can sign them"
        if has_key(jwt)
        else "auth.jwt.secret is not set, so the hub would accept no token. Set it: `hub token secret` makes one."
    )


def _parties(jwt: JwtSettings) -> dict[str, str]:
    return {name: value for name, value in (("aud", jwt.audience), ("iss", jwt.issuer)) if value is not None}


def _list(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _verify(settings: Settings, token: str) -> None:
    """Raises InvalidToken or ExpiredToken as the hub would for a connection, or for a topic that the token is for.

    Fetches published keys where it needs them; raises KeysUnavailable when they cannot be had.
    """
    import asyncio

    from hub.errors import UnknownKey
    from hub.settings.verification import make_verifier

    life = settings.limits.token_life
    verifier = make_verifier(settings.auth, clock=time.time, monotonic=time.monotonic, longest_life=life)
    if verifier is None:
        return
    try:
        _ask(verifier, settings.auth, token)
    except UnknownKey:
        if verifier.ring.published is not None:
            asyncio.run(verifier.ring.published.looked_up())
        _ask(verifier, settings.auth, token)


def _ask(verifier: TokenVerifier, auth: AuthSettings, token: str) -> None:
    from hub.auth import claims as read
    from hub.settings.verification import claim_names

    claims = _parts(token)[1]
    topic = claims.get("channel")
    if isinstance(topic, str):
        user, client = read.user(claims, claim_names(auth.jwt)), str(claims.get("client", ""))
        verifier.verify_subscription(token, topic=topic, user=user, client=client)
    else:
        verifier.verify_connection(token)


def _parts(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and claims without any proof; empty where there is nothing to read."""
    import base64

    found: list[dict[str, Any]] = []
    for part in [*token.split("."), "", ""][:2]:
        try:
            read = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
        except (ValueError, RecursionError):
            read = {}
        found.append(read if isinstance(read, dict) else {})
    return found[0], found[1]


_MEANINGS: Final = {
    "sub": "the user",
    "iss": "who made it",
    "aud": "whom it is meant for",
    "topics": "patterns it gives rights on, where `allow` says `token`",
    "channels": "topics that its bearer is subscribed to at once",
    "subs": "topics that its bearer is subscribed to at once",
    "channel": "the only topic it is for",
    "client": "the only session it is for",
    "role": "for rules `role:...`",
    "roles": "for rules `role:...`",
    "info": "what others see of its bearer",
}
_TIMES: Final = {"exp": "expires", "nbf": "begins", "iat": "was made", "expire_at": "ends the session"}


def _explain(header: Mapping[str, Any], claims: Mapping[str, Any], now: int, *, err: bool = True) -> None:
    for name in ("alg", "kid"):
        if name in header:
            click.echo(f"{name:9} {_printable(str(header[name]))}", err=err)
    for name, value in claims.items():
        shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        meaning = _when(name, value, now) if name in _TIMES else _MEANINGS.get(name, "")
        click.echo(f"{_printable(name):9} {_printable(shown)}{f'   ({meaning})' if meaning else ''}", err=err)


def _printable(text: str) -> str:
    return "".join(mark if mark.isprintable() else "?" for mark in text)


def _when(name: str, value: Any, now: int) -> str:
    if name == "expire_at" and value == 0 and not isinstance(value, bool):
        return "the session does not end"
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 2**36:
        return "not a time"
    stamp = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(value))
    away = abs(int(value) - now)
    unit, size = next(
        ((u, s) for u, s in (("d", 86_400), ("h", 3_600), ("min", 60)) if away >= 2 * s), ("s", 1)
    )
    relative = f"in {away // size} {unit}" if value >= now else f"{away // size} {unit} ago"
    return f"{_TIMES[name]} {stamp}, {relative}"
