"""`hub plugins`: what is on, what is installed, and a new one to begin with."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hub.cli.configuration import config_option, debug_option, found, json_option
from hub.cli.talk import say, table

if TYPE_CHECKING:
    from hub.manifest import Manifest
    from hub.settings.load import Loaded


@dataclass(frozen=True, slots=True)
class Row:
    """A plugin as the list shows it.

    `state` is on or off (by the configuration), installed (and not named there) or broken, and then `description` says
    why.
    """

    name: str
    version: str
    source: str
    state: str
    topics: int
    handlers: int
    description: str


@click.group("plugins", invoke_without_command=True, epilog="Example: hub plugins --config hub.yaml")
@config_option
@json_option
@debug_option
@click.pass_context
def command(ctx: click.Context, config: Path | None, *, as_json: bool) -> None:
    """List plugins: those that the configuration switches on or off, and those that are only installed."""
    if ctx.invoked_subcommand is not None:
        return
    from hub.settings.load import load

    path = found(config)
    rows = _rows(load(path, os.environ) if path else None)
    if as_json:
        click.echo(json.dumps([asdict(row) for row in rows], indent=2))
        return
    head = ("NAME", "VERSION", "SOURCE", "STATE", "TOPICS", "HANDLERS")
    cells = [(r.name, r.version or "-", r.source, r.state, str(r.topics), str(r.handlers)) for r in rows]
    click.echo("\n".join(table(head, cells)))
    for row in rows:
        if row.state == "broken":
            say(f"\n{row.name} is broken: {row.description}")
    idle = [row.name for row in rows if row.state == "installed"]
    if idle:
        say("\nTo switch one on, add its line under `plugins:` of the configuration:")
        say("\n".join(f"  {name}: {{}}" for name in idle))


@command.command("new")
@click.argument("name")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False), default=Path("plugins"))
@debug_option
def new(name: str, folder: Path) -> None:
    """Begin a plugin: writes FOLDER/NAME with a manifest, a handler and a test, which all work."""
    from hub.cli.scaffold import misnamed, write

    wrong = misnamed(name)
    if wrong:
        raise click.UsageError(wrong)
    home = folder / name
    try:
        written = write(name, home)
    except FileExistsError as error:
        raise click.UsageError(f"{home} exists already; choose another name or folder.") from error
    for path in written:
        click.echo(str(path))
    use = home.as_posix() if home.is_absolute() else f"./{home.as_posix()}"
    say(f"\nSwitch it on in hub.yaml:\n\n  plugins:\n    {name}: {{use: {use}}}")
    say(f"\nThen `hub dev`, and `python -m pytest {home}` to test it.")


def _rows(loaded: Loaded | None) -> list[Row]:
    """What the configuration names and what is installed; only manifests are read, no code is run."""
    from hub.loader.discovery import installed

    named = loaded.remains.plugins if loaded else {}
    states = dict.fromkeys(installed(), "installed")
    states |= {name: "on" if given.enabled else "off" for name, given in named.items()}
    folder = loaded.folder if loaded else Path()
    return [
        _row(name, states[name], named[name].use if name in named else None, folder)
        for name in sorted(states)
    ]


def _row(name: str, state: str, use: str | None, folder: Path) -> Row:
    from hub.loader.discovery import in_folder, in_packages, installed
    from hub.loader.enabled import read_manifest
    from hub.settings.problem import Fault
    from hub.settings.report import Report

    source = in_folder(name, use, folder) if use else in_packages(name, installed(), folder)
    if isinstance(source, Fault):
        return Row(name, "", use or "-", "broken", 0, 0, source.message)
    report = Report()
    candidate = read_manifest(source, report)
    if candidate is None or report.problems:
        return Row(name, source.version, source.origin, "broken", 0, 0, str(report.problems[0]))
    manifest = candidate.manifest
    version = manifest.version or source.version
    return Row(
        name, version, source.origin, state, len(manifest.topics), _handlers(manifest), manifest.description
    )


def _handlers(manifest: Manifest) -> int:
    events = [getattr(manifest.handlers, event) for event in type(manifest.handlers).model_fields]
    for topic in manifest.topics.values():
        if topic.handlers is not None:
            events += [getattr(topic.handlers, event) for event in type(topic.handlers).model_fields]
    return sum(len(names or ()) for names in events) + len(manifest.rpc) + len(manifest.schedule)
