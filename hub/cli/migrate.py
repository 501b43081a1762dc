"""`hub migrate`: brings the database to what the hub and its plugins need."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hub.cli.configuration import config_option, debug_option, json_option, needed
from hub.cli.outcome import FAILED
from hub.cli.talk import fail, say, table

if TYPE_CHECKING:
    from hub.store.migrator import Migrator, Status


@click.command("migrate", epilog="Example: hub migrate --check")
@config_option
@click.option(
    "--check", is_flag=True, help="Change nothing; tell what is missing, and end with 1 if anything is."
)
@json_option
@debug_option
def command(config: Path | None, *, check: bool, as_json: bool) -> int:
    """Bring the database up to date: the hub's tables and those of each plugin that is on.

    Prints each revision as it was carried out. May be run by several at once: one does the work, the others wait.
    Make a backup first; there is no way down.
    """
    from hub import log
    from hub.app import owners
    from hub.loader.compose import compose
    from hub.settings.load import load
    from hub.store.engine import Database
    from hub.store.migrator import Migrator

    blueprint = compose(load(needed(config), os.environ), "serve")
    log.configure("warning", blueprint.settings.log.format)

    async def work() -> int:
        database = Database(blueprint.settings.database.url)
        migrator = Migrator(database, owners(blueprint))
        try:
            return await (_check(migrator, as_json) if check else _upgrade(migrator, as_json))
        finally:
            await database.close()

    return asyncio.run(work())


async def _upgrade(migrator: Migrator, as_json: bool) -> int:
    applied = await migrator.upgrade()
    if as_json:
        click.echo(json.dumps([each._asdict() for each in applied]))
    for each in () if as_json else applied:
        click.echo(f"{each.owner} {each.revision}")
    say("The database is up to date." if applied else "The database was up to date already.")
    return 0


async def _check(migrator: Migrator, as_json: bool) -> int:
    found = await migrator.status()
    if as_json:
        click.echo(json.dumps([each._asdict() for each in found]))
    else:
        click.echo("\n".join(_rows(found)))
    if all(each.ok for each in found):
        return 0
    fail("the database is not up to date. Run `hub migrate`, after a backup. (E301)")
    return FAILED


def _rows(found: Sequence[Status]) -> list[str]:
    head = ("OWNER", "IS AT", "NEEDS", "")
    return table(
        head,
        [
            (each.owner, each.current or "-", each.head or "-", "ok" if each.ok else "behind")
            for each in found
        ],
    )
