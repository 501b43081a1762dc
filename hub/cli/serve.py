"""`hub serve`: a node, or several on one machine, by its configuration."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from hub.cli.configuration import config_option, debug_option, needed


@click.command("serve", epilog="Example: hub serve --config hub.yaml --port 9000")
@config_option
@click.option("--host", help="Address to listen on, in place of server.host.")
@click.option(
    "--port", type=click.IntRange(0, 65_535), help="Port, in place of server.port; 0 takes a free one."
)
@click.option("--workers", type=click.IntRange(1, 256), help="Processes, in place of server.workers.")
@click.option("--migrate", is_flag=True, help="Bring the database up to date first.")
@click.option("--inherit", hidden=True)
@debug_option
def command(config: Path | None, *, migrate: bool, inherit: str | None, **given: Any) -> int:
    """Run a node by its configuration.

    The configuration is checked as by `hub check`. The database has to be up to date (see `hub migrate`); only a new
    SQLite file is set up without being asked.

    With several workers each is a process and a node of its own, linked by the broker. They share the port and the
    internal port; health and metrics are those of all, whichever of them is asked.

    SIGTERM and SIGINT stop in order: readiness turns to 503, clients are sent away over server.drain, and the exit
    status is 0. A second signal cuts this short.
    """
    from hub import log
    from hub.loader.compose import compose
    from hub.serving.inherit import Inheritance
    from hub.serving.run import serve, work
    from hub.settings.load import load

    path = needed(config)
    server = {key: value for key, value in given.items() if value is not None}
    blueprint = compose(load(path, os.environ, overlay={"server": server}), "serve")
    log.configure(blueprint.settings.log.level, blueprint.settings.log.format)
    if inherit is not None:
        return work(blueprint, Inheritance.parse(inherit))
    options = [part for key, value in server.items() for part in (f"--{key}", str(value))]
    return serve(blueprint, ["serve", "--config", str(path), *options], migrate=migrate)
