"""Owners of tables with migrations that a test writes, and the databases to try them on."""

from __future__ import annotations

import textwrap
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import MetaData, inspect, text

from hub.store.engine import Database
from hub.store.owners import Owner

HEAD = "import sqlalchemy as sa\nfrom alembic import op\nfrom sqlalchemy.dialects import postgresql\n\n"
CREATE_ROOM = 'op.create_table("chat_room", sa.Column("id", sa.Integer, primary_key=True))'
CREATE_NOTE = 'op.create_table("notes_note", sa.Column("id", sa.Integer, primary_key=True))'
ADD_NAME = 'op.add_column("chat_room", sa.Column("name", sa.String(), nullable=True))'


async def tables(database: Database) -> set[str]:
    async with database.connection() as connection:
        return set(await connection.run_sync(lambda sync: inspect(sync).get_table_names()))


async def execute(database: Database, *statements: str) -> Any:
    async with database.connection() as connection:
        for statement in statements:
            result = await connection.execute(text(statement))
        rows = result.fetchall() if result.returns_rows else None
        await connection.commit()
        return rows


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgresql":
        postgres: str = request.getfixturevalue("postgres_url")
        return postgres
    return f"sqlite:///{tmp_path}/hub.db"


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    database = Database(database_url)
    yield database
    await database.close()


@pytest.fixture
def make_owner(tmp_path: Path) -> Callable[..., Owner]:
    """Makes an owner with one revision, 0001 and on, per given body of `upgrade`; a second call adds to it."""

    def owner(
        name: str, *bodies: str, requires: tuple[str, ...] = (), metadata: MetaData | None = None
    ) -> Owner:
        folder = tmp_path / name / "migrations"
        folder.mkdir(parents=True, exist_ok=True)
        start = len(list(folder.glob("m*.py")))
        for number, body in enumerate(bodies, start + 1):
            before = f'"{number - 1:04}"' if number > 1 else "None"
            source = f'{HEAD}revision = "{number:04}"\ndown_revision = {before}\n\n\n'
            source += f"def upgrade():\n{textwrap.indent(textwrap.dedent(body), '    ')}\n"
            (folder / f"m{number:04}_step.py").write_text(source)
        return Owner(name, folder, metadata, requires)

    return owner
