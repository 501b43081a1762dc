"""Configurations for tests: what a test says, over defaults that need nothing installed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from types import NoneType
from typing import Any, Final, get_args

from hub.auth.tokens import sign
from hub.loader.blueprint import Blueprint
from hub.loader.compose import compose
from hub.settings.load import load
from hub.settings.model import LimitSettings

SECRET: Final = "a-secret-for-tests-of-the-hub-only-0123456789"
API_KEY: Final = "an-api-key-for-tests-only"

_DEFAULTS: Final[Mapping[str, Any]] = {
    "database": {"url": "sqlite://"},
    "limits": {
        name: None
        for name, limit in LimitSettings.model_fields.items()
        if NoneType in get_args(limit.annotation)
    },
    "auth": {
        "anonymous": True,
        "jwt": {"secret": SECRET, "require_exp": False},
        "api_keys": {"tests": {"key": API_KEY, "allow": "*"}},
    },
}


def blueprint(config: Mapping[str, Any] | Path | None) -> Blueprint:
    """Composes a test's configuration: a mapping in the file's form, or the path of a file.

    A mapping is laid over a memory broker, a database in memory, a known secret, an API key, and no
    `limits`, since tests come faster than clients and their clock may stand still. Raises ConfigError.
    """
    if isinstance(config, Path):
        return compose(load(config, os.environ), "check")
    return compose(load(None, {}, overlay=_over(_DEFAULTS, config or {})), "check")


def _over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        merged[key] = _over(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged


def token(blueprint: Blueprint, user: str, now: float, **claims: Any) -> str:
    """A token of the blueprint's own secret, good for an hour unless claims say otherwise; a claim None is left out."""
    secret = blueprint.settings.auth.jwt.secret
    if secret is None:
        raise ValueError("this configuration has no shared secret to sign tokens with")
    given = {"sub": user, "exp": int(now) + 3_600, **claims}
    return sign(
        {name: value for name, value in given.items() if value is not None}, secret.get_secret_value()
    )
