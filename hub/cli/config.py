"""`hub config`: a configuration to begin with."""

from __future__ import annotations

import click

from hub.cli.configuration import debug_option


@click.command("config", epilog="Example: hub config > hub.yaml")
@debug_option
def command() -> None:
    """Print a configuration with every option, its default and its sentence."""
    from hub.settings.example import example_yaml

    click.echo(example_yaml(), nl=False)
