from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from sqlalchemy import inspect

from hub.errors import StoreError
from hub.store.engine import Database
from hub.store.migrator import Applied, Migrator, Status
from hub.store.models import METADATA
from hub.store.owners import Owner, core
from tests.services.owners import ADD_NAME, CREATE_NOTE, CREATE_ROOM, execute, tables

CORE = Applied("hub", "0001")


async def test_missing_revisions_are_applied_once_and_in_order(
    database: Database, make_owner: Callable[..., Owner]
) -> None:
    owners = [
        make_owner("notes", CREATE_NOTE, requires=("chat",)),
        make_owner("chat", CREATE_ROOM, ADD_NAME),
        core(),
    ]
    applied = await Migrator(database, owners).upgrade()
    assert applied == [CORE, Applied("chat", "0001"), Applied("chat", "0002"), Applied("notes", "0001")]
    assert await tables(database) == {
        "chat_room",
        "hub_revocation",
        "notes_note",
        "alembic_version_chat",
        "alembic_version_hub",
        "alembic_version_notes",
    }
    assert await Migrator(database, owners).upgrade() == []


async def test_core_migrates_before_every_plugin(
    database: Database, make_owner: Callable[..., Owner]
) -> None:
    refers = (
        'op.create_table("chat_x", sa.Column("id", sa.Integer, sa.ForeignKey("hub_x.id"), primary_key=True))'
    )
    creates = 'op.create_table("hub_x", sa.Column("id", sa.Integer, primary_key=True))'
    applied = await Migrator(database, [make_owner("chat", refers), make_owner("hub", creates)]).upgrade()
    assert applied == [Applied("hub", "0001"), Applied("chat", "0001")]


async def test_the_core_s_own_tables_are_those_of_its_models(database: Database) -> None:
    owner = Owner("hub", core().migrations, METADATA)
    assert await Migrator(database, [core()]).upgrade() == [CORE]
    assert await Migrator(database, [core()]).status() == [Status("hub", "0001", "0001", ok=True)]
    assert await tables(database) == {"hub_revocation", "alembic_version_hub"}
    assert await Migrator(database, [owner]).diff("hub") == ""


async def test_status_and_check_tell_who_is_behind(
    database: Database, make_owner: Callable[..., Owner]
) -> None:
    migrator = Migrator(database, [core(), make_owner("chat", CREATE_ROOM), make_owner("notes", CREATE_NOTE)])
    with pytest.raises(
        StoreError,
        match=r"hub is at nothing and needs 0001; chat is at nothing and needs 0001; notes is at nothing "
        r".* Run: hub migrate",
    ):
        await migrator.check()
    await migrator.upgrade()
    await migrator.check()
    migrator = Migrator(database, [core(), make_owner("chat", ADD_NAME), make_owner("notes")])
    assert await migrator.status() == [
        Status("hub", "0001", "0001", ok=True),
        Status("chat", "0001", "0002", ok=False),
        Status("notes", "0001", "0001", ok=True),
    ]
    with pytest.raises(StoreError, match=r"not migrated: chat is at 0001 and needs 0002. Run"):
        await migrator.check()


async def test_asking_for_the_status_makes_no_sqlite_file(
    tmp_path: Path, make_owner: Callable[..., Owner]
) -> None:
    database = Database(f"sqlite:///{tmp_path}/none.db")
    assert await Migrator(database, [make_owner("chat", CREATE_ROOM)]).status() == [
        Status("chat", None, "0001", ok=False)
    ]
    assert not (tmp_path / "none.db").exists()


async def test_account_without_the_right_to_read_or_create_is_told_so(
    postgres_url: str, make_owner: Callable[..., Owner]
) -> None:
    owner, database = make_owner("chat", CREATE_ROOM), Database(postgres_url)
    role = f"guest_{uuid.uuid4().hex}"
    await execute(database, f"CREATE ROLE {role} LOGIN PASSWORD 'guest'")
    url = urlsplit(postgres_url)
    guest = Database(f"postgresql://{role}:guest@{url.hostname}:{url.port or 5432}{url.path}")
    with pytest.raises(StoreError, match=r"permission denied for schema public"):
        await Migrator(guest, [owner]).upgrade()
    await Migrator(database, [owner]).upgrade()
    with pytest.raises(
        StoreError, match=r"cannot be used: .*permission denied for table alembic_version_chat"
    ):
        await Migrator(guest, [owner]).check()
    await guest.close()
    await execute(database, f"DROP ROLE {role}")
    await database.close()


async def test_sqlite_folder_without_the_right_to_write_is_told(
    tmp_path: Path, make_owner: Callable[..., Owner]
) -> None:
    (tmp_path / "hub.db-migrate.lock").mkdir()
    database = Database(f"sqlite:///{tmp_path}/hub.db")
    with pytest.raises(StoreError, match=r"hub\.db-migrate\.lock"):
        await Migrator(database, [make_owner("chat", CREATE_ROOM)]).upgrade()
    await database.close()


async def test_removed_plugin_blocks_nobody(database: Database, make_owner: Callable[..., Owner]) -> None:
    await Migrator(database, [make_owner("notes", CREATE_NOTE), make_owner("chat", CREATE_ROOM)]).upgrade()
    await execute(database, "INSERT INTO notes_note (id) VALUES (7)")
    left = Migrator(database, [core(), make_owner("chat", ADD_NAME)])
    assert await left.upgrade() == [CORE, Applied("chat", "0002")]
    await left.check()
    back = Migrator(database, [make_owner("chat"), make_owner("notes")])
    assert await back.upgrade() == []
    assert [tuple(row) for row in await execute(database, "SELECT id FROM notes_note")] == [(7,)]


async def test_failing_migration_leaves_its_owner_at_the_last_good_revision(
    database: Database, make_owner: Callable[..., Owner]
) -> None:
    half = """
    op.create_table("chat_half", sa.Column("id", sa.Integer, primary_key=True))
    op.execute("INSERT INTO chat_room (id) VALUES (1)")
    op.execute("INSERT INTO chat_nothing (id) VALUES (1)")
    """
    owners = [
        make_owner("chat", CREATE_ROOM, half),
        make_owner("ahead", "pass", requires=()),
        make_owner("notes", CREATE_NOTE),
    ]
    with pytest.raises(StoreError, match=r"migration 0002 of chat failed: .*chat_nothing"):
        await Migrator(database, owners).upgrade()
    found = {one.owner: one.current for one in await Migrator(database, owners).status()}
    assert found == {"chat": "0001", "ahead": None, "notes": None}
    assert "chat_half" not in await tables(database)
    assert await execute(database, "SELECT id FROM chat_room") == []
    (owners[0].migrations / "m0002_step.py").unlink()
    applied = await Migrator(database, [make_owner("chat", ADD_NAME), *owners[1:]]).upgrade()
    assert applied == [Applied("chat", "0002"), Applied("ahead", "0001"), Applied("notes", "0001")]


async def test_first_migration_that_fails_leaves_nothing_behind(
    database: Database, make_owner: Callable[..., Owner]
) -> None:
    with pytest.raises(StoreError, match=r"migration 0001 of chat failed: ValueError: no"):
        await Migrator(database, [make_owner("chat", f"{CREATE_ROOM}\nraise ValueError('no')")]).upgrade()
    assert await tables(database) - {"alembic_version_chat"} == set()


async def test_database_newer_than_the_code_is_left_alone(
    database: Database, make_owner: Callable[..., Owner]
) -> None:
    newer = make_owner("chat", CREATE_ROOM, ADD_NAME)
    await Migrator(database, [newer]).upgrade()
    (newer.migrations / "m0002_step.py").unlink()
    older = Migrator(database, [newer, make_owner("notes", CREATE_NOTE)])
    for attempt in (older.upgrade, older.check):
        with pytest.raises(
            StoreError, match=r"newer than this installation.*chat is at 0002.*Install the version"
        ):
            await attempt()
    assert "notes_note" not in await tables(database)
    assert (await older.status())[0] == Status("chat", "0002", "0001", ok=False)


async def test_revisions_of_different_owners_may_have_equal_names(
    database: Database, make_owner: Callable[..., Owner]
) -> None:
    await Migrator(database, [make_owner("chat", CREATE_ROOM), make_owner("notes", CREATE_NOTE)]).upgrade()
    found = await Migrator(database, [make_owner("chat"), make_owner("notes")]).status()
    assert [one.current for one in found] == ["0001", "0001"]


async def test_table_outside_its_owners_prefix_is_refused(
    database: Database, make_owner: Callable[..., Owner]
) -> None:
    foreign = make_owner(
        "chat", CREATE_ROOM, 'op.create_table("users", sa.Column("id", sa.Integer, primary_key=True))'
    )
    with pytest.raises(
        StoreError, match=r"migration 0002 of chat failed: .*table users does not belong to chat"
    ):
        await Migrator(database, [foreign]).upgrade()
    assert "users" not in await tables(database)
    others = make_owner(
        "notes", 'op.create_table("notes_pad_x", sa.Column("id", sa.Integer, primary_key=True))'
    )
    with pytest.raises(StoreError, match=r"notes_pad_x"):
        await Migrator(database, [others, make_owner("notes_pad")]).upgrade()


async def test_rebuilding_a_table_keeps_the_rows_that_refer_to_it(
    database: Database, make_owner: Callable[..., Owner]
) -> None:
    both = """
    op.create_table("chat_room", sa.Column("id", sa.Integer, primary_key=True), sa.Column("name", sa.String(9)))
    op.create_table(
        "chat_message",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("room", sa.Integer, sa.ForeignKey("chat_room.id", ondelete="CASCADE")),
    )
    op.execute("INSERT INTO chat_room (id, name) VALUES (1, 'lobby')")
    op.execute("INSERT INTO chat_message (id, room) VALUES (1, 1)")
    """
    rebuild = """
    with op.batch_alter_table("chat_room") as batch:
        batch.alter_column("name", type_=sa.String(200), existing_type=sa.String(9), nullable=False)
        batch.create_unique_constraint(None, ["name"])
    """
    await Migrator(database, [make_owner("chat", both, rebuild)]).upgrade()
    assert len(await execute(database, "SELECT id FROM chat_message")) == 1
    async with database.connection() as connection:
        unique = await connection.run_sync(lambda sync: inspect(sync).get_unique_constraints("chat_room"))
    assert [one["name"] for one in unique] == ["uq_chat_room_name"]
    await execute(database, "DELETE FROM chat_room WHERE id = 1")
    assert await execute(database, "SELECT id FROM chat_message") == []


async def test_migration_that_orphans_rows_is_undone(
    tmp_path: Path, make_owner: Callable[..., Owner]
) -> None:
    both = """
    op.create_table("chat_room", sa.Column("id", sa.Integer, primary_key=True))
    op.create_table("chat_message", sa.Column("room", sa.Integer, sa.ForeignKey("chat_room.id"), primary_key=True))
    op.execute("INSERT INTO chat_room (id) VALUES (1)")
    op.execute("INSERT INTO chat_message (room) VALUES (1)")
    """
    database = Database(f"sqlite:///{tmp_path}/hub.db")
    with pytest.raises(StoreError, match=r"migration 0002 of chat failed: .*rows of chat_message"):
        await Migrator(database, [make_owner("chat", both, 'op.execute("DELETE FROM chat_room")')]).upgrade()
    assert len(await execute(database, "SELECT id FROM chat_room")) == 1
    with pytest.raises(Exception, match=r"FOREIGN KEY"):
        await execute(database, "DELETE FROM chat_room")
    await database.close()


async def test_memory_database_is_migrated_for_the_sessions_that_follow(
    make_owner: Callable[..., Owner],
) -> None:
    database = Database("sqlite://")
    assert await Migrator(database, [make_owner("chat", CREATE_ROOM)]).upgrade() == [Applied("chat", "0001")]
    await Migrator(database, [make_owner("chat")]).check()
    assert await execute(database, "SELECT id FROM chat_room") == []
    await database.close()


@pytest.mark.parametrize(
    ("files", "complaint"),
    [
        ({"m0001_a.py": "this is no Python"}, "SyntaxError"),
        ({"m0001_a.py": "def upgrade(): pass"}, "m0001_a.py"),
        ({"m0001_a.py": 'revision = "1"\ndown_revision = "0"'}, "0"),
        (
            {
                "m0001_a.py": 'revision = "1"\ndown_revision = None',
                "m0001_b.py": 'revision = "1"\ndown_revision = None',
            },
            "1",
        ),
        (
            {
                "m0001_a.py": 'revision = "1"\ndown_revision = None',
                "m0001_b.py": 'revision = "2"\ndown_revision = None',
            },
            "head",
        ),
    ],
)
def test_history_that_cannot_be_read_is_refused_with_owner_and_place(
    tmp_path: Path, files: dict[str, str], complaint: str
) -> None:
    for name, source in files.items():
        (tmp_path / name).write_text(source)
    with pytest.raises(StoreError, match=rf"migrations of chat in .*{complaint}"):
        Migrator(Database("sqlite://"), [Owner("chat", tmp_path)])
    with pytest.raises(StoreError, match=r"migrations of chat: .* is no folder"):
        Migrator(Database("sqlite://"), [Owner("chat", tmp_path / "none")])


def test_there_is_no_way_down() -> None:
    promised = {name for name in vars(Migrator) if not name.startswith("_")}
    assert promised == {"upgrade", "status", "check", "diff", "open"}


async def test_a_new_sqlite_file_is_set_up_by_itself_and_an_old_one_only_on_request(
    database: Database, make_owner: Callable[..., Owner]
) -> None:
    chat, notes = make_owner("chat", CREATE_ROOM), make_owner("notes", CREATE_NOTE)
    if database.url.kind != "sqlite":
        with pytest.raises(StoreError, match="Run: hub migrate"):
            await Migrator(database, [core(), chat]).open()
        return
    assert await Migrator(database, [core(), chat]).open() == [CORE, Applied("chat", "0001")]
    assert await Migrator(database, [core(), chat]).open() == []
    with pytest.raises(StoreError, match=r"notes is at nothing .* Run: hub migrate"):
        await Migrator(database, [core(), chat, notes]).open()
