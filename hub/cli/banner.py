"""What `hub dev` says once it serves: every address, a token, and a line to try."""

from __future__ import annotations

import shlex
import time
from urllib.parse import urlsplit

from hub import __version__
from hub.auth.api_keys import HASHED
from hub.auth.tokens import sign
from hub.cli.talk import style
from hub.loader.blueprint import Blueprint
from hub.serving.develop import Serving
from hub.serving.listen import url_host
from hub.settings.model import Settings
from hub.store.url import parse_url

TOKEN_SECONDS = 86_400
TOPIC = "lobby"
_DEFAULT_URL = "http://127.0.0.1:8000"


def welcome(serving: Serving) -> str:
    """The banner of a first start, one line for a later one."""
    settings = serving.blueprint.settings
    base = f"http://{url_host(settings.server.host)}:{serving.port}"
    if not serving.first:
        return f"Serving again on {base}/"
    lines = [
        f"{style(f'hub {__version__}', bold=True)}  {style('development mode: never expose this', fg='yellow')}",
        "",
        *(f"  {name:13} {value}" for name, value in _rows(serving, base)),
        *_exposed(settings),
        "",
    ]
    return "\n".join(lines)


def _exposed(settings: Settings) -> list[str]:
    host = settings.server.host
    if host == "localhost" or host.startswith("127.") or host == "::1":
        return []
    warning = f"It listens on {host or 'every address'}, where others may reach it and do as they like."
    return ["", f"  {style(warning, fg='red')}"]


def _rows(serving: Serving, base: str) -> list[tuple[str, str]]:
    blueprint, settings = serving.blueprint, serving.blueprint.settings
    ws = base.replace("http", "ws", 1)
    return [
        ("Page", style(f"{base}/", bold=True)),
        ("WebSocket", f"{ws}/connection/websocket"),
        ("Plain socket", f"{ws}/ws/{{topic}}"),
        ("SSE", f"{base}/sse/{{topic}}"),
        ("API", _api(serving, base)),
        ("Health", f"{base}/health/ready"),
        *([("Config", str(serving.config))] if serving.config else []),
        ("Broker", _broker(settings)),
        ("Database", _database(settings)),
        ("Plugins", ", ".join(plugin.name for plugin in blueprint.plugins) or "none"),
        *_token(settings),
        *_to_try(blueprint, base),
    ]


def _api(serving: Serving, base: str) -> str:
    """The address for everybody, and that of the methods where there is a key for them."""
    settings = serving.blueprint.settings
    topics = f"{base}/api/topics/{{topic}}"
    if not settings.auth.api_keys:
        return topics
    internal = settings.server.internal
    methods = f"http://{url_host(internal.host)}:{serving.internal}" if internal else base
    return f"{topics}   {methods}/api/{{method}}"


def _broker(settings: Settings) -> str:
    url = settings.broker.url[0]
    parts = urlsplit(url)
    if parts.scheme == "memory":
        return "memory (this process only)"
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _database(settings: Settings) -> str:
    url = parse_url(settings.database.url)
    return str(url.file) if url.file else url.shown


def _token(settings: Settings) -> list[tuple[str, str]]:
    jwt = settings.auth.jwt
    if jwt.secret is None:
        return []
    now = int(time.time())
    claims = {"sub": "dev", "iat": now, "exp": now + TOKEN_SECONDS}
    claims |= {name: value for name, value in (("aud", jwt.audience), ("iss", jwt.issuer)) if value}
    token = sign(claims, jwt.secret.get_secret_value(), jwt.algorithms[0])
    return [("Token", f"{token}   (user dev, 24 h)")]


def _to_try(blueprint: Blueprint, base: str) -> list[tuple[str, str]]:
    """Lines that publish on a topic that anybody may, or with a key of the configuration."""
    key = _key_for(blueprint)
    if key is None:
        return []
    curl = ["curl", *(["-H", f"X-API-Key: {key}"] if key else []), "-d", "hi", f"{base}/api/topics/{TOPIC}"]
    hub = ["hub", "publish", TOPIC, '{"text": "hi"}']
    hub += [] if base == _DEFAULT_URL else ["--url", base]
    hub += ["--api-key", key] if key else []
    return [("Try", shlex.join(curl)), ("", shlex.join(hub))]


def _key_for(blueprint: Blueprint) -> str | None:
    """The API key that is needed to publish on the topic: "" for none, None where nobody can."""
    found = blueprint.table.find(TOPIC)
    if found is None:
        return None
    if blueprint.settings.auth.anonymous and "anyone" in found[0].options.allow.get("publish", ()):
        return ""
    for key in blueprint.settings.auth.api_keys.values():
        text = key.key.get_secret_value()
        ended = key.until is not None and key.until <= time.time()
        # Of a key that is configured by its hash nobody here knows the key.
        if {"*", "publish"} & set(key.allow) and not (text.startswith(HASHED) or ended):
            return text
    return None
