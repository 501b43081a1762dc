from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import JSON, BigInteger, Column, ForeignKey, Integer, MetaData, Table
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import registry
from sqlmodel import Field, SQLModel

from hub.errors import StoreError
from hub.plugin import NAMING_CONVENTION
from hub.store.engine import Database
from hub.store.migrator import Applied, Migrator
from hub.store.owners import Owner, core
from tests.services.owners import CREATE_ROOM


def plugin_models(plugin: str) -> MetaData:
    """The models of a plugin, as its models.py would declare them; both plugins call their classes the same."""

    class Base(SQLModel, registry=registry(metadata=MetaData(naming_convention=NAMING_CONVENTION))):
        pass

    class Room(Base, table=True):
        __tablename__ = f"{plugin}_room"
        id: int | None = Field(default=None, primary_key=True)
        name: str = Field(max_length=200, unique=True)
        topic: str = Field(default="", index=True)
        created: int = Field(sa_type=BigInteger)
        private: bool = False
        extra: dict[str, Any] = Field(
            default_factory=dict, sa_type=JSON().with_variant(JSONB(), "postgresql")
        )

    class Message(Base, table=True):
        __tablename__ = f"{plugin}_message"
        id: int | None = Field(default=None, primary_key=True)
        room: int = Field(foreign_key=f"{plugin}_room.id", ondelete="CASCADE", index=True)
        text: str

    return Base.metadata


async def test_diff_says_what_a_migration_needs_and_is_empty_once_it_ran(
    database: Database, make_owner: Callable[..., Owner]
) -> None:
    for name in ("chat", "notes"):
        owner = make_owner(name, metadata=plugin_models(name))
        owners = [core(), make_owner("chat"), owner] if name == "notes" else [core(), owner]
        needed = await Migrator(database, owners).diff(name)
        assert f"op.create_table('{name}_room'" in needed
        assert "sqlmodel" not in needed
        assert "drop" not in needed
        make_owner(name, needed)
        await Migrator(database, owners).upgrade()
        assert await Migrator(database, owners).diff(name) == ""
    assert await Migrator(database, [make_owner("chat", metadata=plugin_models("chat"))]).diff("chat") == ""


async def test_diff_sees_a_model_that_moved_on(database: Database, make_owner: Callable[..., Owner]) -> None:
    metadata = MetaData(naming_convention=NAMING_CONVENTION)
    Table(
        "chat_room",
        metadata,
        Column("id", Integer, primary_key=True),
        Column("owner", ForeignKey("chat_user.id")),
    )
    Table("chat_user", metadata, Column("id", Integer, primary_key=True))
    migrator = Migrator(database, [make_owner("chat", CREATE_ROOM, metadata=metadata)])
    await migrator.upgrade()
    needed = await migrator.diff("chat")
    assert "chat_user" in needed
    assert "fk_chat_room_owner_chat_user" in needed
    make_owner("chat", needed)
    assert await Migrator(database, [make_owner("chat", metadata=metadata)]).upgrade() == [
        Applied("chat", "0002")
    ]
    assert await Migrator(database, [make_owner("chat", metadata=metadata)]).diff("chat") == ""


async def test_diff_refuses_tables_without_the_owners_name(
    database: Database, make_owner: Callable[..., Owner]
) -> None:
    metadata = MetaData()
    Table("users", metadata, Column("id", Integer, primary_key=True))
    with pytest.raises(StoreError, match=r"table users does not belong to chat"):
        await Migrator(database, [make_owner("chat", metadata=metadata)]).diff("chat")
    with pytest.raises(StoreError, match=r"notes has no models"):
        await Migrator(database, [make_owner("notes")]).diff("notes")
