from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from sqlalchemy import text

from hub.errors import StoreError
from hub.store import engine as engine_module
from hub.store.engine import Database


def test_nothing_heavy_is_imported_before_the_database_is_used() -> None:
    program = (
        "import sys, hub.store.engine, hub.store.migrator, hub.plugin\n"
        "hub.store.engine.Database('sqlite:///never.db')\n"
        "print(sorted({'sqlalchemy', 'sqlmodel', 'alembic'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


async def test_sqlite_file_and_its_folder_come_at_the_first_use(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/a/b/hub.db")
    assert not (tmp_path / "a").exists()
    await database.ping()
    assert (tmp_path / "a" / "b" / "hub.db").exists()
    await database.close()


async def test_sqlite_is_opened_for_many_readers_and_keeps_foreign_keys(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/hub.db")
    expected = {"journal_mode": "wal", "synchronous": 1, "busy_timeout": 5000, "foreign_keys": 1}
    async with database.session() as first, database.session() as second:
        for session in (first, second):
            connection = await session.connection()
            found = {
                name: (await connection.execute(text(f"PRAGMA {name}"))).scalar_one() for name in expected
            }
            assert found == expected
    await database.close()


async def test_what_is_not_committed_is_rolled_back(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/hub.db")
    async with database.session() as session:
        connection = await session.connection()
        await connection.execute(text("CREATE TABLE t (x INTEGER)"))
        await connection.execute(text("INSERT INTO t VALUES (1)"))
        await session.commit()
        await (await session.connection()).execute(text("INSERT INTO t VALUES (2)"))
    async with database.session() as session:
        rows = await (await session.connection()).execute(text("SELECT x FROM t"))
        assert rows.scalars().all() == [1]
    await database.close()


async def test_memory_sessions_do_not_undo_one_another() -> None:
    database = Database("sqlite://")
    async with database.session() as session:
        await (await session.connection()).execute(text("CREATE TABLE t (x INTEGER)"))
        await session.commit()

    async def write(number: int, *, keep: bool) -> None:
        async with database.session() as session:
            await (await session.connection()).execute(text("INSERT INTO t VALUES (:x)"), {"x": number})
            await asyncio.sleep(0)
            if keep:
                await session.commit()

    await asyncio.gather(*(write(number, keep=number % 2 == 0) for number in range(20)))
    async with database.session() as session:
        rows = await (await session.connection()).execute(text("SELECT x FROM t ORDER BY x"))
        assert rows.scalars().all() == list(range(0, 20, 2))
    await database.close()


async def test_no_free_connection_is_a_store_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "POOL_TIMEOUT", 0.1)
    database = Database("sqlite://")
    async with database.session():
        with pytest.raises(StoreError, match="sqlite"):
            async with database.session():
                pass
    await database.close()


async def test_file_that_is_no_database_is_a_store_error(tmp_path: Path) -> None:
    (tmp_path / "hub.db").write_text("no database, but long enough to be read as the head of one\n" * 40)
    database = Database(f"sqlite:///{tmp_path}/hub.db")
    with pytest.raises(StoreError, match="not a database"):
        await database.ping()
    with pytest.raises(StoreError, match="not a database"):
        async with database.session():
            pass
    await database.close()


async def test_folder_that_cannot_be_made_is_a_store_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="file"):
        await Database(f"sqlite:///{tmp_path}/file/hub.db").ping()


async def test_missing_driver_names_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "asyncpg", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(StoreError, match=r"pip install 'topichub\[postgres\]'"):
        await Database("postgresql://db/hub").ping()


async def test_ping_ends_in_time_when_nothing_answers() -> None:
    async def silent(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        held.append(writer)

    held: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    database = Database(f"postgresql://ann:5ecret@127.0.0.1:{port}/hub")
    began = asyncio.get_running_loop().time()
    with pytest.raises(StoreError, match=r"did not answer within 0\.2 s") as failed:
        await database.ping(within=0.2)
    assert asyncio.get_running_loop().time() - began < 3
    assert "5ecret" not in str(failed.value)
    for writer in held:
        writer.close()
    server.close()
    await server.wait_closed()
    await database.close()


async def test_refused_connection_is_a_store_error_without_the_password() -> None:
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    database = Database(f"postgresql://ann:5ecret@127.0.0.1:{port}/hub")
    with pytest.raises(StoreError, match=f"postgresql://ann@127.0.0.1:{port}/hub cannot be used") as failed:
        async with database.session():
            pass
    assert "5ecret" not in str(failed.value) + repr(database)
    await database.close()


@pytest.mark.parametrize("path", ["folder", "file/hub.db"])
async def test_sqlite_file_that_cannot_be_made_is_a_store_error_that_says_what_to_do(
    path: str, tmp_path: Path
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    database = Database(f"sqlite:///{tmp_path / path}")
    with pytest.raises(StoreError, match="cannot be used: ") as failed:
        await database.ping()
    assert f"The hub has to write in {(tmp_path / path).parent}: allow it, or set database.url" in str(
        failed.value
    )
    await database.close()


@pytest.mark.parametrize("path", ["folder", "no database"])
def test_a_loop_that_closes_after_a_failed_connection_leaves_no_thread_behind(
    path: str, tmp_path: Path
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "no database").write_bytes(b"x" * 100)

    async def fail() -> set[threading.Thread]:
        database = Database(f"sqlite:///{tmp_path / path}")
        with pytest.raises(StoreError):
            await database.ping()
        await database.close()
        return set(threading.enumerate())

    for _ in range(20):
        assert not [each for each in asyncio.run(fail()) if "_connection_worker_thread" in each.name]


async def test_an_error_of_sqlite_that_writing_elsewhere_would_not_mend_proposes_none(tmp_path: Path) -> None:
    (tmp_path / "hub.db").write_bytes(
        b"no database at all, but long enough to be looked at as if it were one"
    )
    database = Database(f"sqlite:///{tmp_path}/hub.db")
    with pytest.raises(StoreError, match=r"file is not a database$"):
        await database.ping()
    await database.close()


async def test_sqlite_file_that_another_process_is_just_making_is_opened_when_it_has_ended(
    tmp_path: Path,
) -> None:
    # The switch to WAL fails at once while another connection holds the write lock, whatever the busy timeout says.
    other = sqlite3.connect(tmp_path / "hub.db", isolation_level=None, check_same_thread=False)
    other.execute("CREATE TABLE t (x INTEGER)")
    other.execute("BEGIN IMMEDIATE")
    database = Database(f"sqlite:///{tmp_path}/hub.db")
    ends = threading.Timer(0.2, other.execute, ["COMMIT"])
    ends.start()
    async with database.connection() as connection:
        assert await connection.scalar(text("PRAGMA journal_mode")) == "wal"
    ends.join()
    other.close()
    await database.close()


async def test_sqlite_file_that_stays_locked_is_a_store_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "BUSY_TIMEOUT", 0.1)
    other = sqlite3.connect(tmp_path / "hub.db", isolation_level=None)
    other.execute("CREATE TABLE t (x INTEGER)")
    other.execute("BEGIN IMMEDIATE")
    database = Database(f"sqlite:///{tmp_path}/hub.db")
    with pytest.raises(StoreError, match="database is locked"):
        await database.ping()
    other.close()
    await database.close()
