"""`hub schema`: what editors need to complete and check while one types."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hub.cli.configuration import config_option, debug_option, found
from hub.cli.talk import warn

if TYPE_CHECKING:
    from pydantic import BaseModel


@click.group("schema", epilog="Example: hub schema config > hub.schema.json")
def command() -> None:
    """Print JSON Schemas, for editors."""


@command.command("config")
@config_option
@debug_option
def config_schema(config: Path | None) -> None:
    """Print the JSON Schema of the configuration.

    With a configuration, the settings of the plugins that it switches on are part of it. Put
    `# yaml-language-server: $schema=hub.schema.json` on the first line of hub.yaml to have your editor use it.
    """
    from hub.settings.schema import json_schema

    path = found(config)
    click.echo(json.dumps(json_schema(_plugins(path) if path else None), indent=2))


@command.command("plugin")
@debug_option
def plugin_schema() -> None:
    """Print the JSON Schema of plugin.yaml."""
    from hub.manifest import Manifest

    click.echo(json.dumps(Manifest.model_json_schema(by_alias=True), indent=2))


def _plugins(path: Path) -> dict[str, type[BaseModel] | None] | None:
    from hub.loader.compose import compose
    from hub.settings.load import load
    from hub.settings.problem import ConfigError

    try:
        return compose(load(path, os.environ), "dev").settings_models
    except ConfigError:
        warn(f"{path} has mistakes (`hub check` tells them); the schema says nothing of plugins' settings.")
        return None
