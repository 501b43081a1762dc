"""`hub dev`: everything from one folder, with nothing to set up, and anew whenever a source changes."""

from __future__ import annotations

from pathlib import Path

import click

from hub.cli.configuration import config_option, debug_option, found
from hub.cli.outcome import FAILED, INVALID, outcome
from hub.cli.talk import say


@click.command("dev", epilog="Example: hub dev --port 8123")
@config_option
@click.option("--host", help="Address to listen on, in place of server.host.")
@click.option(
    "--port", type=click.IntRange(0, 65_535), help="Port, in place of server.port; 0 takes a free one."
)
@click.option(
    "--reload/--no-reload", default=True, help="Start anew when a source changes, which is the default."
)
@click.option("--inherit", hidden=True)
@debug_option
def command(
    config: Path | None, host: str | None, port: int | None, reload: bool, inherit: str | None
) -> int:
    """Run everything from this folder, to develop.

    Needs no configuration: without one every installed plugin is on, anybody may publish on any topic, and a secret
    and a database are kept in the folder .hub. With one, only what it leaves open is filled in so.

    When the configuration, a plugin or a handler changes, the hub starts anew on the same port. A mistake is told,
    and the running hub stays as it was.
    """
    from hub import log
    from hub.cli.banner import welcome
    from hub.serving.develop import DevHub, Wishes
    from hub.serving.inherit import Inheritance, Succession

    log.configure("info", "text")
    succession = Succession(None if inherit is None else Inheritance.parse(inherit))
    hub = DevHub(Wishes(found(config), host, port), succession, lambda serving: say(welcome(serving)), say)
    if inherit is None:
        return hub.run(reload=reload)
    status = outcome(lambda: hub.run(reload=True))
    if status in {FAILED, INVALID}:
        hub.wait_for_mending()
    return status
