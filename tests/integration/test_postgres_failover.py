"""The broker when its PostgreSQL dies for good and a replica takes over."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from hub.broker.factory import make_broker
from hub.model import HistoryQuery, Position
from tests.contract.bridged import ALL, TOPIC, eventually, position, running
from tests.services.missing import unavailable
from tests.services.postgres import PASSWORD, REMEDY, USER, PostgresServer, find_postgres


@pytest.fixture
def pair() -> Iterator[tuple[PostgresServer, PostgresServer]]:
    """A primary, and a replica that follows it."""
    programs = find_postgres()
    if programs is None:
        unavailable("PostgreSQL", REMEDY)
    folders = [Path(tempfile.mkdtemp(prefix="hub-postgres-")) for _ in range(2)]
    primary, replica = (PostgresServer(programs, folder) for folder in folders)
    _follow(folders[0] / "data", folders[1] / "data", primary.port)
    primary.start()
    replica.start()
    yield primary, replica
    primary.stop()
    replica.stop()
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def _follow(data: Path, copy: Path, port: int) -> None:
    """Makes the copy of a server that is not running its replica."""
    owner = copy.stat()
    shutil.rmtree(copy)
    shutil.copytree(data, copy)
    (copy / "standby.signal").touch()
    with (copy / "postgresql.auto.conf").open("a") as settings:
        settings.write(f"primary_conninfo = 'host=127.0.0.1 port={port} user={USER} password={PASSWORD}'\n")
    for path in (copy, *copy.rglob("*")):
        os.chown(path, owner.st_uid, owner.st_gid)
        path.chmod(0o700 if path.is_dir() else 0o600)


@pytest.mark.timeout(60)
async def test_replica_that_takes_over_keeps_history_under_a_new_epoch_and_a_gap_is_told(
    pair: tuple[PostgresServer, PostgresServer],
) -> None:
    """It may lack the latest publications and would give their offsets out again."""
    primary, replica = pair
    hosts = f"127.0.0.1:{replica.port},127.0.0.1:{primary.port}"
    async with running(make_broker(f"postgresql://{USER}:{PASSWORD}@{hosts}/postgres", prefix="test")) as hub:
        await hub.bridge.subscribe(TOPIC)
        first = position(await hub.publish(b"1"))
        standby = await asyncpg.connect(replica.url)
        async with asyncio.timeout(10):
            while not await standby.fetchval("SELECT to_regclass('test_broker_publication') IS NOT NULL"):
                await asyncio.sleep(0.05)
            while not await standby.fetchval("SELECT count(*) FROM test_broker_publication"):
                await asyncio.sleep(0.05)
        primary.kill()
        await eventually(lambda: not hub.broker.connected)
        await asyncio.sleep(0.5)
        assert not hub.broker.connected, "a replica takes no publications"
        await standby.execute("SELECT pg_promote()")
        await standby.close()
        await eventually(lambda: hub.broker.connected and bool(hub.recorder.gaps(TOPIC)))
        second = position(await hub.publish(b"2"))
        assert second.offset == 2
        assert second.epoch != first.epoch
        page = await hub.bridge.history(TOPIC, ALL)
        assert [each.position for each in page.publications] == [Position(1, second.epoch), second]
        assert (await hub.bridge.history(TOPIC, HistoryQuery(limit=-1, since=first))).publications == []
        await eventually(lambda: hub.recorder.after_gap(TOPIC) == [b"2"])
