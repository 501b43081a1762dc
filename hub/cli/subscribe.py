"""`hub subscribe`: what is published on a running hub, as it comes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from hub.cli.configuration import debug_option, json_option, token_option, url_option

if TYPE_CHECKING:
    from hub.cli.listening import Heard


@click.command("subscribe", epilog="Example: hub subscribe lobby news:sport")
@click.argument("topics", nargs=-1, required=True)
@url_option
@token_option
@click.option(
    "--since", metavar="OFFSET[:EPOCH]", help="Begin behind this position of the history; 0 is its start."
)
@json_option
@debug_option
def command(
    topics: tuple[str, ...], *, url: str, token: str | None, since: str | None, as_json: bool
) -> None:
    """Print what is published on topics of a running hub, one line each, until Ctrl-C.

    A line is the payload; with several topics, the topic stands before it. With --json it is an object with topic,
    data, offset and epoch. When the connection breaks it is made again, and what was missed is printed.
    """
    import asyncio

    from hub.cli import remote
    from hub.cli.listening import Listener
    from hub.errors import HubError

    base = remote.check_url(url)
    if since is not None and not since.partition(":")[0].isdecimal():
        raise click.BadParameter("a position is OFFSET or OFFSET:EPOCH", param_hint="'--since'")

    async def listen_to_all() -> None:
        async with asyncio.TaskGroup() as group:
            for topic in dict.fromkeys(topics):
                listener = Listener(base, topic, token, since or "", _printer(topics, as_json))
                group.create_task(listener.run())

    try:
        asyncio.run(listen_to_all())
    except* HubError as errors:
        raise errors.exceptions[0] from None


def _printer(topics: tuple[str, ...], as_json: bool) -> Callable[[Heard], None]:
    def hear(heard: Heard) -> None:
        text = heard.as_json() if as_json else heard.text
        click.echo(text if as_json or len(topics) == 1 else f"{heard.topic} {text}")

    return hear
