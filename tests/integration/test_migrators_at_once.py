from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import text

from hub.errors import StoreError
from hub.store.engine import Database
from hub.store.migrator import Applied, Migrator
from hub.store.owners import Owner
from tests.services.owners import ADD_NAME, CREATE_NOTE, CREATE_ROOM, execute

MIGRATOR = """
import asyncio, json, sys
from pathlib import Path
from hub.store.engine import Database
from hub.store.migrator import Migrator
from hub.store.owners import Owner, core

async def main(url, *folders):
    database = Database(url)
    owners = [Owner(Path(one).parent.name, Path(one)) for one in folders]
    applied = await Migrator(database, [core(), *owners]).upgrade()
    await database.close()
    print(json.dumps(applied))

asyncio.run(main(*sys.argv[1:]))
"""


def start_migrator(url: str, *owners: Owner) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", MIGRATOR, url, *(str(owner.migrations) for owner in owners)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.timeout(120)
def test_of_four_migrators_at_once_one_does_the_work_and_all_succeed(
    database_url: str, make_owner: Callable[..., Owner]
) -> None:
    slow = 'import time\ntime.sleep(0.3)\nop.create_table("chat_late", sa.Column("id", sa.Integer, primary_key=True))'
    owners = (make_owner("chat", CREATE_ROOM, ADD_NAME, slow), make_owner("notes", CREATE_NOTE))
    running = [start_migrator(database_url, *owners) for _ in range(4)]
    ended = [process.communicate(timeout=100) for process in running]
    assert [process.returncode for process in running] == [0, 0, 0, 0], [stderr for _, stderr in ended]
    applied = [json.loads(stdout) for stdout, _ in ended]
    assert sorted(applied, key=len)[:3] == [[], [], []]
    assert max(applied, key=len) == [
        ["hub", "0001"],
        ["chat", "0001"],
        ["chat", "0002"],
        ["chat", "0003"],
        ["notes", "0001"],
    ]


async def test_migrators_of_one_process_take_turns(
    database: Database, database_url: str, make_owner: Callable[..., Owner]
) -> None:
    owners = [make_owner("chat", CREATE_ROOM, ADD_NAME), make_owner("notes", CREATE_NOTE)]
    other = Database(database_url)
    results = await asyncio.gather(
        *(Migrator(one, owners).upgrade() for one in (database, other, database, other))
    )
    assert sorted(len(applied) for applied in results) == [0, 0, 0, 3]
    await other.close()


async def test_killed_migrator_leaves_no_lock_and_no_half_revision(
    database: Database, database_url: str, make_owner: Callable[..., Owner], tmp_path: Path
) -> None:
    hang = f"{CREATE_NOTE}\nimport pathlib, time\npathlib.Path({str(tmp_path / 'reached')!r}).touch()\ntime.sleep(60)"
    owners = [make_owner("chat", CREATE_ROOM), make_owner("notes", hang)]
    running = start_migrator(database_url, *owners)
    async with asyncio.timeout(20):
        while not (tmp_path / "reached").exists():
            await asyncio.sleep(0.02)
    with pytest.raises(StoreError, match=r"another migrator"):
        await Migrator(database, owners, wait=0.2).upgrade()
    running.kill()
    running.communicate()
    (owners[1].migrations / "m0001_step.py").unlink()
    assert await Migrator(database, [owners[0], make_owner("notes", CREATE_NOTE)]).upgrade() == [
        Applied("notes", "0001")
    ]


async def test_cancelled_migrator_lets_the_next_one_in(
    database: Database, database_url: str, make_owner: Callable[..., Owner]
) -> None:
    owners = [make_owner("chat", CREATE_ROOM)]
    first = asyncio.create_task(Migrator(database, owners).upgrade())
    await asyncio.sleep(0.01)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    await Migrator(database, owners, wait=5).upgrade()
    await Migrator(database, owners).check()


async def test_migration_waits_for_a_table_in_use_only_so_long(
    postgres_url: str, make_owner: Callable[..., Owner], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hub.store.migrator.LOCK_TIMEOUT", "200ms")
    database = Database(postgres_url)
    await Migrator(database, [make_owner("chat", CREATE_ROOM)]).upgrade()
    async with database.session() as session:
        await (await session.connection()).execute(text("SELECT * FROM chat_room"))
        with pytest.raises(StoreError, match=r"0002 of chat failed: .*lock timeout"):
            await Migrator(database, [make_owner("chat", ADD_NAME)]).upgrade()
    assert await Migrator(database, [make_owner("chat")]).upgrade() == [Applied("chat", "0002")]
    assert [tuple(row) for row in await execute(database, "SHOW lock_timeout")] == [("0",)]
    await database.close()
