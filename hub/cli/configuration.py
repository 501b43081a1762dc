"""Options that several commands share, and where the configuration is found."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from hub.cli.outcome import DEBUG

Decorated = TypeVar("Decorated", bound=Callable[..., Any])

FILE: Final = Path("hub.yaml")
URL: Final = "http://127.0.0.1:8000"
_MISSING: Final = (
    "no configuration: there is no hub.yaml in this folder. Name one with --config FILE or HUB_CONFIG, "
    "or write one with `hub config > hub.yaml`. (`hub dev` needs none.)"
)


def config_option(function: Decorated) -> Decorated:
    """`--config FILE`, given to the function as `config`."""
    return click.option(
        "--config",
        "-c",
        type=click.Path(path_type=Path, dir_okay=False),
        envvar="HUB_CONFIG",
        show_envvar=True,
        help="The configuration; otherwise ./hub.yaml.",
    )(function)


def debug_option(function: Decorated) -> Decorated:
    """`--debug`, which nobody is given: it holds for the process and those that it starts."""

    def remember(_: click.Context, __: click.Parameter, value: bool) -> None:
        if value:
            os.environ[DEBUG] = "1"

    return click.option(
        "--debug",
        is_flag=True,
        expose_value=False,
        callback=remember,
        help=f"Show tracebacks of errors.  [env var: {DEBUG}]",
    )(function)


def json_option(function: Decorated) -> Decorated:
    """`--json`, given to the function as `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")(function)


def url_option(function: Decorated) -> Decorated:
    """`--url`, given to the function as `url`."""
    return click.option(
        "--url", default=URL, envvar="HUB_URL", show_envvar=True, show_default=True, help="Where the hub is."
    )(function)


def api_key_option(function: Decorated) -> Decorated:
    """`--api-key`, given to the function as `api_key`."""
    return click.option("--api-key", envvar="HUB_API_KEY", show_envvar=True, help="A key of auth.api_keys.")(
        function
    )


def token_option(function: Decorated) -> Decorated:
    """`--token`, given to the function as `token`."""
    return click.option("--token", envvar="HUB_TOKEN", show_envvar=True, help="Whose rights to use.")(
        function
    )


def found(config: Path | None) -> Path | None:
    """The configuration that is meant: the one named, or ./hub.yaml if there is one."""
    return config or (FILE if FILE.exists() else None)


def needed(config: Path | None) -> Path:
    """The configuration that is meant; ends the command with status 2 and a remedy when there is none."""
    path = found(config)
    if path is None:
        raise click.UsageError(_MISSING)
    return path
