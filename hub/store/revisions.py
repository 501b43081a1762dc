"""One owner's history of revisions: read from its folder, carried out on a connection, compared with its models.

Alembic does the work without an `env.py`: what that file would say for every owner alike is said here.
"""

from __future__ import annotations

import textwrap
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Literal

from hub.errors import StoreError
from hub.store.owners import VERSION_TABLES, Owner, owner_of
from hub.tables import NAMING_CONVENTION

if TYPE_CHECKING:
    from alembic.autogenerate.api import AutogenContext
    from alembic.runtime.migration import MigrationContext, RevisionStep
    from alembic.script import ScriptDirectory
    from sqlalchemy import Connection


class Revisions:
    """The revisions in an owner's folder; `head` is the newest, None when there are none.

    Raises StoreError when the folder or a file in it cannot be used, or when two revisions claim to be the newest.
    """

    def __init__(self, owner: Owner) -> None:
        from alembic.script import ScriptDirectory

        self.owner = owner
        folder = owner.migrations.resolve()
        if not folder.is_dir():
            raise StoreError(f"migrations of {owner.name}: {folder} is no folder")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", UserWarning)  # so does Alembic tell of a revision found twice
                self._script: ScriptDirectory = ScriptDirectory(folder, version_locations=[folder])
                self._known = {script.revision for script in self._script.walk_revisions()}
                self.head: str | None = self._script.get_current_head()
        except Exception as error:
            raise StoreError(
                f"migrations of {owner.name} in {folder}: {type(error).__name__}: {error}"
            ) from error

    def knows(self, revision: str) -> bool:
        """Whether the folder has that revision."""
        return revision in self._known

    def current(self, connection: Connection) -> str | None:
        """The revision that the database is at, None before the first."""
        return ", ".join(sorted(self._context(connection).get_current_heads())) or None

    def upgrade(self, connection: Connection, names: Iterable[str], applied: Callable[[str], None]) -> None:
        """Carries out what is missing, each revision in a transaction of its own, and reports each to `applied`.

        `names` are all owners, by which a table's owner is told. Raises StoreError with the owner and the revision that
        failed; the database then is as the revision before left it.
        """
        from alembic.operations import Operations

        if self.head is None or self.current(connection) == self.head:
            return
        connection.rollback()  # Alembic begins transactions of its own only when none is under way
        running = self.head
        tables: set[str] = set()

        def steps(current: Any, _: MigrationContext) -> Iterator[RevisionStep]:
            nonlocal running, tables
            for step in self._script._upgrade_revs("head", current):  # noqa: SLF001  (as alembic.command does)
                running = step.info.up_revision_id or running
                tables = _tables(connection)
                yield step
                applied(running)  # committed by now

        def before_commit(**_: Any) -> None:
            _check_names(self.owner.name, names, _tables(connection) - tables)
            _check_references(connection)

        context = self._context(connection, fn=steps, on_version_apply=[before_commit])
        try:
            with Operations.context(context):
                context.run_migrations()
        except Exception as error:
            connection.rollback()
            raise StoreError(f"migration {running} of {self.owner.name} failed: {_reason(error)}") from error

    def diff(self, connection: Connection, names: Iterable[str]) -> str:
        """What a next revision must do for the tables to be as the models say, "" when they are.

        Python that uses `op`, `sa` and, for JSONB, `postgresql` (SQLAlchemy's dialect). Raises StoreError where there
        are no models, or where one's table does not carry the owner's name.
        """
        from alembic.autogenerate import produce_migrations, render_python_code

        metadata = self.owner.metadata
        if metadata is None:
            raise StoreError(f"{self.owner.name} has no models to compare its tables with")
        stored = _tables(connection)
        everyone = {
            *names,
            *(name.removeprefix(VERSION_TABLES) for name in stored if name.startswith(VERSION_TABLES)),
        }
        _check_names(self.owner.name, everyone, metadata.tables)

        def is_ours(name: str | None, kind: str, _: Any) -> bool:
            return kind != "table" or owner_of(name or "", everyone) == self.owner.name

        context = self._context(connection, include_name=is_ours)
        changes = produce_migrations(context, metadata).upgrade_ops
        if changes is None or changes.is_empty():
            return ""
        return _body(
            render_python_code(changes, render_as_batch=True, render_item=_render, migration_context=context)
        )

    def _context(self, connection: Connection, **options: Any) -> MigrationContext:
        from alembic.runtime.migration import MigrationContext
        from sqlalchemy import MetaData

        return MigrationContext.configure(
            connection,
            opts={
                "version_table": self.owner.version_table,
                "transaction_per_migration": True,
                "transactional_ddl": True,  # SQLite can, when a transaction is begun by name
                "target_metadata": MetaData(naming_convention=dict(NAMING_CONVENTION)),
                **options,
            },
        )


def _tables(connection: Connection) -> set[str]:
    from sqlalchemy import inspect

    return set(inspect(connection).get_table_names())


def _check_names(owner: str, names: Iterable[str], tables: Iterable[str]) -> None:
    for table in sorted(tables):
        if owner_of(table, names) != owner:
            raise StoreError(f"table {table} does not belong to {owner}; its tables are called {owner}_…")


def _check_references(connection: Connection) -> None:
    """SQLite does not watch foreign keys while tables are rebuilt, so they are checked before the commit."""
    if connection.dialect.name == "sqlite":
        broken = {str(row[0]) for row in connection.exec_driver_sql("PRAGMA foreign_key_check")}
        if broken:
            raise StoreError(f"rows of {', '.join(sorted(broken))} refer to rows that are gone")


def _reason(error: Exception) -> str:
    lines = str(getattr(error, "orig", None) or error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def _render(kind: str, item: Any, _: AutogenContext) -> str | Literal[False]:
    """SQLModel's own string type is a plain one in a migration, which so does not depend on SQLModel."""
    if kind == "type" and type(item).__name__ == "AutoString":
        return f"sa.String(length={item.length})" if item.length else "sa.String()"
    return False


def _body(code: str) -> str:
    """Takes Alembic's remarks away, and an argument that it writes in a way that does not run."""
    lines = (line for line in code.splitlines() if line.strip()[:5] != "# ###")
    return textwrap.dedent("\n".join(lines)).strip().replace("JSONB(astext_type=Text())", "JSONB()")
