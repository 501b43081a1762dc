"""What is revoked stays so: over restarts, on nodes that heard nothing of it, and while database or broker are away."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from hub import revoking
from hub.errors import InvalidToken
from hub.model import Revocation
from hub.store import revocations as table
from hub.store.engine import Database
from hub.store.revocations import RevocationTable
from hub.testing import InProcessHub
from tests.contract.bridged import eventually
from tests.services.postgres import PostgresServer
from tests.services.redis import RedisServer

MEMBERS = {"subscribe": "authenticated", "publish": "authenticated"}
TOPICS = {"room:{x}": {"allow": MEMBERS}}


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks are taken thirty times as often."""
    monkeypatch.setattr(revoking, "ROUND_SECONDS", revoking.ROUND_SECONDS / 30)
    monkeypatch.setattr(revoking, "REREAD_SECONDS", revoking.REREAD_SECONDS / 30)


def configured(
    redis: RedisServer | None = None, database: str = "sqlite://", **limits: Any
) -> dict[str, Any]:
    broker = {"broker": {"url": redis.url}} if redis else {}
    return {**broker, "database": {"url": database}, "topics": TOPICS, "limits": limits}


async def asked(hub: InProcessHub, method: str, **request: Any) -> dict[str, Any]:
    answer: dict[str, Any] = (await hub.http.post(f"/api/{method}", json=request, headers=hub.api_key)).json()
    return answer


async def revoke(hub: InProcessHub, **request: Any) -> None:
    assert await asked(hub, "revoke", **request) == {"result": {}}


def leeway(hub: InProcessHub) -> float:
    return hub.blueprint.settings.auth.jwt.leeway


def refuses(hub: InProcessHub, user: str, **claims: Any) -> bool:
    try:
        hub.hub.node.identify(hub.token(user, **claims))
    except InvalidToken:
        return True
    return False


@pytest.fixture
async def own_database(postgres_server: PostgresServer) -> str:
    """A database on a server that a test may break."""
    name = f"revoked_{secrets.token_hex(4)}"
    connection = await asyncpg.connect(postgres_server.url)
    await connection.execute(f"CREATE DATABASE {name}")
    await connection.close()
    return postgres_server.url.removesuffix("postgres") + name


async def crash(server: PostgresServer) -> None:
    """Kills the server, which tests run so fast that it would lose what it has not written down."""
    connection = await asyncpg.connect(server.url)
    await connection.execute("CHECKPOINT")
    await connection.close()
    server.kill()


@pytest.fixture
async def together(redis_server: RedisServer) -> AsyncIterator[tuple[InProcessHub, InProcessHub]]:
    """Two nodes on one Redis, each with a database in its own memory: as good as none."""
    config = configured(redis_server)
    async with InProcessHub(config) as one, InProcessHub(config) as two:
        await eventually(lambda: len(one.hub.cluster.nodes()) == len(two.hub.cluster.nodes()) == 2)
        yield one, two


# Kept in the database


async def test_a_node_that_starts_knows_all_that_the_database_does_before_it_lets_anybody_in(
    database_url: str,
) -> None:
    async with InProcessHub(configured(database=database_url)) as hub:
        await revoke(hub, user="ann")
        await revoke(hub, token_id="t1", expire_at=hub.clock.time() + 3_600)
        await revoke(hub, issued_before=hub.clock.time() - 60, user="bob")
        await revoke(hub, user="carl", channel="room:1")
        await revoke(hub, user="dan")
        assert (await asked(hub, "unrevoke", user="dan"))["result"] == {"lifted": True}
        listed = (await asked(hub, "revocations"))["result"]
        assert listed["total"] == 4
        now = hub.clock.time()
    async with InProcessHub(configured(database=database_url)) as hub:
        assert (await asked(hub, "revocations"))["result"] == listed
        assert refuses(hub, "ann")
        assert refuses(hub, "eve", jti="t1")
        assert refuses(hub, "bob", iat=int(now) - 61)
        assert hub.hub.node.revocations.bar("carl", "room:1")
        assert not refuses(hub, "dan")
        assert not refuses(hub, "bob", iat=int(now))


async def test_what_is_stored_is_as_strict_as_what_holds(database_url: str) -> None:
    async with InProcessHub(configured(database=database_url)) as hub:
        now = int(hub.clock.time())
        await revoke(hub, user="bob", issued_before=now - 10)
        await revoke(hub, user="bob", issued_before=now - 100, expire_at=now + 60)
        assert refuses(hub, "bob", iat=now - 50)
    async with InProcessHub(configured(database=database_url)) as hub:
        hub.clock.advance(120)
        assert refuses(hub, "bob", iat=now - 50)


async def test_what_is_over_is_forgotten_and_leaves_the_database(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/hub.db"
    async with InProcessHub(configured(database=url, token_life="1h")) as hub:
        now = int(hub.clock.time())
        await revoke(hub, token_id="t1")
        assert refuses(hub, "ann", jti="t1", iat=now)
        await revoke(hub, token_id="t2", expire_at=now + 60)
        hub.clock.advance(40 + leeway(hub))
        assert refuses(hub, "ann", jti="t2", iat=now), "as long as a verifier would take it"
        hub.clock.advance(30)
        await hub.hub.revoking.reread()
        assert [each.subject for each in hub.hub.node.revocations] == ["t1"]
        hub.clock.advance(3_600)
        await hub.hub.revoking.reread()
        assert len(hub.hub.node.revocations) == 0
        async with hub.hub.database.connection() as connection:
            left = await connection.exec_driver_sql("SELECT count(*) FROM hub_revocation")
            assert left.scalar() == 0


async def test_a_database_that_may_only_be_read_tells_what_holds_though_it_cannot_drop_what_is_over(
    own_database: str,
) -> None:
    async with InProcessHub(configured(database=own_database)) as hub:
        await revoke(hub, user="bob", expire_at=hub.clock.time() + 60)
        await revoke(hub, user="ann")
        later = hub.clock.time() + 3_600
    administrator = await asyncpg.connect(own_database)
    name = own_database.rpartition("/")[2]
    await administrator.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    await administrator.close()
    database = Database(own_database)
    try:
        found = [each async for part in RevocationTable(database).read(later) for each in part]
        assert [each.subject for each in found] == ["ann"]
    finally:
        await database.close()


def test_a_node_reads_again_at_most_half_a_minute_later() -> None:
    assert revoking.REREAD_SECONDS <= 30


@pytest.mark.usefixtures("often")
async def test_what_nobody_told_is_read_from_the_database_and_ends_what_is_open(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/hub.db"
    async with InProcessHub(configured(database=url)) as hub:
        ann = await hub.connect("ann")
        database = Database(url)
        await RevocationTable(database).store([Revocation("user", "ann", int(time.time() * 1_000))])
        await database.close()
        assert await ann.expect_close() == (3500, "token revoked")
        assert refuses(hub, "ann")


async def test_a_table_that_is_as_it_was_is_not_read_again(database_url: str) -> None:
    async with InProcessHub(configured(database=database_url)) as hub:
        await revoke(hub, user="ann")
        now = hub.clock.time()
        reader = RevocationTable(hub.hub.database)

        async def read(at: float) -> list[str]:
            return [each.subject async for part in reader.read(at) for each in part]

        assert await read(now) == ["ann"]
        assert await read(now) == []
        for order, found in (
            ({"user": "bob", "expire_at": now + 60}, {"ann", "bob"}),
            ({"user": "bob", "expire_at": now + 90}, {"ann", "bob"}),
        ):
            hub.clock.advance(1)
            await revoke(hub, **order)
            assert set(await read(now)) == found
        assert (await asked(hub, "unrevoke", user="ann"))["result"] == {"lifted": True}
        assert len(await read(now)) == 2
        assert await read(now + 91) == [], "what is over is dropped"
        assert await read(now + 91) == ["ann"]
        assert await read(now + 91) == []


# Bounded


async def test_at_the_bound_one_more_is_refused_and_nothing_forgotten() -> None:
    async with InProcessHub(configured(revocations=4)) as hub:
        await revoke(hub, user="ann", channel="room:1")
        await revoke(hub, user="ann", channel="room:2")
        told = (await asked(hub, "revoke", user="ann", channel="room:3"))["error"]
        assert told["code"] == 106
        assert told["message"].startswith("limit exceeded: as many revocations are remembered as may be")
        await revoke(hub, user="bob")
        await revoke(hub, token_id="t1", expire_at=hub.clock.time() + 60)
        assert (await asked(hub, "revoke", user="carl"))["error"]["code"] == 106
        assert not refuses(hub, "carl")
        await revoke(hub, user="bob")  # once more does no harm
        assert refuses(hub, "bob")
        assert refuses(hub, "eve", jti="t1")
        hub.clock.advance(61 + leeway(hub))
        await revoke(hub, user="carl")
        assert refuses(hub, "carl")


async def test_with_a_longest_life_tokens_that_live_longer_are_refused_so_that_forgetting_is_safe() -> None:
    async with InProcessHub(configured(token_life="1h")) as hub:
        now = int(hub.clock.time())
        assert not refuses(hub, "ann", iat=now, exp=now + 3_600)
        assert refuses(hub, "ann", iat=now, exp=now + 3_601)
        assert refuses(hub, "ann", iat=now + 50_000, exp=now + 50_100)
        assert refuses(hub, "ann", iat=None, exp=now + 60)
        assert refuses(hub, "ann", iat=now, exp=None)
    async with InProcessHub(configured()) as hub:
        await revoke(hub, token_id="t1")
        hub.clock.advance(10 * 366 * 86_400)
        await hub.hub.revoking.reread()
        assert refuses(hub, "ann", jti="t1"), "where tokens may live for ever, so does what is revoked"


# The database away


async def test_while_the_database_is_away_nothing_is_revoked_and_that_is_said(
    own_database: str, postgres_server: PostgresServer, redis_server: RedisServer
) -> None:
    config = configured(redis_server, own_database)
    async with InProcessHub(config) as one, InProcessHub(config) as two:
        await eventually(lambda: len(one.hub.cluster.nodes()) == len(two.hub.cluster.nodes()) == 2)
        await revoke(one, user="eve")
        ann = await two.connect("ann")
        await crash(postgres_server)
        told = (await asked(one, "revoke", user="ann"))["error"]
        assert told == {"code": 100, "message": "the database is away; nothing was changed, try again later"}
        told = (await asked(one, "unrevoke", user="eve"))["error"]
        assert told["code"] == 100
        # What was revoked before still is, and whoever was in is in.
        for node in (one, two):
            assert refuses(node, "eve")
            assert not refuses(node, "ann")
        await ann.subscribe("room:1")
        postgres_server.start()
        await revoke(one, user="ann")
        assert await ann.expect_close() == (3500, "token revoked")
        assert refuses(two, "ann")
        assert (await asked(two, "unrevoke", user="eve"))["result"] == {"lifted": True}


async def test_a_database_that_hangs_leaves_the_outcome_open_and_says_so(
    own_database: str, postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with InProcessHub(configured(database=own_database)) as hub:
        await revoke(hub, user="eve")
        monkeypatch.setattr(table, "SECONDS", 0.5)
        with postgres_server.frozen():
            began = time.monotonic()
            told = (await asked(hub, "revoke", user="ann"))["error"]
            assert time.monotonic() - began < 5
            assert told["code"] in (100, 300)
        await eventually(lambda: not hub.hub.database.engine.pool.checkedout())  # type: ignore[attr-defined]
        await revoke(hub, user="ann")
        assert refuses(hub, "ann")


async def test_what_another_node_tells_holds_at_once_though_the_own_database_is_away_and_is_stored_later(
    own_database: str, postgres_server: PostgresServer, redis_server: RedisServer, often: None
) -> None:
    async with (
        InProcessHub(configured(redis_server)) as one,
        InProcessHub(configured(redis_server, own_database)) as two,
    ):
        await eventually(lambda: len(one.hub.cluster.nodes()) == len(two.hub.cluster.nodes()) == 2)
        ann = await two.connect("ann")
        await crash(postgres_server)
        await revoke(one, user="ann")
        assert await ann.expect_close() == (3500, "token revoked")
        postgres_server.start()
        other = Database(own_database)
        async with asyncio.timeout(15):
            while not [part async for part in RevocationTable(other).read(time.time())]:
                await asyncio.sleep(0.05)
        await other.close()


# No database that lasts: memory, and the other nodes


async def test_without_a_database_that_lasts_the_other_nodes_remember_and_a_newcomer_asks_them(
    together: tuple[InProcessHub, InProcessHub],
    redis_server: RedisServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one, two = together
    await revoke(one, user="ann")
    await eventually(lambda: refuses(two, "ann"))
    monkeypatch.setattr(revoking, "FIRST_SECONDS", 5.0)  # this machine may be slow
    async with InProcessHub(configured(redis_server)) as three:
        assert refuses(three, "ann"), "before anybody is let in"
        await one.hub.stop()
        await two.hub.stop()
        assert (await asked(three, "unrevoke", user="ann"))["result"] == {"lifted": True}


async def test_without_a_database_that_lasts_it_ends_with_the_last_node(redis_server: RedisServer) -> None:
    async with InProcessHub(configured(redis_server)) as alone:
        await revoke(alone, user="ann")
        assert refuses(alone, "ann")
    async with InProcessHub(configured(redis_server)) as after:
        assert not refuses(after, "ann")


# The broker away


@pytest.mark.timeout(60)
@pytest.mark.usefixtures("often")
async def test_with_the_broker_away_it_holds_here_the_rest_is_told_when_it_is_back_and_that_is_said(
    together: tuple[InProcessHub, InProcessHub], redis_server: RedisServer
) -> None:
    one, two = together
    bob, ann = await one.connect("ann"), await two.connect("ann")
    redis_server.kill()
    await eventually(lambda: not one.hub.bridge.ready)
    told = (await asked(one, "revoke", user="ann"))["error"]
    assert told["code"] == 300
    assert told["message"].startswith(
        "outcome unknown: it is stored and holds on this node; the others are told"
    )
    assert await bob.expect_close() == (3500, "token revoked")
    assert refuses(one, "ann")
    assert ann.closed is None
    redis_server.restart()
    assert await ann.expect_close() == (3500, "token revoked")
    assert refuses(two, "ann")


@pytest.mark.timeout(60)
async def test_on_the_broker_s_return_a_node_asks_for_what_it_missed_without_waiting_for_half_a_minute(
    redis_server: RedisServer,
) -> None:
    """Its own database has nothing to tell, and whoever revoked knew of no trouble."""
    config = configured(redis_server)
    async with InProcessHub(config) as one, InProcessHub(config) as two:
        await eventually(lambda: len(one.hub.cluster.nodes()) == len(two.hub.cluster.nodes()) == 2)
        await revoke(one, user="eve")
        await eventually(lambda: refuses(two, "eve"))
        missed = Revocation("user", "ann", int(time.time() * 1_000))
        one.hub.node.revocations.merge([missed])
        ann = await two.connect("ann")
        redis_server.restart()
        began = time.monotonic()
        async with asyncio.timeout(25):
            while ann.closed is None:
                await asyncio.sleep(0.05)
        assert ann.closed == (3500, "token revoked")
        assert time.monotonic() - began < 20
