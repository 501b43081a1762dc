"""What `hub dev` adds to a configuration, so that it runs in an empty folder and anything can be tried at once.

It only fills in what the file and the environment leave open, and writes to one folder, `.hub`: the secret, so that
tokens outlive a restart, and the database.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from hub.errors import TopicError
from hub.loader.discovery import installed
from hub.settings.load import Loaded, load
from hub.topics import Pattern

STATE: Final = Path(".hub")
SECRET_VARIABLE: Final = "HUB_JWT_SECRET"  # noqa: S105 - a variable's name
_KEYS: Final = ("secret", "public_key", "keys", "jwks_url", "discovery")
"""Settings of auth.jwt of which each brings a key."""
_PORTS: Final = (3000, 4200, 5173, 8080)
_CATCH_ALL: Final = "{topic:rest}"
_ANYTHING_GOES: Final = {
    "allow": dict.fromkeys(("subscribe", "publish", "presence", "history"), "anyone"),
    "history": {"size": 100, "ttl": "5m"},
    "presence": True,
    "join_leave": True,
}


def load_dev(path: Path | None, environ: Mapping[str, str], *, state: Path = STATE) -> Loaded:
    """Loads a configuration for development; without a file, every installed plugin is on.

    `${HUB_JWT_SECRET}` in the file gets a secret of its own when the environment has none. Creates the folder `state`;
    raises OSError when that is not possible.
    """
    secret = kept_secret(state)
    environ = {SECRET_VARIABLE: secret, **environ}
    plugins = () if path else installed()
    given = load(path, environ).document.data
    return load(path, environ, overlay=dev_overlay(given, secret=secret, plugins=plugins, state=state))


def dev_overlay(
    given: Mapping[str, Any], *, secret: str, plugins: Iterable[str], state: Path
) -> dict[str, Any]:
    """What to lay over the data of a configuration: nothing that it says something about.

    That is a secret, anonymous clients, a database in the folder `state`, origins of usual development servers, a
    pattern for every topic that no other matches, and the `plugins` named.
    """
    overlay: dict[str, Any] = {}
    if not any(_says(given, "auth", "jwt", name) for name in _KEYS):
        _put(overlay, secret, "auth", "jwt", "secret")
    if not _says(given, "auth", "anonymous"):
        _put(overlay, True, "auth", "anonymous")
    if not _says(given, "database", "url"):
        _put(overlay, f"sqlite:///{state / 'dev.db'}", "database", "url")
    if not _says(given, "server", "allowed_origins"):
        hosts = ("localhost", "127.0.0.1")
        _put(
            overlay,
            [f"http://{host}:{port}" for host in hosts for port in _PORTS],
            "server",
            "allowed_origins",
        )
    if not any(_catches_all(text) for text in _map(given, "topics")):
        _put(overlay, _ANYTHING_GOES, "topics", _CATCH_ALL)
    for name in plugins:
        if not _says(given, "plugins", name):
            _put(overlay, {}, "plugins", name)
    return overlay


def kept_secret(state: Path) -> str:
    """The secret of this folder, made at the first call and readable by its owner only."""
    path = state / "secret"
    state.mkdir(parents=True, exist_ok=True)
    try:
        return _read(path)
    except FileNotFoundError:
        pass
    (state / ".gitignore").write_text("*\n")
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:  # Another process was faster.
        return _read(path)
    with os.fdopen(handle, "w") as file:
        file.write(secrets.token_urlsafe(48))
    return _read(path)


def _read(path: Path) -> str:
    return path.read_text().strip()


def _says(given: Mapping[str, Any], *path: str) -> bool:
    return _map(given, *path[:-1]).get(path[-1]) is not None


def _map(given: Mapping[str, Any], *path: str) -> Mapping[str, Any]:
    found: Any = given
    for part in path:
        found = found.get(part) if isinstance(found, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def _put(overlay: dict[str, Any], value: Any, *path: str) -> None:
    for part in path[:-1]:
        overlay = overlay.setdefault(part, {})
    overlay[path[-1]] = value


def _catches_all(text: str) -> bool:
    try:
        pattern = Pattern.parse(text)
    except TopicError:
        return False
    return pattern.shape == Pattern.parse(_CATCH_ALL).shape
