"""The command `hub`: parses and prints, and decides nothing that the parts below could decide.

Standard output is data, standard error is talk. Exit statuses: 0 done, 1 failed, 2 wrong usage, 3 the configuration is
invalid, 4 the server cannot be reached, 5 the outcome is unknown, 130 interrupted.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from typing import Any, Final

import click
from click.exceptions import NoSuchCommand

from hub import __version__
from hub.cli.outcome import outcome
from hub.cli.talk import style

SECTIONS: Final = {
    "Start": {
        "dev": "Run everything from this folder, to develop",
        "serve": "Run a node by its configuration",
    },
    "Inspect": {
        "check": "Find everything wrong with a configuration",
        "plugins": "List plugins, or begin a new one",
        "config": "Print a configuration with every option",
        "schema": "Print JSON Schemas, for editors",
        "explain": "Tell who may do what to a topic, and why",
    },
    "Use": {
        "publish": "Publish on a running hub",
        "subscribe": "Print what is published on a running hub",
        "revoke": "Take back tokens on a running hub",
    },
    "Keep": {
        "migrate": "Bring the database up to date",
        "token": "Make and explain tokens and secrets",
    },
}
"""The commands with their sentences. Each lies in the module of its name, which is imported when it is called."""

EXAMPLES: Final = (
    "hub dev",
    "hub config > hub.yaml && hub check",
    "hub migrate && hub serve --port 9000",
    'hub publish lobby \'{"text": "hi"}\'',
    "hub subscribe lobby",
    "hub token create --sub ann --topics 'chat:*' --ttl 1h",
)


class Commands(click.Group):
    """The group of all commands, none of which is imported before it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Their names, as the help shows them."""
        return [name for commands in SECTIONS.values() for name in commands]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Imports a command; None for a name that is none."""
        if cmd_name not in self.list_commands(ctx):
            return None
        command: click.Command = importlib.import_module(f"hub.cli.{cmd_name}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Finds the command meant; an unknown one is answered with the nearest."""
        if args and not args[0].startswith("-") and args[0] not in self.list_commands(ctx):
            raise NoSuchCommand(args[0], possibilities=self.list_commands(ctx), ctx=ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The commands by what they are for."""
        for section, commands in SECTIONS.items():
            with formatter.section(style(section, bold=True)):
                formatter.write_dl(list(commands.items()), col_max=12)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Some lines to try."""
        with formatter.section(style("Examples", bold=True)):
            for example in EXAMPLES:
                formatter.write(f"{'':{formatter.current_indent}}{example}\n")


@click.group(
    cls=Commands, context_settings={"help_option_names": ["--help", "-h"]}, invoke_without_command=True
)
@click.version_option(__version__, "--version", "-V", prog_name="hub")
@click.pass_context
def commands(ctx: click.Context) -> None:
    """A self-hosted event hub: topics over WebSocket, SSE and HTTP."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def run(arguments: Sequence[str]) -> int:
    """Runs one command line and returns the exit status; whatever goes wrong is told on standard error."""

    def work() -> Any:
        return commands.main(list(arguments), prog_name="hub", standalone_mode=False)

    return outcome(work)


def main() -> None:
    """The entry point."""
    sys.exit(run(sys.argv[1:]))
