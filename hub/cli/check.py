"""`hub check`: everything that is wrong with a configuration, at once."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hub.cli.configuration import config_option, debug_option, found, json_option, needed
from hub.cli.outcome import INVALID
from hub.cli.talk import count, say

if TYPE_CHECKING:
    from hub.loader.blueprint import Blueprint
    from hub.settings.load import Loaded
    from hub.settings.model import AuthSettings
    from hub.settings.problem import Problem


@click.command("check", epilog="Example: hub check --config hub.yaml")
@config_option
@json_option
@click.option("--strict", is_flag=True, help="Count warnings as mistakes.")
@click.option("--dev", is_flag=True, hidden=True)
@debug_option
def command(config: Path | None, *, as_json: bool, strict: bool, dev: bool) -> int:
    """Find everything that is wrong with a configuration.

    Takes the way of `hub serve` up to where it would start: reads the file and what it names, finds the plugins and
    imports every handler. Each mistake is one line with file, line and column, what was found, and the remedy. Ends
    with status 3 if there is any.
    """
    from hub.loader.compose import compose
    from hub.loader.dev import load_dev
    from hub.settings.load import load
    from hub.settings.problem import ConfigError

    path = found(config) if dev else needed(config)
    loaded = load_dev(path, os.environ) if dev else load(path, os.environ)
    problems: tuple[Problem, ...] = ()
    blueprint = None
    try:
        blueprint = compose(loaded, "dev" if dev else "check")
    except ConfigError as error:
        problems = error.problems
    warnings = () if blueprint is None or dev else _warnings(loaded)
    if as_json:
        click.echo(json.dumps(report(path, problems, warnings, blueprint), indent=2))
    else:
        _tell(path, problems, warnings, blueprint)
    return INVALID if problems or (strict and warnings) else 0


def _tell(
    path: Path | None,
    problems: tuple[Problem, ...],
    warnings: tuple[Problem, ...],
    blueprint: Blueprint | None,
) -> None:
    for problem in problems:
        say(str(problem))
    for warning in warnings:
        say(f"warning: {warning}")
    if blueprint is None:
        say(f"{count(len(problems), 'problem')} found.")
    else:
        counted = [count(number, noun.removesuffix("s")) for noun, number in _counts(blueprint).items()]
        click.echo(f"{path}: ok ({', '.join(counted)})")


def report(
    path: Path | None,
    problems: tuple[Problem, ...],
    warnings: tuple[Problem, ...] = (),
    blueprint: Blueprint | None = None,
) -> dict[str, Any]:
    """What `--json` prints of a configuration: its mistakes, or what it comes to."""
    return {
        "config": str(path) if path else None,
        "ok": not problems,
        "problems": [_as_json(problem) for problem in problems],
        "warnings": [_as_json(warning) for warning in warnings],
        **(_counts(blueprint) if blueprint else {}),
    }


def _as_json(problem: Problem) -> dict[str, Any]:
    return {
        "code": str(problem.code),
        "source": problem.place.source,
        "line": problem.place.line,
        "column": problem.place.column,
        "path": problem.path,
        "message": problem.message,
        "remedy": problem.remedy,
    }


def _counts(blueprint: Blueprint) -> dict[str, int]:
    table = blueprint.table
    rules = [rule for _, rule in table.topics]
    handlers = sum(len(rule.subscribe) + len(rule.unsubscribe) + len(rule.publish) for rule in rules)
    handlers += sum(map(len, (table.connect, table.disconnect, table.message, table.start, table.stop)))
    return {
        "topics": len(rules),
        "plugins": len(blueprint.plugins),
        "handlers": handlers + len(table.rpc) + len(table.schedules),
    }


def _warnings(loaded: Loaded) -> tuple[Problem, ...]:
    """What works and is seldom meant for others than oneself."""
    from hub.settings.problem import ConfigCode, Fault
    from hub.settings.verification import fetches_keys

    settings = loaded.settings
    found: list[tuple[tuple[str | int, ...], Fault]] = []
    if settings.auth.jwt.insecure_secret:
        remedy = "Leave it out, and give a random secret: `hub token secret` makes one."
        found.append(
            (
                ("auth", "jwt", "insecure_secret"),
                Fault(ConfigCode.WEAK_SECRET, "weak secrets are accepted", remedy),
            )
        )
    if fetches_keys(settings.auth.jwt) and settings.auth.jwt.audience is None:
        name = "discovery" if settings.auth.jwt.discovery else "jwks_url"
        fault = Fault(
            ConfigCode.MISSING_SETTING,
            "tokens that this issuer made for other applications are accepted",
            "Set auth.jwt.audience to the `aud` of those that it makes for the hub.",
        )
        found.append((("auth", "jwt", name), fault))
    for loc, until, remedy in _ending_keys(settings.auth):
        if until is not None and until <= time.time():
            found.append(((*loc, "until"), Fault(ConfigCode.WRONG_VALUE, "the key has ended", remedy)))
    for number, origin in enumerate(settings.server.allowed_origins):
        if origin == "*":
            fault = Fault(
                ConfigCode.WRONG_VALUE,
                "pages of every site may connect as their visitor",
                "Name the origins of your own pages.",
            )
            found.append((("server", "allowed_origins", number), fault))
    return tuple(fault.at(loaded.document.value_place(loc), loc) for loc, fault in found)


def _ending_keys(auth: AuthSettings) -> Iterator[tuple[tuple[str | int, ...], float | None, str]]:
    """Each key that may have an end: where it stands, its end, and what to do once that has passed."""
    remedy = "Take it out: no token of it is accepted."
    if auth.jwt.previous is not None:
        yield ("auth", "jwt", "previous"), auth.jwt.previous.until, remedy
    for kid, key in auth.jwt.keys.items():
        yield ("auth", "jwt", "keys", kid), key.until, remedy
    for name, api_key in auth.api_keys.items():
        yield ("auth", "api_keys", name), api_key.until, "Take it out: it opens nothing any more."
