"""The bundled plugins' models and migrations agree, in both databases."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest

from hub.store.engine import Database
from hub.store.migrator import Migrator
from hub.store.owners import Owner, core, metadata_of

PLUGINS = Path(__file__).parents[2] / "plugins"
WITH_TABLES = sorted(path.parent.name for path in PLUGINS.glob("*/models.py"))


def owner(package: str) -> Owner:
    metadata = metadata_of(import_module(f"{package}.models"))
    return Owner(package.removeprefix("hub_"), PLUGINS / package / "migrations", metadata)


@pytest.mark.parametrize("package", WITH_TABLES)
async def test_migrations_make_the_tables_that_the_models_say(database: Database, package: str) -> None:
    migrator = Migrator(database, [core(), *map(owner, WITH_TABLES)])
    await migrator.upgrade()
    assert await migrator.diff(package.removeprefix("hub_")) == ""
