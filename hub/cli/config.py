"""`hub config`: a configuration to begin with, and the one that is in force."""

from __future__ import annotations

import json
import os
from pathlib import Path

import click

from hub.cli.configuration import config_option, debug_option, json_option, needed
from hub.cli.outcome import INVALID


@click.group("config", invoke_without_command=True, epilog="Example: hub config > hub.yaml")
@debug_option
@click.pass_context
def command(ctx: click.Context) -> None:
    """Print a configuration with every option, its default and its sentence."""
    if ctx.invoked_subcommand is not None:
        return
    from hub.settings.example import example_yaml

    click.echo(example_yaml(), nl=False)


@command.command("show", epilog="Example: hub config show --origin")
@config_option
@click.option("--origin", is_flag=True, help="Tell of each value where it comes from.")
@json_option
@debug_option
def show(config: Path | None, *, origin: bool, as_json: bool) -> int:
    """Print the configuration in force: the file, what the environment changes in it, and the defaults.

    Secrets are masked (`***`), and API keys are shown as their hash, which hub.yaml takes in the place of the key.
    What it prints can be a hub.yaml again once the masked values are put in. Where it comes from is a place in a file,
    an environment variable, or `default`. A configuration with mistakes is told of as by `hub check`, with status 3.
    """
    from hub.cli.check import report
    from hub.loader.compose import compose
    from hub.settings.in_force import as_yaml, in_force, plain, with_origins
    from hub.settings.load import load
    from hub.settings.problem import ConfigError

    path = needed(config)
    loaded = load(path, os.environ)
    try:
        blueprint = compose(loaded, "check")
    except ConfigError as error:
        if not as_json:
            raise
        click.echo(json.dumps(report(path, error.problems), indent=2))
        return INVALID
    tree = in_force(loaded, {plugin.name: plugin.settings for plugin in blueprint.plugins})
    if as_json:
        click.echo(json.dumps(with_origins(tree) if origin else plain(tree), indent=2))
    else:
        click.echo("\n".join(as_yaml(tree, origins=origin)))
    return 0
