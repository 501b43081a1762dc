"""The operator's file with every option, its default and its sentence, made from the model.

What cannot be shown as a default, since operators name it themselves (topics, handlers, plugins, sockets, API keys), is
shown as an example in comments: take away the `# ` at the beginning of its lines to have it.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import Any, Final

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from hub.settings import shape
from hub.settings.model import (
    ApiKeySettings,
    InternalSettings,
    KeySettings,
    PluginSettings,
    PreviousKeySettings,
    Settings,
)
from hub.settings.topic import (
    AllowSettings,
    GlobalHandlers,
    HistorySettings,
    ScheduleSettings,
    SocketSettings,
    TopicHandlers,
    TopicSettings,
)
from hub.settings.writing import as_written, indent, lines

_WIDTH: Final = 110
_HEAD: Final = """\
# yaml-language-server: $schema=hub.schema.json
#
# Everything that the hub can be told, with what holds when it is not. Whatever is left out keeps its default.
# Values may hold ${VARIABLE}, ${VARIABLE:-default} and ${file:/path}; HUB_SECTION__KEY in the environment
# overrides a key. `hub check` tells what is wrong, with the line and the remedy.
#
# An example in comments comes into force when the `# ` before its lines is taken away, and with it the `{}`
# or `null` of the key above.
"""
_NOTES: Final[dict[tuple[str, ...], tuple[str, ...]]] = {
    ("auth", "jwt", "secret"): (
        "The hub does not start without the variable; make a value with",
        '    python3 -c "import secrets; print(secrets.token_urlsafe(48))"',
    )
}
ORDER: Final = (
    "version",
    "server",
    "broker",
    "database",
    "auth",
    "topics",
    "plugins",
    "sockets",
    "handlers",
    "rpc",
    "schedule",
    "webhooks",
    "client",
    "limits",
    "api",
    "log",
)
_SHOWN: Final[dict[tuple[str, ...], Any]] = {
    ("auth", "jwt", "secret"): "${HUB_JWT_SECRET}",
    ("plugins",): {"chat": {}, "dashboards": {}, "notifications": {}},
}
"""What the file says instead of the default."""

_TOPIC: Final[dict[str, Any]] = {
    "allow": {"subscribe": "anyone", "publish": ["role:editor", "token"]},
    "history": {"size": 100, "ttl": "1h"},
    "presence": True,
    "join_leave": False,
    "leave_grace": "5s",
    "recovery": "stream",
    "publish_wait": "10s",
    "schema": "schemas/news.json",
    "slow": "conflate:section",
    "delta": False,
    "filter": True,
    "max_bytes": "64KiB",
    "handlers": {"publish": "newsroom.rules:moderate"},
}
EXAMPLES: Final[dict[tuple[str, ...], Any]] = {
    ("auth", "api_keys"): {
        "backend": {"key": "${HUB_API_KEY}", "allow": ["publish", "history:news:{section}"]}
    },
    ("auth", "jwt", "previous"): {
        "secret": "${HUB_JWT_SECRET_BEFORE}",
        "until": "2026-12-01T00:00:00Z",
    },
    ("auth", "jwt", "keys"): {"2026-12": {"secret": "${HUB_JWT_SECRET_2026_12}"}},
    ("server", "internal"): {"host": "127.0.0.1", "port": 9000},
    ("topics",): {"news:{section}": _TOPIC},
    ("plugins",): {"greeter": {"use": "./plugins/greeter", "enabled": True, "settings": {}}},
    ("sockets",): {"/ws/news": {"topic": "news:today"}, "/ws/mine": {"topic": "inbox:{user}"}},
    ("handlers",): {"connect": "newsroom.rules:admit", "start": ["newsroom.rules:warm_up"]},
    ("rpc",): {"headline": "newsroom.rules:headline"},
    ("schedule",): {
        "digest": {"every": "30s", "run": "newsroom.rules:digest", "topic": "news:today", "once": True}
    },
}
"""What is shown as comments, by where it belongs; a test lets the model read each."""

_ROWS: Final[dict[tuple[str, ...], tuple[type[BaseModel], ...]]] = {
    ("topics",): (TopicSettings, AllowSettings, HistorySettings, TopicHandlers),
    ("server", "internal"): (InternalSettings,),
    ("auth", "api_keys"): (ApiKeySettings,),
    ("auth", "jwt", "previous"): (PreviousKeySettings,),
    ("auth", "jwt", "keys"): (KeySettings,),
    ("plugins",): (PluginSettings,),
    ("sockets",): (SocketSettings,),
    ("handlers",): (GlobalHandlers,),
    ("schedule",): (ScheduleSettings,),
}
"""Models whose options are told below an example."""


def example_yaml() -> str:
    """The text of config/hub.yaml, which can be used as it is once HUB_JWT_SECRET is set."""
    fields = shape.fields(Settings)
    sections = ["\n".join(_option(name, fields[name], (), 0)) + "\n" for name in ORDER]
    return "\n".join([_HEAD, *sections])


def _option(name: str, field: FieldInfo, above: tuple[str, ...], depth: int) -> Iterator[str]:
    """A key with its sentence, and everything below it."""
    path = (*above, name)
    yield from _comment(field.description or "", depth)
    yield from (f"{indent(depth)}# {note}" for note in _NOTES.get(path, ()))
    section = next((found for found in shape.options(field.annotation) if shape.is_model(found)), None)
    default = _SHOWN.get(path, field.get_default(call_default_factory=True, validated_data={}))
    if section is not None and isinstance(default, BaseModel) and path not in EXAMPLES:
        yield f"{indent(depth)}{name}:"
        for below, inner in shape.fields(section).items():
            yield from _option(below, inner, path, depth + 1)
        return
    written = as_written(default, field)
    if path in _SHOWN and isinstance(written, dict):
        yield f"{indent(depth)}{name}:"
        for below, inner in written.items():
            yield from lines(below, inner, depth + 1)
    else:
        yield from lines(name, written, depth)
    for below, inner in EXAMPLES.get(path, {}).items():
        yield from (f"{indent(depth)}# {line}" for line in lines(below, inner, 1))
    for model in _ROWS.get(path, ()):
        yield from _told(model, depth)


def _told(model: type[BaseModel], depth: int) -> Iterator[str]:
    yield f"{indent(depth)}#"
    title = (model.__doc__ or "").splitlines()[0].rstrip(".;")
    yield from _comment(f"{title}:", depth)
    for name, field in shape.fields(model).items():
        for number, line in enumerate(textwrap.wrap(f"{name}: {field.description}", _WIDTH - 6)):
            yield f"{indent(depth)}#   {'  ' if number else ''}{line}"


def _comment(text: str, depth: int) -> list[str]:
    return [f"{indent(depth)}# {line}" for line in textwrap.wrap(text, _WIDTH - 2 - 2 * depth)]
