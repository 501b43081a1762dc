"""Who owns tables: the core and each plugin, with names, revisions and models of their own.

Each has its own history in a version table of its own, so that a plugin that was removed, or whose history is broken,
stops nobody else. What takes the place of dependencies between histories is the order: the core first, then each
plugin after those it requires.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from hub.errors import StoreError

if TYPE_CHECKING:
    from sqlalchemy import MetaData

CORE = "hub"
VERSION_TABLES = "alembic_version_"

_TAKEN = ("alembic", "sqlite", "pg")  # prefixes of tables that Alembic and the databases keep for themselves


@dataclass(frozen=True, slots=True)
class Owner:
    """One owner of tables.

    `name` is the plugin's; its tables begin with it and an underscore. `migrations` is the folder of its revisions.
    `metadata` describes its models; only `Migrator.diff` needs it, so None spares the import of SQLModel. Of `requires`
    (names of owners that migrate before), those without tables may be named too.
    """

    name: str
    migrations: Path
    metadata: MetaData | None = None
    requires: tuple[str, ...] = ()

    @property
    def version_table(self) -> str:
        """The table that holds the owner's revision."""
        return VERSION_TABLES + self.name


def core() -> Owner:
    """The hub itself, to be put before the plugins' owners."""
    return Owner(CORE, Path(__file__).parent / "migrations")


def in_order(owners: Iterable[Owner]) -> tuple[Owner, ...]:
    """Orders owners as they migrate: the core, then each after those it requires, else as given.

    Raises StoreError for a name given twice or kept for the databases, and for owners that require one another.
    """
    named: dict[str, Owner] = {}
    for owner in owners:
        if owner.name in _TAKEN:
            raise StoreError(
                f"a plugin that has tables cannot be called {owner.name}; tables {owner.name}_* are taken"
            )
        if owner.name in named:
            raise StoreError(f"two owners of tables are called {owner.name}; plugins cannot share that name")
        named[owner.name] = owner
    done: dict[str, Owner] = {}
    for name in sorted(named, key=lambda name: name != CORE):
        _visit(name, named, done, ())
    return tuple(done.values())


def _visit(name: str, named: dict[str, Owner], done: dict[str, Owner], above: tuple[str, ...]) -> None:
    if name in above:
        raise StoreError(f"plugins require one another: {' > '.join((*above[above.index(name) :], name))}")
    if name in done or name not in named:
        return
    for required in named[name].requires:
        _visit(required, named, done, (*above, name))
    done[name] = named[name]


def owner_of(table: str, names: Iterable[str]) -> str | None:
    """Which of the owners a table belongs to by its name; the longest fits (`chat_bots_x`: `chat_bots`, not `chat`)."""
    return max((name for name in names if table.startswith(f"{name}_")), key=len, default=None)


def metadata_of(module: ModuleType) -> MetaData:
    """The MetaData of the tables that a plugin's models module declares.

    Raises StoreError when there are none, or when they do not share one MetaData of the plugin's own.
    """
    from sqlmodel import SQLModel

    tables = [getattr(model, "__table__", None) for model in vars(module).values() if isinstance(model, type)]
    found = {id(table.metadata): table.metadata for table in tables if table is not None}
    if len(found) != 1:
        what = "declares no tables" if not found else "spreads its tables over several MetaData"
        raise StoreError(f"{module.__name__} {what}; give all models one base class (see hub.tables)")
    metadata: MetaData = next(iter(found.values()))
    if metadata is SQLModel.metadata:
        raise StoreError(
            f"{module.__name__} uses SQLModel's shared MetaData; give it a base class (see hub.tables)"
        )
    return metadata
