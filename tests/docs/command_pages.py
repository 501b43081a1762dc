"""The reference of the command line, from click."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import click

from hub.cli import SECTIONS, commands
from tests.docs.markdown import code, table

COMMON = ("debug",)
"""Options of every command, told once in the page's prose."""


def every_command() -> Iterator[tuple[str, click.Command]]:
    """The commands as they are typed, each group before its own."""
    top = click.Context(commands, info_name="hub")
    for name in commands.list_commands(top):
        command = commands.get_command(top, name)
        if command is not None:
            yield from _with_those_below(f"hub {name}", command)


def _with_those_below(typed: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    yield typed, command
    if isinstance(command, click.Group):
        for name, below in command.commands.items():
            yield from _with_those_below(f"{typed} {name}", below)


def command_list() -> str:
    """The commands with their sentences, by what they are for."""
    rows = [
        (section if first else "", f"[`hub {name}`](#hub-{name})", sentence)
        for section, names in SECTIONS.items()
        for first, (name, sentence) in _firsts(names)
    ]
    return table(("", "command", ""), rows)


def _firsts(names: dict[str, str]) -> Iterator[tuple[bool, tuple[str, str]]]:
    return ((number == 0, item) for number, item in enumerate(names.items()))


def command_sections() -> str:
    """A heading for each command, with its help and its options."""
    return "\n\n".join(_section(typed, command) for typed, command in every_command())


def _section(typed: str, command: click.Command) -> str:
    context = click.Context(command, info_name=typed)
    usage = " ".join(command.collect_usage_pieces(context))
    parts = [f"## `{typed}`", f"```text\n{typed} {usage}\n```", _help(command)]
    shown = [
        each for each in command.params if not getattr(each, "hidden", False) and each.name not in COMMON
    ]
    if shown:
        parts.append(table(("option", "default", ""), [_row(each, context) for each in shown]))
    if command.epilog:
        parts.append(f"Example: `{command.epilog.removeprefix('Example: ')}`")
    return "\n\n".join(parts)


def _help(command: click.Command) -> str:
    return re.sub(r"(?<!\n)\n(?!\n)", " ", inspect.cleandoc(command.help or ""))


def _row(parameter: click.Parameter, context: click.Context) -> tuple[str, str, str]:
    if not isinstance(parameter, click.Option):
        name = (parameter.name or "").upper()
        default = code(str(parameter.default)) if isinstance(parameter.default, str | Path) else ""
        return code(name), default, "Required." if parameter.required else ""
    names = ", ".join(code(each) for each in (*parameter.opts, *parameter.secondary_opts))
    if not parameter.is_flag:
        names += f" {code(parameter.make_metavar(context))}"
    extra = parameter.get_help_extra(context)
    default = extra.get("default", "")
    told = parameter.help or ""
    if parameter.required:
        told += " Required."
    if "envvars" in extra and "[env var:" not in told:
        told += f" In the environment: {', '.join(map(code, extra['envvars']))}."
    told = re.sub(r"  \[env var: (\w+)\]", r" In the environment: `\1`.", told)
    return names, code(default) if default else "", told
