from __future__ import annotations

import os
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.orm import registry
from sqlmodel import Field, SQLModel, col, select

from hub.errors import StoreError
from hub.store.engine import Database
from tests.services.postgres import PASSWORD, PostgresServer


class Base(SQLModel, registry=registry()):
    pass


class Note(Base, table=True):
    __tablename__ = "note"
    id: int | None = Field(default=None, primary_key=True)
    text: str


@pytest.fixture(params=["memory", "file", "postgresql"])
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Database]:
    if request.param == "postgresql":
        url: str = request.getfixturevalue("postgres_url")
    else:
        url = "sqlite://" if request.param == "memory" else f"sqlite:///{tmp_path}/hub.db"
    database = Database(url)
    yield database
    await database.close()


async def test_session_stores_and_finds_models_that_stay_readable(database: Database) -> None:
    await database.ping()
    async with database.session() as session:
        await (await session.connection()).run_sync(Note.metadata.tables["note"].create)
        note = Note(text="hello")
        session.add(note)
        await session.commit()
        assert note.text == "hello"
    async with database.session() as session:
        found = await session.exec(select(Note).where(col(Note.text) == "hello"))
        assert found.one().id == note.id


async def test_database_can_be_used_again_after_close(database: Database) -> None:
    await database.ping()
    await database.close()
    await database.ping()


async def test_parameters_of_the_url_reach_the_server(postgres_url: str) -> None:
    database = Database(
        f"{postgres_url}?sslmode=prefer&application_name=topichub&channel_binding=prefer&connect_timeout=5"
    )
    async with database.connection() as connection:
        assert await connection.scalar(text("SHOW application_name")) == "topichub"
    await database.close()


async def test_encryption_that_the_server_has_not_is_a_store_error(postgres_url: str) -> None:
    database = Database(f"{postgres_url}?sslmode=require")
    with pytest.raises(StoreError, match="SSL"):
        await database.ping()
    await database.close()


async def test_wrong_password_is_a_store_error_that_does_not_tell_it(postgres_server: PostgresServer) -> None:
    database = Database(postgres_server.url.replace(PASSWORD, "wr0ng-h0rse"))
    with pytest.raises(StoreError, match="password authentication failed") as refused:
        await database.ping()
    assert "wr0ng-h0rse" not in str(refused.value)
    await database.close()


async def test_server_that_hangs_does_not_hang_the_ping(postgres_server: PostgresServer) -> None:
    database = Database(postgres_server.url)
    async with database.connection() as connection:
        backend = await connection.scalar(text("SELECT pg_backend_pid()"))
    os.kill(backend, signal.SIGSTOP)
    try:
        began = time.monotonic()
        with pytest.raises(StoreError, match=r"did not answer within 0\.5 s"):
            await database.ping(within=0.5)
        assert time.monotonic() - began < 10
        await database.ping()
    finally:
        os.kill(backend, signal.SIGCONT)
        await database.close()


async def test_restart_of_the_server_costs_no_session(postgres_server: PostgresServer) -> None:
    database = Database(postgres_server.url)
    await database.ping()
    postgres_server.kill()
    with pytest.raises(StoreError):
        await database.ping()
    postgres_server.start()
    await database.ping()
    await database.close()
